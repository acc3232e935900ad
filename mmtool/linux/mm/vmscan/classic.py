"""The classic LRU: active and inactive lists, how much of each is scanned, and how pages move (mm/vmscan.c)."""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    LRU_ACTIVE_ANON,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    PG_ACTIVE,
    PG_LRU,
    PG_MLOCKED,
    PG_WORKINGSET,
)
from mmtool.linux.mm.memcontrol.vmstats import (
    NR_VMSCAN_WRITE,
    PGROTATE_BASE,
    WORKINGSET_ACTIVATE_BASE,
    WORKINGSET_RESTORE_BASE,
)
from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.mm_inline import list_head, lruvec_add_folio
from mmtool.linux.mm.page_writeback import wakeup_flusher_threads
from mmtool.linux.mm.swap import SWAP_CLUSTER_MAX, folio_add_lru, lru_add_drain, lru_note_cost
from mmtool.linux.mm.swap_state import complete_writeback
from mmtool.linux.mm.vmscan.balance import inactive_too_few, leave_smaller_kind, scan_balance
from mmtool.linux.mm.vmscan.scan_control import SWAPPINESS_ANON_ONLY, Balance, ReclaimStat, ScanControl
from mmtool.linux.mm.vmscan.shrink_folio_list import folio_referenced, shrink_folio_list
from mmtool.linux.mm.workingset import workingset_age_nonresident

KINDS = ("anon", "file")


def inactive_is_low(m: Memory, inactive_lru: int) -> bool:
    """inactive_is_low(): are there fewer inactive pages than the target, one for each active below a GiB?"""
    return inactive_too_few(m.stats.page_state(inactive_lru), m.stats.page_state(inactive_lru + 1))


def prepare_scan_control(m: Memory, sc: ScanControl) -> None:
    """prepare_scan_control(): costs, which active lists may shrink, and are there inactive file pages enough?"""
    stats = m.stats
    if not m.facts.scan_reads_stale_stats:
        stats.flush_stats()
    if m.facts.costs_are_counters:
        _costs_from_counters(m)
    sc.anon_cost, sc.file_cost = m.lruvec.anon_cost, m.lruvec.file_cost
    for file in (0, 1):
        sc.may_deactivate[file] = sc.force_deactivate or (
            stats.page_state(WORKINGSET_ACTIVATE_BASE + file) != m.lruvec.refaults[file]
            or inactive_is_low(m, LRU_INACTIVE_FILE if file else LRU_INACTIVE_ANON)
        )
    sc.cache_trim_mode = stats.page_state(LRU_INACTIVE_FILE) >> sc.priority > 0 and not sc.may_deactivate[1]


def _costs_from_counters(m: Memory) -> None:
    """What was kept, restored and written since the last round, added to the costs; older costs count ever less."""
    v, stats = m.lruvec, m.stats
    for file in (0, 1):
        rotated = stats.page_state(PGROTATE_BASE + file)
        io = stats.page_state(WORKINGSET_RESTORE_BASE + file) + (0 if file else stats.page_state(NR_VMSCAN_WRITE))
        last_rotated, last_io = v.last_costs[file]
        cost = (io - last_io) * SWAP_CLUSTER_MAX + rotated - last_rotated
        v.last_costs[file] = rotated, io
        if file:
            v.file_cost += cost
        else:
            v.anon_cost += cost
    size = sum(stats.page_state(lru) for lru in range(4))
    while v.file_cost + v.anon_cost > size // 4:
        v.file_cost //= 2
        v.anon_cost //= 2


