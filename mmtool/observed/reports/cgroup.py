"""What an OOM report says of the memory cgroup whose limit was hit (mem_cgroup_print_oom_meminfo()), v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from mmtool.late import dataclass
from mmtool.regex import regex

LIMIT = regex(r"(?<![\w+])memory: usage (\d{1,20})kB, limit (\d{1,20})kB")
_COUNTER = regex(
    r"(?<![\w+])(memory\+swap|memory|swap|kmem): usage (\d{1,20})kB, limit (\d{1,20})kB(?:, failcnt (\d{1,20}))?"
)
_TASK_IN = regex(r"Task in (\S{1,4096})\s+killed as a result of limit of (\S{1,4096})")
_STATS = regex(r"Memory cgroup stats for (\S{1,4096}?):(?=\s|$)|Memory cgroup stats:")
_STATS_END = regex(r"Tasks state|\[\s*pid\s*\]|oom-kill:|[Kk]ill(?:ed)? process|invoked oom-killer")
_OF_V1 = regex(r"\b([a-z_]{2,40}(?:\([a-z]+\))?):(\d{1,20})KB")
_OF_V2 = regex(r"(?<![\w=:.])([a-z][a-z_0-9]{2,40}) (\d{1,20})(?![\w.:,/-])")
NO_LIMIT_KB = 1 << 50
"""A limit of so many kB and more is none (PAGE_COUNTER_MAX)."""


@dataclass(frozen=True, slots=True)
class PageCounter:
    """usage, limit and failcnt of one of a cgroup's counters, in kB as printed."""

    usage: int
    limit: int
    failcnt: int | None

    @property
    def limited(self) -> bool:
        return self.limit < NO_LIMIT_KB

    @property
    def full(self) -> bool:
        """Is the usage at the limit, to a kernel's batch of charges?"""
        return self.limited and self.usage >= self.limit


@dataclass(frozen=True, slots=True)
class CgroupDump:
    """A cgroup's part of a report. None, and an empty mapping, for what is not there."""

    path: str | None
    """The cgroup whose limit it was."""
    task_path: str | None
    """The cgroup of the task, where the report says it (up to 5.x; later the "oom-kill:" line does)."""
    counters: Mapping[str, PageCounter]
    """By name: "memory", "swap" (v2), "memory+swap" and "kmem" (v1)."""
    stat: Mapping[str, int]
    """Statistics of the cgroup with those below it, in bytes; of memory.stat's names those of sizes."""

    @property
    def reached(self) -> str | None:
        """The counter whose limit refused the charge; a limit of swap alone refuses none."""
        names = ("memory", "memory+swap", "kmem")
        return next((name for name in names if name in self.counters and self.counters[name].full), None)

    @property
    def version(self) -> int | None:
        """Which cgroups these are; None where the report does not tell."""
        if "memory+swap" in self.counters or "kmem" in self.counters:
            return 1
        return 2 if "swap" in self.counters else None


def parse_cgroup(text: str, start: int, end: int) -> CgroupDump | None:
    """The cgroup's lines within text[start:end]; None when there is none."""
    counters: dict[str, PageCounter] = {}
    for m in _COUNTER.finditer(text, start, end):
        counters.setdefault(m[1], PageCounter(int(m[2]), int(m[3]), int(m[4]) if m[4] else None))
    told = _TASK_IN.search(text, start, end)
    stats = list(_STATS.finditer(text, start, end))
    if not counters and not told and not stats:
        return None
    path = told[2] if told else next((m[1] for m in stats if m[1]), None)
    stat: dict[str, int] = {}
    if stats:
        over = _STATS_END.search(text, stats[0].end(), end)
        last = over.start() if over else end
        for i, (m, following) in enumerate(zip_longest(stats, stats[1:])):
            stop = min(last, following.start()) if following else last
            # before 5.3 each cgroup below has its own line; together they are what the limit counts
            for name, kb in _OF_V1.findall(text, m.end(), stop):
                stat[name] = stat.get(name, 0) + (int(kb) << 10)
            if i == 0:
                for name, size in _OF_V2.findall(text, m.end(), stop):
                    stat.setdefault(name, int(size))
    return CgroupDump(path, told[1] if told else None, counters, stat)
