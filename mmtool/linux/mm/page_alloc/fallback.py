"""Taking blocks of another type, and the pageblocks kept for atomic allocations (mm/page_alloc.c).

A type without a free block takes from another's lists, and tries to take over the whole pageblock, so that the types
stay apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import takewhile

from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.buddy import account_freepages, expand, page_del_and_expand
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_KSWAPD, ALLOC_NOFRAGMENT

Smallest = Callable[[Zone, int, MigrateType], tuple[int, MigrateType] | None]

FALLBACKS = {
    MigrateType.UNMOVABLE: (MigrateType.RECLAIMABLE, MigrateType.MOVABLE),
    MigrateType.MOVABLE: (MigrateType.RECLAIMABLE, MigrateType.UNMOVABLE),
    MigrateType.RECLAIMABLE: (MigrateType.UNMOVABLE, MigrateType.MOVABLE),
}
"""Whose blocks a type takes when it has none (fallbacks[])."""


def find_suitable_fallback(zone: Zone, order: int, migratetype: MigrateType) -> MigrateType | None:
    """find_suitable_fallback(): the type that has a free block of exactly this order; None when there is none."""
    if not zone.free_area.nr_free[order]:
        return None
    for other in FALLBACKS.get(migratetype, ()):
        if zone.free_area.first(order, other) is not None:
            return other
    return None


def may_take_pageblock(zone: Zone, order: int, migratetype: MigrateType) -> bool:
    """can_steal_fallback(), should_try_claim_block(): may the rest of the pageblock be taken along?

    A large block brings much of it; Unmovable and Reclaimable pages take all they can, for they would pollute another
    type's block for good.
    """
    return (
        order >= zone.pageblock_order // 2
        or migratetype in (MigrateType.RECLAIMABLE, MigrateType.UNMOVABLE)
        or not zone.mobility_grouping
    )


def boost_watermark(zone: Zone) -> bool:
    """boost_watermark(): types have mixed, so kswapd shall free a pageblock more; whether it did (5.0 on)."""
    pageblock = 1 << zone.pageblock_order
    if not zone.facts.watermarks_are_boosted or pageblock * 4 > zone.managed_pages:
        return False
    most = zone.watermark.high * zone.watermark_boost_factor // 10000
    if not most:
        return False
    zone.watermark_boost = min(zone.watermark_boost + pageblock, max(pageblock, most))
    return True


def _boost(zone: Zone, alloc_flags: int) -> None:
    if boost_watermark(zone) and alloc_flags & ALLOC_KSWAPD:
        zone.boosted_watermark = True


def change_pageblock_range(zone: Zone, pfn: int, order: int, migratetype: MigrateType) -> None:
    """change_pageblock_range(): the pageblocks of a block of at least one take a type."""
    zone.pageblocks.set_heads(pfn, pfn + (1 << order), migratetype)


def pageblock_range(zone: Zone, pfn: int) -> tuple[int, int]:
    """The pageblock that holds `pfn`: its first pfn, and one past its last."""
    start = pfn >> zone.pageblock_order << zone.pageblock_order
    return start, start + (1 << zone.pageblock_order)


def free_blocks(zone: Zone, start: int, end: int) -> list[tuple[int, int]]:
    """The free blocks that begin in [start, end): (pfn, order), upwards."""
    found, area, pfn = [], zone.free_area, start
    while pfn < end:
        order = area.buddy_order(pfn)
        if order is None:
            pfn += 1
        else:
            found.append((pfn, order))
            pfn += 1 << order
    return found


def move_freepages_block(zone: Zone, pfn: int, migratetype: MigrateType) -> int:
    """move_freepages_block(): the free blocks of the pageblock go to another type's tails; the pages moved.

    A pageblock that ends outside the zone stays (0); before 6.10 one that begins outside is moved from `pfn` on, and
    from 6.10 on the pageblock takes the type, too (-1 where it stays).
    """
    whole = zone.facts.free_pages_counted_by_lists
    start, end = pageblock_range(zone, pfn)
    if not zone.spans(end - 1) or (whole and not zone.spans(start)):
        return -1 if whole else 0
    if not zone.spans(start):
        start = pfn
    moved = 0
    for block, order in free_blocks(zone, start, end):
        old = zone.free_area.move_to_free_list(block, order, migratetype)
        if whole:
            account_freepages(zone, -(1 << order), old)
            account_freepages(zone, 1 << order, migratetype)
        moved += 1 << order
    if whole:
        zone.pageblocks.set(pfn, migratetype)
    return moved


def movable_pages(zone: Zone, start: int, end: int, free: int) -> int:
    """How many pages in use of a pageblock can be moved, of `free` free ones beside them.

    The kernel looks at every page: on an LRU list, or movable by its driver. Where nothing tells what each is used for,
    all of a Movable pageblock are taken for movable, elsewhere none.
    """
    if zone.movable_known:
        return zone.lru.count_in(start, end)
    kind = zone.pageblocks.get(start)
    return end - start - free if kind in (MigrateType.MOVABLE, MigrateType.CMA) else 0


def _is_mostly_alike(zone: Zone, start: int, end: int, start_type: MigrateType, old: MigrateType, free: int) -> bool:
    """Are half of a pageblock's pages free or of a kind with `start_type`, so that the block may take that type?"""
    movable = movable_pages(zone, start, end, free)
    if start_type == MigrateType.MOVABLE:
        alike = movable
    else:
        alike = (1 << zone.pageblock_order) - (free + movable) if old == MigrateType.MOVABLE else 0
    return free + alike >= 1 << (zone.pageblock_order - 1) or not zone.mobility_grouping


