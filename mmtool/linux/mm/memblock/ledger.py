"""Who took which bytes.

The kernel keeps no such record; it stands beside the region lists, whose merging it must not disturb.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import field
from itertools import islice

from mmtool.late import dataclass


@dataclass(slots=True)
class Ranges:
    """Bytes as ranges that share none: ascending starts, and the end of each."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def overlapping(self, start: int, end: int) -> slice:
        """Where the ranges lie that share a byte with [start, end)."""
        return slice(bisect_right(self.ends, start), bisect_left(self.starts, end))

    def cut(self, start: int, end: int) -> int:
        """Take bytes [start, end) out; how many there were."""
        first = bisect_right(self.ends, start)
        if first == len(self.starts) or self.starts[first] >= end:
            return 0
        found = slice(first, bisect_left(self.starts, end))
        starts, ends = self.starts[found], self.ends[found]
        left = [(a, b) for a, b in ((starts[0], start), (end, ends[-1])) if a < b]
        self.starts[found] = [a for a, _ in left]
        self.ends[found] = [b for _, b in left]
        return sum(ends) - sum(starts) - sum(b - a for a, b in left)

    def add(self, start: int, end: int) -> None:
        """Put [start, end) in, in place of what there is of it."""
        self.cut(start, end)
        at = bisect_right(self.ends, start)
        self.starts.insert(at, start)
        self.ends.insert(at, end)


@dataclass
class Ledger:
    """The owners of reserved bytes, each with its ranges [start, end), in the order in which they first took some."""

    _taken: dict[str, Ranges] = field(default_factory=dict)

    @property
    def owners(self) -> list[str]:
        """Whoever took something, in the order of the first time."""
        return list(self._taken)

    def owners_after(self, count: int) -> Iterator[str]:
        """Those that came after the first `count`."""
        return islice(self._taken, count, None)

    @property
    def entries(self) -> list[tuple[int, int, str]]:
        """(start, end, owner) of every range: by owner, then by address."""
        return [
            (start, end, owner)
            for owner, ranges in self._taken.items()
            for start, end in zip(ranges.starts, ranges.ends, strict=True)
        ]

    def take(self, start: int, end: int, owner: str) -> None:
        """Note that bytes [start, end) belong to `owner`; they may belong to others too."""
        if start < end:
            ranges = self._taken.get(owner)
            if ranges is None:
                ranges = self._taken[owner] = Ranges()
            ranges.add(start, end)

    def give_back(self, start: int, end: int) -> None:
        """Cut bytes [start, end) out of every owner's."""
        if start < end:
            for ranges in self._taken.values():
                if ranges.ends and ranges.ends[-1] > start and ranges.starts[0] < end:
                    ranges.cut(start, end)

    def overlapping(self, start: int, end: int) -> list[tuple[int, int, str]]:
        """The ranges that share a byte with [start, end), by address, then in the order of their owners."""
        found = [
            (ranges.starts[i], ranges.ends[i], owner)
            for owner, ranges in self._taken.items()
            # a thousand nodes are as many owners, most of them elsewhere
            if ranges.starts and ranges.starts[0] < end and ranges.ends[-1] > start
            for i in range(*ranges.overlapping(start, end).indices(len(ranges.starts)))
        ]
        return sorted(found, key=lambda entry: entry[0])
