"""One report: what was asked for, the memory as it was dumped, and what the OOM killer made of it."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import replace

from mmtool.errors import InputError
from mmtool.firmware.lines import decode, kernel_lines
from mmtool.firmware.packed import read_bytes
from mmtool.late import dataclass
from mmtool.observed.reports.cgroup import CgroupDump, parse_cgroup
from mmtool.observed.reports.events import CmaFailure, Event, ReportKind, VmallocFailure, find_events
from mmtool.observed.reports.kills import KillLine, Said, find_kills
from mmtool.observed.reports.mem_info import LineNumbers, MemInfo, parse_mem_info
from mmtool.observed.reports.notices import Notice
from mmtool.observed.reports.oom_events import bound_events
from mmtool.observed.reports.tasks import TaskTable, parse_tasks
from mmtool.observed.reports.trace import Trace, parse_trace
from mmtool.regex import recorded, regex


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
    mem_info: MemInfo | None
    headless: bool = False
    """The line that begins such a report is not in the log."""
    pid: int | None = None
    """The process that asked."""
    oom_score_adj: int | None = None
    """Its oom_score_adj (an OOM report from 2.6.36 on)."""
    stalled_ms: int | None = None
    seconds: float | None = None
    """The report's first line's time stamp, or its clock's seconds of the day where it has no stamp."""
    sysrq: bool = False
    """Somebody asked for the Mem-Info (SysRq+m)."""
    trace: Trace | None = None
    cgroup: CgroupDump | None = None
    """The cgroup's part of an OOM report."""
    tasks: TaskTable | None = None
    kills: tuple[KillLine, ...] = ()
    """What the OOM killer said."""
    notice: Notice | None = None
    hardware: str | None = None
    """The machine, as the report names it."""

    @property
    def is_notice(self) -> bool:
        """Is the notice all that there is, and not a part of a larger report?"""
        return self.notice is not None and self.kind.value == self.notice.kind.value

    @property
    def chosen(self) -> KillLine | None:
        """Whom the kernel says it chose; before 5.1 perhaps not who died."""
        said = (Said.CHOICE, Said.CANDIDATE, Said.KILLED, Said.EXITING)
        return next((line for what in said for line in self.kills if line.said is what), None)

    @property
    def died(self) -> tuple[KillLine, ...]:
        """Who died by the kernel's own lines; the chosen one where only the choice is in the log."""
        killed = {line.pid: line for line in self.kills if line.said in (Said.KILLED, Said.SHARING, Said.EXITING)}
        if not killed and (chosen := self.chosen) is not None and chosen.said is Said.CHOICE:
            return (chosen,)
        return tuple(killed.values())

    @property
    def killed(self) -> str | None:
        """The first process that died, "name (pid)"."""
        return f"{self.died[0].name} ({self.died[0].pid})" if self.died else None


_RELEASE = regex(
    r"(?:Not\s+tainted|Tainted:\s+[A-Z](?:[A-Z\s]|\[\w\]=\w+,?){0,60})[\s-]{0,60}\(?(?P<release>\d{1,20}\.\d{1,20}[.\w+-]*)"
)
_VERSION = regex(r"Linux version (\d{1,20}\.\d{1,20}\S*)")
_NODEMASK = regex(r"nodemask=([\d,-]+\d|\d)")
_MEMS = regex(r"mems_allowed=([\d,-]*\d)")
_ADJ = regex(r"oom_score_adj=(-?\d{1,5})")
_SYSRQ_M = regex(r"[Ss]ys[Rr]q ?: Show Memory")
_HARDWARE = regex(r"\bHardware name: (?P<name>[^\n]{1,120})")
_STAMP = regex(r"\[\s{0,12}(\d{1,9}\.\d{3,9})\]")
_CLOCK = regex(r"\b(\d\d):(\d\d):(\d\d)\b")
_PID = regex(r"\b(?:PID|Pid):\s+(\d{1,10})\b")


def read_reports(path: str, release: str | None = None) -> list[Report]:
    """The reports in a log, plain or compressed ("-": standard input). InputError when it cannot be read.

    `release` goes before what the log says of the kernel.
    """
    reports = parse_reports(decode(read_bytes(path), path), path)
    return reports if release is None else [replace(report, release=release) for report in reports]


MOST_REPORTS, REPORT = 10_000, 400
MOST_DUMPS, DUMP = 1_500, 2_000
"""Reports, and among them those with zones, that are read out of any log; of a longer one so many characters for each.
Whole ones are longer."""


