"""What memblock gives to the page allocator: __free_pages_memory() of mm/memblock.c, without a cost per page."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.late import dataclass


@dataclass(frozen=True)
class FreedMemory:
    """The free ranges of a finished memblock, as page frames, and the power-of-two chunks they are freed in.

    Iterating gives the chunks `(pfn, order)` in the kernel's order; `runs()` gives the same with equal
    chunks that follow each other put together.
    """

    ranges: tuple[tuple[int, int], ...]
    """[start_pfn, end_pfn) of each range, ascending."""
    max_order: int
    """The largest order of a chunk (MAX_PAGE_ORDER)."""

    @property
    def pages(self) -> int:
        """How many page frames were handed over."""
        return sum(end - start for start, end in self.ranges)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for pfn, order, count in self.runs():
            for n in range(count):
                yield pfn + (n << order), order

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(pfn, order, count): `count` chunks of 2**order pages, one after the other, from pfn on."""
        for start, end in self.ranges:
            yield from chunk_runs(start, end, self.max_order)


def chunk_runs(start_pfn: int, end_pfn: int, max_order: int) -> Iterator[tuple[int, int, int]]:
    """Cut page frames [start_pfn, end_pfn) into the largest chunks that alignment allows: (pfn, order, count).

    Page frame 0 counts as aligned to the largest order. Chunks grow to max_order, stay, and shrink at the end.
    """
    pfn = start_pfn
    while pfn < end_pfn:
        order = min(max_order, ((pfn & -pfn).bit_length() - 1) if pfn else max_order)
        order = min(order, (end_pfn - pfn).bit_length() - 1)
        count = (end_pfn - pfn) >> order if order == max_order else 1
        yield pfn, order, count
        pfn += count << order
