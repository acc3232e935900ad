"""`mmtool diff -o html`: two boots side by side as one page, what differs and both maps on one scale."""

from __future__ import annotations

from mmtool.answers.compare import Comparison, compare
from mmtool.answers.ledger import memory_ledger
from mmtool.linux.init.boot import Boot
from mmtool.report.compare import document, tables, total
from mmtool.report.html.boot import footer
from mmtool.report.html.chart import Side, chart
from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.html.page import page
from mmtool.report.html.parts import section, title
from mmtool.report.html.tables import fold, of_table
from mmtool.report.html.view import view
from mmtool.report.picture.lanes import lanes, largest_takers

LONG = 40
"""Rows beyond which a table is folded."""


def html(before: Boot, after: Boot) -> str:
    """The page of a comparison, with its mmtool.diff/1 document in it."""
    comparison = compare(before, after)
    takers = largest_takers(memory_ledger(before), memory_ledger(after))
    sides = [Side(name, boot, tuple(lanes(boot, takers))) for name, boot in (("before", before), ("after", after))]
    body = tag("main", _head(before, after, comparison), chart(sides, takers), _changes(comparison), footer())
    name = title(before) if title(before) == title(after) else f"{title(before)}, and {after.kernel.name}"
    return page(f"{name}: what differs", body, [view(side) for side in sides], document(before, after, comparison))


def _head(before: Boot, after: Boot, comparison: Comparison) -> Markup:
    """Both machines, and the sum of what differs."""
    rows = []
    for name, boot in (("before", before), ("after", after)):
        given = tag("code", boot.cmdline.text.strip()) if boot.cmdline.text.strip() else "no command line"
        rows += [tag("dt", name), tag("dd", title(boot), tag("br"), given)]
    return tag(
        "header", tag("h1", "Two boots: what differs"), tag("dl", *rows, class_="formula"),
        tag("p", tag("b", total(comparison)), class_="sum"),
    )  # fmt: skip


def _changes(comparison: Comparison) -> Markup:
    shown = tables(comparison)
    if not shown:
        return section("changes", "Changes", tag("p", "Nothing differs."))
    parts = (of_table(t) if len(t.rows) <= LONG else fold(f"{t.title}: {len(t.rows)} rows", of_table(t)) for t in shown)
    return section("changes", "Changes", join(parts))
