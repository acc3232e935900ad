"""What a picture of a boot shows, row by row: types, nodes, zones, owners of reservations, free blocks.

Addresses are bytes, ranges half-open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from itertools import chain

from mmtool.answers.ledger import MEMORY_TYPES
from mmtool.firmware.machine import E820Type
from mmtool.late import dataclass
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.memblock import MemblockRegion
from mmtool.linux.mm.range_set import RangeSet
from mmtool.report.picture.axis import Axis, Range, make_axis
from mmtool.report.words import flag_names
from mmtool.units import human


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a row; `look` is the name of its fill."""

    start: int
    end: int
    look: str
    says: str


@dataclass(frozen=True)
class Row:
    """Pieces that do not overlap, ascending, with the row's name and what there is of it in all."""

    label: str
    amount: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """What the legend lists under a number."""

    start: int
    end: int
    says: str


@dataclass(frozen=True)
class Section:
    """Rows of one kind. `regions`, ascending, are numbered with `letter` before the number."""

    name: str
    title: str
    rows: tuple[Row, ...]
    letter: str = ""
    regions: tuple[Region, ...] = ()


FIRMWARE_LOOKS: dict[int, str] = {
    E820Type.RAM: "memory", E820Type.RESERVED_KERN: "memory", E820Type.PMEM: "memory", E820Type.PRAM: "memory",
    E820Type.ACPI: "tables", E820Type.NVS: "tables",
}  # fmt: skip


def _owner(label: str, ranges: Iterable[Range]) -> Row:
    """The row of one owner, which may have taken a byte twice; ranges that touch become one piece."""
    joined = RangeSet()
    for start, end in ranges:
        joined.add(start, end)
    pairs = list(zip(joined.starts, joined.ends, strict=True))
    amount = human(sum(end - start for start, end in pairs))
    return Row(label, amount, tuple(Piece(start, end, "kept", label) for start, end in pairs))


def _firmware(boot: Boot) -> Section:
    names = {e.type: type_name(e.type, boot.kernel.release) for e in boot.firmware_map}
    by_type = {
        kind: tuple(
            Piece(e.start, e.end, FIRMWARE_LOOKS.get(kind, "kept"), name) for e in boot.firmware_map if e.type == kind
        )
        for kind, name in sorted(names.items())
    }
    rows = tuple(
        Row(names[kind], human(sum(p.end - p.start for p in pieces)), pieces) for kind, pieces in by_type.items()
    )
    regions = tuple(Region(e.start, e.end, names[e.type]) for e in boot.firmware_map)
    return Section("firmware", f"Firmware map ({boot.machine.source})", rows, "F", regions)


def _memory_regions(boot: Boot) -> list[MemblockRegion]:
    return [r for r in boot.memblock.memory.regions if r.size]


def _node_of(boot: Boot, r: MemblockRegion) -> str:
    return f"node {r.nid}" if boot.memblock.valid_node(r.nid) else "no node"


def _nodes(boot: Boot) -> Section:
    regions = _memory_regions(boot)
    by_node: dict[str, list[MemblockRegion]] = {f"node {nid}": [] for nid in sorted(boot.nodes)}
    for r in regions:
        by_node.setdefault(_node_of(boot, r), []).append(r)
    rows = tuple(
        Row(
            name,
            human(sum(r.size for r in own)) if own else "no memory",
            tuple(Piece(r.base, r.end, "memory", name) for r in own),
        )
        for name, own in by_node.items()
    )
    return Section(
        "nodes", "memblock.memory, by node", rows, "M",
        tuple(Region(r.base, r.end, " ".join([_node_of(boot, r), *flag_names(r.flags)])) for r in regions),
    )  # fmt: skip


