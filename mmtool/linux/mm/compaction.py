"""Compaction: may it be tried, and what could moving movable pages gain (mm/compaction.c, mm/vmstat.c).

The scanners are not walked. A block comes about where all pages in use of an aligned range are known to be movable
(`LruPages`) and there are as many free pages elsewhere in the zone; the range with the most free pages goes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Zone
from mmtool.linux.mm.page_alloc.buddy import account_freepages, free_one_page
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.get_page_from_freelist import wmark_pages
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.rmqueue import __rmqueue_smallest
from mmtool.linux.mm.page_alloc.zone_watermark import zone_watermark_ok
from mmtool.linux.mm.vmscan.zone import zone_reclaimable_pages
from mmtool.linux.mm.vmstat import zone_page_state_snapshot

EXTFRAG_THRESHOLD = 500
"""vm.extfrag_threshold: up to this index a failure is for lack of memory."""


class CompactResult(IntEnum):
    """enum compact_result, as far as it is told apart here; the largest of the zones counts."""

    SKIPPED = 1
    """COMPACT_SKIPPED: no zone has enough free pages to move others to, or fragmentation is not the cause."""
    COMPLETE = 5
    """COMPACT_COMPLETE: zones were compacted and there is no block yet."""
    SUCCESS = 8
    """COMPACT_SUCCESS: a zone has a block."""


@dataclass(frozen=True, slots=True)
class ZoneCompaction:
    """What compaction made of one zone. `index` is the fragmentation index, -1000 where a block is there anyway."""

    zone: Zone
    result: CompactResult
    index: int
    moved: int = 0
    """Pages that were moved to make the block."""


def compact_gap(order: int) -> int:
    """compact_gap(): the free pages that compaction wants to work with, twice the block."""
    return 2 << order


def fragmentation_index(zone: Zone, order: int) -> int:
    """fragmentation_index(): 0 is a failure for lack of memory, 1000 one for fragmentation; -1000 is no failure."""
    counts = zone.nr_free
    if any(counts[order:]):
        return -1000
    blocks = sum(counts)
    if not blocks:
        return 0
    free = sum(count << o for o, count in enumerate(counts))
    return 1000 - (1000 + free * 1000 // (1 << order)) // blocks


def has_order_zero_room(zone: Zone, order: int, highest_zoneidx: int, free_pages: int) -> bool:
    """__compaction_suitable(): are there enough single pages above the watermark to move others to?

    Costly orders need the low watermark, others the min one.
    """
    marks = zone.watermark
    mark = (marks.low if order > PAGE_ALLOC_COSTLY_ORDER else marks.min) + zone.watermark_boost + compact_gap(order)
    reserve = zone.lowmem_reserve[highest_zoneidx]
    denied = zone.nr_free_highatomic if zone.facts.highatomic_counts_free else zone.nr_reserved_highatomic
    return free_pages - denied > mark + reserve


def compaction_suitable(zone: Zone, order: int, highest_zoneidx: int) -> bool:
    """compaction_suitable(): is it worth compacting a zone? For costly orders only if fragmentation is the cause."""
    if not has_order_zero_room(zone, order, highest_zoneidx, zone.nr_free_pages):
        return False
    if order <= PAGE_ALLOC_COSTLY_ORDER:
        return True
    return not 0 <= fragmentation_index(zone, order) <= EXTFRAG_THRESHOLD


def compaction_zonelist_suitable(ac: AllocContext, zones: Iterable[Zone]) -> bool:
    """compaction_zonelist_suitable(): would some zone be suitable if reclaim went on?"""
    return any(
        has_order_zero_room(
            zone, ac.order, ac.highest_zoneidx,
            zone_reclaimable_pages(zone) // ac.order + zone_page_state_snapshot(zone),
        )
        for zone in zones
    )  # fmt: skip


def try_to_compact_pages(
    ac: AllocContext, zones: Iterable[Zone], alloc_flags: int
) -> tuple[CompactResult, list[ZoneCompaction]]:
    """try_to_compact_pages(): compact the zones of a request until one has a block; the result, and each zone's."""
    done: list[ZoneCompaction] = []
    for zone in zones:
        done.append(_compact_zone(zone, ac, alloc_flags))
        if done[-1].result is CompactResult.SUCCESS:
            break
    return max((z.result for z in done), default=CompactResult.SKIPPED), done


def _passes(zone: Zone, ac: AllocContext, alloc_flags: int) -> bool:
    mark = wmark_pages(zone, alloc_flags)
    return zone_watermark_ok(zone, ac.order, mark, ac.highest_zoneidx, alloc_flags, zone.facts).ok


def _compact_zone(zone: Zone, ac: AllocContext, alloc_flags: int) -> ZoneCompaction:
    index = fragmentation_index(zone, ac.order)
    if _passes(zone, ac, alloc_flags):
        return ZoneCompaction(zone, CompactResult.SUCCESS, index)
    if not compaction_suitable(zone, ac.order, ac.highest_zoneidx):
        return ZoneCompaction(zone, CompactResult.SKIPPED, index)
    moved = _make_block(zone, ac.order)
    done = moved > 0 and _passes(zone, ac, alloc_flags)
    return ZoneCompaction(zone, CompactResult.SUCCESS if done else CompactResult.COMPLETE, index, moved)


def _make_block(zone: Zone, order: int) -> int:
    """Move the pages in use of the best aligned range away, so that it is one block; the pages moved, 0 for none."""
    free: dict[int, list[tuple[int, int]]] = {}
    for o in range(order):
        for kind in (MigrateType.MOVABLE, MigrateType.CMA):
            for pfn in zone.free_area.blocks(o, kind):
                free.setdefault(pfn >> order, []).append((pfn, o))
    size = 1 << order
    everything = sum(count << o for o, count in enumerate(zone.nr_free))
    for block in sorted(free, key=lambda b: -sum(1 << o for _, o in free[b])):
        inside = sum(1 << o for _, o in free[block])
        start = block << order
        used = size - inside
        if zone.lru.count_in(start, start + size) == used and used <= everything - inside:
            _move_away(zone, start, order, free[block], used)
            return used
    return 0


def _move_away(zone: Zone, start: int, order: int, inside: list[tuple[int, int]], used: int) -> None:
    for pfn, o in inside:
        account_freepages(zone, -(1 << o), zone.free_area.del_page_from_free_list(pfn, o))
    zone.lru.remove(start, start + (1 << order))
    for _ in range(used):
        for kind in (MigrateType.MOVABLE, MigrateType.CMA, MigrateType.RECLAIMABLE, MigrateType.UNMOVABLE):
            taken = __rmqueue_smallest(zone, 0, kind)
            if taken is not None:
                if not zone.facts.free_pages_counted_by_lists:
                    account_freepages(zone, -1, kind)
                zone.lru.add(taken[0], taken[0] + 1)
                break
    free_one_page(zone, start, order)
