"""zsmalloc: objects of any size packed into chains of single pages (mm/zsmalloc.c).

A size class keeps zspages, each a chain of pages cut into objects of one size. Sizes are bytes; a chain's length and
what a pool takes are pages. Pages are taken to be there: nothing here asks the page allocator.
"""

from __future__ import annotations

from dataclasses import field

from mmtool.build.facts.zram import ZramFacts
from mmtool.late import dataclass

CLASS_BITS = 8
OBJ_TAG_BITS = 1
ZS_MIN_OBJECT = 32
DEFAULT_CHAIN_SIZE = 8
"""The default of CONFIG_ZSMALLOC_CHAIN_SIZE."""
FIXED_CHAIN_SIZE = 4
"""ZS_MAX_PAGES_PER_ZSPAGE where it is no option."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What zsmalloc is compiled for: a page's bytes, a word's bits, MAX_POSSIBLE_PHYSMEM_BITS, the longest chain."""

    page_shift: int
    word_bits: int
    physmem_bits: int
    max_pages_per_zspage: int

    @property
    def page_size(self) -> int:
        return 1 << self.page_shift

    @property
    def handle_size(self) -> int:
        """ZS_HANDLE_SIZE: every object begins with its handle, a word."""
        return self.word_bits // 8

    def min_alloc_size(self, facts: ZramFacts) -> int:
        """ZS_MIN_ALLOC_SIZE: the smallest class, such that every index in a chain fits into its bits."""
        bits = self.word_bits - (self.physmem_bits - self.page_shift)
        if not facts.index_bits_hold_the_tag:
            bits -= OBJ_TAG_BITS
        if facts.class_in_object:
            pages_bits = (self.max_pages_per_zspage - 1).bit_length()
            pages_bits = 2 if pages_bits < 2 else pages_bits
            per_zspage = pages_bits + self.page_shift - (ZS_MIN_OBJECT - 1).bit_length()
            if self.word_bits >= 64 and bits >= CLASS_BITS + 1 + per_zspage:
                bits -= CLASS_BITS + 1
        return max(ZS_MIN_OBJECT, self.max_pages_per_zspage << self.page_shift >> bits)


@dataclass(eq=False, slots=True)
class Zspage:
    """struct zspage: a chain of pages, cut into objects of its class's size."""

    objs_per_zspage: int
    handles: dict[int, Handle] = field(default_factory=dict)
    """The objects in use by their index."""
    freed: list[int] = field(default_factory=list)
    """Objects that came back, the next one to be given last."""
    untouched: int = 0
    """From this index on no object was ever given."""
    fullness: int = 0

    @property
    def inuse(self) -> int:
        return len(self.handles)


@dataclass(eq=False, slots=True)
class Handle:
    """Where an object is: what zs_malloc() returns."""

    size_class: SizeClass
    zspage: Zspage
    index: int


