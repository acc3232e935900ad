"""The free lists of a zone (struct free_area): per order and migrate type, in list order, as runs of blocks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from mmtool.linux.mm.page_alloc.migratetype import MigrateType


class _Run:
    """A list node: `count` free blocks of one order, one after the other in memory and in the list."""

    __slots__ = ("count", "migratetype", "next", "order", "pfn", "prev")

    prev: _Run
    next: _Run

    def __init__(self, pfn: int, count: int, order: int, migratetype: MigrateType) -> None:
        self.pfn, self.count, self.order, self.migratetype = pfn, count, order, migratetype


_NO_PFNS: list[int] = []
_NO_RUNS: list[_Run] = []
"""What an order without runs has; never added to."""


class FreeArea:
    """Every free block of a zone, in the kernel's list order, head to tail.

    Models zone->free_area[] with list_add(), list_add_tail() and list_del() on it. A block is (pfn,
    order): 2**order pages from pfn on, pfn aligned to that. Neighbouring blocks that stand one after the
    other in a list may be held as one run, so that untouched memory costs a node, not a block; a run is
    cut when a block inside it is taken. Adding, taking from either end, moving and looking up one block
    are O(1) for single blocks and O(log runs) inside a run. Nothing here merges or counts pages: that is
    `buddy`.
    """

    def __init__(self, top_order: int) -> None:
        self.top_order = top_order
        self.nr_free = [0] * (top_order + 1)
        """Free blocks of each order (free_area.nr_free), all types together."""
        self._lists = _Lists()
        self._single: dict[int, _Run] = {}
        """Runs of one block, by pfn; a pfn heads one free block at most, whatever its order."""
        self._long_pfns: list[list[int]] = [_NO_PFNS] * (top_order + 1)
        self._long: list[list[_Run]] = [_NO_RUNS] * (top_order + 1)
        """Runs of two blocks and more, sorted by pfn, and (beside it) their pfns for bisection; an order's own lists
        are made for its first run."""

    # What is free

    def is_free(self, pfn: int, order: int) -> bool:
        """Is exactly the block (pfn, order) on a list? (PageBuddy and buddy_order of page_is_buddy.)"""
        run = self._single.get(pfn)
        if run is not None:
            return run.order == order
        return bool(self._long_pfns[order]) and self._in_long(pfn, order) is not None

    def buddy_order(self, pfn: int) -> int | None:
        """The order of the free block that begins at `pfn`, None when none does (PageBuddy, buddy_order)."""
        run = self._single.get(pfn)
        if run is not None:
            return run.order
        for order, pfns in enumerate(self._long_pfns):
            if pfns and not pfn & ((1 << order) - 1) and self._in_long(pfn, order) is not None:
                return order
        return None

    def find(self, pfn: int) -> tuple[int, int] | None:
        """The free block (its pfn, its order) that holds page `pfn`, None when the page is not free."""
        for order in range(self.top_order + 1):
            head = pfn >> order << order
            if self.is_free(head, order):
                return head, order
        return None

    def migratetype(self, pfn: int, order: int) -> MigrateType:
        """The type of the list that the free block (pfn, order) is on; KeyError when it is not free."""
        return self._node(pfn, order).migratetype

    def first(self, order: int, migratetype: MigrateType) -> int | None:
        """The block at the head of a list (get_page_from_free_area), None when the list is empty. Pfn."""
        run = self._lists[order << 3 | migratetype].next
        return run.pfn if run.count else None

    def last(self, order: int, migratetype: MigrateType) -> int | None:
        """The block at the tail of a list, None when the list is empty. Pfn."""
        run = self._lists[order << 3 | migratetype].prev
        return run.pfn + ((run.count - 1) << order) if run.count else None

    def runs(self, order: int, migratetype: MigrateType) -> Iterator[tuple[int, int]]:
        """A list from head to tail as (pfn, number of blocks), blocks that follow each other joined."""
        sentinel = self._lists[order << 3 | migratetype]
        run, size = sentinel.next, 1 << order
        while run is not sentinel:
            pfn, count = run.pfn, run.count
            run = run.next
            while run is not sentinel and run.pfn == pfn + count * size:
                count += run.count
                run = run.next
            yield pfn, count

    def blocks(self, order: int, migratetype: MigrateType) -> Iterator[int]:
        """The pfns of a list's blocks from head to tail, one by one."""
        for pfn, count in self.runs(order, migratetype):
            yield from range(pfn, pfn + (count << order), 1 << order)

    def count(self, order: int, migratetype: MigrateType) -> int:
        """The number of blocks on one list, as /proc/pagetypeinfo shows it."""
        return sum(count for _, count in self.runs(order, migratetype))

    def lists(self) -> Iterator[tuple[int, MigrateType]]:
        """The lists that hold a block, by order and type."""
        for key in sorted(self._lists):
            head = self._lists[key]
            if head.next.count:
                yield head.order, head.migratetype

    # What changes

    def add_to_free_list(self, pfn: int, order: int, migratetype: MigrateType) -> None:
        """Put the block (pfn, order), on no list now, at the head of a list (list_add)."""
        run = _Run(pfn, 1, order, migratetype)
        self._single[pfn] = run
        _link(run, self._lists[order << 3 | migratetype])
        self.nr_free[order] += 1

    def add_to_free_list_tail(self, pfn: int, order: int, migratetype: MigrateType) -> None:
        """Put the block (pfn, order), on no list now, at the tail of a list (list_add_tail)."""
        run = _Run(pfn, 1, order, migratetype)
        self._single[pfn] = run
        _link(run, self._lists[order << 3 | migratetype].prev)
        self.nr_free[order] += 1

    def add_run_to_tail(self, pfn: int, count: int, order: int, migratetype: MigrateType) -> None:
        """Put `count` blocks, on no list now, from pfn on at the tail of a list, lowest first."""
        if count <= 0:
            return
        run = _Run(pfn, count, order, migratetype)
        self._index(run)
        _link(run, self._lists[order << 3 | migratetype].prev)
        self.nr_free[order] += count

    def del_page_from_free_list(self, pfn: int, order: int) -> MigrateType:
        """Take the block (pfn, order) off its list, wherever it stands (list_del); the list's type.

        KeyError when it is not free.
        """
        run = self._single.get(pfn)
        if run is None or run.order != order:
            run = self._cut_out(pfn, order)
        del self._single[pfn]
        run.prev.next, run.next.prev = run.next, run.prev
        self.nr_free[order] -= 1
        return run.migratetype

    def move_to_free_list(self, pfn: int, order: int, migratetype: MigrateType) -> MigrateType:
        """Move the free block (pfn, order) to the tail of another list of its order; the old list's type.

        Models move_to_free_list() of mm/page_alloc.c (list_move_tail). KeyError when it is not free.
        """
        old = self.del_page_from_free_list(pfn, order)
        self.add_to_free_list_tail(pfn, order, migratetype)
        return old

    def move_list_head(self, pfn: int, order: int) -> None:
        """Turn a list until the free block (pfn, order) is its head (move_freelist_head() of mm/compaction.c)."""
        run = self._alone(pfn, order)
        self._turn(run.prev, run)

    def move_list_tail(self, pfn: int, order: int) -> None:
        """Turn a list until the free block (pfn, order) is its tail (move_freelist_tail() of mm/compaction.c)."""
        run = self._alone(pfn, order)
        self._turn(run, run.next)

    def _alone(self, pfn: int, order: int) -> _Run:
        """The node of a free block, its own; KeyError when the block is not free."""
        run = self._single.get(pfn)
        return run if run is not None and run.order == order else self._cut_out(pfn, order)

    def _turn(self, last: _Run, first: _Run) -> None:
        """Make `first` a list's first node and `last`, the one before it, its last."""
        sentinel = self._lists[first.order << 3 | first.migratetype] if first.count else first
        if sentinel in (last, first):
            return
        sentinel.prev.next, sentinel.next.prev = sentinel.next, sentinel.prev
        sentinel.next, first.prev = first, sentinel
        sentinel.prev, last.next = last, sentinel

    # Runs

    def _in_long(self, pfn: int, order: int) -> int | None:
        """The index in _long[order] of the run that holds the block (pfn, order)."""
        at = bisect_right(self._long_pfns[order], pfn) - 1
        if at < 0:
            return None
        run = self._long[order][at]
        offset = pfn - run.pfn
        return at if offset < run.count << order and not offset & ((1 << order) - 1) else None

    def _node(self, pfn: int, order: int) -> _Run:
        run = self._single.get(pfn)
        if run is not None and run.order == order:
            return run
        at = self._in_long(pfn, order)
        if at is None:
            raise KeyError(f"no free block of order {order} at pfn {pfn}")
        return self._long[order][at]

    def _index(self, run: _Run) -> None:
        if run.count == 1:
            self._single[run.pfn] = run
            return
        pfns = self._long_pfns[run.order]
        if not pfns:
            self._long_pfns[run.order], self._long[run.order] = [run.pfn], [run]
            return
        at = bisect_left(pfns, run.pfn)
        pfns.insert(at, run.pfn)
        self._long[run.order].insert(at, run)

    def _cut_out(self, pfn: int, order: int) -> _Run:
        """Make the block (pfn, order) of a long run a node of its own, at its place in the list."""
        at = self._in_long(pfn, order)
        if at is None:
            raise KeyError(f"no free block of order {order} at pfn {pfn}")
        run, size = self._long[order][at], 1 << order
        before = (pfn - run.pfn) >> order
        block = _Run(pfn, 1, order, run.migratetype)
        self._single[pfn] = block
        if before == 0:
            _link(block, run.prev)
            run.pfn, run.count = pfn + size, run.count - 1
            self._long_pfns[order][at] = run.pfn
        else:
            _link(block, run)
            behind, run.count = run.count - before - 1, before
            if behind:
                rest = _Run(pfn + size, behind, order, run.migratetype)
                _link(rest, block)
                self._index(rest)
        if run.count == 1:
            del self._long_pfns[order][at], self._long[order][at]
            self._single[run.pfn] = run
        return block


_TYPES = tuple(MigrateType)


class _Lists(dict[int, _Run]):
    """The lists by order << 3 | type. A list is its list_head: a node without blocks, linked to itself when empty.

    Made when first asked for: most of a zone's lists never hold a block.
    """

    __slots__ = ()

    def __missing__(self, key: int) -> _Run:
        head = _Run(-1, 0, key >> 3, _TYPES[key & 7])
        head.prev = head.next = self[key] = head
        return head


def _link(run: _Run, after: _Run) -> None:
    """Insert `run` behind the node `after`."""
    run.prev, run.next = after, after.next
    after.next.prev = run
    after.next = run
