"""A report's zones as the watermark check sees them: which the request may use, and what each has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import combinations

from mmtool.late import dataclass
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.observed.reports import MemInfo, ZoneDump
from mmtool.observed.reports.mem_info import ZONES

_LETTERS = {
    MigrateType.UNMOVABLE: "U",
    MigrateType.MOVABLE: "M",
    MigrateType.RECLAIMABLE: "E",
    MigrateType.HIGHATOMIC: "H",
    MigrateType.CMA: "C",
    MigrateType.ISOLATE: "I",
}
"""show_migration_types(): how the types are called in a report."""

_USUAL = (
    ("DMA", "DMA32", "Normal", "Movable"),
    ("DMA", "DMA32", "Normal", "Movable", "Device"),
    ("DMA", "Normal", "HighMem", "Movable"),
    ("Normal", "HighMem", "Movable"),
    ("DMA", "Normal", "Movable"),
    ("Normal", "Movable"),
    ("DMA32", "Normal", "Movable"),
    ("DMA", "Normal", "Movable", "Device"),
    ("DMA32", "Normal", "Movable", "Device"),
    ("Normal", "Movable", "Device"),
)
"""Zone types of builds, the more usual first: what decides where lowmem_reserve leaves a choice."""


SMALLEST_PAGEBLOCK_ORDER = 9
"""Of pages of 4 KiB; where there are no huge pages, or larger ones, pageblocks are larger."""
LARGEST_PAGEBLOCK_ORDER = 13
"""Of any architecture: arm64 with pages of 64 KiB."""
LARGEST_RESERVE_RATIO = 256
"""A zone keeps at least one page for so many of the zones above it (vm.lowmem_reserve_ratio)."""


class Exclusion(Enum):
    """Why a request does not look at a zone."""

    ABOVE = "above the request's zones"
    NODE = "not among the nodes allowed"
    EMPTY = "without pages"


@dataclass(frozen=True)
class DumpedZone:
    """The counts of a ZoneDump in pages, as zone_watermark_ok() asks for them. Absent ones count 0."""

    dump: ZoneDump
    page_kb: int
    nr_free_highatomic: int = 0
    nr_reserved_highatomic: int = 0
    """These two as the report says, or between what it leaves possible: see the bounds below."""
    machine_pages: int = 0
    """All the machine's memory, for a zone whose own size is lost."""

    def pages(self, field: str) -> int:
        return self.dump.kb.get(field, 0) // self.page_kb

    @property
    def nr_free_pages(self) -> int:
        if "free" in self.dump.kb:
            return self.pages("free")
        return (self.dump.sum_kb or 0) // self.page_kb

    @property
    def nr_free_cma_pages(self) -> int:
        return self.pages("free_cma")

    @property
    def lowmem_reserve(self) -> Sequence[int]:
        return self.dump.lowmem_reserve or ()

    @property
    def nr_free(self) -> Sequence[int]:
        return [block.count for block in self.dump.blocks or ()]

    def has_free(self, order: int, migratetype: MigrateType) -> bool:
        """By the letters; without letters (before 3.10) every block is taken for an ordinary one."""
        block = (self.dump.blocks or ())[order]
        if not block.count:
            return False
        letters = block.letters or "UME"
        return _LETTERS[migratetype] in letters

    def free_highatomic_bounds(self) -> tuple[int, int]:
        """How many pages are free in HighAtomic pageblocks, at least and at most (nr_free_highatomic)."""
        if "free_highatomic" in self.dump.kb:
            return (self.pages("free_highatomic"),) * 2
        blocks = self.dump.blocks or ()
        alone = sum(b.count << order for order, b in enumerate(blocks) if b.letters == "H")
        some = sum(b.count << order for order, b in enumerate(blocks) if "H" in (b.letters or ""))
        most = self.reserved_highatomic_bounds()[1]
        return min(alone, most), min(some, most) if blocks else most

    def reserved_highatomic_bounds(self) -> tuple[int, int]:
        """How large the reserve for atomic requests is, at least and at most (nr_reserved_highatomic).

        Not printed before 5.7. A free HighAtomic block is a sign of a pageblock at least; the kernel stops reserving at
        a hundredth of the zone and a pageblock.
        """
        if "reserved_highatomic" in self.dump.kb:
            return (self.pages("reserved_highatomic"),) * 2
        orders = [order for order, b in enumerate(self.dump.blocks or ()) if "H" in (b.letters or "")]
        least = 0
        if orders:
            least = 1 << (SMALLEST_PAGEBLOCK_ORDER if self.page_kb == 4 else max(orders))
        managed = self.pages("managed") or self.pages("present") or self.machine_pages
        pageblock = 1 << (len(self.nr_free) - 1 if self.nr_free else LARGEST_PAGEBLOCK_ORDER)
        most = managed // 100 + pageblock if managed else self.nr_free_pages
        return least, max(least, most)


