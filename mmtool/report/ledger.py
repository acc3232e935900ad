"""What `mmtool ledger` prints."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.assumed import assumptions
from mmtool.answers.ledger import MemoryLedger, memory_ledger
from mmtool.linux.init.boot import Boot
from mmtool.report.assumed import entries, say, section
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.report.words import heading


def render(boot: Boot, output: str) -> None:
    """Print the ledger of a boot to standard output."""
    sums = memory_ledger(boot)
    if output in ("json", "yaml"):
        print_document(document(boot, sums), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(sums)))
        say(boot)
    else:
        text = text_tables([table(sums)])
        sys.stdout.write(prose(heading(boot) + "\n\n") + text + prose(section(assumptions(boot))))
        if not prose("shown"):
            say(boot)


def document(boot: Boot, sums: MemoryLedger) -> dict[str, Any]:
    """The mmtool.ledger/1 document; all amounts in bytes, negative for what comes back."""
    assumed = entries(assumptions(boot))
    return {
        "schema": "mmtool.ledger/1",
        "kernel": {"release": boot.kernel.name, "profile": boot.kernel.profile.name},
        "installed": sums.installed,
        "takers": [
            {"taker": line.taker, "bytes": line.amount, "step": line.step or None, "option": line.option or None}
            for line in sums.lines
        ],
        "memtotal": sums.memtotal,
        "memtotal_kbytes": sums.memtotal >> 10,
        **({"assumed": assumed} if assumed else {}),
    }


def table(sums: MemoryLedger) -> Table:
    """A line for each taker between what there is and what is left."""
    t = Table(
        "ledger", "From the firmware's map to MemTotal",
        columns("what", ("bytes", Kind.COUNT), ("size", Kind.SIZE_ONLY), "step", "option"),
    )  # fmt: skip
    t.rows.append(("memory in the firmware's map", sums.installed, sums.installed, "", ""))
    t.rows += [(line.taker, -line.amount, -line.amount, line.step, line.option) for line in sums.lines]
    t.rows.append(("MemTotal", sums.memtotal, sums.memtotal, "", ""))
    return t
