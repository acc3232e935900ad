"""How a list of assumptions is shown: a document's entries, a table's last section, lines on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from mmtool.answers.assumed import assumptions
from mmtool.assumption import Assumption
from mmtool.linux.init.boot import Boot
from mmtool.report.terminal import terminal_width
from mmtool.report.untrusted import one_line

WIDTH = 100
"""Columns of a section where no terminal is narrower."""


def entries(assumed: Iterable[Assumption]) -> list[dict[str, str]]:
    """The entries of "assumed" in a document."""
    return [{"kind": a.kind, "what": a.what, "why": a.why, "effect": a.effect, "give": a.give} for a in assumed]


def section(assumed: Iterable[Assumption]) -> str:
    """The last section of a table; "" where nothing is assumed."""
    from textwrap import wrap  # compiles patterns that no log and no document needs

    lines: list[str] = []
    width = min(terminal_width() or WIDTH, WIDTH)
    for a in assumed:
        text = f"{a.kind}: {a.what}: {a.why}. {a.effect[:1].upper()}{a.effect[1:]}. Give {a.give}."
        lines += wrap(one_line(text), width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(["", "Assumed", *lines, ""]) if lines else ""


def remarks(assumed: Iterable[Assumption]) -> list[str]:
    """A line each, where the output itself has no place for them."""
    return [one_line(f"mmtool: assumed: {a.kind}: {a.what} ({a.why}); give {a.give}") for a in assumed]


def say(boot: Boot) -> None:
    """Print what is assumed to standard error, for a form that has no place for it."""
    sys.stderr.write("".join(line + "\n" for line in remarks(assumptions(boot))))
