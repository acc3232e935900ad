"""What the map of a boot shows, lane by lane, without overlaps. Addresses are bytes, ranges half-open."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from mmtool.answers.ledger import MEMORY_TYPES, MemoryLedger
from mmtool.late import dataclass
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.report.picture.axis import Range
from mmtool.report.picture.rows import FIRMWARE_LOOKS, Piece

TAKERS = 6
"""The largest takers, each of which has a colour of its own."""
UNOWNED = "reserved, owner not recorded"
LOOKS_OF_ZONES = {"DMA": "z0", "DMA32": "z1", "Normal": "z2", "HighMem": "z3", "Movable": "z4", "Device": "z5"}


@dataclass(frozen=True)
class Lane:
    """Pieces that do not overlap, ascending; `about` says what the lane shows."""

    name: str
    about: str
    pieces: tuple[Piece, ...]


def lanes(boot: Boot, takers: Sequence[str]) -> list[Lane]:
    """The lanes from top to bottom. `takers` are those with a colour of their own, the largest first."""
    return [
        Lane("firmware", "what the firmware's map says", _firmware(boot)),
        Lane("nodes", "memory, by node", _nodes(boot)),
        Lane("zones", "memory, by zone", _zones(boot)),
        Lane("reserved", "kept when the page allocator takes over, by owner", _reserved(boot, takers)),
        Lane("free", "free blocks when init starts, by order", _free(boot)),
    ]


def largest_takers(*ledgers: MemoryLedger) -> list[str]:
    """Those of one ledger, or of several, that have a colour of their own, the largest first."""
    lines = (line for sums in ledgers for line in sums.lines if line.amount > 0)
    ranked = sorted(lines, key=lambda line: -line.amount)
    return list(dict.fromkeys(line.taker for line in ranked))[:TAKERS]


def taker_look(taker: str, takers: Sequence[str]) -> str:
    """The look of what a taker has."""
    return f"t{takers.index(taker)}" if taker in takers else "t"


def extent(boot: Boot) -> Range:
    """From where to where the map reaches at first: all that is memory, from 0 on where it begins near there."""
    ranges = [(e.start, e.end) for e in boot.firmware_map if e.type in MEMORY_TYPES]
    ranges += [(r.base, r.end) for r in boot.memblock.memory.regions if r.size]
    if not ranges:
        return 0, 1 << 32
    first, last = min(start for start, _ in ranges), max(end for _, end in ranges)
    return (first if first > last // 16 else 0), last


def _firmware(boot: Boot) -> tuple[Piece, ...]:
    entries = sorted(boot.firmware_map, key=lambda e: e.start)
    return tuple(
        Piece(e.start, e.end, FIRMWARE_LOOKS.get(e.type, "kept"), type_name(e.type, boot.kernel.release))
        for e in entries
    )


def _nodes(boot: Boot) -> tuple[Piece, ...]:
    mb = boot.memblock
    pieces = []
    for r in mb.memory.regions:
        if r.size:
            known = mb.valid_node(r.nid)
            name = f"node {r.nid}" if known else "no node"
            pieces.append(Piece(r.base, r.end, f"n{r.nid % 4}" if known else "kept", name))
    return tuple(pieces)


def _zones(boot: Boot) -> tuple[Piece, ...]:
    """Each zone's memory, without its holes."""
    mb, shift = boot.memblock, boot.kernel.page_shift
    pieces = []
    for nid, node in sorted(boot.nodes.items()):
        for zone in node.populated_zones():
            look, name = LOOKS_OF_ZONES.get(zone.name, "z5"), f"{nid}/{zone.name}"
            low, high = zone.zone_start_pfn << shift, zone.zone_end_pfn << shift
            for r in mb.memory.regions:
                start, end = max(r.base, low), min(r.end, high)
                if start < end and (r.nid == nid or not mb.valid_node(r.nid)):
                    pieces.append(Piece(start, end, look, name))
    return tuple(sorted(pieces, key=lambda p: p.start))


def _reserved(boot: Boot, takers: Sequence[str]) -> tuple[Piece, ...]:
    """memblock.reserved by owner; where several own a byte, the one that took the smallest range names it."""
    regions = [(r.base, r.end, UNOWNED) for r in boot.memblock.reserved.regions if r.size]
    named = smallest([*boot.memblock.ledger.entries, *regions])
    return tuple(Piece(start, end, taker_look(owner, takers), owner) for start, end, owner in named)


def smallest(entries: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Ranges that overlap as ones that do not, ascending: each byte has the name of the smallest range around it."""
    waiting = sorted(entries, key=lambda e: e[0])
    cuts = sorted({edge for start, end, _ in waiting for edge in (start, end)})
    there: list[tuple[int, int, int, str]] = []
    at = 0
    last: tuple[int, int, str] | None = None
    for start, end in pairwise(cuts):
        while at < len(waiting) and waiting[at][0] <= start:
            low, high, name = waiting[at]
            heapq.heappush(there, (high - low, at, high, name))
            at += 1
        while there and there[0][2] <= start:
            heapq.heappop(there)
        if not there:
            continue
        name = there[0][3]
        if last is not None and last[1] == start and last[2] == name:
            last = last[0], end, name
        else:
            if last is not None:
                yield last
            last = start, end, name
    if last is not None:
        yield last


def _free(boot: Boot) -> tuple[Piece, ...]:
    """Runs of free blocks; those of an order and type that touch are one piece."""
    shift = boot.kernel.page_shift
    pieces = []
    for start, end, order, kind in sorted(free_runs(boot)):
        look = f"f{min(order * 4 // max(boot.kernel.max_page_order, 1), 4)}"
        pieces.append(Piece(start << shift, end << shift, look, f"order {order}, {kind}"))
    return tuple(pieces)


def free_runs(boot: Boot) -> Iterator[tuple[int, int, int, str]]:
    """(first pfn, one past the last, order, type) of all free blocks; runs that touch are one."""
    for node in boot.nodes.values():
        for zone in node.populated_zones():
            for order, kind, runs in zone.free_lists():
                joined: list[list[int]] = []
                for pfn, count in sorted(runs):
                    if joined and joined[-1][1] == pfn:
                        joined[-1][1] += count << order
                    else:
                        joined.append([pfn, pfn + (count << order)])
                yield from ((start, end, order, kind.label) for start, end in joined)
