"""How a model's run of a memblock script compares with a recorded one, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mmtool.report.untrusted import printable
from mmtool.system.memblock_records import Comparison
from mmtool.system.memblock_script import Outcome


def run_json(record_id: str, run: Outcome, *, states: bool) -> str:
    """One line of JSON that says what a script did; `states`: with the state after each operation."""
    line = {"id": record_id, "outcome": run.outcome, "results": run.results, "state": run.state}
    if states:
        line["states_after"] = run.states_after
    return json.dumps(line)


def comparison_lines(comparisons: Sequence[Comparison], shown: int = 5) -> list[str]:
    """How many of the records agree, and for the first `shown` that do not, where and how they differ."""
    compared = [c for c in comparisons if c.recorded]
    apart = [c for c in compared if c.difference]
    lines = [f"{len(compared) - len(apart)} of {len(compared)} records agree"]
    if len(compared) < len(comparisons):
        lines[0] += f", {len(comparisons) - len(compared)} hold no results to compare with"
    lines += [printable(f"{c.id} (line {c.line}): {c.difference}") for c in apart[:shown]]
    if len(apart) > shown:
        lines.append(f"and {len(apart) - shown} more")
    return lines
