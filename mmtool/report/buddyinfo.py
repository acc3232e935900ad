"""Free blocks by order, as /proc/buddyinfo and /proc/pagetypeinfo count them."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.linux.mm.vmstat import zone_page_state_snapshot
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.system import System


def buddyinfo_text(system: System) -> str:
    """/proc/buddyinfo (frag_show_print() of mm/vmstat.c)."""
    lines = []
    for zone in system.zones():
        counts = "".join(f"{count:6d} " for count in zone.nr_free)
        lines.append(f"Node {zone.nid}, zone {zone.name:>8} {counts}\n")
    return "".join(lines)


def by_type(system: System) -> list[tuple[int, str, str, list[int]]]:
    """(node, zone, type, free blocks by order) of every list that holds blocks."""
    rows = []
    for zone in system.zones():
        counts: dict[str, list[int]] = {}
        for order, kind, runs in zone.free_lists():
            by_order = counts.setdefault(kind.label, [0] * (zone.top_order + 1))
            by_order[order] += sum(count for _, count in runs)
        rows += [(zone.nid, zone.name, label, by_order) for label, by_order in counts.items()]
    return rows


def document(system: System) -> dict[str, Any]:
    """The mmtool.buddyinfo/1 document; counts of blocks, and pages where the name says so."""
    zones = [
        {
            "node": zone.nid, "zone": zone.name, "nr_free": zone.nr_free, "free_pages": zone_page_state_snapshot(zone),
            "per_cpu_pages": sum(pcp.count for pcp in zone.per_cpu_pageset.values()),
            "types": {label: counts for nid, name, label, counts in by_type(system)
                      if (nid, name) == (zone.nid, zone.name)},
        }
        for zone in system.zones()
    ]  # fmt: skip
    return {"schema": "mmtool.buddyinfo/1", "zones": zones}


def render(system: System, output: str) -> None:
    """Print the free blocks of a state."""
    if output == "proc":
        sys.stdout.write(buddyinfo_text(system))
    elif output in ("json", "yaml"):
        print_document(document(system), output)
    else:
        tables = _tables(system)
        sys.stdout.write(csv_table(tables[0]) if output == "csv" else text_tables(tables))


def _tables(system: System) -> list[Table]:
    orders = [(str(order), Kind.COUNT) for order in range(system.kernel.max_page_order + 1)]
    blocks = Table("blocks", "Free blocks by order", columns("node", "zone", "type", *orders))
    blocks.rows = [(str(nid), name, label, *counts) for nid, name, label, counts in by_type(system)]
    pages = Table(
        "pages", "Free pages", columns("node", "zone", ("free", Kind.PAGES), ("on per-CPU lists", Kind.PAGES))
    )
    pages.page_shift = system.kernel.page_shift
    for zone in system.zones():
        kept = sum(pcp.count for pcp in zone.per_cpu_pageset.values())
        pages.rows.append((str(zone.nid), zone.name, zone_page_state_snapshot(zone), kept))
    return [blocks, pages]