def zone_types(mem_info: MemInfo) -> tuple[str, ...]:
    """The zone types that the kernel was built with, lowest first.

    A report shows zones with pages only, but lowmem_reserve[] has an entry for each type: the types are those that
    make sense of its length and of where its numbers rise.
    """
    shown = {zone.name for zone in mem_info.zones}
    lengths = [len(zone.lowmem_reserve) for zone in mem_info.zones if zone.lowmem_reserve]
    length = max(lengths, default=0)
    needed = shown | {"Normal", "Movable"}
    fitting = [
        types
        for types in combinations(ZONES, length)
        if needed <= set(types) and not ("DMA32" in types and "HighMem" in types)
    ]
    if not fitting:
        return next((types for types in _USUAL if needed <= set(types)), tuple(z for z in ZONES if z in needed))

    sizes = zone_sizes(mem_info)

    def misfit(types: tuple[str, ...]) -> tuple[int, int]:
        usual = _USUAL.index(types) if types in _USUAL else len(_USUAL)
        return sum(contradictions(zone, types, mem_info, sizes[zone.nid]) for zone in mem_info.zones), usual

    return min(fitting, key=misfit)


def zone_sizes(mem_info: MemInfo) -> dict[int, dict[str, int]]:
    """The zones of each node with their sizes in kB; a size that is lost is taken for a large one."""
    sizes: dict[int, dict[str, int]] = {}
    for zone in mem_info.zones:
        sizes.setdefault(zone.nid, {})[zone.name] = zone.kb.get("managed", zone.kb.get("present", 1 << 40))
    return sizes


def contradictions(zone: ZoneDump, types: tuple[str, ...], mem_info: MemInfo, sizes: Mapping[str, int]) -> int:
    """Entries of lowmem_reserve[] that do not go with these types; `sizes` are those of the zones of its node.

    It is 0 up to the zone's own index, and rises where a zone above has pages: where one is shown, and otherwise at
    HighMem, which reports leave out if the request could not use it. A damaged report may have lost others.
    """
    reserve = zone.lowmem_reserve
    if not reserve or zone.name not in types:
        return 0
    own = types.index(zone.name)
    wrong = sum(1 for pages in reserve[: own + 1] if pages)
    for j in range(own + 1, min(len(reserve), len(types))):
        # that of Movable may fall again, but not to the first digits of the number before: there the text is cut
        wrong += 0 < reserve[j] < reserve[j - 1] and str(reserve[j - 1]).startswith(str(reserve[j]))
        if reserve[j] > reserve[j - 1]:
            hidden = types[j] == "HighMem" or (mem_info.notes and types[j] != "Device")
            wrong += types[j] not in sizes and not hidden
        else:
            wrong += sizes.get(types[j], 0) >= LARGEST_RESERVE_RATIO * mem_info.page_kb
    return wrong


def node_list(text: str | None) -> set[int] | None:
    """Nodes of a mask as the kernel prints it ("0-1,4"); None for no mask."""
    if text is None:
        return None
    nodes: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            nodes.update(range(int(first), min(int(last or first), int(first) + 1023) + 1))
    return nodes
