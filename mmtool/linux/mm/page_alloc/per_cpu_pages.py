"""The per-CPU page lists at work (struct per_cpu_pages, mm/page_alloc.c): refill, free and drain.

A CPU keeps free pages of a zone in lists by order and type. It takes from the head and frees to the head; a refill is
appended at the tail, and a drain goes from the tail back to the buddy lists. All counts are pages.
"""

from __future__ import annotations

from collections.abc import Callable

from mmtool.build.release import Release
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, PCP_BATCH_SCALE_MAX, PerCpuPages, Zone
from mmtool.linux.mm.page_alloc.buddy import __free_one_page
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import zone_watermark_ok


def free_pcppages_bulk(zone: Zone, count: int, pcp: PerCpuPages, pindex: int) -> None:
    """free_pcppages_bulk(): give at least `count` pages back to the buddy lists, if there are as many.

    From 5.18 on list `pindex` goes first and each list is drained whole before the next one's turn; before, the lists
    take turns with more blocks each round.
    """
    count = min(pcp.count, count)
    if not zone.facts.pcp_drains_whole_lists:
        _free_in_turns(zone, count, pcp)
        return
    lists, order_of = pcp.lists, pcp.layout.order_of
    while count > 0:
        while not lists[pindex]:
            pindex = (pindex + 1) % len(lists)
        pages, order = lists[pindex], order_of[pindex]
        while count > 0 and pages:
            pfn = pages.pop()
            count -= 1 << order
            pcp.count -= 1 << order
            __free_one_page(zone, pfn, order, _drains_to(zone, pcp, pfn, pindex))
        pindex = (pindex + 1) % len(lists)


def _free_in_turns(zone: Zone, count: int, pcp: PerCpuPages) -> None:
    """free_pcppages_bulk() before 5.18: blocks leave the lists in turns first, and then are freed in that order."""
    lists, order_of = pcp.lists, pcp.layout.order_of
    leaving: list[tuple[int, int, MigrateType]] = []
    turns, index = 0, 0
    while count > 0:
        turns, index = turns + 1, (index + 1) % len(lists)
        while not lists[index]:
            turns, index = turns + 1, (index + 1) % len(lists)
        if turns >= len(lists):
            turns = count
        while count > 0 and turns > 0 and lists[index]:
            pfn, order = lists[index].pop(), order_of[index]
            leaving.append((pfn, order, _drains_to(zone, pcp, pfn, index)))
            pcp.count -= 1 << order
            count -= 1 << order
            turns -= 1
    for pfn, order, migratetype in leaving:
        __free_one_page(zone, pfn, order, migratetype)


def _drains_to(zone: Zone, pcp: PerCpuPages, pfn: int, pindex: int) -> MigrateType:
    """The type a block goes back under: the one stored with it, and its pageblock's where pageblocks are isolated.

    From 6.7 on no type is stored.
    """
    stored = pcp.page_mt.pop(pfn, None) if pcp.page_mt else None
    if not zone.facts.pcp_stores_type:
        return zone.pageblocks.get(pfn)
    return pcp.layout.type_of[pindex] if stored is None else stored


def drain_pages_zone(zone: Zone, cpu: int) -> None:
    """drain_pages_zone(): everything that `cpu` keeps of the zone goes back, a large batch at a time."""
    pcp = zone.per_cpu_pageset[cpu]
    while pcp.count:
        # Before 5.18 all at once.
        most = pcp.batch << PCP_BATCH_SCALE_MAX if zone.facts.pcp_drains_whole_lists else pcp.count
        free_pcppages_bulk(zone, min(pcp.count, most), pcp, 0)


def decay_pcp_high(zone: Zone, pcp: PerCpuPages) -> None:
    """decay_pcp_high(): what the lists may hold shrinks by an eighth, and what is too much goes back (6.7 on)."""
    if pcp.high > pcp.high_min:
        pcp.high = max(pcp.count - (pcp.batch << PCP_BATCH_SCALE_MAX), pcp.high - (pcp.high >> 3), pcp.high_min)
    to_drain = pcp.count - pcp.high
    while to_drain > 0:
        free_pcppages_bulk(zone, min(to_drain, pcp.batch), pcp, 0)
        to_drain -= pcp.batch


def drain_zone_pages(zone: Zone, pcp: PerCpuPages) -> None:
    """drain_zone_pages(): a batch goes back, since the CPU has not used this remote zone for a while."""
    if pcp.count > 0:
        free_pcppages_bulk(zone, min(pcp.count, pcp.batch), pcp, 0)


# How much a refill takes


def nr_pcp_alloc(zone: Zone, pcp: PerCpuPages, order: int) -> int:
    """How many blocks of 2**order pages a refill takes: nr_pcp_alloc() from 6.7 on, a batch before."""
    if zone.facts.pcp_high_is_tuned:
        return _nr_pcp_alloc_tuned(zone, pcp, order)
    return max(pcp.batch >> order, 2) if pcp.batch > 1 else pcp.batch


def _nr_pcp_alloc_tuned(zone: Zone, pcp: PerCpuPages, order: int) -> int:
    base = pcp.batch
    high = pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)
    if high < base:
        return 1
    batch = base if order else base << pcp.alloc_factor
    if pcp.high_min != pcp.high_max and not zone.below_high:
        high = pcp.high = min(high + batch, pcp.high_max)
    if not order:
        most = max(high - pcp.count - base, base)
        if batch <= most and pcp.alloc_factor < PCP_BATCH_SCALE_MAX:
            pcp.alloc_factor += 1
        batch = min(batch, most)
    return max(batch >> order, 2) if batch > 1 else batch


# What a free does once the lists are full

Commit = Callable[[Zone, PerCpuPages, int, int], None]
"""(zone, its lists, the list that a block was freed to, the block's order): drain what is too much."""


