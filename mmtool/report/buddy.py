"""Free lists as people and scripts read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.report.table import Kind, Table, columns, csv_table

COLUMNS = ("node", "zone", "order", "type", "blocks", "pages", "first pfn", "last pfn")


def free_lists(zone: Zone) -> list[dict[str, Any]]:
    """A zone's free lists for JSON: runs [pfn, n] from head to tail, n blocks one after the other from pfn on."""
    return [
        {
            "order": order,
            "type": migratetype.label,
            "count": sum(count for _, count in runs),
            "runs": [[pfn, count] for pfn, count in runs],
        }
        for order, migratetype, runs in zone.free_lists()
    ]


def document(pgdats: Mapping[int, Pgdat]) -> dict[str, Any]:
    """The mmtool.buddy/1 document: the zones that hold pages, with their free lists. Pfns and counts of pages."""
    return {
        "schema": "mmtool.buddy/1",
        "nodes": [
            {
                "nid": pgdat.nid,
                "first_deferred_pfn": pgdat.first_deferred_pfn,
                "zones": [
                    {
                        "name": zone.name,
                        "start_pfn": zone.zone_start_pfn,
                        "spanned": zone.spanned_pages,
                        "present": zone.present_pages,
                        "managed": zone.managed_pages,
                        "free": free_lists(zone),
                    }
                    for zone in pgdat.populated_zones()
                ],
            }
            for pgdat in pgdats.values()
        ],
    }


def csv(pgdats: Mapping[int, Pgdat]) -> str:
    """The free lists as CSV."""
    titles = columns(*((title, Kind.TEXT if title in ("zone", "type") else Kind.COUNT) for title in COLUMNS))
    return csv_table(Table("lists", "Free lists", titles, list(rows(pgdats))))


def rows(pgdats: Mapping[int, Pgdat]) -> Iterator[tuple[int, str, int, str, int, int, int, int]]:
    """One row of COLUMNS a free list; the pfns are the blocks at its head and its tail."""
    for pgdat in pgdats.values():
        for zone in pgdat.populated_zones():
            for order, migratetype, runs in zone.free_lists():
                blocks = sum(count for _, count in runs)
                tail = runs[-1][0] + ((runs[-1][1] - 1) << order)
                yield pgdat.nid, zone.name, order, migratetype.label, blocks, blocks << order, runs[0][0], tail


def table(pgdats: Mapping[int, Pgdat]) -> str:
    """The free lists as text: a line a zone, a table of its lists."""
    from tabulate import tabulate

    parts = []
    for pgdat in pgdats.values():
        for zone in pgdat.populated_zones():
            head = f"Node {pgdat.nid}, zone {zone.name}: {zone.managed_pages} pages managed, {zone.nr_free_pages} free"
            lists = [row[2:] for row in rows({pgdat.nid: pgdat}) if row[1] == zone.name]
            parts.append(f"{head}\n{tabulate(lists, headers=COLUMNS[2:])}" if lists else head)
        if pgdat.first_deferred_pfn is not None:
            parts.append(f"Node {pgdat.nid}: pages from pfn {pgdat.first_deferred_pfn} on are freed late in the boot")
    return "\n\n".join(parts)
