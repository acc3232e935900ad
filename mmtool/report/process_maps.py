"""What a map of mappings tells: as JSON, and as tables for people."""

from __future__ import annotations

import json
from typing import Any

from mmtool.answers.process_maps import MapsAnswer
from mmtool.report.table import Kind, Table, columns

SHOWN = 12
"""Rows of a table for people."""


def maps_json(answer: MapsAnswer) -> str:
    """One document."""
    return json.dumps(
        {
            "schema": "mmtool.process-maps/1",
            "mappings": len(answer.rows),
            "max_map_count": answer.max_map_count,
            "mapped": answer.mapped,
            "largest_fits": answer.largest,
            "gaps": [{"start": hex(g.start), "end": hex(g.end), "usable": g.usable} for g in answer.gaps],
            "neighbours": [
                {
                    "lower": hex(n.lower.start),
                    "boundary": hex(n.upper.start),
                    "upper_end": hex(n.upper.end),
                    "why": n.why,
                }
                for n in answer.neighbours
            ],
            "anon_kib": answer.anon_kib,
            "huge_kib": answer.huge_kib,
            "huge_blocks": answer.blocks,
        }
    )


def maps_tables(answer: MapsAnswer) -> list[Table]:
    """A summary, the largest gaps, and neighbours that are not one mapping."""
    summary: list[tuple[Any, ...]] = [
        ("mappings", f"{len(answer.rows)} of {answer.max_map_count} (vm.max_map_count)"),
        ("mapped", f"{answer.mapped >> 10} KiB"),
        ("largest mapping that fits between others", f"{answer.largest >> 10} KiB"),
        ("whole huge pages that fit into anonymous mappings", str(answer.blocks)),
    ]
    if answer.anon_kib is not None:
        summary.append(("anonymous memory in huge pages", f"{answer.huge_kib} of {answer.anon_kib} KiB"))
    gaps: list[tuple[Any, ...]] = [(g.start, g.end, g.usable) for g in answer.gaps[:SHOWN]]
    apart: list[tuple[Any, ...]] = [(n.lower.start, n.upper.start, n.upper.end, n.why) for n in answer.neighbours]
    address = Kind.ADDRESS
    return [
        Table("summary", "The address space", columns("What", "Says"), summary),
        Table("gaps", "Largest gaps", columns(("Start", address), ("End", address), ("Usable", Kind.SIZE)), gaps),
        Table(
            "neighbours", "Neighbours that are not one mapping",
            columns(("Start", address), ("Boundary", address), ("End", address), "Why"), apart,
        ),
    ]  # fmt: skip
