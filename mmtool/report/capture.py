"""What `mmtool capture` prints, and the index that it leaves in a capture."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from mmtool import __version__
from mmtool.capture.collect import Collected
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables


def document(found: Collected, taken: datetime, *, names_kept: bool) -> dict[str, Any]:
    """The mmtool.capture/1 document: every file with its size in bytes, and what is missing."""
    return {
        "schema": "mmtool.capture/1",
        "mmtool": __version__,
        "taken": taken.isoformat(timespec="seconds"),
        "names_kept": names_kept,
        "files": [{"name": name, "bytes": len(data)} for name, data in found.files.items()],
        "missing": [{"name": m.name, "why": m.why, "cost": m.cost, "as_root": m.as_root} for m in found.missing],
    }


def render(target: str, doc: dict[str, Any], output: str) -> None:
    """Print what was collected to standard output."""
    if output in ("json", "yaml"):
        print_document(doc, output)
        return
    t = Table("capture", f"{target}: {len(doc['files'])} files", columns("file", ("bytes", Kind.SIZE)))
    t.rows = [(file["name"], file["bytes"]) for file in doc["files"]]
    sys.stdout.write(csv_table(t) if output == "csv" else text_tables([t]))