def _fallback_orders(zone: Zone, order: int, alloc_flags: int) -> Iterable[int]:
    """The orders of a search from the largest block down; with ALLOC_NOFRAGMENT only whole pageblocks count."""
    least = order
    if order < zone.pageblock_order and alloc_flags & ALLOC_NOFRAGMENT:
        least = zone.pageblock_order
    return range(zone.top_order, least - 1, -1)


# Before 6.15: __rmqueue_fallback()


def __rmqueue_fallback(
    zone: Zone, order: int, start_type: MigrateType, alloc_flags: int, smallest: Smallest
) -> tuple[int, MigrateType] | None:
    """__rmqueue_fallback(): a block by way of another type's, the largest first; None when there is none.

    A small movable block is taken out of the smallest block that does: the next one may well go elsewhere.
    """
    for current in _fallback_orders(zone, order, alloc_flags):
        other = find_suitable_fallback(zone, current, start_type)
        if other is None:
            continue
        whole = may_take_pageblock(zone, current, start_type)
        if not whole and start_type == MigrateType.MOVABLE and current > order:
            for small in range(order, zone.top_order + 1):
                found = find_suitable_fallback(zone, small, start_type)
                if found is not None:
                    current, other = small, found
                    whole = may_take_pageblock(zone, small, start_type)
                    break
        pfn = zone.free_area.first(current, other)
        assert pfn is not None
        if zone.facts.fallback_splits_in_place:
            return _steal_in_place(zone, pfn, current, order, start_type, alloc_flags, whole, smallest)
        _steal_suitable_fallback(zone, pfn, current, start_type, alloc_flags, whole)
        return smallest(zone, order, start_type)
    return None


def _steal_suitable_fallback(
    zone: Zone, pfn: int, current: int, start_type: MigrateType, alloc_flags: int, whole: bool
) -> None:
    """steal_suitable_fallback() before 6.10: a block, or all that is free of its pageblock, goes to a type's lists."""
    old = zone.pageblocks.get(pfn)
    single = old == MigrateType.HIGHATOMIC
    if not single and current >= zone.pageblock_order:
        change_pageblock_range(zone, pfn, current, start_type)
        single = True
    if not single:
        _boost(zone, alloc_flags)
        single = not whole
    if not single:
        start, end = pageblock_range(zone, pfn)
        moved = move_freepages_block(zone, pfn, start_type)
        if moved:
            if _is_mostly_alike(zone, start, end, start_type, old, moved):
                zone.pageblocks.set(pfn, start_type)
            return
    zone.free_area.move_to_free_list(pfn, current, start_type)


def _steal_in_place(
    zone: Zone,
    pfn: int,
    current: int,
    order: int,
    start_type: MigrateType,
    alloc_flags: int,
    whole: bool,
    smallest: Smallest,
) -> tuple[int, MigrateType]:
    """steal_suitable_fallback() of 6.10 to 6.14: the pageblock is taken over, or the block alone is cut."""
    old = zone.pageblocks.get(pfn)
    if old != MigrateType.HIGHATOMIC:
        if current >= zone.pageblock_order:
            return _take_pageblocks(zone, pfn, current, order, start_type), start_type
        _boost(zone, alloc_flags)
        if whole and _claim_if_alike(zone, pfn, start_type, old):
            taken = smallest(zone, order, start_type)
            assert taken is not None
            return taken
    page_del_and_expand(zone, pfn, order, current, old)
    return pfn, old


def _take_pageblocks(zone: Zone, pfn: int, current: int, order: int, start_type: MigrateType) -> int:
    """A block of whole pageblocks changes its type and is split under it."""
    old = zone.free_area.del_page_from_free_list(pfn, current)
    account_freepages(zone, -(1 << current), old)
    change_pageblock_range(zone, pfn, current, start_type)
    account_freepages(zone, expand(zone, pfn, order, current, start_type), start_type)
    return pfn


