"""Which lines of a log belong to one OOM event: from its head, or what is left of it, to the processes that died.

The dump is rate-limited and the lines of the kills are not, logs are cut, and CPUs write at the same time: a line
belongs to an event only if it does not contradict the event's constraint, and if the event is not over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field, replace
from enum import Enum

from mmtool.late import dataclass
from mmtool.observed.reports.cgroup import LIMIT
from mmtool.observed.reports.events import Event, ReportKind
from mmtool.observed.reports.kills import KillLine, Said
from mmtool.regex import regex

_RECENT = 3
"""So many of the last events may still wait for their lines."""


class _Part(Enum):
    """Parts of a dump that tell whose event it is, or begin what is left of one."""

    LIMIT = LIMIT
    MEM_INFO = regex(r"Mem-[Ii]nfo:")
    TABLE = regex(r"^\[\s*pid\s*\]\s+uid\b|^\[ {0,12}\d{1,10}\](?: {1,40}-?\d{1,20}){4}\b", re.MULTILINE)
    STATS = regex(r"Memory cgroup stats for ")
    ZONE = regex(r"\bfree:\d{1,20}kB\s+(?:boost:\d{1,20}kB\s+)?min:\d{1,20}kB")
    OF_MEMCG = regex(
        r"\bmem_cgroup_(?:out_of_memory|oom_synchronize|oom|handle_oom)\+|"
        r"Task in \S{1,4096} killed as"
    )


@dataclass
class _Open:
    """An event that lines may still be added to."""

    event: Event
    memcg: bool | None = None
    """A cgroup's, or the machine's; None as long as nothing has told."""
    kills: list[KillLine] = field(default_factory=list)
    limit: bool = False
    """Its cgroup's counters came."""
    mem_info: bool = False
    """Its Mem-Info came."""

    def said(self, *what: Said) -> bool:
        return any(line.said in what for line in self.kills)

    @property
    def chosen(self) -> KillLine | None:
        return next((line for line in self.kills if line.said is Said.CHOICE), None)

    def takes(self, line: KillLine) -> bool:
        """Does a line belong to this event?"""
        if line.memcg is not None and self.memcg is not None and line.memcg is not self.memcg:
            return False
        if self.said(Said.PANIC):
            return False
        last = self.kills[-1].said if self.kills else None
        if line.said is Said.CHOICE:
            return not self.kills
        if line.said is Said.KILLED and last is Said.CANDIDATE and line.memcg is None:
            return True
        if line.said in (Said.CANDIDATE, Said.KILLED, Said.EXITING):
            if not self.said(Said.CANDIDATE, Said.KILLED, Said.EXITING, Said.NOBODY):
                return self.chosen is None or self.chosen.pid in (None, line.pid)
            return self.said(Said.GROUP) and self.memcg is not False and line.said is Said.KILLED
        if line.said in (Said.SHARING, Said.REAPED):
            return self.said(Said.KILLED, Said.CANDIDATE) and (
                line.said is Said.SHARING or any(line.pid == k.pid for k in self.kills)
            )
        if line.said is Said.NOBODY:
            return not self.said(Said.CANDIDATE, Said.KILLED, Said.NOBODY)
        if line.said is Said.GROUP:
            return self.said(Said.CHOICE, Said.KILLED, Said.CANDIDATE)
        return not self.said(Said.KILLED)

    def add(self, line: KillLine) -> None:
        self.kills.append(line)
        if line.memcg is not None:
            self.memcg = line.memcg


class _Bounder:
    """The events as far as the text was gone through."""

    def __init__(self) -> None:
        self.done: list[Event] = []
        self.latest = 0
        """Where the last of those in the text begins."""
        self.recent: list[_Open] = []
        self.dumped = True
        """Since the last head of any kind its Mem-Info came."""

    def begin(self, event: Event) -> _Open:
        self.recent.append(_Open(event))
        if len(self.recent) > _RECENT:
            self.close()
        return self.recent[-1]

    def close(self) -> None:
        item = self.recent.pop(0)
        event = replace(item.event, kills=tuple(item.kills), memcg=item.memcg is True)
        if event.kind is ReportKind.SHOW_MEM and event.headless and event.kills:
            event = replace(event, kind=ReportKind.OOM)
        self._finish(event)

    def _finish(self, event: Event) -> None:
        self.done.append(event)
        self.latest = max(self.latest, event.start)

    def head(self, event: Event) -> None:
        self.dumped = False
        if event.kind is ReportKind.OOM:
            self.begin(event)
        else:
            self._finish(event)

    def kill(self, line: KillLine) -> None:
        taker = next((item for item in reversed(self.recent) if item.takes(line)), None)
        if taker is None and line.said not in (Said.REAPED, Said.SHARING, Said.GROUP):
            taker = self.begin(Event(ReportKind.OOM, line.start, line.start, headless=True))
        if taker is not None:
            taker.add(line)

    def part(self, part: _Part, start: int) -> None:
        last = self.recent[-1] if self.recent else None
        if part in (_Part.TABLE, _Part.STATS):
            if last is None or last.kills:
                last = self.begin(Event(ReportKind.OOM, start, start, headless=True))
            if part is _Part.STATS and last.memcg is None and not last.mem_info:
                last.memcg = True
        elif part is _Part.OF_MEMCG:
            if last is not None and last.memcg is None and not last.mem_info:
                last.memcg = True
        elif part is _Part.LIMIT:
            if last is None or last.kills or last.limit or last.mem_info:
                last = self.begin(Event(ReportKind.OOM, start, start, headless=True))
            last.limit = last.memcg = True
        elif self.dumped and part is _Part.MEM_INFO:
            self.begin(Event(ReportKind.SHOW_MEM, start, start, headless=True)).mem_info = True
        elif part is _Part.MEM_INFO or not (self.recent or self.done):
            if part is _Part.ZONE:
                last = self.begin(Event(ReportKind.SHOW_MEM, 0, 0, headless=True))
            self.dumped = True
            if last is not None and last.event.start >= self.latest:
                last.mem_info = True
                last.memcg = bool(last.memcg)


def bound_events(text: str, heads: list[Event], kills: list[KillLine]) -> list[Event]:
    """The heads, and events whose head is lost, in order, each OOM event with the lines of its kills."""
    bounder = _Bounder()
    for start, what in _tokens(text, heads, kills):
        if isinstance(what, Event):
            bounder.head(what)
        elif isinstance(what, KillLine):
            bounder.kill(what)
        else:
            bounder.part(what, start)
    while bounder.recent:
        bounder.close()
    return sorted(bounder.done, key=lambda event: event.start)


def _tokens(text: str, heads: list[Event], kills: list[KillLine]) -> Iterator[tuple[int, Event | KillLine | _Part]]:
    """What begins, bounds or ends events, in the order of the text."""
    found: list[tuple[int, Event | KillLine | _Part]] = [(event.start, event) for event in heads]
    found += [(line.start, line) for line in kills]
    found += [(m.start(), part) for part in _Part for m in part.value.finditer(text)]
    return iter(sorted(found, key=lambda item: item[0]))
