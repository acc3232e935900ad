"""How the run of a workload is shown: as tables for people, as JSON for programs."""

from __future__ import annotations

import json

from mmtool.linux.mm.folio import LRU_NAMES
from mmtool.report.table import Kind, Table, columns
from mmtool.system.reclaim_run import WorkloadRun

SCHEMA = "mmtool.reclaim-run/1"


def run_json(run: WorkloadRun) -> str:
    """The document of `mmtool reclaim run -o json`."""
    lines = [
        {
            "line": o.line, "does": o.does, "rc": o.rc, "pages": o.pages, "swap": o.swap, "lists": o.lists,
            "counters": o.counters, "memory": o.memory, "memory_swap": o.memory_swap,
            **({"generations": o.generations} if o.generations is not None else {}),
        }
        for o in run.lines
    ]  # fmt: skip
    return json.dumps({"schema": SCHEMA, "lru": run.lru, "lines": lines, "events": run.events})


def run_tables(run: WorkloadRun) -> list[Table]:
    """For each line what it cost and what is on the lists after it, and where the pages of each object are."""
    costs = Table(
        "costs", "What each line did",
        columns(
            "Line", ("faults", Kind.COUNT), ("major", Kind.COUNT), ("scanned", Kind.COUNT), ("reclaimed", Kind.COUNT),
            ("refaults", Kind.COUNT), ("activated", Kind.COUNT), ("swapped out", Kind.COUNT), ("in", Kind.COUNT),
        ),
    )  # fmt: skip
    lists = Table(
        "lists",
        "The lists after it",
        columns("Line", *((name.replace("_", " "), Kind.COUNT) for name in LRU_NAMES), ("charged", Kind.COUNT)),
    )
    places = Table(
        "places",
        "Where the pages are",
        columns("Line", "object", *((title, Kind.COUNT) for title in PLACES.values())),
    )
    for o in run.lines:
        counted = o.counters.get
        name = f"{o.line}: {o.does}"
        costs.rows.append((
            name, counted("pgfault", 0), counted("pgmajfault", 0),
            counted("pgscan_file", 0) + counted("pgscan_anon", 0),
            counted("pgsteal_file", 0) + counted("pgsteal_anon", 0),
            counted("workingset_refault_file", 0) + counted("workingset_refault_anon", 0),
            counted("pgactivate", 0), counted("pswpout", 0), counted("pswpin", 0),
        ))  # fmt: skip
        lists.rows.append((f"{o.line}", *(o.lists[name] for name in LRU_NAMES), o.memory))
        for obj, text in o.pages.items():
            where = _places(text)
            places.rows.append((f"{o.line}", obj, *(sum(where.get(c, 0) for c in letters) for letters in PLACES)))
    return [costs, lists, places]


PLACES = {"r": "in cache only", "iI": "inactive", "aA": "active", "u": "locked", "z": "zero page", "s": "in swap"}
"""Letters of a page's state and what they are called."""


def _places(text: str) -> dict[str, int]:
    """How many pages have each letter, of run lengths."""
    found: dict[str, int] = {}
    count = ""
    for c in text:
        if c.isdigit():
            count += c
        else:
            found[c] = found.get(c, 0) + int(count or 1)
            count = ""
    return found
