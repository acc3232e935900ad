"""The per-CPU page lists at work (struct per_cpu_pages, mm/page_alloc.c): refill, free and drain.

A CPU keeps free pages of a zone in lists by order and type. It takes from the head and frees to the head; a refill is
appended at the tail, and a drain goes from the tail back to the buddy lists. All counts are pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mmtool.kernel.release import Release
from mmtool.mm.page_alloc.buddy import free_one_page
from mmtool.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType
from mmtool.mm.page_alloc.zone import PagesetLimits, Zone

PAGE_ALLOC_COSTLY_ORDER = 3
PCP_BATCH_SCALE_MAX = 5
"""CONFIG_PCP_BATCH_SCALE_MAX: a batch doubles at most so often."""
_PCP_TYPES = (MigrateType.UNMOVABLE, MigrateType.MOVABLE, MigrateType.RECLAIMABLE)


@dataclass(frozen=True, slots=True)
class PcpLayout:
    """Which lists a CPU has: the order and usual type of each, and the list of an order for each of the three types.

    Models NR_PCP_LISTS and order_to_pindex(): up to the costly order a list for each of the three types, and one or two
    for huge pages. Before 5.14 there are only lists of single pages.
    """

    order_of: tuple[int, ...]
    type_of: tuple[MigrateType, ...]
    """The type of a list's blocks where none is stored with them."""
    index: dict[int, tuple[int, int, int]]

    @classmethod
    def of(cls, facts: Release, huge_page_order: int | None) -> PcpLayout:
        """The lists of a release; `huge_page_order` is None without transparent huge pages."""
        if not facts.pcp_holds_orders:
            return cls((0, 0, 0), _PCP_TYPES, {0: (0, 1, 2)})
        order_of = [order for order in range(PAGE_ALLOC_COSTLY_ORDER + 1) for _ in range(MIGRATE_PCPTYPES)]
        index = {order: (3 * order, 3 * order + 1, 3 * order + 2) for order in range(PAGE_ALLOC_COSTLY_ORDER + 1)}
        if huge_page_order is not None:
            first = len(order_of)
            movable = first + facts.pcp_splits_huge_pages
            order_of += [huge_page_order] * (1 + facts.pcp_splits_huge_pages)
            index[huge_page_order] = (first, movable, first)
        type_of = (*_PCP_TYPES * (PAGE_ALLOC_COSTLY_ORDER + 1), MigrateType.UNMOVABLE, MigrateType.MOVABLE)
        return cls(tuple(order_of), type_of[: len(order_of)], index)


