"""The picture in the terminal: a line for each node, a bar for each of its zones, all nodes on one scale."""

from __future__ import annotations

from itertools import groupby, islice, pairwise

from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.range_set import RangeSet
from mmtool.report.words import heading
from mmtool.units import human

MARKS = (("#", "31", "taken"), (":", "33", "partly"), (".", "32", "free"))
"""A cell's mark, its colour (SGR) and what it says, from the fullest to the emptiest."""
CUT = "/"
"""Between two cells: a hole."""


@dataclass(frozen=True)
class _Bar:
    """A zone's memory in ranges of pfns, without its holes, and the pages of it that are free."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    free: RangeSet


def bars(boot: Boot, columns: int, *, coloured: bool) -> str:
    """The picture for a terminal of so many columns, under its heading."""
    return "\n".join([heading(boot), *bar_lines(boot, columns, coloured=coloured)]) + "\n"


def bar_lines(boot: Boot, columns: int, *, coloured: bool) -> list[str]:
    """The lines for a terminal of so many columns; one a zone where those of a node do not fit on one."""
    shift = boot.kernel.page_shift
    nodes = {nid: [_bar(boot, z) for z in node.populated_zones()] for nid, node in sorted(boot.nodes.items())}
    heads = {nid: f"node {nid}" for nid in nodes}
    tails = {
        nid: f"{human(_pages(zones) << shift)}, {human(_free(zones) << shift)} free" if zones else "no memory"
        for nid, zones in nodes.items()
    }
    # What a line needs beside its cells: names, brackets, blanks, and one cell for a range that would have none.
    beside = max(
        len(heads[nid]) + 2 + len(tails[nid]) + sum(len(z.name) + 4 + 2 * len(z.ranges) for z in zones)
        for nid, zones in nodes.items()
    )
    cells = max(columns - beside, 10)
    most = max(_pages(zones) for zones in nodes.values())
    name = max(len(head) for head in heads.values())
    lines = []
    for nid, zones in nodes.items():
        drawn = [f" {z.name} [{_cells(z, cells, most, coloured)}]" for z in zones]
        wide = sum(len(f" {z.name} [{_cells(z, cells, most, False)}]") for z in zones)
        head = f"{heads[nid]:<{name}} "
        if len(head) + wide + len(tails[nid]) < columns or not zones:
            lines.append(f"{head}{''.join(drawn)} {tails[nid]}")
        else:
            lines += [(head if i == 0 else " " * len(head)) + bar for i, bar in enumerate(drawn)]
            lines[-1] += f" {tails[nid]}"
    per_cell = human((most << shift) // cells)
    key = "  ".join(f"{_painted(i, 1, coloured)} {MARKS[i][2]}" for i in reversed(range(len(MARKS))))
    lines.append(f"a mark: {per_cell} or less:  {key}  {CUT} hole")
    return lines


def _bar(boot: Boot, zone: Zone) -> _Bar:
    """The zone's memory, as memblock has it, and its free pages."""
    shift, mb = boot.kernel.page_shift, boot.memblock
    memory = RangeSet()
    at = mb.memory.index_after(zone.zone_start_pfn << shift)
    for r in islice(mb.memory.regions, at, mb.memory.index_below(zone.zone_end_pfn << shift)):
        start, end = max(r.base >> shift, zone.zone_start_pfn), min(-(-r.end >> shift), zone.zone_end_pfn)
        if start < end and (r.nid == zone.nid or not mb.valid_node(r.nid)):
            memory.add(start, end)
    free = RangeSet()
    for order, _, runs in zone.free_lists():
        for pfn, count in runs:
            free.add(pfn, pfn + (count << order))
    return _Bar(zone.name, tuple(zip(memory.starts, memory.ends, strict=True)), free)


def _pages(zones: list[_Bar]) -> int:
    return sum(end - start for z in zones for start, end in z.ranges)


def _free(zones: list[_Bar]) -> int:
    return sum(end - start for z in zones for start, end in zip(z.free.starts, z.free.ends, strict=True))


def _cells(zone: _Bar, cells: int, most: int, coloured: bool) -> str:
    """A zone's cells: `cells` of them for `most` pages, and one at least for every range."""
    parts = []
    for start, end in zone.ranges:
        count = max((end - start) * cells // most, 1)
        edges = [start + (end - start) * i // count for i in range(count + 1)]
        marks = [_mark(zone.free, low, high) for low, high in pairwise(edges)]
        parts.append("".join(_painted(i, len(list(same)), coloured) for i, same in groupby(marks)))
    return CUT.join(parts)


def _mark(free: RangeSet, start: int, end: int) -> int:
    """The mark, by its place in MARKS, of a cell with these pages."""
    taken = free.missing(start, end)
    return 0 if 2 * taken > end - start else 1 if taken else 2


def _painted(index: int, count: int, coloured: bool) -> str:
    mark, colour, _ = MARKS[index]
    return f"\x1b[{colour}m{mark * count}\x1b[0m" if coloured else mark * count
