"""What `mmtool reserve` prints."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.reserve import Reservation
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.units import human

MOST_PIECES = 4


def render(answer: Reservation, output: str) -> None:
    """Print the answer to standard output."""
    if output in ("json", "yaml"):
        print_document(document(answer), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(answer)))
    else:
        sys.stdout.write(prose("\n".join(sentences(answer)) + "\n\n") + text_tables([table(answer)]))


def sentences(answer: Reservation) -> list[str]:
    """The answer in words."""
    lines = [f"{answer.option}: {'fits' if answer.fits else 'does not fit'}"]
    shown = answer.pieces[:MOST_PIECES]
    lines += [f"  {name}: [{start:#x}-{end - 1:#x}], {human(end - start)}" for name, start, end in shown]
    if len(answer.pieces) > len(shown):
        lines.append(f"  and {len(answer.pieces) - len(shown)} more")
    lines += [f"  {line}" for line in answer.said]
    lines.append(f"the largest that fits: {answer.largest or 'none'}")
    lines.append(f"use: {answer.use or 'nothing of the kind'}")
    return lines


def document(answer: Reservation) -> dict[str, Any]:
    """The mmtool.reserve/1 document."""
    return {
        "schema": "mmtool.reserve/1",
        "option": answer.option,
        "fits": answer.fits,
        "pieces": [{"for": name, "start": f"{start:#x}", "end": f"{end - 1:#x}"} for name, start, end in answer.pieces],
        "holes": [
            {"start": f"{h.start:#x}", "end": f"{h.end - 1:#x}", "fit": h.fit, "verdict": h.verdict}
            for h in answer.holes
        ],
        "largest": answer.largest,
        "use": answer.use,
        "said": list(answer.said),
    }


def table(answer: Reservation) -> Table:
    """The holes, from the highest down."""
    t = Table(
        "holes", "What was free when the kernel looked, from the top",
        columns(("start", Kind.ADDRESS), ("last", Kind.ADDRESS), ("size", Kind.SIZE), ("fits", Kind.SIZE), "verdict"),
    )  # fmt: skip
    t.rows = [(h.start, h.end - 1, h.end - h.start, h.fit, h.verdict) for h in answer.holes]
    return t
