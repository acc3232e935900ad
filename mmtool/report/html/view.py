"""What the script of the page reads: what lies where, and what every stage of the boot says of addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmtool.firmware.machine import E820Entry
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.report.html.chart import Side
from mmtool.report.picture.lanes import extent, free_runs
from mmtool.report.untrusted import printable


def view(side: Side) -> dict[str, Any]:
    """What the script reads of a boot.

    Addresses are hexadecimal text, for JavaScript's numbers end at 2**53; ranges are half-open.
    """
    boot, shown = side.boot, side.lanes
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
        "title": side.title,
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
