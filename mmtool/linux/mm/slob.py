"""mm/slob.c: SLOB, up to 6.3 - three lists of pages with free space, first fit, no slabs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mmtool.linux.mm.slab_common import CacheArgs, KmemCache, SlabAllocator, SlabBuild, align_up
from mmtool.linux.mm.slab_flags import Flags

SLOB_BREAK1, SLOB_BREAK2 = 256, 1024
"""Objects below the first are small, below the second medium, the rest large; in bytes."""


class SlobCaches(SlabAllocator[KmemCache]):
    """SLOB's caches: no more than a size and an alignment."""

    def args_unmergeable(self, args: CacheArgs, flags: Flags) -> bool:
        return True

    def new_cache(self, args: CacheArgs, flags: Flags, align: int) -> KmemCache:
        """__kmem_cache_create(): under RCU an object has a footer, struct slob_rcu."""
        word = self.build.word
        cache = KmemCache(
            args.name, args.size, align, flags, args.ctor, args.useroffset, args.usersize, members=[args.name]
        )
        cache.size = args.size + (align_up(2 * word + 4, word) if "TYPESAFE_BY_RCU" in flags else 0)
        return cache


class SlobPage:
    """A page of SLOB: its free space in units, piece by piece as [first unit, units], ascending."""

    __slots__ = ("alive", "blocks", "listed", "pfn", "units")

    def __init__(self, pfn: int, units: int) -> None:
        self.pfn, self.units = pfn, units
        self.blocks = [[0, units]] if units else []
        self.listed: deque[SlobPage] | None = None
        self.alive = True


class SlobObject:
    """An object: its page and where in it, in bytes."""

    __slots__ = ("offset", "size", "slab")

    def __init__(self, slab: SlobPage, offset: int, size: int) -> None:
        self.slab, self.offset, self.size = slab, offset, size


