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
    sides = [None if left else "r" for left in texts]
    head = tag("tr", *(tag("th", t, scope="col", class_=side) for t, side in zip(titles, sides, strict=True)))
    body = []
    for row in rows:
        first, *rest = row
        cells = [tag("th", first, scope="row", class_=sides[0])]
        for value, side in zip(rest, sides[1:], strict=True):
            cells.append(value if _is_cell(value) else tag("td", value, class_=side))
        body.append(tag("tr", *cells))
    named = tag("caption", caption, class_="away" if hidden else None)
    table = tag("table", named, tag("thead", head), tag("tbody", *body), class_=class_)
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _is_cell(value: object) -> TypeGuard[Markup]:
    return isinstance(value, Markup) and value.startswith("<td")


def fold(summary: object, *content: object) -> Markup:
    """What is shown when it is asked for; paper has it open."""
    return tag("details", tag("summary", summary), join(content))
