"""What `mmtool diff` and `mmtool whatif` print."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.compare import Comparison, Move, compare
from mmtool.linux.init.boot import Boot
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.report.untrusted import one_line
from mmtool.report.words import heading
from mmtool.units import human

TITLES = {
    "memory": "Memory",
    "takers": "Taken from it, by whom",
    "zones": "Zones, in pages",
    "marks": "Watermarks, in pages",
    "free lists": "Free blocks",
    "available": "What is left",
}
MOST_RANGES = 2
"""Ranges of one owner that a table shows."""


def render(before: Boot, after: Boot, output: str) -> None:
    """Print what differs between two boots to standard output."""
    comparison = compare(before, after)
    if output in ("json", "yaml"):
        print_document(document(before, after, comparison), output)
    elif output == "csv":
        sys.stdout.write(csv_table(rows(comparison)))
    else:
        shown = tables(comparison)
        body = text_tables(shown) if shown else prose("nothing differs\n")
        head, foot = f"{side('before', before)}{side('after', after)}\n", f"\n{total(comparison)}\n"
        foot += "".join(f"the kernel warns: {text}\n" for text in comparison.warnings)
        sys.stdout.write(prose(head) + body + prose(foot))


def side(name: str, boot: Boot) -> str:
    """Which machine and kernel a side is, with its command line."""
    return f"{name}: {heading(boot)}\n{' ' * len(name)}  {one_line(boot.cmdline.text)}\n"


def total(comparison: Comparison) -> str:
    """The sum of it all, in a sentence."""
    before, after = comparison.memtotal
    by = after - before
    change = f"{'grows' if by > 0 else 'shrinks'} by {human(abs(by))} ({by:+} bytes)" if by else "stays the same"
    return f"MemTotal {change}: {before >> 10} kB before, {after >> 10} kB after"


def document(before: Boot, after: Boot, comparison: Comparison) -> dict[str, Any]:
    """The mmtool.diff/1 document."""
    sides = {
        name: {"source": boot.machine.origin, "kernel": boot.kernel.name, "cmdline": boot.cmdline.text}
        for name, boot in (("before", before), ("after", after))
    }
    return {
        "schema": "mmtool.diff/1",
        **sides,
        "changes": [
            {"section": c.section, "what": c.what, "unit": c.unit, "before": c.before, "after": c.after, "by": c.amount}
            for c in comparison.changes
        ],
        "moves": [{"owner": m.owner, "before": _hex(m.before), "after": _hex(m.after)} for m in comparison.moves],
        "memtotal": {
            "before": comparison.memtotal[0],
            "after": comparison.memtotal[1],
            "by": comparison.memtotal[1] - comparison.memtotal[0],
        },
        **({"warnings": list(comparison.warnings)} if comparison.warnings else {}),
    }


def _hex(ranges: tuple[tuple[int, int], ...]) -> list[dict[str, str]]:
    return [{"start": f"{start:#x}", "end": f"{end - 1:#x}"} for start, end in ranges]


def rows(comparison: Comparison) -> Table:
    """Every change as a row, for CSV."""
    t = Table(
        "changes", "Changes",
        columns("section", "what", "unit", ("before", Kind.COUNT), ("after", Kind.COUNT), ("by", Kind.COUNT)),
    )  # fmt: skip
    t.rows = [(c.section, c.what, c.unit, c.before, c.after, c.amount) for c in comparison.changes]
    return t


def tables(comparison: Comparison) -> list[Table]:
    """A table for each section that has changes, and one of what lies elsewhere."""
    out = []
    for section, title in TITLES.items():
        changes = [c for c in comparison.changes if c.section == section]
        if not changes:
            continue
        kind = Kind.SIZE_ONLY if changes[0].unit == "bytes" else Kind.COUNT
        t = Table(section, title, columns("what", ("before", kind), ("after", kind), ("by", kind)))
        t.rows = [(c.what, c.before, c.after, c.amount) for c in changes]
        out.append(t)
    if comparison.moves:
        t = Table("moves", "Reserved elsewhere", columns("for", "before", "after"))
        t.rows = [(m.owner, *_places(m)) for m in comparison.moves]
        out.insert(2, t)
    return out


def _places(move: Move) -> tuple[str, str]:
    def text(ranges: tuple[tuple[int, int], ...]) -> str:
        shown = ", ".join(f"[{start:#x}-{end - 1:#x}]" for start, end in ranges[:MOST_RANGES])
        more = len(ranges) - MOST_RANGES
        return f"{shown} and {more} more" if more > 0 else shown

    return text(move.before), text(move.after)
