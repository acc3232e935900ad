"""What `mmtool boot --why` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from mmtool.answers.assumed import assumptions
from mmtool.answers.why import Why
from mmtool.linux.init.boot import Boot
from mmtool.report.assumed import entries, say, section
from mmtool.report.table import Table, columns, csv_table, print_document
from mmtool.report.terminal import terminal_columns
from mmtool.report.words import heading

WIDEST = 100
"""Columns that lines have at most."""


def render_why(boot: Boot, answers: Sequence[Why], output: str) -> None:
    """Print reasons to standard output."""
    if output in ("json", "yaml"):
        print_document(document(boot, answers), output)
        return
    if output == "csv":
        sys.stdout.write(csv_table(_table(answers[0])))
        say(boot)
        return
    width = min(terminal_columns(), WIDEST)
    parts = [heading(boot), *("\n".join(_lines(answer, width)) for answer in answers)]
    sys.stdout.write("\n\n".join(parts) + "\n" + section(assumptions(boot)))


def _lines(answer: Why, width: int) -> Iterator[str]:
    """What a number is and its formula; below them the result, and the kernel's function at the right."""
    yield answer.says
    indent = max((len(r.what) for r in answer.reasons), default=0) + 4
    for r in answer.reasons:
        head, *more = wrap(r.formula, width - indent, break_long_words=False, break_on_hyphens=False)
        yield f"  {r.what:<{indent - 2}}{head}"
        yield from (f"{'':{indent}}{line}" for line in more)
        result = f"{'':{indent}}= {r.result}"
        yield f"{result} {r.function:>{max(width - len(result) - 1, 0)}}"


def document(boot: Boot, answers: Sequence[Why]) -> dict[str, Any]:
    """The mmtool.why/1 document."""
    assumed = entries(assumptions(boot))
    return {
        "schema": "mmtool.why/1",
        "kernel": {"release": boot.kernel.name, "profile": boot.kernel.profile.name},
        **({"assumed": assumed} if assumed else {}),
        "topics": [
            {
                "topic": answer.topic, "says": answer.says,
                "reasons": [
                    {"what": r.what.strip(), "formula": r.formula, "result": r.result, "function": r.function}
                    for r in answer.reasons
                ],
            }
            for answer in answers
        ],
    }  # fmt: skip


def _table(answer: Why) -> Table:
    t = Table(answer.topic, answer.says, columns("what", "formula", "result", "function"))
    t.rows = [(r.what, r.formula, r.result, r.function) for r in answer.reasons]
    return t
