"""Sets of whole numbers kept as ranges, so that large ones cost no more than small ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class RangeSet:
    """Disjoint ascending ranges of whole numbers: addresses, or the numbers of page tables."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Take in [start, end), joining what it touches."""
        low = bisect_right(self.ends, start - 1)
        high = bisect_right(self.starts, end)
        if low < high:
            start, end = min(start, self.starts[low]), max(end, self.ends[high - 1])
        self.starts[low:high], self.ends[low:high] = [start], [end]

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """[start, end) cut where the set begins and ends, ascending: (start, end, is it in the set)."""
        at, i = start, bisect_right(self.ends, start)
        while at < end:
            first = min(self.starts[i], end) if i < len(self.starts) else end
            if at < first:
                yield at, first, False
            else:
                first = min(self.ends[i], end)
                yield at, first, True
                i += 1
            at = first

    def missing(self, start: int, end: int) -> int:
        """How many numbers of [start, end) are not in the set."""
        return sum(last - first for first, last, there in self.pieces(start, end) if not there)
