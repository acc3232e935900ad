"""How a fit is shown: the answer and the curve as tables, CSV, and a document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from mmtool.answers.reclaim_fit import Fit, FitPoint, Target
from mmtool.report.table import Kind, Table, columns, csv_table, text_tables

SCHEMA = "mmtool.reclaim-fit/1"
STRICT = "strict LRU"
STEPS = 64
"""Points of strict LRU's curve in a document."""
WIDTH = 100


def render_fit(fit: Fit, kernel: str, output: str) -> None:
    """A fit in one of the formats."""
    if output == "json":
        sys.stdout.write(json.dumps(_document(fit, kernel)) + "\n")
    elif output == "csv":
        sys.stdout.write(csv_table(_curve_table(fit) if fit.target_refaults is None else _target_table(fit)))
    else:
        tables = _curve_tables(fit)
        if fit.target_refaults is not None:
            tables.insert(0, _target_table(fit))
        sys.stdout.write(_head(fit, kernel) + text_tables(tables) + _rests_on(fit))


def _head(fit: Fit, kernel: str) -> str:
    s = fit.source
    merged = f" and {s.merged} more to the page of the one before" if s.merged else ""
    ignored = "".join(f"\nLeft aside: {n} of {name}" for name, n in s.ignored.items())
    return f"{s.accesses} accesses{merged} to {s.footprint} pages ({s.form}); Linux {kernel}{ignored}\n\n"


def _rests_on(fit: Fit) -> str:
    lines = ["", "What this rests on"]
    for text in rests_on(fit):
        lines += wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def rests_on(fit: Fit) -> list[str]:
    """What the answers hang on, in words."""
    said = [
        f"{STRICT}: Mattson's stack distances, exact for an LRU that no kernel has; a first estimate",
        "classic, mglru: the kernel's lists in the model, run at each size that is listed and at no other; more memory "
        "may once cost more",
    ]
    for target in fit.targets:
        if target.best is not None:
            said.append(f"{target.lru}: {_how(target)}")
    return [*said, *fit.source.rests_on]


def _how(target: Target) -> str:
    said = "any memory will do"
    if target.below is not None:
        said = f"{target.below.memory_max} pages are too few ({_cost(target.below)})"
    if target.every:
        return f"{said}; every larger size was tried and will do"
    return f"{said}; {target.tried} sizes were tried, and not every larger one"


def _cost(point: FitPoint) -> str:
    return f"access {point.failed_at} fails" if point.failed_at else f"{point.refaults} refaults"


def _target_table(fit: Fit) -> Table:
    table = Table(
        "targets",
        f"The smallest memory.max from which on there are at most {fit.target_refaults} refaults",
        columns(
            "LRU", ("memory.max", Kind.PAGES), ("refaults", Kind.COUNT), ("misses", Kind.COUNT),
            ("too few", Kind.PAGES), ("its refaults", Kind.COUNT), ("fails at access", Kind.COUNT),
        ),
    )  # fmt: skip
    size = fit.estimate.smallest(fit.target_refaults or 0)
    misses = fit.estimate.misses(size)
    table.rows.append((STRICT, size, misses - fit.estimate.cold, misses, None, None, None))
    for t in fit.targets:
        best = (None, None, None) if t.best is None else (t.best.memory_max, t.best.refaults, t.best.misses)
        below = (None, None, None) if t.below is None else (t.below.memory_max, t.below.refaults, t.below.failed_at)
        table.rows.append((t.lru, *best, *below))
    return table


def _sizes(fit: Fit) -> list[int]:
    return sorted({point.memory_max for points in fit.curve.values() for point in points})


