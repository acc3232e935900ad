"""What `mmtool explain` prints: what was asked for, zone by zone why not, and what would have let it pass."""

from __future__ import annotations

import sys

from mmtool.answers.postmortem.judge import Judgement
from mmtool.report.postmortem.document import document
from mmtool.report.postmortem.tables import all_zones
from mmtool.report.postmortem.text import text
from mmtool.report.table import csv_table, print_document
from mmtool.report.untrusted import printable

__all__ = ["document", "render", "text"]


def render(judged: list[Judgement], source: str, output: str, top: int) -> None:
    """Print the judgements of a log's reports to standard output; lists of processes have `top` rows."""
    if output in ("json", "yaml"):
        print_document({"schema": "mmtool.explain/1", "reports": [document(j, top) for j in judged]}, output)
    elif output == "csv":
        sys.stdout.write(csv_table(all_zones(judged)))
    elif not judged:
        sys.stdout.write(printable(f"{source}: no report of a failed allocation\n"))
    else:
        sys.stdout.write(printable("\n".join(text(j, top) for j in judged)))
