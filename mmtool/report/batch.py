"""What `mmtool batch` prints: a line for each machine, as JSON or as CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from io import StringIO
from typing import Any

from mmtool.answers.batch import Row
from mmtool.report.untrusted import csv_text

COLUMNS = (
    "file", "error", "kernel", "arch", "exact", "installed", "usable", "memtotal", "lost", "takers", "zones",
    "crashkernel", "crashkernel_at",
)  # fmt: skip


def render(rows: Iterable[Row], output: str) -> None:
    """Print each row to standard output as soon as it is there; a line is written whole or not at all."""
    if output == "csv":
        _write(_csv_line(COLUMNS))
    for row in rows:
        _write(json.dumps(document(row)) + "\n" if output == "ndjson" else _csv_line(_cells(row)))


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def document(row: Row) -> dict[str, Any]:
    """The mmtool.batch/1 document of one machine."""
    place = row.crashkernel_at
    return {
        "schema": "mmtool.batch/1",
        "file": row.file,
        "error": row.error,
        "kernel": row.kernel,
        "arch": row.arch,
        "exact": row.exact,
        "installed": row.installed,
        "usable": row.usable,
        "memtotal": row.memtotal,
        "lost": row.lost,
        "takers": None if row.takers is None else [{"taker": name, "bytes": amount} for name, amount in row.takers],
        "zones": None if row.zones is None else [{"zone": name, "managed": amount} for name, amount in row.zones],
        "crashkernel": row.crashkernel,
        "crashkernel_at": None if place is None else {"start": f"{place[0]:#x}", "end": f"{place[1] - 1:#x}"},
    }


def _cells(row: Row) -> list[Any]:
    place = row.crashkernel_at
    pairs = {
        name: "; ".join(f"{what} {amount}" for what, amount in getattr(row, name) or ()) for name in ("takers", "zones")
    }
    values = pairs | {"crashkernel_at": "" if place is None else f"{place[0]:#x}-{place[1] - 1:#x}"}
    return [values[name] if name in values else getattr(row, name) for name in COLUMNS]


def _csv_line(cells: Iterable[Any]) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerow(csv_text(c) if isinstance(c, str) else c for c in cells)
    return out.getvalue()
