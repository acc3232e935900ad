"""What `mmtool lint` prints."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.answers.lint import Finding, Lint
from mmtool.build.kernel import Kernel
from mmtool.firmware.read import architecture_name
from mmtool.report.table import Kind, Table, columns, csv_table, folded, print_document
from mmtool.report.untrusted import one_line, printable
from mmtool.units import human


def render(origin: str, kernel: Kernel, linted: Lint, output: str) -> None:
    """Print the findings about the input `origin` to standard output."""
    if output in ("json", "yaml"):
        print_document(document(origin, kernel, linted), output)
    elif output == "csv":
        sys.stdout.write(csv_table(table(linted)))
    else:
        head = one_line(f"Linux {kernel.name} on {kernel.arch}, pages of {human(1 << kernel.page_shift)}")
        if linted.foreign is not None:
            head = f"A {architecture_name(linted.foreign)} machine, judged by what holds for every device tree"
        lines = [head, ""]
        lines += [sentence(origin, finding) for finding in linted.findings] or ["nothing found"]
        sys.stdout.write(folded(printable("\n".join(lines) + "\n")))


def sentence(origin: str, finding: Finding) -> str:
    """A finding in one line that begins with its place, as a compiler's messages do."""
    place, why = finding.place, finding.why[:1].upper() + finding.why[1:]
    pointed = isinstance(place, int) or place.startswith("/") or place.isdigit()
    return f"{origin}:{'' if pointed else ' '}{place}: {finding.what}. {why}. {finding.change} [{finding.rule}]"


def document(origin: str, kernel: Kernel, linted: Lint) -> dict[str, Any]:
    """The mmtool.lint/1 document: a finding's `place` as text, `line` where it is the number of one."""
    return {
        "schema": "mmtool.lint/1",
        "source": origin,
        "kernel": {"release": kernel.name, "profile": kernel.profile.name, "page_size": 1 << kernel.page_shift},
        "not_booted": linted.not_booted,
        "findings": [
            {
                "rule": f.rule,
                "place": str(f.place),
                "line": f.place if isinstance(f.place, int) else None,
                "what": f.what,
                "why": f.why,
                "change": f.change,
            }
            for f in linted.findings
        ],
    }


def table(linted: Lint) -> Table:
    """A row for each finding."""
    t = Table("lint", "Findings", columns("rule", ("line", Kind.COUNT), "place", "what", "why", "change"))
    t.rows = [
        (f.rule, f.place if isinstance(f.place, int) else None, str(f.place), f.what, f.why, f.change)
        for f in linted.findings
    ]
    return t
