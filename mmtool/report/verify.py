"""What `mmtool verify` prints."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.verify import Verification
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables

SIGNS = {"kernel": "-", "mmtool": "+"}
COLOURS = {"kernel": "31", "mmtool": "32"}
"""Red for what the kernel has and mmtool has not, green for the other way round."""


def render(source: str, result: Verification, output: str, *, coloured: bool) -> None:
    """Print a comparison to standard output; `coloured` for a terminal."""
    if output in ("json", "yaml"):
        print_document(document(source, result), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(result)))
    else:
        sys.stdout.write(text_tables([table(result)]) + "".join(differences(result, coloured)))


def document(source: str, result: Verification) -> dict[str, Any]:
    """The mmtool.verify/1 document."""
    return {
        "schema": "mmtool.verify/1",
        "source": source,
        "agrees": result.agrees,
        "facts": [{"fact": f.fact, "exact": f.exact, "expected": f.expected} for f in result.facts],
        "differences": [
            {"fact": d.fact, "side": d.side, "text": d.text, "step": d.step, "line": d.line} for d in result.differences
        ],
    }


def table(result: Verification) -> Table:
    t = Table(
        "facts", "What mmtool predicts against what the kernel reported",
        columns("fact", ("exact", Kind.COUNT), ("expected", Kind.COUNT), "agrees"),
    )  # fmt: skip
    t.rows = [(f.fact, f.exact, f.expected, "yes" if f.exact == f.expected else "no") for f in result.facts]
    return t


def differences(result: Verification, coloured: bool) -> list[str]:
    """A line for each difference: - is the kernel's, + mmtool's, behind it the step that is responsible."""
    lines: list[str] = []
    last = None
    for d in result.differences:
        if d.fact != last:
            lines.append(f"\n{d.fact}: - the kernel's, + mmtool's\n")
            last = d.fact
        text = f"{SIGNS[d.side]} {d.text}"
        if coloured:
            text = f"\x1b[{COLOURS[d.side]}m{text}\x1b[0m"
        lines.append(f"{text}  ({d.step})\n")
    return lines