def commit_of(facts: Release) -> Commit:
    """The later part of free_unref_page_commit() in a release: after the block went to its list's head."""
    if facts.pcp_high_is_tuned:
        return _commit_tuned
    return _commit_scaled if facts.pcp_scales_free_batch else _commit_plain


def _commit_plain(zone: Zone, pcp: PerCpuPages, pindex: int, order: int) -> None:
    """Before 5.14: a full list loses a batch."""
    if pcp.count >= pcp.high:
        free_pcppages_bulk(zone, pcp.batch, pcp, pindex)


def _commit_scaled(zone: Zone, pcp: PerCpuPages, pindex: int, order: int) -> None:
    """5.14 to 6.6: the batch doubles while only frees come."""
    if not order and pcp.count < pcp.high and not zone.reclaim_active:
        return
    small = 0 < order <= PAGE_ALLOC_COSTLY_ORDER
    free_high = small and zone.facts.pcp_frees_high_orders and pcp.free_factor > 0
    high = _nr_pcp_high_scaled(zone, pcp, free_high)
    if pcp.count >= high:
        free_pcppages_bulk(zone, _nr_pcp_free_scaled(pcp, high, free_high), pcp, pindex)


def _nr_pcp_high_scaled(zone: Zone, pcp: PerCpuPages, free_high: bool) -> int:
    """nr_pcp_high() before 6.7: how many pages the lists may hold now, four batches while kswapd is at work."""
    if free_high:
        return 0
    return min(pcp.batch << 2, pcp.high) if zone.reclaim_active else pcp.high


def _nr_pcp_free_scaled(pcp: PerCpuPages, high: int, free_high: bool) -> int:
    """nr_pcp_free() before 6.7: how many pages go; counts the doublings."""
    if free_high:
        return pcp.count
    if high < pcp.batch:
        return 1
    most, count = high - pcp.batch, pcp.batch << pcp.free_factor
    if count < most and pcp.free_factor < PCP_BATCH_SCALE_MAX:
        pcp.free_factor += 1
    return min(max(count, pcp.batch), most)


def _commit_tuned(zone: Zone, pcp: PerCpuPages, pindex: int, order: int) -> None:
    """From 6.7 on: the batch follows the pages freed in a row, and high moves between its limits."""
    pcp.alloc_factor >>= 1
    batch = pcp.batch
    if (
        not order
        and pcp.count < pcp.high
        and pcp.high_min <= pcp.high <= pcp.high_max
        and not zone.below_high
        and not zone.reclaim_active
    ):
        # What follows comes to this for a single page on a list that is not full.
        pcp.prev_free_high_order = False
        if pcp.free_count < batch << PCP_BATCH_SCALE_MAX:
            pcp.free_count += 1
        return
    free_high = _frees_high_orders(zone, pcp, order)
    if pcp.free_count < batch << PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1 << order
    high = _nr_pcp_high_tuned(zone, pcp, free_high)
    if pcp.count < high:
        return
    count = _nr_pcp_free_tuned(pcp, high, free_high)
    if not zone.facts.pcp_frees_by_batches:
        free_pcppages_bulk(zone, count, pcp, pindex)
    while zone.facts.pcp_frees_by_batches and count > 0 and pcp.count > 0:
        free_pcppages_bulk(zone, min(count, batch), pcp, pindex)
        count -= min(count, batch)
    if zone.below_high:
        mark = zone.watermark.high + zone.watermark_boost
        # Nothing is above Movable but Device, which adds no reserve: the last entry is Movable's.
        zone.below_high = not zone_watermark_ok(zone, 0, mark, len(zone.lowmem_reserve) - 1, 0, zone.facts).ok


def _frees_high_orders(zone: Zone, pcp: PerCpuPages, order: int) -> bool:
    """Is this one of many blocks above single pages that are freed in a row, so that the lists go? (6.7 on)"""
    if not 0 < order <= PAGE_ALLOC_COSTLY_ORDER:
        pcp.prev_free_high_order = False
        return False
    enough = pcp.batch + pcp.high_min // 2 if zone.facts.pcp_frees_high_orders_late else pcp.batch
    before = pcp.prev_free_high_order
    pcp.prev_free_high_order = True
    return before and pcp.free_count >= enough and (not pcp.free_high_batch or pcp.count >= pcp.batch)


def _nr_pcp_free_tuned(pcp: PerCpuPages, high: int, free_high: bool) -> int:
    """nr_pcp_free() from 6.7 on: how many pages go."""
    if free_high:
        return min(pcp.count, pcp.batch << PCP_BATCH_SCALE_MAX)
    if high < pcp.batch:
        return 1
    return min(max(pcp.free_count, pcp.batch), high - pcp.batch)


def _nr_pcp_high_tuned(zone: Zone, pcp: PerCpuPages, free_high: bool) -> int:
    """nr_pcp_high() from 6.7 on: how many pages the lists may hold now; moves pcp.high."""
    batch = pcp.batch
    high = pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)
    if not high:
        return 0
    if free_high:
        pcp.high = max(high - (batch << PCP_BATCH_SCALE_MAX), pcp.high_min)
        return 0
    if zone.reclaim_active:
        pcp.high = max(high - max(pcp.free_count, batch), pcp.high_min)
        return min(batch << 2, pcp.high)
    if pcp.high_min == pcp.high_max:
        return high
    if zone.below_high:
        pcp.high = max(high - max(pcp.free_count, batch), pcp.high_min)
        return max(pcp.count, pcp.high_min)
    if pcp.count >= high:
        need = pcp.free_count + batch
        if pcp.high < need:
            pcp.high = min(max(need, pcp.high_min), pcp.high_max)
    return high