def parse_reports(text: str, source: str | None = None) -> list[Report]:
    """The reports in the text of a log, or of a mail that quotes one, in order.

    Of a stranger's log `source` is the name, for an InputError where it has far more than a log of its size.
    """
    text = _freed(text)
    raw = text.split("\n")
    joined, numbers = _joined(text)
    events = bound_events(joined, find_events(joined), find_kills(joined))
    if not events:
        return []
    boots = [(m.start(), m[1]) for m in _VERSION.finditer(joined)]
    reports, places = [], _Places(joined)
    # a notice of a line or two may stand within a larger report: it ends none
    heads = [event.start for event in events if event.notice is None or event.kind is ReportKind.FAILURE]
    dumps = 0
    if source is not None and len(heads) > max(MOST_REPORTS, len(text) // REPORT):
        raise InputError(source, None, f"{len(heads)} reports are in {len(text)} characters; give a part of the log")
    for event in events:
        following = bisect_right(heads, event.start)
        end = heads[following] if following < len(heads) else len(joined)
        at = bisect_right(boots, (event.start, ""))
        if at < len(boots):
            end = min(end, max(event.end, boots[at][0]))
        report = _report(places, event, end, numbers, boots[at - 1][1] if at else None)
        dumps += bool(report.mem_info and report.mem_info.zones)
        if source is not None and dumps > max(MOST_DUMPS, len(text) // DUMP):
            raise InputError(source, report.line, f"{dumps} reports by here are cut short; give a part of the log")
        reports.append(replace(report, seconds=_seconds(raw[report.line - 1])))
    return reports


def places_read(text: str) -> dict[int, list[tuple[int, int]]]:
    """By its number each line of a log that reports are read from: which parts, as places in its words."""
    with recorded() as found:
        parse_reports(text)
    joined, numbers = _joined(_freed(text))
    is_log = {id(string): string == joined for string in {id(m.string): m.string for m in found}.values()}
    told: dict[int, list[tuple[int, int]]] = {}
    for m in found:
        if m.start() < m.end() and is_log[id(m.string)]:
            for number, start, end in numbers.within(m.start(), m.end()):
                told.setdefault(number, []).append((start, end))
    return told


def _freed(text: str) -> str:
    """Records of /dev/kmsg have their line feeds so, and markdown escapes what would be emphasis."""
    return text.replace("\\x0a", " ").replace("\\_", "_").replace("\\*", "*")


def _joined(text: str) -> tuple[str, LineNumbers]:
    """What the kernel said as one text, and where its lines are in the log."""
    lines = kernel_lines(text)
    starts, at = [], 0
    for _, words in lines:
        starts.append(at)
        at += len(words) + 1
    return "\n".join(words for _, words in lines), LineNumbers(starts, [number for number, _ in lines])


def _seconds(line: str) -> float | None:
    """The time in front of a raw line: printk's stamp, else the clock's seconds of the day."""
    if m := _STAMP.search(line, 0, 120):
        return float(m[1])
    if m := _CLOCK.search(line, 0, 60):
        return int(m[1]) * 3600 + int(m[2]) * 60 + int(m[3])
    return None


class _Places:
    """Where in a text a pattern is found, looked for once: many events may have the same far end."""

    def __init__(self, text: str) -> None:
        self.text, self.starts = text, dict[re.Pattern[str], list[int]]()

    def search(self, what: re.Pattern[str], start: int, end: int) -> re.Match[str] | None:
        if what not in self.starts:
            self.starts[what] = [m.start() for m in what.finditer(self.text)]
        starts = self.starts[what]
        at = bisect_left(starts, start)
        return what.search(self.text, starts[at], end) if at < len(starts) and starts[at] < end else None


def _report(places: _Places, event: Event, end: int, numbers: LineNumbers, booted: str | None) -> Report:
    """The report that `event` begins and that ends at `end` at the latest; `booted` is the log's last kernel."""
    text = places.text
    oom = event.kind is ReportKind.OOM
    alone = event.kind is ReportKind.CMA or (event.notice is not None and event.kind is not ReportKind.FAILURE)
    mem_info = None if alone else parse_mem_info(text, event.end, end, numbers)
    tasks = parse_tasks(text, event.end, end) if oom or event.headless else None
    choice = next((line for line in event.kills if line.said is Said.CHOICE), None)
    # from 4.19 on an OOM report says at its end which nodes counted
    said_at = choice.start if choice else event.start
    nodemask, mems = (what.search(text, said_at, min(max(end, said_at), said_at + 600)) for what in (_NODEMASK, _MEMS))
    release, pid, hardware = (places.search(what, event.end, end) for what in (_RELEASE, _PID, _HARDWARE))
    adj = _ADJ.search(text, event.start, min(end, event.end + 120)) if oom and not event.headless else None
    return Report(
        ReportKind.OOM if tasks and event.kind is ReportKind.SHOW_MEM else event.kind,
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
        event.memcg,
        mem_info,
        event.headless,
        int(pid[1]) if pid and not event.headless else None,
        int(adj[1]) if adj else None,
        event.stalled_ms,
        None,
        _SYSRQ_M.search(text, max(0, event.start - 300), event.start) is not None,
        None if alone else parse_trace(text, event.end, end),
        parse_cgroup(text, event.end, end) if oom else None,
        tasks,
        event.kills,
        event.notice,
        hardware["name"].strip() if hardware else None,
    )
