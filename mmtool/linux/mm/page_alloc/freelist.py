"""One attempt at an allocation: the zones of the zonelist in turn (get_page_from_freelist of mm/page_alloc.c)."""

from __future__ import annotations

from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.fallback import reserve_highatomic_pageblock
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.outcome import Step, ZoneResult, ZoneTry
from mmtool.linux.mm.page_alloc.per_cpu_pages import nr_pcp_alloc
from mmtool.linux.mm.page_alloc.rmqueue import rmqueue_buddy, rmqueue_bulk
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
    WatermarkCheck,
    zone_watermark_fast,
)

_PCP_TYPES = (MigrateType.MOVABLE, MigrateType.UNMOVABLE, MigrateType.RECLAIMABLE)


def wmark_pages(zone: Zone, alloc_flags: int) -> int:
    """wmark_pages(): the watermark that the rights name, with what fragmentation added to it."""
    which = alloc_flags & ALLOC_WMARK_MASK
    marks = zone.watermark
    mark = marks.low if which == ALLOC_WMARK_LOW else marks.high if which == ALLOC_WMARK_HIGH else marks.min
    return mark + zone.watermark_boost


def check_zone(zone: Zone, ac: AllocContext, mark: int, alloc_flags: int) -> WatermarkCheck:
    """zone_watermark_fast() for a request."""
    return zone_watermark_fast(
        zone, ac.order, mark, ac.highest_zoneidx, alloc_flags, zone.facts, boost=zone.watermark_boost, mask=ac.gfp,
        flags=ac.flags,
    )  # fmt: skip


def passes(zone: Zone, ac: AllocContext, mark: int, alloc_flags: int) -> bool:
    """check_zone() as a plain yes or no; quick where the zone has plenty, even without what some may not have."""
    plenty = zone.nr_free_pages - zone.nr_free_cma_pages - zone.nr_reserved_highatomic
    if plenty >= mark + zone.lowmem_reserve[ac.highest_zoneidx] + (1 << ac.order):
        if not ac.order:
            return True
        area = zone.free_area
        for order in range(zone.top_order, ac.order - 1, -1):
            if area.nr_free[order] and not zone.facts.watermark_loops_over_orders:
                for kind in _PCP_TYPES:
                    if area.first(order, kind) is not None:
                        return True
    return check_zone(zone, ac, mark, alloc_flags).ok


def get_page_from_freelist(
    ac: AllocContext,
    zones: tuple[Zone, ...],
    alloc_flags: int,
    nodes_online: int,
    function: str,
    steps: list[Step] | None,
    skip_pcp: bool = False,
) -> tuple[int, Zone] | None:
    """get_page_from_freelist(): a block from the first of `zones` that meets its watermark and has one.

    `nodes_online` counts the online nodes, `function` is who asks, and `steps` gets a record of the attempt.
    `skip_pcp`: the CPU was interrupted while it was at its own lists.
    """
    while True:
        tries: list[ZoneTry] | None = None if steps is None else []
        no_fallback = bool(alloc_flags & ALLOC_NOFRAGMENT)
        found = None
        for zone in zones:
            if no_fallback and nodes_online > 1 and zone.nid != zones[0].nid:
                # Locality is more important than to keep types apart.
                break
            if not may_try(zone, ac, alloc_flags):
                if tries is not None:
                    check = check_zone(zone, ac, wmark_pages(zone, alloc_flags), alloc_flags)
                    tries.append(ZoneTry(zone, ZoneResult.BELOW_WATERMARK, check))
                continue
            checked = None
            if tries is not None and not alloc_flags & ALLOC_NO_WATERMARKS:
                checked = check_zone(zone, ac, wmark_pages(zone, alloc_flags), alloc_flags)
            pfn = rmqueue_zone(zone, ac, alloc_flags, skip_pcp)
            if tries is not None:
                tries.append(ZoneTry(zone, ZoneResult.NO_BLOCK if pfn is None else ZoneResult.TAKEN, checked))
            if pfn is not None:
                found = pfn, zone
                break
        if steps is not None and tries is not None:
            steps.append(Step(function, alloc_flags, tuple(tries)))
        if found is not None or not no_fallback:
            return found
        alloc_flags &= ~ALLOC_NOFRAGMENT


