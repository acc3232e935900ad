"""Compaction's quick looks at the free lists, and the order in which they leave them (mm/compaction.c).

Compaction takes blocks to move pages into from the end of a zone, and pageblocks to clear from its beginning. Before it
walks the pages it looks for one on the lists of free Movable blocks, and turns a list so that the next look begins
elsewhere: whoever allocates then finds another block at its head.
"""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType

COMPACT_CLUSTER_MAX = 32
"""The pages that the migration scanner takes at once."""
Block = tuple[int, int]
"""A free block: its pfn, its order."""


@dataclass
class CompactControl:
    """struct compact_control, as far as the searches need it: one pass over a zone."""

    zone: Zone
    order: int
    """The order that is wanted."""
    migrate_pfn: int
    """Where the scanner for pages to move is."""
    free_pfn: int
    """Where the scanner for free pages is, the first page of a pageblock."""
    search_order: int
    """The order whose list is looked at first."""
    fast_search_fail: int = 0
    last_migrated_pfn: int | None = None
    """Where the scanner last began to take pages."""

    def pageblock_start(self, pfn: int) -> int:
        """pageblock_start_pfn()."""
        return pfn >> self.zone.pageblock_order << self.zone.pageblock_order

    def is_lowest(self, pfn: int) -> bool:
        """Is a block the first free one of its pageblock, where a walk through that would come upon it?"""
        area, start = self.zone.free_area, max(self.pageblock_start(pfn), self.zone.zone_start_pfn)
        return all(area.buddy_order(page) is None for page in range(start, pfn))

    @property
    def scan_limit(self) -> int:
        """freelist_scan_limit(): how many blocks a search looks at, fewer after searches in vain."""
        return (COMPACT_CLUSTER_MAX >> min(63, self.fast_search_fail)) + 1


def isolate_migratepages_block(cc: CompactControl, low_pfn: int) -> None:
    """isolate_migratepages_block(): the scanner goes on from `low_pfn` past a cluster of movable pages.

    A pageblock that it comes back to is finished (compact_control.rescan, finish_pageblock). Pages that cannot be moved
    after all are not known here.
    """
    block = cc.pageblock_start(low_pfn)
    cc.migrate_pfn = end = block + (1 << cc.zone.pageblock_order)
    finish = cc.last_migrated_pfn is not None and cc.pageblock_start(cc.last_migrated_pfn) == block
    taken = 0
    for start, stop in cc.zone.lru.within(low_pfn, end):
        cc.last_migrated_pfn = low_pfn
        if not finish and taken + stop - start >= COMPACT_CLUSTER_MAX:
            cc.migrate_pfn = start + COMPACT_CLUSTER_MAX - taken
            return
        taken += stop - start


def fast_find_migrateblock(cc: CompactControl, found_pfn: int | None) -> None:
    """fast_find_migrateblock(): look for a pageblock to clear that has a free block already; its list is turned.

    `found_pfn` is where the scanner went on, None where it is known to have found nothing. Which pageblocks are to be
    skipped nobody knows here: those that the search passed over are.
    """
    zone, pfn = cc.zone, cc.migrate_pfn
    if pfn != zone.zone_start_pfn and pfn != cc.pageblock_start(pfn):
        return
    if cc.order <= PAGE_ALLOC_COSTLY_ORDER:
        return
    distance = (cc.free_pfn - pfn) >> 1
    if pfn != zone.zone_start_pfn:
        distance >>= 2
    high_pfn, limit, scanned = cc.pageblock_start(pfn + distance), cc.scan_limit, 0
    target = None if found_pfn is None else cc.pageblock_start(found_pfn)
    for order in range(cc.order - 1, PAGE_ALLOC_COSTLY_ORDER - 1, -1):
        if scanned >= limit:
            break
        for block in list(zone.free_area.blocks(order, MigrateType.MOVABLE)):
            scanned += 1
            if scanned > limit:
                zone.free_area.move_list_tail(block, order)
                break
            if block < high_pfn and cc.pageblock_start(block) == target:
                zone.free_area.move_list_tail(block, order)
                cc.fast_search_fail = 0
                return
    cc.fast_search_fail += 1


def fast_isolate_freepages(cc: CompactControl, isolated: Block) -> bool:
    """fast_isolate_freepages(): look for a free block near the end of the zone; its list is turned.

    `isolated` is the first block that was taken then. False where the search would have found another: then nothing is
    turned.
    """
    if cc.order <= 0:
        return False
    search = _FreeSearch(cc)
    found = search.run()
    if found is None and cc.is_lowest(isolated[0]):
        # In vain; the block comes from the walk through the pageblock of the highest free one.
        cc.fast_search_fail += 1
        if search.highest >= search.min_pfn:
            cc.free_pfn = search.highest
    elif found != isolated:
        return False
    else:
        cc.fast_search_fail = search.fail
    cc.search_order = search.search_order
    for pfn, order in search.turns:
        cc.zone.free_area.move_list_head(pfn, order)
    return True


def quick_look(cc: CompactControl) -> Block | None:
    """What fast_isolate_freepages() would find now; nothing is turned."""
    return _FreeSearch(cc).run()


class _FreeSearch:
    """A search as it would go, with nothing done yet."""

    def __init__(self, cc: CompactControl) -> None:
        self.cc = cc
        distance = cc.free_pfn - cc.migrate_pfn
        self.low_pfn = cc.pageblock_start(cc.free_pfn - (distance >> 2))
        self.min_pfn = cc.pageblock_start(cc.free_pfn - (distance >> 1))
        # Where the free scanner starts, the search goes deep; it does so as long as no pass has been completed.
        self.limit = (1 << cc.zone.pageblock_order) >> 1
        self.search_order = min(cc.order - 1, cc.search_order)
        self.fail = cc.fast_search_fail
        self.highest = 0
        self.turns: list[Block] = []
        """The blocks that become their lists' heads."""

    def run(self) -> Block | None:
        order = self.search_order
        while order >= 0:
            if self.cc.zone.free_area.nr_free[order]:
                found = self._look(order)
                if found is not None:
                    return found
            order = self._next_search_order(order)
        return None

    def _look(self, order: int) -> Block | None:
        """One order's list, from its tail."""
        scanned, high_pfn, last = 0, 0, None
        stopped = False
        for pfn in reversed(list(self.cc.zone.free_area.blocks(order, MigrateType.MOVABLE))):
            scanned, last = scanned + 1, pfn
            if pfn >= self.highest:
                self.highest = max(self.cc.pageblock_start(pfn), self.cc.zone.zone_start_pfn)
            if pfn >= self.low_pfn:
                self.fail, self.search_order = 0, order
                self.turns.append((pfn, order))
                return pfn, order
            if pfn >= self.min_pfn and pfn > high_pfn:
                high_pfn = pfn
                self.limit >>= 1
            if scanned >= self.limit:
                stopped = True
                break
        if high_pfn:
            self.turns.append((high_pfn, order))
            return high_pfn, order
        if stopped and last is not None:
            self.turns.append((last, order))
        if scanned >= self.limit:
            self.limit = max(1, self.limit >> 1)
        return None

    def _next_search_order(self, order: int) -> int:
        """next_search_order(): downwards, round and round; -1 after the last."""
        order = order - 1 if order else self.cc.order - 1
        if order == self.search_order:
            self.search_order = self.search_order - 1 if self.search_order else self.cc.order - 1
            return -1
        return order