class SizeClass:
    """struct size_class: `size` bytes an object, zspages of `pages_per_zspage` pages, listed by how full they are."""

    def __init__(self, facts: ZramFacts, size: int, pages_per_zspage: int, objs_per_zspage: int) -> None:
        self.facts = facts
        self.size, self.pages_per_zspage, self.objs_per_zspage = size, pages_per_zspage, objs_per_zspage
        self.fullness_list: list[dict[Zspage, None]] = [{} for _ in range(12 if facts.fullness_in_tenths else 4)]
        """zspages by fullness group, the head of each list last."""
        self.objs_allocated = 0
        self.objs_inuse = 0

    @property
    def empty_group(self) -> int:
        """ZS_INUSE_RATIO_0, or ZS_EMPTY."""
        return 0

    @property
    def full_group(self) -> int:
        """ZS_INUSE_RATIO_100, or ZS_FULL."""
        return len(self.fullness_list) - 1

    def get_fullness_group(self, zspage: Zspage) -> int:
        """get_fullness_group(): the list that a zspage belongs on."""
        inuse, objects = zspage.inuse, self.objs_per_zspage
        if not inuse:
            return self.empty_group
        if inuse == objects:
            return self.full_group
        if self.facts.fullness_in_tenths:
            return 100 * inuse // objects // 10 + 1
        return 1 if inuse <= 3 * objects // 4 else 2

    def insert_zspage(self, zspage: Zspage) -> None:
        """insert_zspage(): to the head of its list, or behind a fuller head where the release compares with it."""
        zspage.fullness = self.get_fullness_group(zspage)
        pages = self.fullness_list[zspage.fullness]
        head = next(reversed(pages), None)
        if head is not None and not self.facts.head_is_not_compared and zspage.inuse < head.inuse:
            del pages[head]
            pages[zspage] = None
            pages[head] = None
        else:
            pages[zspage] = None

    def remove_zspage(self, zspage: Zspage) -> None:
        """remove_zspage()."""
        del self.fullness_list[zspage.fullness][zspage]

    def fix_fullness_group(self, zspage: Zspage) -> None:
        """fix_fullness_group(): a zspage whose fullness changed moves to the list that it belongs on now."""
        if self.get_fullness_group(zspage) != zspage.fullness:
            self.remove_zspage(zspage)
            self.insert_zspage(zspage)

    def first(self, *groups: int) -> Zspage | None:
        """The head of the first of these lists that is not empty."""
        for group in groups:
            if self.fullness_list[group]:
                return next(reversed(self.fullness_list[group]))
        return None

    def find_get_zspage(self) -> Zspage | None:
        """find_get_zspage(): the fullest zspage with room."""
        return self.first(*range(self.full_group - 1, self.empty_group - 1, -1))

    def isolate(self, *, source: bool) -> Zspage | None:
        """isolate_src_zspage(), isolate_dst_zspage(): the emptiest, or the fullest with room, off its list."""
        groups = range(self.empty_group + 1, self.full_group)
        zspage = self.first(*(groups if source else reversed(groups)))
        if zspage is not None:
            self.remove_zspage(zspage)
        return zspage

    def can_compact(self) -> int:
        """zs_can_compact(): pages that compaction can free."""
        wasted = max(self.objs_allocated - self.objs_inuse, 0)
        return wasted // self.objs_per_zspage * self.pages_per_zspage


def obj_malloc(zspage: Zspage, handle: Handle) -> None:
    """obj_malloc(): the object that came back last, else the first untouched one."""
    if zspage.freed:
        index = zspage.freed.pop()
    else:
        index = zspage.untouched
        zspage.untouched += 1
    zspage.handles[index] = handle
    handle.zspage, handle.index = zspage, index


def obj_free(zspage: Zspage, index: int) -> None:
    """obj_free()."""
    del zspage.handles[index]
    zspage.freed.append(index)


def migrate_zspage(source: Zspage, destination: Zspage) -> None:
    """migrate_zspage(): objects move in the order of their place, until one is empty or the other one full."""
    for index in sorted(source.handles):
        if destination.inuse == destination.objs_per_zspage:
            return
        obj_malloc(destination, source.handles[index])
        obj_free(source, index)


