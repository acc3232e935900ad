"""How the run of a workload is shown: as tables for people, as JSON for programs."""

from __future__ import annotations

import json

from mmtool.linux.mm.folio import LRU_NAMES
from mmtool.regex import regex
from mmtool.report.table import Kind, Table, columns
from mmtool.system.reclaim_run import LineOutcome, WorkloadRun

_RUN = regex(r"(\d*)(\D)")
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
    step = _step(run)
    places = Table(
        "places",
        f"Where the pages are (a letter for {step} pages: {LEGEND})",
        columns("Line", "object", "its pages", *((title, Kind.COUNT) for title in PLACES.values())),
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
            counts = (sum(where.get(c, 0) for c in letters) for letters in PLACES)
            places.rows.append((f"{o.line}", obj, _picture(text, step), *counts))
    more = [_reclaim_table(run)] if any(_scanned(o) for o in run.lines) else []
    more += [_generations_table(run)] if run.lru == "mglru" else []
    return [costs, lists, *more, places]


def _scanned(o: LineOutcome) -> int:
    return o.counters.get("pgscan_file", 0) + o.counters.get("pgscan_anon", 0)


def _reclaim_table(run: WorkloadRun) -> Table:
    """The lines that reclaimed: how often a limit was met, what was scanned, freed and came back, and why that kind."""
    table = Table(
        "reclaim", "What reclaim did",
        columns(
            "Line", ("limit met", Kind.COUNT), ("files scanned", Kind.COUNT), ("anonymous scanned", Kind.COUNT),
            ("files freed", Kind.COUNT), ("anonymous freed", Kind.COUNT), ("file refaults", Kind.COUNT),
            ("anonymous refaults", Kind.COUNT), "why these",
        ),
    )  # fmt: skip
    for o in run.lines:
        if not _scanned(o):
            continue
        counted = o.counters.get
        kinds = [counted(f"{name}_{kind}", 0) for name in ("pgscan", "pgsteal") for kind in ("file", "anon")]
        refaults = [counted(f"workingset_refault_{kind}", 0) for kind in ("file", "anon")]
        met = o.events.get("max", 0) + o.events.get("high", 0)
        whole = sum(o.balances.values())
        why = "; ".join(
            f"{balance.value} ({n} of {whole} rounds)" if n < whole else balance.value
            for balance, n in sorted(o.balances.items(), key=lambda found: -found[1])
        )
        table.rows.append((f"{o.line}", met, *kinds, *refaults, why))
    return table


def _generations_table(run: WorkloadRun) -> Table:
    """Of the multi-generational LRU, oldest first."""
    table = Table(
        "generations", "The generations after it, the oldest first",
        columns("Line", ("generation", Kind.COUNT), ("anonymous", Kind.COUNT), ("files", Kind.COUNT)),
    )  # fmt: skip
    for o in run.lines:
        for first, (seq, anon, file) in enumerate(o.generations or ()):
            table.rows.append((f"{o.line}" if not first else "", seq, anon, file))
    return table


PICTURE = 40
"""Letters of the picture of an object's pages."""
LEGEND = "r cached, i inactive, a active, u locked, z zero, s in swap; what most of them are"


def _step(run: WorkloadRun) -> int:
    """Pages that a letter stands for, the same for all objects."""
    longest = max((sum(_places(text).values()) for o in run.lines for text in o.pages.values()), default=1)
    return -(-longest // PICTURE)


def _picture(text: str, step: int) -> str:
    """An object's pages from the first to the last, the most frequent state of every `step` of them."""
    states = _letters(text).lower()
    pieces = (states[at : at + step] for at in range(0, len(states), step))
    return "".join(max(sorted(set(piece)), key=piece.count) for piece in pieces)


def _letters(text: str) -> str:
    return "".join(letter * int(count or 1) for count, letter in _RUN.findall(text))


PLACES = {"r": "in cache only", "iI": "inactive", "aA": "active", "u": "locked", "z": "zero page", "s": "in swap"}
"""Letters of a page's state and what they are called."""


def _places(text: str) -> dict[str, int]:
    """How many pages have each letter, of run lengths."""
    found: dict[str, int] = {}
    for count, letter in _RUN.findall(text):
        found[letter] = found.get(letter, 0) + int(count or 1)
    return found
