"""What vmalloc() gave, for people and scripts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmtool.late import dataclass
from mmtool.linux.mm.vmalloc.area import VmStruct
from mmtool.linux.mm.vmalloc.vmalloc import Vmalloc
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.system.codec.state import state_document
from mmtool.system.codec.vmalloc import runs_of_pages
from mmtool.system.restore import state_of
from mmtool.system.system import System
from mmtool.units import human, round_up


@dataclass(frozen=True)
class Attempt:
    """One allocation: the bytes asked for, the area (None when it failed), what the kernel said."""

    size: int
    area: VmStruct | None
    said: tuple[str, ...]
    holes: tuple[tuple[int, int], ...] = ()
    """The free ranges [start, end) of addresses that there were, upwards, where that is to be explained."""
    align: int = 1

    @property
    def ok(self) -> bool:
        return self.area is not None


def _nodes(area: VmStruct, system: System) -> dict[str, int]:
    """Pages by node."""
    counts = Counter(system.zone_of(pfn).nid for pfn in area.pages)
    return {str(nid): counts[nid] for nid in sorted(counts)}


def _document(attempt: Attempt, system: System) -> dict[str, Any]:
    area = attempt.area
    if area is None:
        return {"ok": False, "size": f"{attempt.size:#x}", "address": None, "said": list(attempt.said)}
    return {
        "ok": True, "size": f"{attempt.size:#x}", "address": f"{area.addr:#x}", "end": f"{area.addr + area.size:#x}",
        "pages": len(area.pages), "page_order": area.page_order, "nodes": _nodes(area, system),
        "pfns": None if system.synthetic else runs_of_pages(tuple(area.pages)), "said": list(attempt.said),
    }  # fmt: skip


def render_attempts(attempts: Sequence[Attempt], freed: Sequence[int], v: Vmalloc, system: System, output: str) -> None:
    """Print allocations, and the addresses of areas that were freed before them."""
    if output in ("json", "yaml"):
        document = {
            "schema": "mmtool.vmalloc/1", "freed": [f"{address:#x}" for address in freed],
            "outcomes": [_document(attempt, system) for attempt in attempts],
            "lazy_pages": v.space.lazy_pages, "lazy_max_pages": v.space.lazy_max_pages,
            "state": state_document(state_of(system), system.kernel),
        }  # fmt: skip
        print_document(document, output)
        return
    table = _table(attempts, system)
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    parts = []
    if freed:
        waiting = f"{v.space.lazy_pages} of {v.space.lazy_max_pages} pages wait to be purged"
        parts.append(prose(f"Freed: {', '.join(f'{address:#x}' for address in freed)} ({waiting})\n"))
    if attempts:
        searches = [search_table(attempt, system.kernel.page_size) for attempt in attempts if attempt.holes]
        parts.append(text_tables([table, *searches]))
    said = [line for attempt in attempts for line in attempt.said]
    if said:
        parts.append(prose("What the kernel says\n" + "".join(f"{line}\n" for line in said)))
    sys.stdout.write("\n".join(filter(None, parts)))


def search_table(attempt: Attempt, page_size: int) -> Table:
    """How alloc_vmap_area() searched: what it needs, the holes that it passed, the one that it took."""
    t = Table("search", "The search for addresses, from below", columns("what", "says"))
    area, holes = attempt.area, attempt.holes
    need = area.size if area is not None else round_up(attempt.size, page_size) + page_size
    aligned = f", at a multiple of {human(attempt.align)}" if attempt.align > page_size else ""
    t.rows.append(("needs", f"{human(need - page_size)} and a guard page of {human(page_size)}{aligned}"))
    if area is None:
        largest = max((end - start for start, end in holes), default=0)
        why = "none holds it" if need > largest else "it is not for want of a place"
        t.rows.append(("holes", f"{len(holes)}, the largest {human(largest)}: {why}"))
        return t
    found = next((hole for hole in holes if hole[0] <= area.addr < hole[1]), None)
    if found is None:
        t.rows.append(("taken", "an area of this size that was freed before and kept, or what purging freed ones gave"))
        return t
    passed = holes[: holes.index(found)]
    widest = human(max((end - start for start, end in passed), default=0))
    lower = f"{len(passed)} lower do not hold it, the largest {widest}" if passed else ""
    t.rows.append(("holes", f"{len(holes)}, {lower or 'the lowest holds it'}"))
    span = f"[{found[0]:#x}-{found[1] - 1:#x}]"
    t.rows.append(("taken", f"{span}; {human(found[1] - found[0] - need)} of it is left"))
    return t


def _table(attempts: Sequence[Attempt], system: System) -> Table:
    t = Table(
        "vmalloc", "Allocations of virtual memory",
        columns(
            ("size", Kind.SIZE), "result", ("address", Kind.ADDRESS), ("end", Kind.ADDRESS), ("pages", Kind.COUNT),
            ("page order", Kind.COUNT), "by node",
        ),
    )  # fmt: skip
    for attempt in attempts:
        area = attempt.area
        if area is None:
            t.rows.append((attempt.size, "fails", None, None, None, None, None))
            continue
        nodes = ", ".join(f"N{nid}={count}" for nid, count in _nodes(area, system).items())
        t.rows.append((attempt.size, "ok", area.addr, area.addr + area.size, len(area.pages), area.page_order, nodes))
    return t
