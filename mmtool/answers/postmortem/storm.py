"""Kills in a row: who died, over what time, and what began it."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from mmtool.answers.postmortem.verdict import Judgement
from mmtool.late import dataclass
from mmtool.observed.reports import ReportKind

LEAST = 3
"""So many events are a storm."""


@dataclass(frozen=True, slots=True)
class Storm:
    """The OOM kills of a log together."""

    events: int
    """Events, with a dump or without."""
    killed: int
    """Processes that died."""
    by_name: tuple[tuple[str, int], ...]
    """How many of each name, the most first."""
    seconds: float | None
    """From the first to the last; None where lines have no time."""
    first: Judgement


def storm(judged: list[Judgement]) -> Storm | None:
    """The kills of a log's OOM events taken together; None for fewer than make a storm."""
    events = [j for j in judged if j.oom is not None and (j.oom.died or j.oom.no_killable)]
    if len(events) < LEAST:
        return None
    died = [line for j in events for line in j.report.died]
    names = Counter(line.name or "?" for line in died)
    times = [j.report.seconds for j in events if j.report.seconds is not None]
    length = max(times) - min(times) if len(times) == len(events) else None
    return Storm(len(events), len(died), tuple(names.most_common()), length, events[0])


def sections(judged: list[Judgement]) -> list[list[Judgement]]:
    """The reports in order; those in a row of which only lines of kills are left are one section if they are many."""
    found: list[list[Judgement]] = []
    for alone, group in groupby(judged, key=_only_lines):
        members = list(group)
        found += [members] if alone and len(members) >= LEAST else [[j] for j in members]
    return found


def _only_lines(j: Judgement) -> bool:
    r = j.report
    return r.kind is ReportKind.OOM and r.headless and not (r.mem_info or r.tasks or r.cgroup)