def _claim_if_alike(zone: Zone, pfn: int, start_type: MigrateType, old: MigrateType) -> bool:
    """A pageblock that is mostly free or alike changes its type, with all that is free of it; whether it did."""
    start, end = pageblock_range(zone, pfn)
    if not zone.spans(start) or not zone.spans(end - 1):
        return False
    free = sum(1 << order for _, order in free_blocks(zone, start, end))
    if not _is_mostly_alike(zone, start, end, start_type, old, free):
        return False
    move_freepages_block(zone, pfn, start_type)
    return True


# From 6.15 on: claim, then steal


def __rmqueue_claim(
    zone: Zone, order: int, start_type: MigrateType, alloc_flags: int, smallest: Smallest
) -> int | None:
    """__rmqueue_claim(): a block out of a pageblock that could be taken over whole, the largest first."""
    orders = _fallback_orders(zone, order, alloc_flags)
    for current in takewhile(lambda o: may_take_pageblock(zone, o, start_type), orders):
        other = find_suitable_fallback(zone, current, start_type)
        if other is None:
            continue
        pfn = zone.free_area.first(current, other)
        assert pfn is not None
        if current >= zone.pageblock_order:
            return _take_pageblocks(zone, pfn, current, order, start_type)
        _boost(zone, alloc_flags)
        if _claim_if_alike(zone, pfn, start_type, other):
            taken = smallest(zone, order, start_type)
            if taken is not None:
                return taken[0]
    return None


def __rmqueue_steal(zone: Zone, order: int, start_type: MigrateType) -> tuple[int, MigrateType] | None:
    """__rmqueue_steal(): a block out of the smallest of another type, whose pageblock stays what it is."""
    for current in range(order, zone.top_order + 1):
        other = find_suitable_fallback(zone, current, start_type)
        if other is not None:
            pfn = zone.free_area.first(current, other)
            assert pfn is not None
            page_del_and_expand(zone, pfn, order, current, other)
            return pfn, other
    return None


# Pageblocks for high-order atomic allocations


def reserve_highatomic_pageblock(zone: Zone, pfn: int, order: int) -> None:
    """reserve_highatomic_pageblock(): keep the pageblock of an atomic allocation for its like, up to 1% of the zone."""
    pageblock = 1 << zone.pageblock_order
    most = zone.managed_pages // 100
    if zone.facts.highatomic_share_is_exact:
        if most < pageblock:
            return
        most = -(-most // pageblock) * pageblock
    else:
        most += pageblock
    if zone.nr_reserved_highatomic >= most or zone.pageblocks.get(pfn) >= MIGRATE_PCPTYPES:
        return
    if zone.facts.free_pages_counted_by_lists and order >= zone.pageblock_order:
        change_pageblock_range(zone, pfn, order, MigrateType.HIGHATOMIC)
        zone.nr_reserved_highatomic += 1 << order
        return
    if zone.facts.free_pages_counted_by_lists:
        if move_freepages_block(zone, pfn, MigrateType.HIGHATOMIC) < 0:
            return
    else:
        zone.pageblocks.set(pfn, MigrateType.HIGHATOMIC)
        move_freepages_block(zone, pfn, MigrateType.HIGHATOMIC)
    zone.nr_reserved_highatomic += pageblock


def unreserve_highatomic_pageblock(zones: Iterable[Zone], migratetype: MigrateType, force: bool) -> bool:
    """unreserve_highatomic_pageblock(): give a kept pageblock to an allocation that is about to fail.

    Each zone keeps its last one unless `force`. Whether there was one with free pages.
    """
    for zone in zones:
        pageblock = 1 << zone.pageblock_order
        if not force and zone.nr_reserved_highatomic <= pageblock:
            continue
        for order in range(zone.top_order + 1):
            pfn = zone.free_area.first(order, MigrateType.HIGHATOMIC)
            if pfn is None:
                continue
            if zone.pageblocks.get(pfn) == MigrateType.HIGHATOMIC:
                size = max(pageblock, 1 << order) if zone.facts.free_pages_counted_by_lists else pageblock
                zone.nr_reserved_highatomic -= min(size, zone.nr_reserved_highatomic)
            if _unreserve_block(zone, pfn, order, migratetype) > 0:
                return True
    return False


def _unreserve_block(zone: Zone, pfn: int, order: int, migratetype: MigrateType) -> int:
    """A kept pageblock takes another type; the free pages that it brought."""
    if not zone.facts.free_pages_counted_by_lists:
        zone.pageblocks.set(pfn, migratetype)
        return move_freepages_block(zone, pfn, migratetype)
    if order < zone.pageblock_order:
        return move_freepages_block(zone, pfn, migratetype)
    old, pages = zone.free_area.move_to_free_list(pfn, order, migratetype), 1 << order
    account_freepages(zone, -pages, old)
    account_freepages(zone, pages, migratetype)
    change_pageblock_range(zone, pfn, order, migratetype)
    return pages
