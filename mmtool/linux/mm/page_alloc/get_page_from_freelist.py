"""One attempt at an allocation: the zones of the zonelist in turn (get_page_from_freelist of mm/page_alloc.c)."""

from __future__ import annotations

from dataclasses import field
from itertools import takewhile

from mmtool.late import dataclass
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


@dataclass
class Record:
    """Listens to an attempt, for those who ask why: each zone with its check, and what came of it."""

    ac: AllocContext
    alloc_flags: int
    tries: list[ZoneTry] = field(default_factory=list)
    _check: WatermarkCheck | None = None

    def looked(self, zone: Zone) -> None:
        """The zone's watermark is being checked."""
        self._check = check_zone(zone, self.ac, wmark_pages(zone, self.alloc_flags), self.alloc_flags)

    def below(self, zone: Zone) -> None:
        """... and was not met."""
        self.tries.append(ZoneTry(zone, ZoneResult.BELOW_WATERMARK, self._check))

    def took(self, zone: Zone, pfn: int | None) -> None:
        """... was met, or did not count, and this is what the zone had."""
        check = None if self.alloc_flags & ALLOC_NO_WATERMARKS else self._check
        self.tries.append(ZoneTry(zone, ZoneResult.NO_BLOCK if pfn is None else ZoneResult.TAKEN, check))


def get_page_from_freelist(
    ac: AllocContext,
    zones: tuple[Zone, ...],
    alloc_flags: int,
    function: str,
    steps: list[Step] | None,
    skip_pcp: bool = False,
) -> tuple[int, Zone] | None:
    """get_page_from_freelist(): a block from the first of `zones` that meets its watermark and has one.

    `function` is who asks, and `steps` gets a record of the attempt. `skip_pcp`: the CPU was interrupted while it was
    at its own lists. A request that keeps types apart tries once more without, and does not leave its node before: its
    locality is more important. From 6.18 on nodes whose kswapd is at work come last.
    """
    skips = ac.nodes_online > 1 and ac.facts.skips_nodes_with_kswapd
    while True:
        record = None if steps is None else Record(ac, alloc_flags)
        local = zones[0].nid if alloc_flags & ALLOC_NOFRAGMENT and ac.nodes_online > 1 else None
        within = zones if local is None else _of_node(zones, local)
        idle = tuple(zone for zone in within if not zone.kswapd_awake) if skips else within
        taken = _first_that_has_one(ac, idle, alloc_flags, record, skip_pcp)
        if steps is not None and record is not None:
            steps.append(Step(function, alloc_flags, tuple(record.tries)))
        if taken is not None:
            return taken
        if len(within) == len(zones) and len(idle) < len(zones):
            skips = False
        elif alloc_flags & ALLOC_NOFRAGMENT:
            alloc_flags &= ~ALLOC_NOFRAGMENT
        else:
            return None


def _of_node(zones: tuple[Zone, ...], nid: int) -> tuple[Zone, ...]:
    return tuple(takewhile(lambda zone: zone.nid == nid, zones))


def _first_that_has_one(
    ac: AllocContext, zones: tuple[Zone, ...], alloc_flags: int, record: Record | None, skip_pcp: bool
) -> tuple[int, Zone] | None:
    """One walk over the zones."""
    for zone in zones:
        if record is not None:
            record.looked(zone)
        if not may_try(zone, ac, alloc_flags):
            if record is not None:
                record.below(zone)
            continue
        pfn = rmqueue(zone, ac, alloc_flags, skip_pcp)
        if record is not None:
            record.took(zone, pfn)
        if pfn is not None:
            return pfn, zone
    return None


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


def rmqueue(zone: Zone, ac: AllocContext, alloc_flags: int, skip_pcp: bool = False) -> int | None:
    """rmqueue(): a block from the CPU's lists, where they have the order, or from the buddy lists.

    Where the atomic request's pageblock is kept for its like depends on the release: for every block, or only for one
    off the buddy lists at the min watermark.
    """
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
    return __rmqueue_pcplist(zone, order, migratetype, pindex, alloc_flags)


def __rmqueue_pcplist(zone: Zone, order: int, migratetype: MigrateType, pindex: int, alloc_flags: int) -> int | None:
    """__rmqueue_pcplist(): the block at the head of a list; the list is refilled first when it is empty.

    With `pcp_no_refill_for_highatomic` a high-order atomic request is sent to the blocks kept for it instead, once the
    size of a refill has been worked out.
    """
    pcp = zone.this_cpu
    assert pcp is not None
    pages = pcp.lists[pindex]
    if not pages:
        want = nr_pcp_alloc(zone, pcp, order)
        if alloc_flags & ALLOC_HIGHATOMIC and zone.facts.pcp_no_refill_for_highatomic:
            return None
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


def alloc_pages_bulk(ac: AllocContext, count: int) -> list[int]:
    """__alloc_pages_bulk() (alloc_pages_bulk_noprof()): up to `count` single pages of one zone; their pfns.

    None where no zone of the request's node is `count` pages above its low watermark, or the first that is has no page:
    then the kernel allocates one page as usual. The request has no right but CMA's: it may mix types, and wakes nobody.
    """
    pages: list[int] = []
    if count < 2 or ac.pindex is None:
        return pages
    alloc_flags = ALLOC_WMARK_LOW | ac.alloc_flags & ALLOC_CMA
    for zone in ac.zones:
        if zone.nid != ac.zones[0].nid:
            break
        if not passes(zone, ac, wmark_pages(zone, alloc_flags) + count, alloc_flags):
            continue
        while len(pages) < count:
            pfn = __rmqueue_pcplist(zone, 0, ac.migratetype, ac.pindex, alloc_flags)
            if pfn is None:
                break
            pages.append(pfn)
        break
    return pages