def _curve_tables(fit: Fit) -> list[Table]:
    """For people: miss ratios side by side, and what each LRU did for them."""
    ratios = Table(
        "ratios",
        "Misses of all accesses, by memory.max",
        columns(
            ("memory.max", Kind.PAGES), ("of all pages", Kind.COUNT), (f"{STRICT}, estimate", Kind.COUNT),
            *((lru, Kind.COUNT) for lru in fit.curve),
        ),
    )  # fmt: skip
    work = [
        Table(
            lru,
            f"What the {lru} LRU does for it",
            columns(
                ("memory.max", Kind.PAGES), ("misses", Kind.COUNT), ("refaults of files", Kind.COUNT),
                ("anonymous", Kind.COUNT), ("scanned", Kind.COUNT), ("reclaimed", Kind.COUNT),
                ("swapped out", Kind.COUNT), ("in", Kind.COUNT), ("fails at access", Kind.COUNT),
            ),
            [
                (p.memory_max, p.misses, p.refaults_file, p.refaults_anon, p.scanned, p.reclaimed, p.swapped_out,
                 p.swapped_in, p.failed_at)
                for p in points
            ],
        )
        for lru, points in fit.curve.items()
    ]  # fmt: skip
    for size in _sizes(fit):
        by_lru = dict(_at(fit, size))
        said = (_share(fit, by_lru.get(lru)) for lru in fit.curve)
        share = f"{size / fit.source.footprint:.0%}"
        ratios.rows.append((size, share, _percent(fit, fit.estimate.misses(size)), *said))
    return [ratios, *work]


def _share(fit: Fit, point: FitPoint | None) -> str | None:
    if point is None:
        return None
    return "out of memory" if point.failed_at else _percent(fit, point.misses)


def _percent(fit: Fit, misses: int) -> str:
    return f"{100 * _ratio(fit, misses):.2f}%"


def _curve_table(fit: Fit) -> Table:
    """For scripts: a row a size and LRU, the estimate's first."""
    table = Table(
        "curve",
        "Misses over memory.max",
        columns(
            ("memory.max", Kind.COUNT), "LRU", ("misses", Kind.COUNT), ("miss ratio", Kind.COUNT),
            ("refaults", Kind.COUNT), ("reclaimed", Kind.COUNT), ("scanned", Kind.COUNT), ("swapped out", Kind.COUNT),
            ("in", Kind.COUNT), ("fails at access", Kind.COUNT),
        ),
    )  # fmt: skip
    for size in _sizes(fit):
        misses = fit.estimate.misses(size)
        table.rows.append((size, STRICT, misses, _ratio(fit, misses), misses - fit.estimate.cold, *[None] * 5))
        for lru, point in _at(fit, size):
            table.rows.append((
                size, lru, point.misses, _ratio(fit, point.misses), point.refaults, point.reclaimed, point.scanned,
                point.swapped_out, point.swapped_in, point.failed_at,
            ))  # fmt: skip
    return table


def _at(fit: Fit, size: int) -> Iterable[tuple[str, FitPoint]]:
    return ((lru, point) for lru, points in fit.curve.items() for point in points if point.memory_max == size)


def _ratio(fit: Fit, misses: int) -> float:
    return round(misses / fit.source.accesses, 4) if fit.source.accesses else 0.0


def _document(fit: Fit, kernel: str) -> dict[str, Any]:
    s = fit.source
    document: dict[str, Any] = {
        "schema": SCHEMA, "kernel": kernel,
        "source": {
            "form": s.form, "accesses": s.accesses, "merged": s.merged, "pages": s.footprint, "ignored": s.ignored,
        },
        "estimate": {"lru": STRICT, "first_uses": fit.estimate.cold, "curve": fit.estimate.steps(STEPS)},
        "curve": [_point(fit, lru, point) for lru, points in fit.curve.items() for point in points],
    }  # fmt: skip
    if fit.target_refaults is not None:
        document["target_refaults"] = fit.target_refaults
        document["targets"] = [
            {
                "lru": t.lru, "memory_max": None if t.best is None else t.best.memory_max,
                "refaults": None if t.best is None else t.best.refaults,
                "next_smaller": None if t.below is None else t.below.memory_max,
                "tried": t.tried, "every_larger_size_tried": t.every,
            }
            for t in fit.targets
        ]  # fmt: skip
    return document | {"rests_on": rests_on(fit)}


def _point(fit: Fit, lru: str, p: FitPoint) -> dict[str, Any]:
    return {
        "lru": lru, "memory_max": p.memory_max, "misses": p.misses, "miss_ratio": _ratio(fit, p.misses),
        "refaults_file": p.refaults_file, "refaults_anon": p.refaults_anon, "scanned": p.scanned,
        "reclaimed": p.reclaimed, "swapped_out": p.swapped_out, "swapped_in": p.swapped_in, "failed_at": p.failed_at,
    }  # fmt: skip
