"""/proc/pagetypeinfo: free blocks by order and migrate type, and how many pageblocks each type has (mm/vmstat.c)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

_FREE = regex(r"Node +(\d{1,19}), zone +(\S+), type +(\S+)((?: +>?\d{1,19})+) *")
_BLOCKS = regex(r"Node (\d{1,19}), zone +(\S+)((?: +\d{1,19})+) *")
_ORDER = regex(r"Page block order: (\d{1,19})")
_SIZE = regex(r"Pages per block: +(\d{1,19})")
_FREE_HEAD = regex(r"Free pages count per migrate type at order((?: +\d{1,19})+) *")
_BLOCKS_HEAD = regex(r"Number of (mixed )?blocks type((?: +\S+)+) *")

TYPES = ("Unmovable", "Reclaimable", "Movable", "Reserve", "HighAtomic", "CMA", "Isolate")
"""What kernels call the types (migratetype_names[])."""


@dataclass(frozen=True, slots=True)
class ZoneTypes:
    """One zone, by migrate type as the kernel calls it ("Unmovable", "HighAtomic", "CMA"; before 4.4 "Reserve" too)."""

    nid: int
    name: str
    nr_free: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Free blocks by order."""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """Pageblocks."""
    capped: frozenset[tuple[str, int]] = frozenset()
    """(type, order) of counts printed as ">100000": there are at least so many; the kernel stops counting there."""


@dataclass(frozen=True, slots=True)
class PageTypeInfo:
    """The whole text: zones in its order."""

    pageblock_order: int
    zones: tuple[ZoneTypes, ...]


def parse_pagetypeinfo(text: str, source: str) -> PageTypeInfo:
    """A /proc/pagetypeinfo. InputError, at the line, for another text or one that breaks off."""
    reader = _Reader(source)
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        reader.read(number, line)
    return reader.finish(number)


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.order: int | None = None
        self.orders = 0
        self.types: list[str] | None = None
        self.mixed = False
        self.free: dict[tuple[int, str], dict[str, tuple[int, ...]]] = {}
        self.blocks: dict[tuple[int, str], dict[str, int]] = {}
        self.capped: dict[tuple[int, str], set[tuple[str, int]]] = {}

    def read(self, number: int, line: str) -> None:
        if m := _FREE.fullmatch(line):
            self._free(number, (int(m[1]), m[2]), m[3], m[4].split())
        elif m := _BLOCKS.fullmatch(line):
            self._blocks(number, (int(m[1]), m[2]), m[3].split())
        elif m := _BLOCKS_HEAD.fullmatch(line):
            self.mixed, self.types = bool(m[1]), m[2].split()
        elif m := _FREE_HEAD.fullmatch(line):
            self.orders = len(m[1].split())
        elif m := _ORDER.fullmatch(line):
            self.order = int(m[1])
        elif line.strip() and not _SIZE.fullmatch(line):
            raise InputError(self.source, number, f"is no line of /proc/pagetypeinfo: {line.strip()[:60]!r}")

    def _free(self, number: int, zone: tuple[int, str], label: str, counts: list[str]) -> None:
        if label not in TYPES:
            raise InputError(self.source, number, f"{label[:40]!r} is no migrate type: {', '.join(TYPES)}")
        if len(counts) != self.orders:
            raise InputError(self.source, number, f"has {len(counts)} counts for {self.orders} orders")
        self.free.setdefault(zone, {})[label] = tuple(int(count.lstrip(">")) for count in counts)
        capped = {(label, order) for order, count in enumerate(counts) if count.startswith(">")}
        self.capped.setdefault(zone, set()).update(capped)

    def _blocks(self, number: int, zone: tuple[int, str], counts: list[str]) -> None:
        if self.types is None or len(counts) != len(self.types):
            raise InputError(self.source, number, f"has {len(counts)} counts for {len(self.types or ())} types")
        unknown = next((label for label in self.types if label not in TYPES), None)
        if unknown is not None:
            raise InputError(self.source, number, f"{unknown[:40]!r} is no migrate type: {', '.join(TYPES)}")
        if not self.mixed:
            self.blocks[zone] = dict(zip(self.types, (int(count) for count in counts), strict=True))

    def finish(self, number: int) -> PageTypeInfo:
        if self.order is None or not self.free:
            raise InputError(self.source, None, "is not /proc/pagetypeinfo: it has no 'Page block order' or no zones")
        zones = [zone for zone in self.free if zone not in self.blocks]
        if zones:
            nid, name = zones[0]
            raise InputError(
                self.source, number, f"ends without the pageblocks of zone {name} of node {nid}: give the file whole"
            )
        return PageTypeInfo(
            self.order,
            tuple(
                ZoneTypes(nid, name, free, self.blocks[nid, name], frozenset(self.capped[nid, name]))
                for (nid, name), free in self.free.items()
            ),
        )
