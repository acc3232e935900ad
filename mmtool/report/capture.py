"""What `mmtool capture` prints, and the index that it leaves in a capture."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mmtool import __version__
from mmtool.capture.collect import Collected
from mmtool.capture.private import Change
from mmtool.report.table import Kind, Table, columns, csv_table, document_text, text_tables


def document(
    found: Collected, taken: datetime, changes: Iterable[Change], *, whole: bool, names_kept: bool
) -> dict[str, Any]:
    """The mmtool.capture/1 document: every file with its size in bytes, what is missing and what was taken out."""
    return {
        "schema": "mmtool.capture/1",
        "mmtool": __version__,
        "taken": taken.isoformat(timespec="seconds"),
        "whole": whole,
        "names_kept": names_kept,
        "files": [{"name": name, "bytes": len(data)} for name, data in found.files.items()],
        "missing": [{"name": m.name, "why": m.why, "cost": m.cost, "as_root": m.as_root} for m in found.missing],
        "changed": [
            {"name": c.name, "lines": c.lines, "left_out": c.left_out, "replaced": c.replaced} for c in changes
        ],
    }


def summary(changes: Iterable[Change]) -> str:
    """What was taken out, in a sentence; "" where nothing was."""
    left = [f"{c.left_out} of {c.lines} lines of {c.name}" for c in changes if c.left_out]
    other = [f"in {c.replaced} {'lines' if c.lines else 'bytes'} of {c.name}" for c in changes if c.replaced]
    said = [f"left out, as mmtool does not read them: {', '.join(left)}" if left else ""]
    said += [f"names and values replaced: {', '.join(other)}" if other else ""]
    return "; ".join(filter(None, said))


def rendered(target: str, doc: dict[str, Any], output: str) -> str:
    """What was collected, for standard output. Raises UsageError for a column that there is not."""
    if output in ("json", "yaml"):
        return document_text(doc, output)
    t = Table("capture", f"{target}: {len(doc['files'])} files", columns("file", ("bytes", Kind.SIZE)))
    t.rows = [(file["name"], file["bytes"]) for file in doc["files"]]
    return csv_table(t) if output == "csv" else text_tables([t])
