"""`mmtool reclaim run -o html`: the LRU lists of a cgroup over the lines of its workload, as a page."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.linux.mm.folio import LRU_NAMES
from mmtool.report.html.boot import footer
from mmtool.report.html.drawing import share
from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.html.page import page
from mmtool.report.html.parts import section, swatch
from mmtool.report.html.tables import fold, of_table
from mmtool.report.reclaim import run_tables
from mmtool.system.reclaim_run import LineOutcome, WorkloadRun

LISTS = dict(zip(LRU_NAMES, ("z1", "t4", "z2", "t5", "t"), strict=True))
"""The lists from the bottom of a column to its top, each with its look."""
COSTS = {
    "reclaimed": ("t0", ("pgsteal_file", "pgsteal_anon")),
    "refaults": ("t1", ("workingset_refault_file", "workingset_refault_anon")),
    "swapped out": ("t2", ("pswpout",)),
    "swapped in": ("t3", ("pswpin",)),
}
"""What a line cost: the look, and the counters whose sum it is."""
MOST_COLUMNS = 600
"""Columns of a chart; of a longer workload every so many lines are one."""


def html(run: WorkloadRun) -> str:
    """The page of a workload's run."""
    lists = [{name: o.lists[name] for name in LISTS} for o in run.lines]
    costs = [{name: _sum(o, counters) for name, (_, counters) in COSTS.items()} for o in run.lines]
    events = ", ".join(f"{name} {count}" for name, count in run.events.items() if count)
    tables = (fold(f"{t.title}: {len(t.rows)} rows", of_table(t)) for t in run_tables(run))
    body = tag(
        "main",
        tag(
            "header",
            tag("h1", "A workload in its memory cgroup"),
            tag("p", f"{run.lru} LRU, {len(run.lines)} lines", f"; memory.events: {events}" if events else ""),
        ),
        section("lists", "The lists after each line, in pages", _chart(lists, LISTS)),
        section("costs", "What each line cost, in pages", _chart(costs, {n: look for n, (look, _) in COSTS.items()})),
        section("tables", "In numbers", *tables),
        footer(),
    )  # fmt: skip
    return page("A workload in its memory cgroup", body)


def _sum(o: LineOutcome, counters: Sequence[str]) -> int:
    return sum(o.counters.get(name, 0) for name in counters)


def _chart(columns: Sequence[dict[str, int]], looks: dict[str, str]) -> Markup:
    """A column a line, its parts one above the other; the highest one is as high as the chart."""
    group = -(-len(columns) // MOST_COLUMNS) or 1
    shown = [columns[min(i + group, len(columns)) - 1] for i in range(0, len(columns), group)]
    most = max((sum(column.values()) for column in shown), default=0)
    if not most:
        return tag("p", "None.")
    parts = []
    for i, column in enumerate(shown):
        at = most
        for name, look in looks.items():
            if not column[name]:
                continue
            at -= column[name]
            place = {"x": share(i, len(shown)), "width": share(1, len(shown))}
            line = min((i + 1) * group, len(columns))
            says = tag("title", f"line {line} of {len(columns)}, {name.replace('_', ' ')}: {column[name]}")
            height = share(column[name], most)
            parts.append(tag("rect", says, y=share(at, most), height=height, class_=f"p {look}", **place))
    key = tag("ul", *(tag("li", swatch(look), name.replace("_", " ")) for name, look in looks.items()), class_="legend")
    steps = f"the last of {group} lines a column" if group > 1 else "a line a column"
    drawn = tag("svg", join(parts), class_="columns", role="img", aria_label=f"up to {most} pages, {steps}")
    return join([tag("p", f"Up to {most} pages; {steps}, from the first to the last.", class_="note"), drawn, key])