class ZsPool:
    """struct zs_pool: size classes and what they take (zs_create_pool())."""

    def __init__(self, facts: ZramFacts, layout: Layout) -> None:
        self.facts, self.layout = facts, layout
        self.pages_allocated = 0
        self.pages_compacted = 0
        self.huge_class_size = 0
        """From this request on an object gets a page for itself (zs_huge_class_size())."""
        self.min_alloc_size = layout.min_alloc_size(facts)
        self.delta = layout.page_size >> CLASS_BITS
        self.size_class = self._classes()

    def _classes(self) -> list[SizeClass]:
        """The classes by index, largest first made: one that holds as many objects in as many pages serves smaller."""
        top = self.layout.page_size
        count = -(-(top - self.min_alloc_size) // self.delta) + 1
        classes: list[SizeClass] = []
        for index in reversed(range(count)):
            size = min(self.min_alloc_size + index * self.delta, top)
            pages = self.pages_per_zspage(size)
            objects = pages * top // size
            if pages != 1 and objects != 1 and not self.huge_class_size:
                self.huge_class_size = size - (self.layout.handle_size - 1)
            last = classes[-1] if classes else None
            if last is None or (last.pages_per_zspage, last.objs_per_zspage) != (pages, objects):
                last = SizeClass(self.facts, size, pages, objects)
            classes.append(last)
        return classes[::-1]

    def pages_per_zspage(self, size: int) -> int:
        """calculate_zspage_chain_size(), before 6.3 get_pages_per_zspage(): pages of a chain for objects of `size`."""
        chains = range(1, self.layout.max_pages_per_zspage + 1)
        if not self.facts.chain_wastes_least:
            return max(chains, key=lambda n: (self._used_percent(n << self.layout.page_shift, size), -n))
        if size & (size - 1) == 0:
            return 1
        return min(chains, key=lambda n: ((n << self.layout.page_shift) % size, n))

    @staticmethod
    def _used_percent(zspage_size: int, size: int) -> int:
        return (zspage_size - zspage_size % size) * 100 // zspage_size

    def class_of(self, size: int) -> SizeClass:
        """The class that serves a request of `size` bytes: get_size_class_index() of it with its handle."""
        need = size + self.layout.handle_size
        index = -(-(need - self.min_alloc_size) // self.delta) if need > self.min_alloc_size else 0
        return self.size_class[min(index, len(self.size_class) - 1)]

    def zs_malloc(self, size: int) -> Handle:
        """zs_malloc(): an object for 1 to PAGE_SIZE bytes."""
        size_class = self.class_of(size)
        zspage = size_class.find_get_zspage()
        fresh = zspage is None
        if zspage is None:
            zspage = Zspage(size_class.objs_per_zspage)
            size_class.objs_allocated += size_class.objs_per_zspage
            self.pages_allocated += size_class.pages_per_zspage
        handle = Handle(size_class, zspage, 0)
        obj_malloc(zspage, handle)
        size_class.objs_inuse += 1
        if fresh:
            size_class.insert_zspage(zspage)
        else:
            size_class.fix_fullness_group(zspage)
        return handle

    def zs_free(self, handle: Handle) -> None:
        """zs_free(): a zspage without objects goes back to the page allocator."""
        size_class, zspage = handle.size_class, handle.zspage
        obj_free(zspage, handle.index)
        size_class.objs_inuse -= 1
        size_class.fix_fullness_group(zspage)
        if zspage.fullness == size_class.empty_group:
            self._free_zspage(size_class, zspage)

    def _free_zspage(self, size_class: SizeClass, zspage: Zspage) -> None:
        """free_zspage() of one that is on the list of empty ones."""
        size_class.remove_zspage(zspage)
        size_class.objs_allocated -= size_class.objs_per_zspage
        self.pages_allocated -= size_class.pages_per_zspage

    def zs_compact(self) -> int:
        """zs_compact(): move objects together, largest class first; the pages that this freed."""
        compact = self._compact if self.facts.compaction_keeps_destination else self._compact_before_6_4
        freed = sum(compact(size_class) for size_class in reversed(dict.fromkeys(self.size_class)))
        self.pages_compacted += freed
        return freed

    def _compact(self, size_class: SizeClass) -> int:
        """__zs_compact(): the fullest zspage with room is filled from the emptiest ones."""
        freed = 0
        destination = None
        while size_class.can_compact():
            destination = destination or size_class.isolate(source=False)
            source = size_class.isolate(source=True) if destination is not None else None
            if destination is None or source is None:
                break
            migrate_zspage(source, destination)
            freed += self._put_back(size_class, source)
            if destination.inuse == size_class.objs_per_zspage:
                size_class.insert_zspage(destination)
                destination = None
        if destination is not None:
            size_class.insert_zspage(destination)
        return freed

    def _compact_before_6_4(self, size_class: SizeClass) -> int:
        """__zs_compact() before 6.4: the emptiest zspage is emptied into the fullest ones with room, one by one."""
        freed = 0
        while (source := size_class.isolate(source=True)) is not None:
            if not size_class.can_compact():
                size_class.insert_zspage(source)
                break
            while (destination := size_class.isolate(source=False)) is not None:
                migrate_zspage(source, destination)
                size_class.insert_zspage(destination)
                if not source.inuse:
                    break
            if destination is None:
                size_class.insert_zspage(source)
                break
            freed += self._put_back(size_class, source)
        return freed

    def _put_back(self, size_class: SizeClass, zspage: Zspage) -> int:
        """putback_zspage(), and free_zspage() of one that is empty: the pages freed."""
        size_class.insert_zspage(zspage)
        if zspage.fullness != size_class.empty_group:
            return 0
        self._free_zspage(size_class, zspage)
        return size_class.pages_per_zspage

    def class_map(self) -> list[tuple[int, int, int, int]]:
        """Which requests share zspages: (first, last, pages of a zspage, objects in it), up to a page's bytes."""
        runs: list[tuple[int, int, int, int]] = []
        start, top = 1, self.layout.page_size
        for size_class in dict.fromkeys(self.size_class):
            last = min(size_class.size - self.layout.handle_size, top)
            if size_class is self.size_class[-1]:
                last = top
            if last >= start:
                runs.append((start, last, size_class.pages_per_zspage, size_class.objs_per_zspage))
                start = last + 1
        return runs