class PerCpuPages:
    """struct per_cpu_pages and per_cpu_zonestat: what one CPU keeps of one zone, and what it has yet to count."""

    __slots__ = (
        "alloc_factor", "batch", "cma_diff", "count", "expire", "free_count", "free_diff", "free_factor", "high",
        "high_max", "high_min", "layout", "lists", "page_mt", "prev_free_high_order", "stat_threshold",
    )  # fmt: skip

    def __init__(self, layout: PcpLayout, limits: PagesetLimits, high: int, stat_threshold: int = 0) -> None:
        self.layout = layout
        self.lists: list[deque[int]] = [deque() for _ in layout.order_of]
        """Blocks by list, head first."""
        self.page_mt: dict[int, MigrateType] = {}
        """The types of blocks that do not have their list's: where they are drained to (before 6.7)."""
        self.count = 0
        self.high = high
        self.high_min, self.high_max, self.batch = limits.high_min, limits.high_max, limits.batch
        self.free_factor = 0
        """How often the drained batch doubles (5.14 to 6.6)."""
        self.alloc_factor = 0
        """How often the refill doubles (6.7 on)."""
        self.free_count = 0
        """Pages freed in a row, roughly (6.7 on)."""
        self.prev_free_high_order = False
        self.expire = 0
        """Seconds until the pages of a remote zone are drained."""
        self.free_diff = 0
        """Pages that the CPU has yet to add to NR_FREE_PAGES."""
        self.cma_diff = 0
        self.stat_threshold = stat_threshold

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Every block that is kept: (pfn, order)."""
        for order, pages in zip(self.layout.order_of, self.lists, strict=True):
            for pfn in pages:
                yield pfn, order


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
            free_one_page(zone, pfn, order, _drains_to(zone, pcp, pfn, pindex))
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
        free_one_page(zone, pfn, order, migratetype)


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
    """5.14 to 6.6: the batch doubles while only frees come (nr_pcp_high(), nr_pcp_free()).

    kswapd is taken to be asleep: while it is at work (ZONE_RECLAIM_ACTIVE), lists hold four batches at most.
    """
    if not order and pcp.count < pcp.high:
        return
    free_high = bool(
        zone.facts.pcp_frees_high_orders and pcp.free_factor and order and order <= PAGE_ALLOC_COSTLY_ORDER
    )
    high = pcp.high
    if not high or free_high:
        high = 0
    if pcp.count < high:
        return
    if free_high:
        count = pcp.count
    elif high < pcp.batch:
        count = 1
    else:
        most = high - pcp.batch
        count = pcp.batch << pcp.free_factor
        if count < most and pcp.free_factor < PCP_BATCH_SCALE_MAX:
            pcp.free_factor += 1
        count = min(max(count, pcp.batch), most)
    free_pcppages_bulk(zone, count, pcp, pindex)


def _commit_tuned(zone: Zone, pcp: PerCpuPages, pindex: int, order: int) -> None:
    """From 6.7 on: the batch follows the pages freed in a row, and high moves between its limits.

    As on a CPU whose caches hold less than three batches (PCPF_FREE_HIGH_BATCH is not set): nothing tells their size.
    """
    pcp.alloc_factor >>= 1
    batch = pcp.batch
    if not order and pcp.count < pcp.high and pcp.high_min <= pcp.high <= pcp.high_max and not zone.below_high:
        # What follows comes to this for a single page on a list that is not full.
        pcp.prev_free_high_order = False
        if pcp.free_count < batch << PCP_BATCH_SCALE_MAX:
            pcp.free_count += 1
        return
    facts, free_high = zone.facts, False
    if order and order <= PAGE_ALLOC_COSTLY_ORDER:
        enough = batch + pcp.high_min // 2 if facts.pcp_frees_high_orders_late else batch
        free_high = pcp.free_count >= enough and pcp.prev_free_high_order
        pcp.prev_free_high_order = True
    else:
        pcp.prev_free_high_order = False
    if pcp.free_count < batch << PCP_BATCH_SCALE_MAX:
        pcp.free_count += 1 << order
    high = _nr_pcp_high_tuned(zone, pcp, free_high)
    if pcp.count < high:
        return
    if free_high:
        count = min(pcp.count, batch << PCP_BATCH_SCALE_MAX)
    elif high < batch:
        count = 1
    else:
        count = min(max(pcp.free_count, batch), high - batch)
    if not facts.pcp_frees_by_batches:
        free_pcppages_bulk(zone, count, pcp, pindex)
    while facts.pcp_frees_by_batches and count > 0 and pcp.count > 0:
        free_pcppages_bulk(zone, min(count, batch), pcp, pindex)
        count -= min(count, batch)
    if zone.below_high and zone.nr_free_pages - zone.nr_free_cma_pages > zone.watermark.high + zone.watermark_boost:
        zone.below_high = False


def _nr_pcp_high_tuned(zone: Zone, pcp: PerCpuPages, free_high: bool) -> int:
    """nr_pcp_high() from 6.7 on: how many pages the lists may hold now; moves pcp.high."""
    batch = pcp.batch
    high = pcp.high = min(max(pcp.high, pcp.high_min), pcp.high_max)
    if not high:
        return 0
    if free_high:
        pcp.high = max(high - (batch << PCP_BATCH_SCALE_MAX), pcp.high_min)
        return 0
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
