"""The page allocator's free lists (mm/page_alloc.c) and how boot memory becomes free pages (mm/mm_init.c)."""

from mmtool.mm.page_alloc.buddy import (
    account_freepages,
    buddy_merge_likely,
    expand,
    find_buddy_pfn,
    free_one_page,
    free_pages_ok,
    page_del_and_expand,
)
from mmtool.mm.page_alloc.free_area import FreeArea
from mmtool.mm.page_alloc.handover import deferred_grow_zone, memblock_free_all, page_alloc_init_late
from mmtool.mm.page_alloc.memmap import memmap_init
from mmtool.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType, PageblockTypes
from mmtool.mm.page_alloc.zone import Pgdat, Zone

__all__ = [
    "MIGRATE_PCPTYPES",
    "FreeArea",
    "MigrateType",
    "PageblockTypes",
    "Pgdat",
    "Zone",
    "account_freepages",
    "buddy_merge_likely",
    "deferred_grow_zone",
    "expand",
    "find_buddy_pfn",
    "free_one_page",
    "free_pages_ok",
    "memblock_free_all",
    "memmap_init",
    "page_alloc_init_late",
    "page_del_and_expand",
]
