"""What `mmtool explain` prints: what was asked for, zone by zone why not, and what would have let it pass."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.postmortem.storm import sections, storm
from mmtool.answers.postmortem.verdict import Judgement
from mmtool.report.postmortem.document import document
from mmtool.report.postmortem.kills import kills_text, storm_document, storm_text
from mmtool.report.postmortem.tables import all_zones
from mmtool.report.postmortem.text import text
from mmtool.report.table import csv_table, print_document
from mmtool.report.untrusted import printable

__all__ = ["document", "render", "text"]


def render(judged: list[Judgement], source: str, output: str, top: int) -> None:
    """Print the judgements of a log's reports to standard output; lists of processes have `top` rows."""
    kills = storm(judged)
    if output in ("json", "yaml"):
        doc: dict[str, Any] = {"schema": "mmtool.explain/1", "reports": [document(j, top) for j in judged]}
        if kills is not None:
            doc["storm"] = storm_document(kills)
        print_document(doc, output)
    elif output == "csv":
        sys.stdout.write(csv_table(all_zones(judged)))
    elif not judged:
        sys.stdout.write(printable(f"{source}: no report of a failed allocation\n"))
    else:
        parts = [storm_text(kills, top)] if kills is not None else []
        parts += [kills_text(part) if len(part) > 1 else text(part[0], top) for part in sections(judged)]
        sys.stdout.write(printable("\n".join(parts)))