class Slob:
    """SLOB's three lists of pages with free space, and first fit in them. One node."""

    def __init__(self, build: SlabBuild, new_page: Callable[[int], int | None], free_page: Callable[[int, int], None]):
        """`new_page(order)` gives a block's pfn, None when there is none; `free_page(pfn, order)` takes it back."""
        self.page_size = build.page_size
        self.unit = 2 if self.page_size <= 32767 * 2 else 4
        self.minalign = max(build.kmalloc_minalign, build.slab_minalign)
        self.small: deque[SlobPage] = deque()
        self.medium: deque[SlobPage] = deque()
        self.large: deque[SlobPage] = deque()
        self.new_page, self.free_page = new_page, free_page

    def pages_of(self, size: int) -> deque[SlobPage]:
        """The list for objects of `size` bytes."""
        return self.small if size < SLOB_BREAK1 else self.medium if size < SLOB_BREAK2 else self.large

    def units(self, size: int) -> int:
        """SLOB_UNITS(): the units that `size` bytes take."""
        return -(-size // self.unit)

    def alloc(self, size: int, align: int, align_offset: int = 0) -> SlobObject | None:
        """slob_alloc(): the first page with room; None when there is no new page.

        The search begins next time at the page that served. `align_offset`: what is aligned lies that far behind.
        """
        pages, units = self.pages_of(size), self.units(size)
        for at, page in enumerate(pages):
            if page.units < units:
                continue
            first = self._page_alloc(page, units, align, align_offset)
            if first is None:
                continue
            if page.units:
                pages.rotate(-at)
            else:
                del pages[at]
                page.listed = None
            return SlobObject(page, first * self.unit, size)
        pfn = self.new_page(0)
        if pfn is None:
            return None
        page = SlobPage(pfn, self.units(self.page_size))
        first = self._page_alloc(page, units, align, align_offset)
        assert first is not None
        if page.units:
            pages.appendleft(page)
            page.listed = pages
        return SlobObject(page, first * self.unit, size)

    def _page_alloc(self, page: SlobPage, units: int, align: int, align_offset: int) -> int | None:
        """slob_page_alloc(): the first unit of the first piece with room, aligned."""
        for at, (first, available) in enumerate(page.blocks):
            place = (align_up(first * self.unit + align_offset, align) - align_offset) // self.unit if align else first
            delta = place - first
            if available < units + delta:
                continue
            rest = available - delta - units
            pieces = [[first, delta]] if delta else []
            if rest:
                pieces.append([place + units, rest])
            page.blocks[at : at + 1] = pieces
            page.units -= units
            return place
        return None

    def free(self, block: SlobObject) -> None:
        """slob_free(): back to its page, which goes to the page allocator once it is empty."""
        page, units = block.slab, self.units(block.size)
        if page.units + units == self.units(self.page_size):
            if page.listed is not None:
                page.listed.remove(page)
                page.listed = None
            page.alive = False
            self.free_page(page.pfn, 0)
            return
        if page.listed is None:
            page.listed = self.pages_of(block.size)
            page.listed.appendleft(page)
        page.units += units
        self._insert(page, block.offset // self.unit, units)

    def _insert(self, page: SlobPage, first: int, units: int) -> None:
        """A piece among a page's free ones, joined with its neighbours."""
        blocks = page.blocks
        at = next((i for i, block in enumerate(blocks) if block[0] > first), len(blocks))
        if at < len(blocks) and first + units == blocks[at][0]:
            units += blocks.pop(at)[1]
        if at and sum(blocks[at - 1]) == first:
            blocks[at - 1][1] += units
        else:
            blocks.insert(at, [first, units])

    def kmalloc(self, size: int) -> SlobObject | None:
        """__do_kmalloc_node() of less than a page: the size lies before the object."""
        align = max(self.minalign, size) if size & (size - 1) == 0 else self.minalign
        return self.alloc(size + self.minalign, align, self.minalign)

    def kmalloc_fits(self, size: int) -> bool:
        """Does kmalloc() of so many bytes share a page with others?"""
        return size < self.page_size - self.minalign

    def fill(self, taken: int) -> None:
        """Forget all free space, but for one page of small objects whose first `taken` bytes are in use."""
        for pages in (self.small, self.medium, self.large):
            for page in pages:
                page.units, page.blocks, page.listed = 0, [], None
            pages.clear()
        pfn = self.new_page(0)
        if pfn is not None:
            page = SlobPage(pfn, self.units(self.page_size))
            self._page_alloc(page, self.units(taken), 0, 0)
            page.listed = self.small
            self.small.append(page)


class SlobObjects:
    """The objects of a cache of SLOB."""

    def __init__(self, cache: KmemCache, slob: Slob) -> None:
        self.cache, self.slob = cache, slob
        size, page_size = cache.size, slob.page_size
        self.order = max(0, (size - 1).bit_length() - page_size.bit_length() + 1) if size >= page_size else None
        self.waiting: list[SlobObject] = []
        """Freed under RCU: they go back after a grace period."""

    def alloc(self, cpu: int, node: int | None = None) -> SlobObject | None:
        """slob_alloc_node(): from the lists, or pages of its own from a page on."""
        if self.order is None:
            return self.slob.alloc(self.cache.size, self.cache.align)
        pfn = self.slob.new_page(self.order)
        return None if pfn is None else SlobObject(SlobPage(pfn, 0), 0, self.cache.size)

    def free(self, block: SlobObject, cpu: int) -> None:
        """kmem_cache_free()."""
        if "TYPESAFE_BY_RCU" in self.cache.flags:
            self.waiting.append(block)
        elif self.order is None:
            self.slob.free(block)
        else:
            block.slab.alive = False
            self.slob.free_page(block.slab.pfn, self.order)

    def alloc_bulk(self, count: int, cpu: int) -> list[SlobObject]:
        """__kmem_cache_alloc_bulk(): one by one, all or none."""
        found: list[SlobObject] = []
        while len(found) < count:
            block = self.alloc(cpu)
            if block is None:
                for back in found:
                    self.free(back, cpu)
                return []
            found.append(block)
        return found

    def shrink(self) -> None:
        """__kmem_cache_shrink(): there is nothing to give back."""

    def destroy(self) -> None:
        """__kmem_cache_shutdown(): a grace period passes."""
        waiting, self.waiting = self.waiting, []
        for block in waiting:
            if self.order is None:
                self.slob.free(block)
            else:
                self.slob.free_page(block.slab.pfn, self.order)
