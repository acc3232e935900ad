"""Typed columns once, every format from them: a table for people, CSV, and how a value looks in each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from mmtool.report.untrusted import csv_text, printable
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


def cell(value: Any, kind: Kind, *, exact: bool, page_shift: int = 12) -> Any:
    """One value for a reader: `exact` gives what a script wants, otherwise what a person does."""
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_text(value) if exact else printable(value)
    if kind is Kind.ADDRESS:
        return f"{value:#x}"
    if exact or kind in (Kind.TEXT, Kind.COUNT):
        return value
    if kind is Kind.SIZE_ONLY:
        return ("-" if value < 0 else "") + human(abs(value))
    size = value << page_shift if kind is Kind.PAGES else value
    return f"{value} ({human(size)})" if size >= 1024 else f"{value}"


def text_tables(tables: Iterable[Table]) -> str:
    """Tables for people, one below the other, each under its title."""
    from tabulate import tabulate

    parts = []
    for t in tables:
        rows = [
            [cell(v, c.kind, exact=False, page_shift=t.page_shift) for v, c in zip(row, t.columns, strict=True)]
            for row in t.rows
        ]
        align = ["left" if c.kind is Kind.TEXT else "right" for c in t.columns]
        body = tabulate(rows, [c.title for c in t.columns], colalign=align, disable_numparse=True) if rows else "(none)"
        parts.append(f"{t.title}\n{body}")
    return "\n\n".join(parts) + "\n"


def csv_table(table: Table) -> str:
    """One table as CSV with a header line."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([c.title for c in table.columns])
    for row in table.rows:
        writer.writerow([cell(v, c.kind, exact=True) for v, c in zip(row, table.columns, strict=True)])
    return out.getvalue()


def print_document(doc: dict[str, Any], output: str) -> None:
    """A document for scripts on standard output, as json or yaml."""
    if output == "json":
        import json

        sys.stdout.write(json.dumps(doc) + "\n")
    else:
        import yaml

        yaml.safe_dump(doc, sys.stdout, sort_keys=False, default_flow_style=None)


def columns(*specs: str | tuple[str, Kind]) -> tuple[Column, ...]:
    """Columns from titles (text) and (title, kind) pairs."""
    return tuple(Column(s) if isinstance(s, str) else Column(*s) for s in specs)


__all__: Sequence[str] = ["Column", "Kind", "Table", "cell", "columns", "csv_table", "print_document", "text_tables"]
