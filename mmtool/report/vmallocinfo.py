"""What a /proc/vmallocinfo tells: who uses how much, what is free between, what would still fit."""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

from mmtool.late import dataclass
from mmtool.observed.vmallocinfo import Holes, InfoArea, VmallocInfo, holes_of
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.units import human

HASHED = (
    "The addresses are hashed (the kernel shows them with no_hash_pointers, to root): what is free between is not told."
)
LISTED_HOLES = 10


@dataclass(frozen=True)
class Use:
    """What one caller has."""

    caller: str
    kinds: tuple[str, ...]
    areas: int
    size: int
    pages: int
    largest: int


def uses(info: VmallocInfo) -> list[Use]:
    """Use by caller, the largest first."""
    by_caller: dict[tuple[str, tuple[str, ...]], list[InfoArea]] = defaultdict(list)
    for area in info.areas:
        kinds = tuple(kind for kind in area.kinds if kind != "vpages")
        by_caller[area.function, kinds].append(area)
    found = [
        Use(
            caller, kinds, len(areas), sum(a.size for a in areas), sum(a.pages for a in areas),
            max(a.size for a in areas),
        )
        for (caller, kinds), areas in by_caller.items()
    ]  # fmt: skip
    return sorted(found, key=lambda use: (-use.size, use.caller))


def render(
    info: VmallocInfo, output: str, *, start: int | None = None, end: int | None = None, page_size: int = 4096
) -> None:
    """Print it; `start` to `end` is the vmalloc area where that is known, `page_size` the guard page's."""
    holes = holes_of(info, start, end)
    if output in ("json", "yaml"):
        print_document(_document(info, holes, page_size, start is not None), output)
        return
    table = _use_table(info)
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    tables = [table] if holes is None else [table, _hole_table(holes)]
    sys.stdout.write(prose(_summary(info, holes, page_size, start is not None) + "\n\n") + text_tables(tables))


def _document(info: VmallocInfo, holes: Holes | None, page_size: int, bounded: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "schema": "mmtool.vmallocinfo/1", "hashed": info.hashed, "areas": len(info.areas),
        "bytes": sum(area.size for area in info.areas), "pages": sum(area.pages for area in info.areas),
        "unpurged_bytes": sum(area.size for area in info.areas if "unpurged" in area.kinds),
        "callers": [
            {
                "caller": use.caller or None, "kinds": list(use.kinds), "areas": use.areas, "bytes": use.size,
                "pages": use.pages, "largest_bytes": use.largest,
            }
            for use in uses(info)
        ],
        "holes": None,
    }  # fmt: skip
    if holes is not None:
        largest = holes.largest
        document["holes"] = {
            "start": f"{holes.start:#x}", "end": f"{holes.end:#x}", "whole_area": bounded,
            "count": len(holes.holes), "bytes": holes.total, "fragmentation": round(holes.fragmentation, 4),
            "largest": {"start": f"{largest[0]:#x}", "end": f"{largest[1]:#x}"} if largest else None,
            "fits_bytes": holes.fits(page_size),
        }  # fmt: skip
    return document


def _summary(info: VmallocInfo, holes: Holes | None, page_size: int, bounded: bool) -> str:
    size, pages = sum(area.size for area in info.areas), sum(area.pages for area in info.areas)
    lines = [f"{len(info.areas)} areas, {human(size)} of addresses, {pages} pages of their own"]
    waiting = [area.size for area in info.areas if "unpurged" in area.kinds]
    if waiting:
        lines.append(f"{len(waiting)} of them ({human(sum(waiting))}) were freed and wait to be purged")
    if holes is None:
        return "\n".join([*lines, HASHED])
    where = "the vmalloc area" if bounded else "the first and the last area"
    between = "in" if bounded else "between"
    lines.append(
        f"Free {between} {where} ({holes.start:#x} to {holes.end:#x}): {human(holes.total)} in {len(holes.holes)} "
        f"holes, {holes.fragmentation:.1%} of it not in the largest"
    )
    fits = holes.fits(page_size)
    lines.append(f"The largest vmalloc() that would still fit there: {fits} bytes ({human(fits)})")
    return "\n".join(lines)


def _use_table(info: VmallocInfo) -> Table:
    t = Table(
        "callers", "Use by caller",
        columns("caller", "kind", ("areas", Kind.COUNT), ("size", Kind.SIZE), ("pages", Kind.COUNT),
                ("largest", Kind.SIZE)),
    )  # fmt: skip
    t.rows = [(u.caller or None, " ".join(u.kinds), u.areas, u.size, u.pages or None, u.largest) for u in uses(info)]
    return t


def _hole_table(holes: Holes) -> Table:
    title = "The largest holes" if len(holes.holes) > LISTED_HOLES else "Holes"
    t = Table("holes", title, columns(("start", Kind.ADDRESS), ("end", Kind.ADDRESS), ("size", Kind.SIZE)))
    largest = sorted(holes.holes, key=lambda hole: (hole[0] - hole[1], hole[0]))[:LISTED_HOLES]
    t.rows = [(start, end, end - start) for start, end in largest]
    return t
