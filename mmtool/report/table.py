"""Typed columns once, every format from them: a table for people, CSV, and how a value looks in each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field, replace
from enum import Enum
from typing import Any

from mmtool.errors import UsageError
from mmtool.late import dataclass
from mmtool.report.terminal import terminal_width
from mmtool.report.untrusted import csv_text, printable
from mmtool.report.yaml_text import yaml_text
from mmtool.suggest import among
from mmtool.units import human


class Kind(Enum):
    """What a column's values are, and so how they look."""

    TEXT = "text"
    COUNT = "count"
    ADDRESS = "address"
    """Bytes from 0; hex everywhere."""
    SIZE = "size"
    """Bytes; a table shows them as people say them and exact, CSV as the number."""
    SIZE_ONLY = "size only"
    """Bytes, which may be negative; a table shows them as people say them, CSV as the number."""
    PAGES = "pages"
    """Pages; a table adds what that is in bytes."""
    PAGES_ONLY = "pages only"
    """Pages; the number alone."""


UNITS = {Kind.SIZE: "(bytes)", Kind.PAGES: "(pages)", Kind.PAGES_ONLY: "(pages)"}
"""What the number of such a column counts, as a table's head says."""


@dataclass(frozen=True)
class Column:
    """A column: its title and what it holds."""

    title: str
    kind: Kind = Kind.TEXT


@dataclass
class Table:
    """Rows under typed columns. None is a value that is absent."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    page_shift: int = 12
    """log2 of a page's bytes."""


@dataclass(frozen=True)
class Style:
    """What the reader wants of a table: some columns only, one number in bytes, no titles and heads."""

    columns: tuple[str, ...] = ()
    in_bytes: bool = False
    headings: bool = True


_STYLE: ContextVar[Style] = ContextVar("style", default=Style())  # noqa: B039 (frozen)


@contextmanager
def styled(style: Style) -> Iterator[None]:
    """Let tables be printed in that style."""
    token = _STYLE.set(style)
    try:
        yield
    finally:
        _STYLE.reset(token)


def prose(text: str) -> str:
    """What stands around tables, in the terminal's width: nothing for a reader who wants no headings."""
    return folded(printable(text)) if _STYLE.get().headings else ""


