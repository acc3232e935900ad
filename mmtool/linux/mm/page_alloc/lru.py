"""Pages in use that could be moved or reclaimed: those on the LRU lists, as far as anything tells where they are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence


class SwapLeft:
    """nr_swap_pages: the pages that can still be swapped out, of the whole machine."""

    def __init__(self, pages: int = 0) -> None:
        self.pages = pages


class LruPages:
    """A zone's movable pages as ranges of pfns, and how many of them each LRU list holds.

    Which of them lies on which list does not matter here: nobody says it. `size` are the lists' lengths as far as they
    are known, inactive and active anonymous pages, inactive and active ones of files.
    """

    def __init__(
        self, ranges: Iterable[tuple[int, int]] = (), reclaimable: int = 0, size: Sequence[int] | None = None
    ) -> None:
        """Without `size` the `reclaimable` pages are inactive ones of files."""
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(ranges):
            if start < end:
                self._starts.append(start)
                self._ends.append(end)
        most = sum(self._ends) - sum(self._starts)
        self.size = [0, 0, reclaimable, 0] if size is None else list(size)
        for lru in (0, 1, 3, 2):
            self.size[lru] = min(self.size[lru], most)
            most -= self.size[lru]
        self.swap = SwapLeft()

    @property
    def reclaimable(self) -> int:
        """Pages that reclaim could take: those of files, and anonymous ones where there is swap."""
        return sum(self.size) if self.swap.pages > 0 else self.size[2] + self.size[3]

    def ranges(self) -> list[tuple[int, int]]:
        """[start, end) of each run, upwards."""
        return list(zip(self._starts, self._ends, strict=True))

    def count_in(self, start: int, end: int) -> int:
        """How many of the pages [start, end) are movable."""
        return sum(high - low for low, high in self.within(start, end))

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The movable ones of [start, end) as ranges, upwards."""
        at = max(bisect_right(self._starts, start) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end:
            low, high = max(start, self._starts[at]), min(end, self._ends[at])
            if low < high:
                yield low, high
            at += 1

    def remove(self, start: int, end: int) -> list[tuple[int, int]]:
        """Take the movable ones of [start, end) out; the ranges that were."""
        gone, kept = [], []
        first = at = max(bisect_right(self._starts, start) - 1, 0)
        while at < len(self._starts) and self._starts[at] < end:
            low, high = self._starts[at], self._ends[at]
            cut = max(low, start), min(high, end)
            if cut[0] < cut[1]:
                gone.append(cut)
                kept += [r for r in ((low, cut[0]), (cut[1], high)) if r[0] < r[1]]
            else:
                kept.append((low, high))
            at += 1
        self._starts[first:at] = [low for low, _ in kept]
        self._ends[first:at] = [high for _, high in kept]
        return gone

    def add(self, start: int, end: int) -> None:
        """Pages [start, end) are movable, whether they were or not."""
        self.remove(start, end)
        at = bisect_right(self._starts, start)
        self._starts.insert(at, start)
        self._ends.insert(at, end)

    def take(self, lru: int, want: int) -> list[tuple[int, int]]:
        """Up to `want` pages of a list, as ranges; they are no longer in use."""
        left, gone = min(want, self.size[lru]), []
        self.size[lru] -= left
        while left > 0 and self._starts:
            start, end = self._starts[-1], self._ends[-1]
            cut = max(start, end - left)
            gone.append((cut, end))
            left -= end - cut
            if cut == start:
                del self._starts[-1], self._ends[-1]
            else:
                self._ends[-1] = cut
        return gone
