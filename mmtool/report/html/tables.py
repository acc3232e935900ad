"""Tables: the typed ones that other reports have, and those of the page's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.table import Kind, Table, cell


def of_table(table: Table) -> Markup:
    """A typed table as the terminal has it: its title is the caption."""
    texts = [c.kind is Kind.TEXT for c in table.columns]
    rows = [
        [
            cell(value, column.kind, exact=False, page_shift=table.page_shift)
            for value, column in zip(row, table.columns, strict=True)
        ]
        for row in table.rows
    ]
    return grid([c.title for c in table.columns], rows, texts=texts, caption=table.title)


def grid(
    titles: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    texts: Sequence[bool],
    caption: str,
    class_: str | None = None,
    hidden: bool = False,
) -> Markup:
    """A table whose first column heads its rows; `texts` says which columns are words and go to the left.

    It scrolls within itself where it is wider than the page. A `hidden` caption is for those who do not see.
    """
    head = tag("tr", *(tag("th", t) for t in titles))
    body = []
    for first, *rest in rows:
        body.append(tag("tr", tag("th", first), *(v if _is_cell(v) else tag("td", v) for v in rest)))
    named = tag("caption", caption, class_="away" if hidden else None)
    looks = " ".join(filter(None, (class_, _right(texts))))
    table = tag("table", named, tag("thead", head), tag("tbody", *body), class_=looks or None)
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _right(texts: Sequence[bool]) -> str:
    """The style sheet's classes for columns of numbers, which go to the right: r2 for the second; rr is all but one."""
    if len(texts) > 2 and texts[0] and not any(texts[1:]):
        return "rr"
    return " ".join(f"r{i}" for i, left in enumerate(texts, 1) if not left)


def _is_cell(value: object) -> TypeGuard[Markup]:
    return isinstance(value, Markup) and value.startswith("<td")


def fold(summary: object, *content: object) -> Markup:
    """What is shown when it is asked for; paper has it open."""
    return tag("details", tag("summary", summary), join(content))
