"""A walk through page tables: as JSON, and as tables for people."""

from __future__ import annotations

import json
from typing import Any

from mmtool.linux.mm.mmap.pagewalk import Walk
from mmtool.report.table import Kind, Table, columns
from mmtool.units import human


def walk_json(addr: int, found: Walk) -> str:
    """One document."""
    leaf = found.leaf
    return json.dumps(
        {
            "schema": "mmtool.walk/1",
            "address": hex(addr),
            "mapping": found.mapping or None,
            "levels": [
                {"level": v.name, "index": v.index, "maps": 1 << v.shift, "entry": v.entry} for v in found.levels
            ],
            "leaf": None
            if leaf is None
            else {"size": leaf.size, "kind": leaf.kind, "flags": list(leaf.flags), "mapcount": leaf.mapcount},
        }
    )


def walk_tables(addr: int, found: Walk) -> list[Table]:
    """Level by level, and what is mapped."""
    rows: list[tuple[Any, ...]] = [(v.name, v.index, 1 << v.shift, v.entry) for v in found.levels]
    says: list[tuple[Any, ...]] = [("mapping", found.mapping or "none")]
    if found.leaf is None:
        says.append(("leaf", "nothing is mapped"))
    else:
        says += [
            ("leaf", f"{human(found.leaf.size)}, {found.leaf.kind}"),
            ("entry", " ".join(found.leaf.flags) or "no flag"),
            ("TLB reach of the entry", human(found.leaf.size)),
        ]
        if not found.leaf.kind.startswith("the zero"):
            says.append(("mapped so often", str(found.leaf.mapcount)))
    return [
        Table(
            "levels",
            f"{addr:#x} level by level",
            columns("Level", ("Index", Kind.COUNT), ("Entry maps", Kind.SIZE), "Entry"),
            rows,
        ),
        Table("leaf", "What is there", columns("What", "Says"), says),
    ]
