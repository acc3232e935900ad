"""The buddy algorithm: splitting, freeing and merging blocks of a zone (mm/page_alloc.c).

Every pfn is a block's first page, aligned to its order. Nothing here checks that: the callers are the
hand-over and the allocator, whose blocks are aligned by construction.
"""

from __future__ import annotations

from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType
from mmtool.linux.mm.vmstat import mod_free_cma_pages, mod_free_pages


def find_buddy_pfn(pfn: int, order: int) -> int:
    """The pfn of the block that (pfn, order) merges with (__find_buddy_pfn of mm/internal.h)."""
    return pfn ^ (1 << order)


def account_freepages(zone: Zone, nr_pages: int, migratetype: MigrateType) -> None:
    """Add `nr_pages` (may be negative) to the zone's counters of free pages.

    Models account_freepages() (__mod_zone_freepage_state() before 6.10): pages of type Isolate do not count.
    """
    if migratetype == MigrateType.ISOLATE:
        return
    mod_free_pages(zone, nr_pages)
    if migratetype < MIGRATE_PCPTYPES:
        return
    if migratetype == MigrateType.CMA:
        mod_free_cma_pages(zone, nr_pages)
    else:
        zone.nr_free_highatomic += nr_pages


def buddy_merge_likely(zone: Zone, pfn: int, buddy_pfn: int, order: int) -> bool:
    """Would the block (pfn, order), whose buddy is not free, soon merge two orders up?

    Models buddy_merge_likely(): yes when the buddy of the block one order higher is free, and there are
    two orders above. Then the block goes to its list's tail, to be taken last.
    """
    if order >= zone.top_order - 1:
        return False
    return zone.free_area.is_free(find_buddy_pfn(pfn & buddy_pfn, order + 1), order + 1)


def _may_merge(zone: Zone, migratetype: MigrateType, buddy_type: MigrateType) -> bool:
    """May two whole pageblocks of these types become one block?"""
    if migratetype == buddy_type:
        return True
    if zone.facts.merge_needs_fallback_types:
        return migratetype < MIGRATE_PCPTYPES and buddy_type < MIGRATE_PCPTYPES
    return MigrateType.ISOLATE not in (migratetype, buddy_type)


def __free_one_page(
    zone: Zone, pfn: int, order: int, migratetype: MigrateType, to_tail: bool = False
) -> tuple[int, int]:
    """Free the block (pfn, order): merge it upwards as far as it goes and put the result on a list.

    Models __free_one_page(). `to_tail` is FPI_TO_TAIL; otherwise buddy_merge_likely() decides between
    head and tail. At pageblock_order and above, blocks merge only where their types allow it; the merged
    block goes to the list of `migratetype`, and from 6.10 on the buddy's pageblock takes that type too; all of its
    pageblocks, where `merge_sets_all_pageblocks`.
    Returns the merged block (pfn, order).
    """
    account_freepages(zone, 1 << order, migratetype)
    free_area, buddy = zone.free_area, pfn
    while order < zone.top_order:
        buddy = pfn ^ (1 << order)
        if not free_area.is_free(buddy, order):
            break
        if order >= zone.pageblock_order:
            buddy_type = zone.pageblocks.get(buddy)
            if not _may_merge(zone, migratetype, buddy_type):
                break
            if buddy_type != migratetype and zone.facts.merge_sets_buddy_type:
                if zone.facts.merge_sets_all_pageblocks:
                    zone.pageblocks.set_heads(buddy, buddy + (1 << order), migratetype)
                else:
                    zone.pageblocks.set(buddy, migratetype)
        free_area.del_page_from_free_list(buddy, order)
        pfn &= buddy
        order += 1
    if to_tail or buddy_merge_likely(zone, pfn, buddy, order):
        free_area.add_to_free_list_tail(pfn, order, migratetype)
    else:
        free_area.add_to_free_list(pfn, order, migratetype)
    return pfn, order


def free_one_page(zone: Zone, pfn: int, order: int, to_tail: bool = False) -> None:
    """Free the block (pfn, order) straight to the free lists, under the type of its pageblock.

    Models __free_pages_ok() and the kernel's free_one_page(). From 6.12 on a block larger than a pageblock
    is freed pageblock by pageblock, each under its own type (split_large_buddy()); before, the first
    pageblock's type stands for all.
    """
    pageblocks = zone.pageblocks
    if order <= pageblocks.order or not zone.facts.free_splits_at_pageblocks:
        __free_one_page(zone, pfn, order, pageblocks.get(pfn), to_tail)
        return
    for head in range(pfn, pfn + (1 << order), 1 << pageblocks.order):
        __free_one_page(zone, head, pageblocks.order, pageblocks.get(head), to_tail)


def expand(zone: Zone, pfn: int, low: int, high: int, migratetype: MigrateType) -> int:
    """Give back the upper parts of a block of order `high` of which (pfn, low) is wanted; the pages given back.

    Models expand(): halves from the largest down, each to the head of its list. The block itself must be
    off its list already. Does not count free pages.
    """
    added = 0
    while high > low:
        high -= 1
        zone.free_area.add_to_free_list(pfn + (1 << high), high, migratetype)
        added += 1 << high
    return added


def page_del_and_expand(zone: Zone, pfn: int, low: int, high: int, migratetype: MigrateType) -> None:
    """Take the free block (pfn, high) off its list and keep (pfn, low) of it; counts the pages that left.

    Models page_del_and_expand() (before 6.10: del_page_from_free_list(), expand() and the callers'
    counting). KeyError when the block is not free.
    """
    zone.free_area.del_page_from_free_list(pfn, high)
    expand(zone, pfn, low, high, migratetype)
    account_freepages(zone, -(1 << low), migratetype)
