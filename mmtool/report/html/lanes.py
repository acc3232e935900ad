"""What the map shows, lane by lane, and what its script looks addresses up in. Bytes, half-open ranges."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from mmtool.answers.ledger import MEMORY_TYPES, MemoryLedger
from mmtool.firmware.machine import E820Entry
from mmtool.late import dataclass
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.report.picture.axis import Range
from mmtool.report.picture.rows import FIRMWARE_LOOKS, Piece
from mmtool.report.untrusted import printable

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


def largest_takers(sums: MemoryLedger) -> list[str]:
    """Those of the ledger that have a colour of their own."""
    ranked = sorted((line for line in sums.lines if line.amount > 0), key=lambda line: -line.amount)
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


def view(boot: Boot, shown: Sequence[Lane], title: str = "") -> dict[str, Any]:
    """What the script reads of a boot: the lanes, and what every stage of it says of addresses; `title` names it.

    Addresses are hexadecimal text, for JavaScript's numbers end at 2**53; ranges are half-open.
    """
    mb, shift = boot.memblock, boot.kernel.page_shift
    names: dict[str, int] = {}

    def name(text: str) -> int:
        return names.setdefault(printable(text), len(names))

    def ranges(entries: Iterable[E820Entry]) -> list[list[Any]]:
        return [[f"{e.start:x}", f"{e.end:x}", name(type_name(e.type, boot.kernel.release))] for e in entries]

    first, last = extent(boot)
    direct = boot.direct_map
    memory = [
        [f"{r.base:x}", f"{r.end:x}", name(f"memory of node {r.nid}" if mb.valid_node(r.nid) else "memory")]
        for r in mb.memory.regions
        if r.size
    ]
    taken = [
        [f"{start:x}", f"{end:x}", name(owner), name(boot.owner_steps.get(owner, "start_kernel"))]
        for start, end, owner in mb.ledger.entries
    ]
    return {
        "title": title,
        "shift": shift,
        "first": f"{first:x}",
        "last": f"{last:x}",
        "limit": f"{max([last, *(p.end for lane in shown for p in lane.pieces)]):x}",
        "direct": [f"{direct.start:x}", f"{direct.end:x}", f"{direct.phys:x}", direct.base_known],
        "lanes": [
            [lane.name, [[f"{p.start:x}", f"{p.end:x}", name(p.look), name(p.says)] for p in lane.pieces]]
            for lane in shown
        ],
        "firmware": ranges(boot.firmware_map),
        "edited": ranges(boot.edited_map()),
        "memory": memory,
        "taken": taken,
        "zones": [
            [f"{zone.zone_start_pfn << shift:x}", f"{zone.zone_end_pfn << shift:x}", nid, name(zone.name)]
            for nid, node in sorted(boot.nodes.items())
            for zone in node.populated_zones()
        ],
        "free": [
            [f"{start << shift:x}", f"{end << shift:x}", order, name(kind)]
            for start, end, order, kind in sorted(free_runs(boot))
        ],
        "steps": [
            [s.name, [[which == "reserved", what == "add", f"{a:x}", f"{b:x}"] for which, what, a, b in s.memblock]]
            for s in boot.steps
        ],
        "names": list(names),
    }  # fmt: skip