def get_scan_count(m: Memory, sc: ScanControl) -> list[int]:
    """get_scan_count(): pages to scan of each list: inactive and active anonymous, inactive and active file."""
    share = _scan_balance(m, sc)
    counts = []
    for lru in range(4):
        scan = m.lruvec.size[lru] >> sc.priority
        counts.append(scan * share[lru >> 1] // share[2])
    return counts


def _scan_balance(m: Memory, sc: ScanControl) -> tuple[int, int, int]:
    """The shares of the anonymous and the file lists, and what they are shares of."""
    only_anon, only_file = (1, 0, 1), (0, 1, 1)
    swappiness = sc.swappiness
    if not sc.may_swap or m.swap_left() <= 0:
        m.note_balance(Balance.NO_SWAP)
        return (0, 0, 1) if swappiness == SWAPPINESS_ANON_ONLY and m.facts.anon_only_bails_out else only_file
    if swappiness == SWAPPINESS_ANON_ONLY or not swappiness:
        m.note_balance(Balance.SWAPPINESS)
        return only_anon if swappiness else only_file
    if not sc.priority:
        m.note_balance(Balance.LAST_PRIORITY)
        return 1, 1, 1
    if sc.cache_trim_mode:
        m.note_balance(Balance.TRIM)
        return only_file
    m.note_balance(Balance.COSTS)
    return scan_balance(swappiness, sc.anon_cost, sc.file_cost)


def isolate_lru_folios(m: Memory, nr_to_scan: int, lru: int) -> list[int]:
    """isolate_lru_folios(): take pages off the end of a list, the oldest first."""
    head = list_head(m, lru)
    prev, flags = m.prev, m.flags
    taken: list[int] = []
    slot = prev[head]
    while slot != head and len(taken) < nr_to_scan:
        taken.append(slot)
        flags[slot] &= ~PG_LRU
        slot = prev[slot]
    prev[head] = slot
    m.next[slot] = head
    if taken:
        m.lruvec.size[lru] -= len(taken)
        m.stats.mod(lru, -len(taken))
    return taken


def move_folios_to_lru(m: Memory, slots: list[int]) -> int:
    """move_folios_to_lru(): put isolated pages back, to the heads of their lists; how many."""
    moved = 0
    flags = m.flags
    for slot in slots:
        if flags[slot] & PG_MLOCKED:
            folio_add_lru(m, slot)
            continue
        flags[slot] |= PG_LRU
        lruvec_add_folio(m, slot)
        moved += 1
        if flags[slot] & PG_ACTIVE:
            workingset_age_nonresident(m)
    return moved


def shrink_inactive_list(m: Memory, nr_to_scan: int, sc: ScanControl, lru: int) -> int:
    """shrink_inactive_list(): reclaim from the end of an inactive list; the pages freed."""
    lru_add_drain(m)
    file = lru >> 1
    taken = isolate_lru_folios(m, nr_to_scan, lru)
    m.vmstat[f"pgscan_{KINDS[file]}"] += len(taken)
    m.stats.updated(len(taken))
    if m.facts.memcg_counts_scan_by_kind:
        m.stats.updated(len(taken))
    if not taken:
        return 0
    stat = ReclaimStat()
    reclaimed, kept = shrink_folio_list(m, taken, sc, stat)
    move_folios_to_lru(m, kept)
    if stat.nr_unqueued_dirty == len(taken):
        wakeup_flusher_threads(m)
    m.vmstat[f"pgsteal_{KINDS[file]}"] += reclaimed
    m.stats.updated(reclaimed)
    if m.facts.memcg_counts_scan_by_kind:
        m.stats.updated(reclaimed)
    if m.facts.costs_are_counters:
        m.stats.mod(PGROTATE_BASE + file, len(taken) - reclaimed)
        m.stats.mod(NR_VMSCAN_WRITE, stat.nr_pageout)
    else:
        lru_note_cost(m, file, stat.nr_pageout, len(taken) - reclaimed)
    return reclaimed


def shrink_active_list(m: Memory, nr_to_scan: int, lru: int) -> None:
    """shrink_active_list(): make the oldest active pages inactive, whether they were used or not."""
    lru_add_drain(m)
    taken = isolate_lru_folios(m, nr_to_scan, lru)
    m.stats.updated(len(taken))
    if m.facts.memcg_counts_scan_by_kind:
        m.vmstat["pgrefill"] += len(taken)
    inactive: list[int] = []
    for slot in taken:
        if m.flags[slot] & PG_MLOCKED:
            folio_add_lru(m, slot)
            continue
        folio_referenced(m, slot)
        m.flags[slot] = m.flags[slot] & ~PG_ACTIVE | PG_WORKINGSET
        inactive.append(slot)
    moved = move_folios_to_lru(m, inactive)
    m.vmstat["pgdeactivate"] += moved
    m.stats.updated(moved)


def shrink_list(m: Memory, lru: int, nr_to_scan: int, sc: ScanControl) -> int:
    """shrink_list(): scan a list; the pages freed."""
    if not lru & 1:
        return shrink_inactive_list(m, nr_to_scan, sc, lru)
    if sc.may_deactivate[lru >> 1]:
        shrink_active_list(m, nr_to_scan, lru)
    else:
        sc.skipped_deactivate = True
    return 0


def shrink_lruvec(m: Memory, sc: ScanControl) -> None:
    """shrink_lruvec(): scan the lists in turn, by SWAP_CLUSTER_MAX, until the counts are used up or enough is freed.

    Once there is enough, the smaller kind is left alone and the larger one scanned in the same proportion.
    """
    nr = get_scan_count(m, sc)
    targets = nr.copy()
    reclaimed = 0
    while nr[LRU_INACTIVE_ANON] or nr[LRU_INACTIVE_FILE] or nr[LRU_INACTIVE_FILE + 1]:
        for lru in range(4):
            if nr[lru]:
                scan = min(nr[lru], SWAP_CLUSTER_MAX)
                nr[lru] -= scan
                reclaimed += shrink_list(m, lru, scan, sc)
        if reclaimed >= sc.nr_to_reclaim and not leave_smaller_kind(nr, targets):
            break
    complete_writeback(m)
    sc.nr_reclaimed += reclaimed
    if m.total_swap_pages() and inactive_is_low(m, LRU_INACTIVE_ANON):
        shrink_active_list(m, SWAP_CLUSTER_MAX, LRU_ACTIVE_ANON)


def snapshot_refaults(m: Memory) -> None:
    """snapshot_refaults(): remember the activations after refaults, to see new ones next time."""
    for file in (0, 1):
        m.lruvec.refaults[file] = m.stats.page_state(WORKINGSET_ACTIVATE_BASE + file)
