"""Migrate types (enum migratetype of include/linux/mmzone.h) and pageblock types, kept as ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from enum import IntEnum
from typing import Any


class MigrateType(IntEnum):
    """What a pageblock is for, in the kernel's order. The values are this model's own: a kernel without
    CONFIG_CMA numbers MIGRATE_ISOLATE 4, so types pass in and out by `label`."""

    UNMOVABLE = 0
    MOVABLE = 1
    RECLAIMABLE = 2
    HIGHATOMIC = 3
    CMA = 4
    ISOLATE = 5

    # An int's, in C: free lists are looked up by type all the time.
    __hash__ = int.__hash__

    @property
    def label(self) -> str:
        """The name as /proc/pagetypeinfo prints it."""
        return _LABELS[self]

    @classmethod
    def from_name(cls, name: str) -> MigrateType:
        """The type called `name`: as in /proc/pagetypeinfo ("HighAtomic") or as the enumerator ("MIGRATE_HIGHATOMIC").

        ValueError when there is no such type.
        """
        try:
            return cls[name.upper().removeprefix("MIGRATE_")]
        except KeyError:
            raise ValueError(f"{name!r} is not a migrate type") from None


_LABELS = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")

MIGRATE_PCPTYPES = MigrateType.HIGHATOMIC
"""The types below this one have per-CPU lists and fall back on each other (MIGRATE_PCPTYPES)."""


class PageblockTypes:
    """The migrate type of every pageblock of the machine (pageblock_flags), as a run-length map.

    Machine-wide as in the kernel, where the flags belong to memory sections and two zones may share a
    pageblock. Memory without flags (no section there) reads as Unmovable. All positions are pfns.
    """

    def __init__(self, pageblock_order: int) -> None:
        self.order = pageblock_order
        self._starts = [0]
        self._types: list[MigrateType | None] = [None]
        self._known: dict[int, MigrateType] = {}
        """Types that were asked for, by the pageblock's number."""
        self.derived: dict[int, Any] = {}
        """What somebody worked out of a pageblock's type, by its number; forgotten when types change."""

    def get(self, pfn: int) -> MigrateType:
        """The type of the pageblock that holds `pfn` (get_pageblock_migratetype)."""
        block = pfn >> self.order
        found = self._known.get(block)
        if found is None:
            at = bisect_right(self._starts, block << self.order) - 1
            found = self._known[block] = self._types[at] or MigrateType.UNMOVABLE
        return found

    def add_sections(self, start_pfn: int, end_pfn: int) -> None:
        """Give the pageblocks of [start_pfn, end_pfn) flags, Unmovable (all zeroes), where they had none."""
        missing = [(s, e) for s, e, kind in self._spans(start_pfn, end_pfn) if kind is None]
        for start, end in missing:
            self._set(start, end, MigrateType.UNMOVABLE)

    def set(self, pfn: int, migratetype: MigrateType) -> None:
        """Change the pageblock that holds `pfn` (set_pageblock_migratetype)."""
        start = pfn >> self.order << self.order
        self._set(start, start + (1 << self.order), migratetype)

    def set_heads(self, start_pfn: int, end_pfn: int, migratetype: MigrateType) -> None:
        """Change every pageblock whose first page lies in [start_pfn, end_pfn).

        So do the kernel's loops over pages: they act where a pfn is pageblock_aligned(), which leaves a
        pageblock alone that begins before the range.
        """
        size = 1 << self.order
        start, end = -(-start_pfn // size) * size, -(-end_pfn // size) * size
        if start < end:
            self._set(start, end, migratetype)

    def spans(self, start_pfn: int, end_pfn: int) -> Iterator[tuple[int, int, MigrateType]]:
        """[start_pfn, end_pfn) cut into (start, end, type) where the type changes; no flags reads as Unmovable."""
        for start, end, kind in self._spans(start_pfn, end_pfn):
            yield start, end, kind or MigrateType.UNMOVABLE

    def runs(self, start_pfn: int = 0, end_pfn: int | None = None) -> list[tuple[int, int, MigrateType]]:
        """(first pfn, number of pageblocks, type) of the pageblocks that have flags, joined where types are equal."""
        last = self._starts[-1] + (1 << self.order) if end_pfn is None else end_pfn
        return [(s, (e - s) >> self.order, kind) for s, e, kind in self._spans(start_pfn, last) if kind is not None]

    def _spans(self, start_pfn: int, end_pfn: int) -> Iterator[tuple[int, int, MigrateType | None]]:
        at = bisect_right(self._starts, start_pfn) - 1
        starts, types = self._starts, self._types
        while start_pfn < end_pfn:
            end = min(starts[at + 1], end_pfn) if at + 1 < len(starts) else end_pfn
            yield start_pfn, end, types[at]
            start_pfn, at = end, at + 1

    def _set(self, start: int, end: int, migratetype: MigrateType) -> None:
        """Overwrite [start, end), both pageblock aligned, and join equal neighbours."""
        starts, types = self._starts, self._types
        if end - start == 1 << self.order:
            self._known.pop(start >> self.order, None)
            self.derived.pop(start >> self.order, None)
        else:
            self._known.clear()
            self.derived.clear()
        first, last = bisect_left(starts, start), bisect_right(starts, end) - 1
        behind = types[last]
        new: list[tuple[int, MigrateType | None]] = []
        if first == 0 or types[first - 1] != migratetype:
            new.append((start, migratetype))
        if behind != migratetype:
            new.append((end, behind))
        starts[first : last + 1] = [position for position, _ in new]
        types[first : last + 1] = [kind for _, kind in new]