def _zones(boot: Boot) -> Section:
    shift = boot.kernel.page_shift
    rows, regions = [], []
    for nid, node in sorted(boot.nodes.items()):
        for z in node.populated_zones():
            name, start, end = f"{nid}/{z.name}", z.zone_start_pfn << shift, z.zone_end_pfn << shift
            managed = human(z.managed_pages << shift)
            rows.append(Row(name, f"{managed} managed", (Piece(start, end, "zone", name),)))
            regions.append(Region(start, end, f"{name}, {managed} managed"))
    regions.sort(key=lambda r: (r.start, r.end))
    return Section("zones", "Zones, as far as they span", tuple(rows), "Z", tuple(regions))


def _reserved(boot: Boot) -> Section:
    mb = boot.memblock
    taken: dict[str, list[Range]] = {}
    for start, end, owner in sorted(mb.ledger.entries):
        # What each node has, such as NODE_DATA(0), is one row.
        taken.setdefault(re.sub(r"\(\d+\)$", "", owner), []).append((start, end))
    regions = [r for r in mb.reserved.regions if r.size]
    pieces = tuple(Piece(r.base, r.end, "kept", "memblock.reserved") for r in regions)
    whole = Row("memblock.reserved", human(sum(r.size for r in regions)), pieces)
    rows = (whole, *(_owner(owner, ranges) for owner, ranges in taken.items()))
    legend = tuple(Region(r.base, r.end, ", ".join(dict.fromkeys(mb.owners(r.base, r.size)))) for r in regions)
    return Section("memblock", "Reserved when the page allocator takes over, by owner", rows, "R", legend)


def _free(boot: Boot) -> Section:
    """A row an order; runs that lie side by side are one piece."""
    shift = boot.kernel.page_shift
    blocks: dict[int, int] = dict.fromkeys(range(boot.kernel.max_page_order, -1, -1), 0)
    runs: dict[int, dict[str, RangeSet]] = {order: {} for order in blocks}
    for node in boot.nodes.values():
        for zone in node.populated_zones():
            for order, migratetype, found in zone.free_lists():
                there = runs[order].setdefault(migratetype.label, RangeSet())
                for pfn, count in found:
                    there.add(pfn << shift, pfn + (count << order) << shift)
                    blocks[order] += count
    rows = []
    for order, count in blocks.items():
        pieces = (
            Piece(start, end, label, f"order {order}, {label}")
            for label, there in runs[order].items()
            for start, end in zip(there.starts, there.ends, strict=True)
        )
        size = human(count << order + shift)
        label = f"order {order}, {human(1 << order + shift)}"
        rows.append(Row(label, f"{count} = {size}" if count else "none", tuple(sorted(pieces, key=lambda p: p.start))))
    return Section("buddy", "Free blocks when init starts, by order", tuple(rows))


SECTIONS: dict[str, Callable[[Boot], Section]] = {
    "firmware": _firmware, "nodes": _nodes, "zones": _zones, "memblock": _reserved, "buddy": _free,
}  # fmt: skip
"""By the names that `mmtool boot --only` has for them, from top to bottom."""


def sections(boot: Boot, names: Iterable[str]) -> list[Section]:
    """Those of `names` that can be drawn, in the order of the picture."""
    wanted = set(names)
    return [build(boot) for name, build in SECTIONS.items() if name in wanted]


def memory_ranges(boot: Boot) -> list[Range]:
    """What is memory of some kind, to the firmware or to memblock."""
    firmware = ((e.start, e.end) for e in boot.firmware_map if e.type in MEMORY_TYPES)
    return [*firmware, *((r.base, r.end) for r in _memory_regions(boot))]


def axis_of(boot: Boot, shown: Iterable[Section]) -> Axis:
    """The axis on which every region and every owner's piece can be seen; free blocks lie in what is between them."""
    parts = [s for s in shown if s.name != "buddy"]
    pieces = chain.from_iterable(row.pieces for s in parts for row in s.rows)
    borders = {edge for p in pieces for edge in (p.start, p.end)}
    borders |= {edge for s in parts for r in s.regions for edge in (r.start, r.end)}
    return make_axis(memory_ranges(boot), borders)
