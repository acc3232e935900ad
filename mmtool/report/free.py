"""Where a freed block went, for people and scripts."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.linux.mm.mmzone import Zone
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.codec.state import state_document
from mmtool.system.restore import state_of
from mmtool.system.system import System


def where(zone: Zone, pfn: int) -> tuple[str, int, int]:
    """Which list a free page is on, and the block that it is a part of: (list, first pfn, order)."""
    found = zone.free_area.find(pfn)
    if found is not None:
        return f"free list {zone.free_area.migratetype(*found).label}", *found
    for cpu, pcp in zone.per_cpu_pageset.items():
        for head, order in pcp.blocks():
            if head <= pfn < head + (1 << order):
                return f"list of CPU {cpu}", head, order
    raise KeyError(pfn)


def render(system: System, zone: Zone, pfn: int, order: int, output: str) -> None:
    """Print what became of the block (pfn, order), which was freed just now."""
    on, head, merged = where(zone, pfn)
    if output in ("json", "yaml"):
        document: dict[str, Any] = {
            "schema": "mmtool.free/1",
            "freed": {
                "pfn": pfn, "order": order, "node": zone.nid, "zone": zone.name, "on": on,
                "block": {"pfn": head, "order": merged},
            },
            "state": state_document(state_of(system), system.kernel),
        }  # fmt: skip
        print_document(document, output)
        return
    t = Table(
        "freed", "Freed",
        columns(("pfn", Kind.COUNT), ("order", Kind.COUNT), "node", "zone", "on", ("block pfn", Kind.COUNT),
                ("block order", Kind.COUNT)),
    )  # fmt: skip
    t.rows = [(pfn, order, str(zone.nid), zone.name, on, head, merged)]
    sys.stdout.write(csv_table(t) if output == "csv" else text_tables([t]))
