"""What `mmtool boot --explain ADDR` prints."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.explain import Finding, explain_address
from mmtool.linux.init.boot import Boot
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.report.words import heading


def render_address(boot: Boot, address: int, output: str) -> None:
    """Print what is known of a physical address to standard output."""
    findings = explain_address(boot, address)
    if output in ("json", "yaml"):
        print_document(document(boot, address, findings), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(address, findings)))
    else:
        sys.stdout.write(prose(heading(boot) + "\n\n") + text_tables([table(address, findings)]))


def document(boot: Boot, address: int, findings: list[Finding]) -> dict[str, Any]:
    """The mmtool.explain-address/1 document."""
    return {
        "schema": "mmtool.explain-address/1",
        "kernel": {"release": boot.kernel.name, "profile": boot.kernel.profile.name},
        "address": f"{address:#x}",
        "findings": [
            {
                "stage": f.stage, "says": f.says,
                "start": None if f.start is None else f"{f.start:#x}",
                "end": None if f.end is None else f"{f.end - 1:#x}",
            }
            for f in findings
        ],
    }  # fmt: skip


def table(address: int, findings: list[Finding]) -> Table:
    """A line for each stage of the boot that has something to say."""
    t = Table(
        "explain", f"{'Virtual' if findings[0].stage == 'address space' else 'Physical'} address {address:#x}",
        columns("stage", "says", ("start", Kind.ADDRESS), ("last", Kind.ADDRESS)),
    )  # fmt: skip
    t.rows = [(f.stage, f.says, f.start, None if f.end is None else f.end - 1) for f in findings]
    return t