def refused(ac: AllocContext, function: str) -> Step:
    """The record of a first attempt that failed without one: every zone's check as it stands now."""
    tries = []
    for zone in ac.zones:
        check = check_zone(zone, ac, wmark_pages(zone, ac.alloc_flags), ac.alloc_flags)
        tries.append(ZoneTry(zone, ZoneResult.NO_BLOCK if check.ok else ZoneResult.BELOW_WATERMARK, check))
    return Step(function, ac.alloc_flags, tuple(tries))


def may_try(zone: Zone, ac: AllocContext, alloc_flags: int) -> bool:
    """Does a zone meet the watermark? From 6.7 on the high one is looked at first, so that lists shrink in time."""
    if zone.facts.pcp_high_is_tuned and not zone.below_high:
        if passes(zone, ac, zone.watermark.high + zone.watermark_boost, alloc_flags):
            return True
        zone.below_high = True
    if passes(zone, ac, wmark_pages(zone, alloc_flags), alloc_flags):
        return True
    return bool(alloc_flags & ALLOC_NO_WATERMARKS)


def rmqueue_zone(zone: Zone, ac: AllocContext, alloc_flags: int, skip_pcp: bool = False) -> int | None:
    """The kernel's rmqueue(): a block from the CPU's lists, where they have the order, or from the buddy lists."""
    pfn: int | None = None
    facts = zone.facts
    past_lists = facts.pcp_skipped_without_cma and ac.migratetype == MigrateType.MOVABLE and not alloc_flags & ALLOC_CMA
    if ac.pindex is not None and not skip_pcp and not past_lists:
        pfn = rmqueue_pcplist(zone, ac.order, ac.migratetype, ac.pindex, alloc_flags)
        if pfn is None and not facts.pcp_lock_may_fail:
            return None
    keeps = bool(alloc_flags & ALLOC_HIGHATOMIC)
    if facts.highatomic_reserved_below_low:
        keeps = keeps and pfn is None and alloc_flags & ALLOC_WMARK_MASK == ALLOC_WMARK_MIN
    if pfn is None:
        pfn = rmqueue_buddy(zone, ac.order, alloc_flags, ac.migratetype)
    if pfn is not None and keeps:
        reserve_highatomic_pageblock(zone, pfn, ac.order)
    return pfn


def rmqueue_pcplist(zone: Zone, order: int, migratetype: MigrateType, pindex: int, alloc_flags: int) -> int | None:
    """rmqueue_pcplist(): a block from the CPU's list, refilled when it is empty."""
    pcp = zone.this_cpu
    assert pcp is not None
    if zone.facts.pcp_high_is_tuned:
        pcp.free_count >>= 1
    else:
        pcp.free_factor >>= 1
    return take_from_list(zone, order, migratetype, pindex, alloc_flags)


def take_from_list(zone: Zone, order: int, migratetype: MigrateType, pindex: int, alloc_flags: int) -> int | None:
    """__rmqueue_pcplist(): the block at the head of a list; the list is refilled first when it is empty."""
    pcp = zone.this_cpu
    assert pcp is not None
    pages = pcp.lists[pindex]
    if not pages:
        want = nr_pcp_alloc(zone, pcp, order)
        list_type = pcp.layout.type_of[pindex]
        got = rmqueue_bulk(zone, order, want, pages, migratetype, alloc_flags, list_type, pcp.page_mt)
        pcp.count += got << order
        if not pages:
            return None
    pfn = pages.popleft()
    pcp.count -= 1 << order
    if pcp.page_mt:
        pcp.page_mt.pop(pfn, None)
    return pfn
