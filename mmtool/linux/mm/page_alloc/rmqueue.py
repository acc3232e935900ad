"""Taking blocks off the buddy lists: one, or as many as a per-CPU list wants (mm/page_alloc.c)."""

from __future__ import annotations

from collections import deque
from enum import Enum

from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.buddy import account_freepages, expand
from mmtool.linux.mm.page_alloc.fallback import __rmqueue_claim, __rmqueue_fallback, __rmqueue_steal
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
)
from mmtool.linux.mm.vmstat import mod_free_cma_pages, mod_free_pages, take_free_pages

Taken = tuple[int, MigrateType]
"""A block's pfn, and the type of the list that it came from."""


class RmqueueMode(Enum):
    """Where a refill found its last block, so that the next search starts there (enum rmqueue_mode, 6.15 on)."""

    NORMAL = 0
    CMA = 1
    CLAIM = 2
    STEAL = 3


def __rmqueue_smallest(zone: Zone, order: int, migratetype: MigrateType) -> Taken | None:
    """__rmqueue_smallest(): a block of 2**order pages out of the smallest free block of a type; None without one.

    From 6.10 on it counts the pages that leave; before, the caller does.
    """
    area = zone.free_area
    for current in range(order, zone.top_order + 1):
        pfn = area.first(current, migratetype)
        if pfn is None:
            continue
        area.del_page_from_free_list(pfn, current)
        expand(zone, pfn, order, current, migratetype)
        if zone.facts.free_pages_counted_by_lists:
            account_freepages(zone, -(1 << order), migratetype)
        return pfn, migratetype
    return None


def _rmqueue_run(zone: Zone, order: int, migratetype: MigrateType, want: int) -> range:
    """__rmqueue_smallest() up to `want` times, as far as one free block of a list goes; the blocks taken.

    Blocks that leave one larger block one after the other are neighbours, and what is left at the end is a block of
    each order that the rest's size has: the lists between were empty.
    """
    area, top = zone.free_area, zone.top_order
    for current in range(order, top + 1):
        pfn = area.first(current, migratetype)
        if pfn is not None:
            break
    else:
        return range(0)
    count = min(want, 1 << (current - order))
    area.del_page_from_free_list(pfn, current)
    rest, end = pfn + (count << order), pfn + (1 << current)
    taken = range(pfn, rest, 1 << order)
    while rest < end:
        low = (rest & -rest).bit_length() - 1
        area.add_to_free_list(rest, low, migratetype)
        rest += 1 << low
    if zone.facts.free_pages_counted_by_lists:
        take_free_pages(zone, 1 << order, count)
    return taken


def _cma_goes_first(zone: Zone, alloc_flags: int) -> bool:
    """Is over half of the zone's free memory in CMA areas, so that movable allocations begin there?"""
    return bool(alloc_flags & ALLOC_CMA) and zone.nr_free_cma_pages > zone.nr_free_pages // 2


def __rmqueue(
    zone: Zone, order: int, migratetype: MigrateType, alloc_flags: int, mode: RmqueueMode = RmqueueMode.NORMAL
) -> tuple[Taken | None, RmqueueMode]:
    """__rmqueue(): a block of a type, of CMA where that is allowed, or of another type; and where it was found.

    Before 6.15 there is no mode: every search begins at the type's own lists.
    """
    if _cma_goes_first(zone, alloc_flags):
        taken = __rmqueue_smallest(zone, order, MigrateType.CMA)
        if taken is not None:
            return taken, mode
    if not zone.facts.fallback_claims:
        return _rmqueue_without_claims(zone, order, migratetype, alloc_flags), mode
    if mode is RmqueueMode.NORMAL:
        taken = __rmqueue_smallest(zone, order, migratetype)
        if taken is not None:
            return taken, mode
    if mode in (RmqueueMode.NORMAL, RmqueueMode.CMA) and alloc_flags & ALLOC_CMA:
        taken = __rmqueue_smallest(zone, order, MigrateType.CMA)
        if taken is not None:
            return taken, RmqueueMode.CMA
    if mode is not RmqueueMode.STEAL:
        pfn = __rmqueue_claim(zone, order, migratetype, alloc_flags, __rmqueue_smallest)
        if pfn is not None:
            return (pfn, migratetype), RmqueueMode.NORMAL
    if not alloc_flags & ALLOC_NOFRAGMENT:
        taken = __rmqueue_steal(zone, order, migratetype)
        if taken is not None:
            return taken, RmqueueMode.STEAL
    return None, mode


def _rmqueue_without_claims(zone: Zone, order: int, migratetype: MigrateType, alloc_flags: int) -> Taken | None:
    """__rmqueue() before 6.15: a fallback makes room on the type's own lists (before 6.10) or gives a block at once."""
    taken = __rmqueue_smallest(zone, order, migratetype)
    if taken is None and alloc_flags & ALLOC_CMA:
        taken = __rmqueue_smallest(zone, order, MigrateType.CMA)
    if taken is not None:
        return taken
    return __rmqueue_fallback(zone, order, migratetype, alloc_flags, __rmqueue_smallest)


def rmqueue_bulk(
    zone: Zone,
    order: int,
    count: int,
    pages: deque[int],
    migratetype: MigrateType,
    alloc_flags: int,
    list_type: MigrateType,
    stored: dict[int, MigrateType],
) -> int:
    """rmqueue_bulk(): append up to `count` blocks to a per-CPU list; how many there were.

    `stored` gets the types of blocks that are of another type than the list's usual one, where types are stored.
    """
    counted, got, mode = zone.facts.free_pages_counted_by_lists, 0, RmqueueMode.NORMAL
    while got < count:
        if mode is RmqueueMode.NORMAL and not _cma_goes_first(zone, alloc_flags):
            run = _rmqueue_run(zone, order, migratetype, 1 if zone.nr_free_cma_pages else count - got)
            if run:
                pages.extend(run)
                if migratetype != list_type and zone.facts.pcp_stores_type:
                    stored.update(dict.fromkeys(run, migratetype))
                got += len(run)
                continue
        taken, mode = __rmqueue(zone, order, migratetype, alloc_flags, mode)
        if taken is None:
            break
        pfn, kind = taken
        pages.append(pfn)
        got += 1
        if kind != list_type and zone.facts.pcp_stores_type:
            stored[pfn] = kind
        if kind == MigrateType.CMA and not counted:
            mod_free_cma_pages(zone, -(1 << order))
    if not counted:
        mod_free_pages(zone, -(got << order))
    return got


def rmqueue_buddy(zone: Zone, order: int, alloc_flags: int, migratetype: MigrateType) -> int | None:
    """rmqueue_buddy(): a block straight off the buddy lists, the ones kept for atomic allocations if it may."""
    taken = None
    if alloc_flags & ALLOC_HIGHATOMIC:
        taken = __rmqueue_smallest(zone, order, MigrateType.HIGHATOMIC)
    if taken is None:
        taken, _ = __rmqueue(zone, order, migratetype, alloc_flags)
    if taken is None and alloc_flags & (ALLOC_OOM | ALLOC_NON_BLOCK) and zone.facts.highatomic_helps_non_block:
        taken = __rmqueue_smallest(zone, order, MigrateType.HIGHATOMIC)
    if taken is None:
        return None
    pfn, kind = taken
    if not zone.facts.free_pages_counted_by_lists:
        account_freepages(zone, -(1 << order), kind)
    return pfn
