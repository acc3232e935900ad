"""Kills in a row, as `mmtool explain` says them."""

from __future__ import annotations

from typing import Any

from mmtool.answers.postmortem.storm import Storm
from mmtool.answers.postmortem.verdict import Judgement
from mmtool.report.postmortem.oom import who_died
from mmtool.report.postmortem.words import reason
from mmtool.report.table import Kind, Table, columns, folded, text_tables


def storm_text(storm: Storm, top: int) -> str:
    """The storm in one section: how many, how long, what began it, by name."""
    over = f" within {storm.seconds:.0f} s" if storm.seconds is not None else ""
    first = storm.first
    head = (
        f"A storm: {storm.events} OOM events, {storm.killed} processes killed{over}\n"
        f"It began in line {first.report.line}: {first.verdict.value}: {reason(first)}{who_died(first)}\n"
    )
    t = Table("storm", "Killed, by name", columns("name", ("processes", Kind.COUNT)))
    t.rows += storm.by_name[:top]
    return f"{folded(head)}\n{text_tables([t])}"


def kills_text(section: list[Judgement]) -> str:
    """Kills in a row of which the log has no more than the lines."""
    first, last = section[0].report, section[-1].report
    said = [
        f"- line {j.report.line}: {', '.join(f'{line.name} ({line.pid})' for line in j.report.died) or 'nobody'}"
        f"{' (memory cgroup)' if j.report.memcg else ''}\n"
        for j in section
    ]
    head = f"lines {first.line} to {last.line}: {len(section)} kills without a dump (it is rate-limited)\n"
    return folded(head + "".join(said))


def storm_document(storm: Storm) -> dict[str, Any]:
    """The storm for scripts."""
    return {
        "events": storm.events,
        "killed": storm.killed,
        "seconds": storm.seconds,
        "first_line": storm.first.report.line,
        "by_name": [{"name": name, "processes": n} for name, n in storm.by_name],
    }
