"""Reclaim of a memory cgroup, priority by priority (do_try_to_free_pages() of mm/vmscan.c)."""

from __future__ import annotations

from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.swap import SWAP_CLUSTER_MAX
from mmtool.linux.mm.vmpressure import vmpressure, vmpressure_prio
from mmtool.linux.mm.vmscan.classic import prepare_scan_control, shrink_lruvec, snapshot_refaults
from mmtool.linux.mm.vmscan.lru_gen import lru_gen_shrink_lruvec
from mmtool.linux.mm.vmscan.scan_control import DEF_PRIORITY, ScanControl


def try_to_free_mem_cgroup_pages(
    m: Memory, nr_pages: int, *, may_swap: bool = True, proactive: bool = False, swappiness: int | None = None
) -> int:
    """try_to_free_mem_cgroup_pages(): reclaim at least SWAP_CLUSTER_MAX pages of the cgroup; how many it got."""
    sc = ScanControl(
        nr_to_reclaim=max(nr_pages, SWAP_CLUSTER_MAX),
        swappiness=m.swappiness if swappiness is None else swappiness,
        may_swap=may_swap,
        proactive=proactive,
    )
    m.memalloc = True
    reclaimed = do_try_to_free_pages(m, sc)
    m.memalloc = False
    return reclaimed


def do_try_to_free_pages(m: Memory, sc: ScanControl) -> int:
    """do_try_to_free_pages(): rounds of rising pressure until there is enough; the pages freed."""
    while True:
        while True:
            m.rounds += 1
            if m.lru_gen is not None:
                scanned = sc.nr_scanned
                if not sc.proactive:
                    vmpressure_prio(m, sc.priority)
                lru_gen_shrink_lruvec(m, m.lru_gen, sc)
                if not sc.proactive:
                    vmpressure(m, sc.nr_scanned - scanned)
            else:
                prepare_scan_control(m, sc)
                shrink_lruvec(m, sc)
            if sc.nr_reclaimed >= sc.nr_to_reclaim:
                break
            sc.priority -= 1
            if sc.priority < 0:
                break
        snapshot_refaults(m)
        if sc.nr_reclaimed:
            return sc.nr_reclaimed
        if m.facts.reclaim_retries_full_walk and not sc.memcg_full_walk:
            sc.memcg_full_walk = True
        elif sc.skipped_deactivate:
            sc.force_deactivate = True
            sc.skipped_deactivate = False
        else:
            return 0
        sc.priority = DEF_PRIORITY