def folded(text: str) -> str:
    """Sentences in the terminal's width, where there is one; a line goes on further in than it begins."""
    width = terminal_width()
    if width is None:
        return text
    from textwrap import wrap  # compiles patterns that only a terminal's width needs

    lines = []
    for line in text.split("\n"):
        start = len(line) - len(line.lstrip())
        wrapped = wrap(
            line[start:], max(width - start, NARROWEST_TEXT), subsequent_indent="  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        lines += [line] if len(line) <= width else [" " * start + part for part in wrapped]
    return "\n".join(lines)


def _word(title: str) -> str:
    """A column's title as one word, as CSV and --columns have it."""
    return title.lower().replace(" ", "_")


def _chosen(tables: Sequence[Table]) -> list[Table]:
    """The tables with the columns that the style asks for, those without any of them left out."""
    wanted = [_word(name) for name in _STYLE.get().columns]
    if not wanted:
        return list(tables)
    there = dict.fromkeys(_word(c.title) for t in tables for c in t.columns)
    for name in wanted:
        if name not in there:
            raise UsageError(f"--columns: no column {name!r}{among(name, there)}")
    chosen = []
    for t in tables:
        place = {_word(c.title): i for i, c in enumerate(t.columns)}
        at = [place[name] for name in wanted if name in place]
        if at:
            rows = [tuple(row[i] for i in at) for row in t.rows]
            chosen.append(replace(t, columns=tuple(t.columns[i] for i in at), rows=rows))
    return chosen


def cell(value: Any, kind: Kind, *, exact: bool, page_shift: int = 12) -> Any:
    """One value for a reader: `exact` gives what a script wants, otherwise what a person does."""
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_text(value) if exact else printable(value)
    if kind is Kind.ADDRESS:
        return f"{value:#x}"
    in_bytes = _STYLE.get().in_bytes
    in_pages = kind in (Kind.PAGES, Kind.PAGES_ONLY)
    size = value << page_shift if in_pages else value
    if in_bytes and in_pages:
        return size
    if exact or in_bytes or kind in (Kind.TEXT, Kind.COUNT, Kind.PAGES_ONLY):
        return value
    if kind is Kind.SIZE_ONLY:
        return ("-" if value < 0 else "") + human(abs(value))
    return f"{value} ({human(size)})" if size >= 1024 else f"{value}"


def text_tables(tables: Iterable[Table]) -> str:
    """Tables for people, one below the other, each under its title.

    On a terminal, or where COLUMNS says so, they fit its width: numbers keep only what people say of them, text folds
    within its column, then columns are left out from the right, which a line below says. Addresses and the first
    column always stay.
    """
    style = _STYLE.get()
    width = terminal_width() if style.headings else None
    parts = []
    for t in _chosen(list(tables)):
        rows = [
            [str(cell(v, c.kind, exact=False, page_shift=t.page_shift)) for v, c in zip(row, t.columns, strict=True)]
            for row in t.rows
        ]
        columns, rows, left_out = _fitting(t.columns, rows, width) if width else (list(t.columns), rows, [])
        align = ["left" if c.kind is Kind.TEXT else "right" for c in columns]
        heads = [_head(c, style) for c in columns]
        if not style.headings:
            parts.append(_laid_out(rows, (), align) if rows else "")
            continue
        body = _laid_out(rows, heads, align) if rows else "(none)"
        foot = "\n" + folded(f"left out for width: {', '.join(left_out)}") if left_out else ""
        parts.append(f"{folded(printable(t.title))}\n{body}{foot}")
    return "\n\n".join(filter(None, parts)) + "\n"


MANY_ROWS = 500
"""Rows from which on tabulate, which takes a while for each, lays out the widest alone."""


def _laid_out(rows: Rows, heads: Sequence[str], align: Sequence[str]) -> str:
    """Rows in columns, below their heads if there are any."""
    from tabulate import tabulate

    form = "simple" if heads else "plain"
    plain = len(rows) > MANY_ROWS and all(entry.isascii() and "\n" not in entry for row in rows for entry in row)
    if not plain:
        return tabulate(rows, heads, tablefmt=form, colalign=align, disable_numparse=True)
    columns = [[entry.strip() for entry in column] for column in zip(*rows, strict=True)]
    widest = ["x" * max(map(len, column)) for column in columns]
    *above, _ = tabulate([widest], heads, tablefmt=form, colalign=align, disable_numparse=True).split("\n")
    sizes = [len(rule) for rule in above[-1].split("  ")] if above else [len(entry) for entry in widest]
    row_of = "  ".join(f"{{:{'<' if side == 'left' else '>'}{size}}}" for side, size in zip(align, sizes, strict=True))
    return "\n".join([*above, *(row_of.format(*row).rstrip() for row in zip(*columns, strict=True))])


def _head(column: Column, style: Style) -> str:
    """A column's head, with the unit of its numbers below."""
    unit = UNITS.get(column.kind)
    if style.in_bytes and column.kind in (*UNITS, Kind.SIZE_ONLY):
        unit = UNITS[Kind.SIZE]
    return f"{column.title}\n{unit}" if unit and unit.strip("()") not in column.title else column.title


GAP = 2
"""Blanks between two columns, and what tabulate adds to a title's own width."""
NARROWEST_TEXT = 12
"""Letters to which text may be folded."""

Rows = list[list[str]]


def _as_said(number: str) -> str:
    """Of "1048576 (1 MiB)" what people say."""
    return number.partition(" (")[2].rstrip(")") or number


def _least(column: Column) -> int:
    """The letters that a column of text needs."""
    return max(NARROWEST_TEXT, len(column.title) + GAP)


def _fitting(columns: Sequence[Column], rows: Rows, width: int) -> tuple[list[Column], Rows, list[str]]:
    """Columns and rows that fit `width`, and the titles of the columns that did not; one that was asked for stays."""

    def widths() -> list[int]:
        heads = [max(map(len, _head(c, _STYLE.get()).split("\n"))) for c in columns]
        return [max([heads[i] + GAP, *(len(row[i]) for row in rows)]) for i in range(len(columns))]

    left_out: list[str] = []
    kept = list(range(len(columns)))
    sizes = widths()
    if sum(sizes) + GAP * (len(kept) - 1) > width:
        numbers = [c.kind in (Kind.SIZE, Kind.PAGES) for c in columns]
        rows = [[_as_said(v) if number else v for v, number in zip(row, numbers, strict=True)] for row in rows]
        columns = [replace(c, kind=Kind.SIZE_ONLY) if n else c for c, n in zip(columns, numbers, strict=True)]
        sizes = widths()

    def excess() -> int:
        return sum(sizes[i] for i in kept) + GAP * (len(kept) - 1) - width

    while excess() > 0:
        texts = [i for i in kept if columns[i].kind is Kind.TEXT and sizes[i] > _least(columns[i])]
        spare = [i for i in kept[1:] if columns[i].kind is not Kind.ADDRESS and not _STYLE.get().columns]
        if texts:
            widest = max(texts, key=lambda i: sizes[i])
            sizes[widest] = max(sizes[widest] - excess(), _least(columns[widest]))
        elif spare:
            kept.remove(spare[-1])
            left_out.insert(0, columns[spare[-1]].title)
        else:
            break
    from textwrap import wrap

    folded = [["\n".join(wrap(row[i], sizes[i])) if len(row[i]) > sizes[i] else row[i] for i in kept] for row in rows]
    return [columns[i] for i in kept], folded, left_out


def csv_table(table: Table) -> str:
    """One table as CSV, with a header line of single words."""
    import csv
    import io

    [table] = _chosen([table])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if _STYLE.get().headings:
        writer.writerow([_word(c.title) for c in table.columns])
    for row in table.rows:
        writer.writerow([cell(v, c.kind, exact=True) for v, c in zip(row, table.columns, strict=True)])
    return out.getvalue()


def document_text(doc: dict[str, Any], output: str) -> str:
    """A document for scripts, as json or yaml."""
    if output == "json":
        import json

        return json.dumps(doc) + "\n"
    return yaml_text(doc)


def print_document(doc: dict[str, Any], output: str) -> None:
    """A document for scripts on standard output, as json or yaml."""
    sys.stdout.write(document_text(doc, output))


def columns(*specs: str | tuple[str, Kind]) -> tuple[Column, ...]:
    """Columns from titles (text) and (title, kind) pairs."""
    return tuple(Column(s) if isinstance(s, str) else Column(*s) for s in specs)


__all__: Sequence[str] = [
    "Column", "Kind", "Style", "Table", "cell", "columns", "csv_table", "document_text", "folded",
    "print_document", "prose", "styled", "text_tables",
]  # fmt: skip
