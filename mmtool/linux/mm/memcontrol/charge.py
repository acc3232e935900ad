"""Charging pages to a memory cgroup, in batches, with reclaim at its limits (mm/memcontrol.c)."""

from __future__ import annotations

from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.page_writeback import wb_workfn
from mmtool.linux.mm.swap import SWAP_CLUSTER_MAX, lru_add_drain
from mmtool.linux.mm.vmscan.reclaim import try_to_free_mem_cgroup_pages
from mmtool.linux.mm.vmscan.scan_control import SWAPPINESS_ANON_ONLY

MAX_RECLAIM_RETRIES = 16
ENOENT, EAGAIN, EINVAL = -2, -11, -22


def count_event(m: Memory, event: str) -> None:
    """memcg_memory_event(): a line of memory.events."""
    m.memcg.events[event] = m.memcg.events.get(event, 0) + 1


def drain_all_stock(m: Memory) -> None:
    """drain_all_stock(): give back what the CPU has charged in advance."""
    m.memcg.usage -= m.memcg.stock
    m.memcg.stock = 0


def try_charge(m: Memory, *, retries: bool = True) -> bool:
    """try_charge_memcg() of one page: from the CPU's stock, else a batch, else a single page after reclaim.

    Without `retries` (__GFP_NORETRY, as for readahead) it gives up after the second reclaim that made no room.
    """
    memcg = m.memcg
    if memcg.stock:
        memcg.stock -= 1
        return True
    if memcg.usage + m.charge_batch <= memcg.max:
        memcg.usage += m.charge_batch
        memcg.stock = m.charge_batch - 1
        _note_high(m, m.charge_batch)
        return True
    drained = False
    left = MAX_RECLAIM_RETRIES
    if m.lru_gen is not None:
        # From one reclaim to the next something else is taken to have run, and the process been switched to: whoever
        # is told of memory.events, the clock's work, RCU.
        m.lru_gen.mm_in_use = True
    while True:
        if memcg.stock:
            memcg.stock -= 1
            return True
        if memcg.usage + 1 <= memcg.max:
            memcg.usage += 1
            _note_high(m, 1)
            return True
        count_event(m, "max")
        reclaimed = try_to_free_mem_cgroup_pages(m, 1)
        if memcg.max - memcg.usage >= 1:
            continue
        # A task that gets nowhere waits, and the flusher has its turn.
        m.flusher_woken = True
        wb_workfn(m)
        if not drained:
            drain_all_stock(m)
            drained = True
            continue
        if not retries:
            return False
        if reclaimed:
            continue
        if not left:
            return False
        left -= 1


def _note_high(m: Memory, batch: int) -> None:
    """Above memory.high the task has to reclaim before it goes on, or at once if it is far behind."""
    if m.memcg.usage > m.memcg.high:
        m.memcg.nr_pages_over_high += batch


HZ = 250
DELAY_PRECISION_SHIFT, DELAY_SCALING_SHIFT = 20, 14
MAX_HIGH_DELAY_JIFFIES = 2 * HZ


def mem_cgroup_handle_over_high(m: Memory) -> None:
    """mem_cgroup_handle_over_high(): on the way back to user space the task makes good for what it took above high.

    It reclaims, and again as long as it would otherwise have to sleep for it and reclaim gets anywhere.
    """
    memcg = m.memcg
    nr_pages, memcg.nr_pages_over_high = memcg.nr_pages_over_high, 0
    want, left = nr_pages, MAX_RECLAIM_RETRIES
    while True:
        reclaimed = 0
        if memcg.usage > memcg.high:
            count_event(m, "high")
            reclaimed = try_to_free_mem_cgroup_pages(m, want)
        if _high_delay(m, nr_pages) <= HZ // 100:
            return
        if not reclaimed:
            wb_workfn(m)
            if not left:
                return
            left -= 1
        want = SWAP_CLUSTER_MAX


def _high_delay(m: Memory, nr_pages: int) -> int:
    """calculate_high_delay(): the jiffies that the task would sleep."""
    memcg = m.memcg
    if memcg.usage <= memcg.high:
        return 0
    high = max(memcg.high, 1)
    overage = ((memcg.usage - high) << DELAY_PRECISION_SHIFT) // high
    jiffies = overage * overage * HZ >> DELAY_PRECISION_SHIFT >> DELAY_SCALING_SHIFT
    return min(jiffies * nr_pages // m.charge_batch, MAX_HIGH_DELAY_JIFFIES)


def memory_max_write(m: Memory, limit: int) -> None:
    """memory.max: reclaim until usage is below it, and give up after as many rounds that freed nothing."""
    m.memcg.max = limit
    drained, left = False, MAX_RECLAIM_RETRIES
    while m.memcg.usage > limit:
        if not drained:
            drain_all_stock(m)
            drained = True
        elif not left:
            return
        elif not try_to_free_mem_cgroup_pages(m, m.memcg.usage - limit):
            left -= 1


def memory_high_write(m: Memory, limit: int) -> None:
    """memory.high: reclaim down to it."""
    m.memcg.high = limit
    drained, left = False, MAX_RECLAIM_RETRIES
    while m.memcg.usage > limit:
        if not drained:
            drain_all_stock(m)
            drained = True
        elif not try_to_free_mem_cgroup_pages(m, m.memcg.usage - limit):
            if not left:
                return
            left -= 1


def memory_reclaim(m: Memory, pages: int, swappiness: int | None) -> int:
    """memory.reclaim: reclaim so many pages; 0 or a negative error number."""
    facts = m.facts
    if not facts.memory_reclaim:
        return ENOENT
    if swappiness is not None and not (
        facts.memory_reclaim_swappiness_max if swappiness == SWAPPINESS_ANON_ONLY else facts.memory_reclaim_swappiness
    ):
        return EINVAL
    reclaimed, left = 0, MAX_RECLAIM_RETRIES
    while reclaimed < pages:
        if not left:
            lru_add_drain(m)
        want = pages - reclaimed
        got = try_to_free_mem_cgroup_pages(
            m, want // 4 if facts.memory_reclaim_in_quarters else want, proactive=True, swappiness=swappiness
        )
        if not got:
            if not left:
                return EAGAIN
            left -= 1
        reclaimed += got
    return 0
