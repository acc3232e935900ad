"""Walking memblock: __next_mem_range() of mm/memblock.c. What is free lies in "memory" and outside "reserved"."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmtool.linux.mm.memblock.regions import MemblockRegion, MemblockType

FreeRange = tuple[int, int, int]
"""(start, end, nid): bytes [start, end) in memory of node nid."""


def free_ranges(
    memory: MemblockType, reserved: MemblockType, skip: Callable[[MemblockRegion], bool], low: int = 0
) -> Iterator[FreeRange]:
    """The free ranges in ascending order, without those that end at or below `low`.

    Between two reservations that touch there is an empty range, which the kernel visits too.
    """
    taken = reserved.regions
    gap = reserved.index_after(low) if low else 0
    for m in memory.regions[memory.index_after(low) if low else 0 :]:
        if skip(m):
            continue
        base, end = m.base, m.base + m.size
        while gap <= len(taken):
            gap_start = taken[gap - 1].base + taken[gap - 1].size if gap else 0
            if gap_start >= end:
                break
            gap_end = taken[gap].base if gap < len(taken) else memory.phys_addr_max
            if base < gap_end:
                yield base if base > gap_start else gap_start, end if end < gap_end else gap_end, m.nid
                if end <= gap_end:
                    break
            gap += 1


def free_ranges_reverse(
    memory: MemblockType,
    reserved: MemblockType,
    skip: Callable[[MemblockRegion], bool],
    high: int | None = None,
    least: int = 0,
) -> Iterator[FreeRange]:
    """The free ranges in descending order, without those that begin at or above `high` or are smaller than `least`.

    Models __next_mem_range_rev().
    """
    taken = reserved.regions
    gap = len(taken) if high is None else reserved.index_below(high)
    for i in reversed(range(len(memory.regions) if high is None else memory.index_below(high))):
        m = memory.regions[i]
        if skip(m):
            continue
        base, end = m.base, m.base + m.size
        if gap and taken[gap - 1].base >= end:
            # Reservations of a node that is skipped.
            gap = min(gap, reserved.index_below(end))
        while gap >= 0:
            gap_end = taken[gap].base if gap < len(taken) else memory.phys_addr_max
            if gap_end <= base:
                break
            gap_start = taken[gap - 1].base + taken[gap - 1].size if gap else 0
            if end > gap_start:
                low, top = base if base > gap_start else gap_start, end if end < gap_end else gap_end
                if top - low >= least:
                    yield low, top, m.nid
                if base >= gap_start:
                    break
            gap -= 1
