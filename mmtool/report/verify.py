"""What `mmtool verify` prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mmtool.answers.verify import Verification
from mmtool.assumption import Assumption
from mmtool.report.assumed import entries, remarks, section
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.report.untrusted import one_line

SIGNS = {"kernel": "-", "mmtool": "+"}
COLOURS = {"kernel": "31", "mmtool": "32"}
"""Red for what the kernel has and mmtool has not, green for the other way round."""


def render(
    source: str, result: Verification, output: str, *, coloured: bool, assumed: Sequence[Assumption] = ()
) -> None:
    """Print a comparison to standard output; `coloured` for a terminal."""
    if output in ("json", "yaml"):
        print_document(document(source, result, assumed), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(result)))
        sys.stderr.write("".join(line + "\n" for line in remarks(assumed)))
    else:
        left = f"\nnot compared: {', '.join(result.not_compared)}\n" if result.not_compared else ""
        tables = text_tables([table(result)]) + ("".join(differences(result, coloured)) if prose("shown") else "")
        sys.stdout.write(tables + prose(left + section(assumed)))


def document(source: str, result: Verification, assumed: Sequence[Assumption] = ()) -> dict[str, Any]:
    """The mmtool.verify/1 document."""
    rests = {"not_compared": list(result.not_compared)} if result.not_compared else {}
    return {
        "schema": "mmtool.verify/1",
        "source": source,
        "agrees": result.agrees,
        "facts": [{"fact": f.fact, "exact": f.exact, "expected": f.expected} for f in result.facts],
        "differences": [
            {"fact": d.fact, "side": d.side, "text": d.text, "step": d.step, "line": d.line} for d in result.differences
        ],
        **rests,
        **({"assumed": entries(assumed)} if assumed else {}),
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
        text = one_line(f"{SIGNS[d.side]} {d.text}")
        if coloured:
            text = f"\x1b[{COLOURS[d.side]}m{text}\x1b[0m"
        lines.append(f"{text}  ({d.step})\n")
    return lines
