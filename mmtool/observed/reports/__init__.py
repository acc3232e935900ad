"""Reports of failed allocations in a kernel's log: what was asked for, and the memory as it was dumped."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace

from mmtool.firmware.lines import decode, kernel_lines
from mmtool.firmware.read import read_bytes
from mmtool.observed.reports.events import CmaFailure, Event, ReportKind, VmallocFailure, VmallocStep, find_events
from mmtool.observed.reports.mem_info import LineNumbers, MemInfo, OrderCount, ZoneDump, parse_mem_info

__all__ = [
    "CmaFailure",
    "MemInfo",
    "OrderCount",
    "Report",
    "ReportKind",
    "VmallocFailure",
    "VmallocStep",
    "ZoneDump",
    "parse_reports",
    "read_reports",
]


@dataclass(frozen=True, slots=True)
class Report:
    """One failure. What the text does not say is None."""

    kind: ReportKind
    line: int
    comm: str | None
    order: int | None
    mask: int | None
    names: str | None
    """The mask's names as the kernel printed them (from 4.6 on)."""
    nodemask: str | None
    """Nodes that the request is confined to ("0-1"); None where there is no such mask."""
    mems_allowed: str | None
    """Nodes that the task's cpuset allows."""
    release: str | None
    """The kernel, from the report's own lines or the log's "Linux version"."""
    vmalloc: VmallocFailure | None
    cma: CmaFailure | None
    memcg: bool
    """A memory cgroup's limit, not the machine, is what was out."""
    killed: str | None
    """The process that the OOM killer chose."""
    mem_info: MemInfo | None


_RELEASE = re.compile(
    r"(?:Not\s+tainted|Tainted:\s+[A-Z](?:[A-Z\s]|\[\w\]=\w+,?){0,60})[\s-]{0,60}\(?(?P<release>\d{1,20}\.\d{1,20}[.\w+-]*)"
)
_VERSION = re.compile(r"Linux version (\d{1,20}\.\d{1,20}\S*)")
_NODEMASK = re.compile(r"nodemask=([\d,-]+\d|\d)")
_CONSTRAINT = re.compile(r"oom-kill:constraint=")
"""From 4.19 on an OOM report says at its end which nodes counted."""
_MEMS = re.compile(r"mems_allowed=([\d,-]*\d)")
_MEMCG = re.compile(
    r"Memory cgroup out of memory|CONSTRAINT_MEMCG|memory: usage \d{1,20}kB, limit \d{1,20}kB|Memory cgroup stats"
)
_KILLED = re.compile(r"Kill(?:ed)? process (\d{1,20})(?:, UID \d{1,20},)? \(([^)\n]*)\)")


def read_reports(path: str, release: str | None = None) -> list[Report]:
    """The reports in a log, plain or compressed ("-": standard input). InputError when it cannot be read.

    `release` goes before what the log says of the kernel.
    """
    reports = parse_reports(decode(read_bytes(path)))
    return reports if release is None else [replace(report, release=release) for report in reports]


def parse_reports(text: str) -> list[Report]:
    """The reports in the text of a log, or of a mail that quotes one, in order."""
    lines = kernel_lines(text.replace("\\x0a", " "))
    starts, at = [], 0
    for _, words in lines:
        starts.append(at)
        at += len(words) + 1
    joined = "\n".join(words for _, words in lines)
    numbers = LineNumbers(starts, [number for number, _ in lines])
    events = find_events(joined)
    if not events:
        return []
    boots = [(m.start(), m[1]) for m in _VERSION.finditer(joined)]
    reports = []
    for event, following in zip(events, [*events[1:], None], strict=True):
        end = following.start if following else len(joined)
        at = bisect_right(boots, (event.start, ""))
        if at < len(boots):
            end = min(end, max(event.end, boots[at][0]))
        reports.append(_report(joined, event, end, numbers, boots[at - 1][1] if at else None))
    return reports


def _report(text: str, event: Event, end: int, numbers: LineNumbers, booted: str | None) -> Report:
    """The report that `event` begins and that ends at `end` at the latest; `booted` is the log's last kernel."""
    mem_info = None if event.kind is ReportKind.CMA else parse_mem_info(text, event.end, end, numbers)
    said_at = event.start
    if event.kind is ReportKind.OOM and (constraint := _CONSTRAINT.search(text, event.end, end)):
        said_at = constraint.start()
    nodemask, mems = (what.search(text, said_at, min(end, said_at + 600)) for what in (_NODEMASK, _MEMS))
    release = _RELEASE.search(text, event.end, end)
    killed = _KILLED.search(text, event.end, end) if event.kind is ReportKind.OOM else None
    return Report(
        event.kind,
        numbers.at(event.start),
        event.comm,
        event.order,
        event.mask,
        event.names,
        nodemask[1] if nodemask else None,
        mems[1] if mems else None,
        release["release"] if release else booted,
        event.vmalloc,
        event.cma,
        event.kind is ReportKind.OOM and _MEMCG.search(text, event.end, end) is not None,
        f"{killed[2]} ({killed[1]})" if killed else None,
        mem_info,
    )
