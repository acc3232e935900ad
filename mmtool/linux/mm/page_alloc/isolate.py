"""Free blocks that compaction takes to move pages into, and what it puts back (mm/page_alloc.c)."""

from __future__ import annotations

from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.buddy import __free_one_page, account_freepages
from mmtool.linux.mm.page_alloc.fallback import move_freepages_block
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_CMA, zone_watermark_ok


def __isolate_free_page(zone: Zone, pfn: int, order: int) -> bool:
    """__isolate_free_page(): take the free block (pfn, order) off its list, if the min watermark allows it.

    Half a pageblock and more makes its pageblocks Movable. KeyError when the block is not free.
    """
    kind = zone.pageblocks.get(pfn)
    if kind != MigrateType.ISOLATE:
        mark = zone.watermark.min + (1 << order)
        if not zone_watermark_ok(zone, 0, mark, 0, ALLOC_CMA, zone.facts).ok:
            return False
    zone.free_area.del_page_from_free_list(pfn, order)
    account_freepages(zone, -(1 << order), kind)
    if order >= zone.pageblock_order - 1:
        for block in range(pfn, pfn + (1 << order), 1 << zone.pageblock_order):
            if zone.pageblocks.get(block) < MIGRATE_PCPTYPES:
                if zone.facts.free_pages_counted_by_lists:
                    move_freepages_block(zone, block, MigrateType.MOVABLE)
                else:
                    zone.pageblocks.set(block, MigrateType.MOVABLE)
    return True


def __putback_isolated_page(zone: Zone, pfn: int, order: int, migratetype: MigrateType) -> None:
    """__putback_isolated_page(): a block that was isolated goes back, to its list's tail."""
    __free_one_page(zone, pfn, order, migratetype, to_tail=True)
