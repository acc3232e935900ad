"""What the script of the page reads: what lies where, and what every stage of the boot says of addresses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmtool.firmware.machine import E820Entry
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.mm.address_space import VMEMMAP
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
    direct, space = boot.direct_map, boot.address_space
    other = space.other_direct_map
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
        "bits": boot.kernel.bits_per_long,
        "direct": [f"{direct.start:x}", f"{direct.phys:x}", direct.base_known],
        "other_direct": None if other is None else f"{other:x}",
        "areas": [[f"{area.start:x}", f"{area.end:x}", name(area.name)] for area in space.areas],
        "vmemmap": [VMEMMAP, boot.kernel.profile.sizes["struct_page"]],
        "lanes": [
            [lane.name, [[f"{p.start:x}", f"{p.end:x}", name(p.look), name(p.says)] for p in lane.pieces]]
            for lane in shown
        ],
        "firmware": ranges(boot.firmware_map),
        "edited": ranges(boot.edited_map()) if boot.edits_map else None,
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
