"""Where a log says that an allocation failed: the lines that begin a report, in every form.

'page allocation failure', 'invoked oom-killer', vmalloc's and cma_alloc's messages. Lines may have been wrapped
between any two words.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from mmtool.late import dataclass
from mmtool.observed.reports.kills import KillLine
from mmtool.observed.reports.notices import Notice, find_notices
from mmtool.regex import regex


class ReportKind(Enum):
    FAILURE = "failure"
    OOM = "oom"
    VMALLOC = "vmalloc"
    CMA = "cma"
    VMEMMAP = "vmemmap"
    """Memory could not be added: no pages for its struct pages (from 4.16 on)."""
    STALL = "stall"
    """Nothing failed yet, but an allocation takes its time (4.10 to 4.14)."""
    SLAB = "slab"
    SWIOTLB = "swiotlb"
    HUGETLB = "hugetlb"
    PERCPU = "percpu"
    LOWMEMORYKILLER = "lowmemorykiller"
    SYSTEMD_OOMD = "systemd-oomd"
    EARLYOOM = "earlyoom"
    """These seven are notices of a line or two; the last three are kills that the kernel's OOM killer did not do."""
    SHOW_MEM = "show_mem"
    """A Mem-Info that no failure of the log belongs to: SysRq+m, or what is left of a report."""


class VmallocStep(Enum):
    """What vmalloc() says it failed at."""

    TOO_LARGE = "exceeds total pages"
    NO_AREA = "vm_struct allocation failed"
    NO_PAGES = "failed to allocate pages"
    NO_PAGE_ARRAY = "failed to allocate the array of pages"
    NO_MAPPING = "failed to map pages"
    UNSAID = "allocation failure"
    """Up to 5.14: a size of 0 or beyond memory, or no address range; the size tells which."""


@dataclass(frozen=True, slots=True)
class VmallocFailure:
    """`size` in bytes as asked for; `area` what was looked for in the address range, where that was said."""

    step: VmallocStep
    size: int
    allocated: int | None = None
    area: int | None = None
    range: tuple[int, int] | None = None
    """The part of the address space that it had to lie in, where it was restricted and said."""

    @property
    def warned(self) -> bool:
        """Did vmalloc() itself speak, and not only the search for a range?"""
        return self.area is None or self.area != self.size


@dataclass(frozen=True, slots=True)
class CmaFailure:
    """A cma_alloc() that failed with errno `-ret`. Pages; `available` as cma_debug_show_areas() lists free runs."""

    name: str | None
    req_size: int
    ret: int
    available: tuple[int, ...] | None = None
    """Lengths of the free runs."""
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """The head of a report: text[start:end] and what it says."""

    kind: ReportKind
    start: int
    end: int
    comm: str | None = None
    order: int | None = None
    mask: int | None = None
    names: str | None = None
    """The mask's names as printed; None before 4.6."""
    vmalloc: VmallocFailure | None = None
    cma: CmaFailure | None = None
    headless: bool = False
    """The line that begins such a report is lost, or the kernel did not print it; start == end."""
    memcg: bool = False
    """A memory cgroup's limit, not the machine, is what was out."""
    kills: tuple[KillLine, ...] = ()
    """What the OOM killer said for this event."""
    stalled_ms: int | None = None
    notice: Notice | None = None


_MODE = r"mode:\s*(?P<mask>0x[0-9a-f]{1,16})(?:\s*\((?P<names>[^()]*)\))?"
_FAILURE = regex(
    r"(?:page\s+allocation\s+failure[:.]|(?P<vmemmap>vmemmap\s+alloc\s+failure):|"
    r"page\s+allocation\s+stalls\s+for\s+(?P<stalled>\d{1,10})\s?ms,)\s+order:\s*(?P<order>-?\d{1,2})\b,\s+" + _MODE
)
_OOM = regex(
    r"invoked\s+oom-killer:\s+gfp_mask=(?P<mask>0x[0-9a-f]{1,16})(?:\s*\((?P<names>[^()]*)\))?"
    r"(?P<rest>[^\n]{0,60}(?:\n[^\n]{0,60})?)"
)
_ORDER = regex(r"\border=(-?\d{1,2})\b")
_VMALLOC = regex(
    r"\bvmalloc(?:\s+error:\s+size\s+(?P<size>\d{1,20}),\s+(?:align\s+0x[0-9a-f]{1,16},\s+)?"
    r"(?:page\s+order\s+(?P<order>\d{1,2})\b,\s+)?(?P<what>exceeds\s+total\s+pages|vm_struct\s+allocation\s+failed|"
    r"failed\s+to\s+allocate\s+pages|failed\s+to\s+allocated?\s+page\s+array|page\s+counter\s+array|"
    r"failed\s+to\s+map\s+pages)|:\s+allocation\s+failure(?::\s+(?P<bytes>\d{1,20})\s+bytes|"
    r",\s+allocated\s+(?P<done>\d{1,20})\s+of\s+(?P<of>\d{1,20})\s+bytes))(?:[^\n]{0,40}?,\s+" + _MODE + ")?"
)
_VMAP = regex(
    r"vmap\s+allocation\s+for\s+size\s+(?P<size>\d{1,20})\s+failed:\s+use|"
    r"vmalloc_node_range\s+for\s+size\s+(?P<in_range>\d{1,20})\s+failed:\s+Address\s+range\s+restricted\s+to\s+"
    r"(?P<from>0x[0-9a-f]{1,16})\s+-\s+(?P<to>0x[0-9a-f]{1,16})"
)
_CMA = regex(
    r"cma:\s+\w*cma_alloc\w*:\s+(?:(?P<name>[^\n:]{1,64}):\s+)?alloc\s+failed,\s+req-size:\s+(?P<pages>\d{1,20})\s+pages,"
    r"\s+ret:\s+(?P<ret>-?\d{1,20})"
)
_AVAILABLE = regex(r"number of available pages: ([\d@+ ]*)(?:=>\s*\d{1,20} free of (\d{1,20}) total pages)?")
_STEPS = {
    "exceeds": VmallocStep.TOO_LARGE,
    "vm_struct": VmallocStep.NO_AREA,
    "failed to map": VmallocStep.NO_MAPPING,
    "page counter": VmallocStep.NO_PAGE_ARRAY,
    "failed to allocated": VmallocStep.NO_PAGE_ARRAY,
    "failed to allocate page array": VmallocStep.NO_PAGE_ARRAY,
    "failed to allocate": VmallocStep.NO_PAGES,
}
_SIGNS = (
    "page allocation", "vmemmap alloc", "oom-killer", "vmalloc", "vmap allocation", "cma_alloc", "allocation failure",
)  # fmt: skip
_NEAR = 400
"""Characters within which two messages belong to one failure."""


def find_events(text: str) -> list[Event]:
    """The reports that `text` (lines freed of prefixes, joined) begins, in order; messages of one failure are one."""
    found = [_notice(notice) for notice in find_notices(text)]
    if not any(sign in text for sign in _SIGNS):
        return found
    found += [
        *(_failure(m) for m in _FAILURE.finditer(text)),
        *(event for m in _OOM.finditer(text) if (event := _oom(m))),
        *(_vmalloc(m) for m in _VMALLOC.finditer(text)),
        *(_vmap(m) for m in _VMAP.finditer(text)),
        *(_cma(m, text) for m in _CMA.finditer(text)),
    ]
    found.sort(key=lambda event: event.start)
    events: list[Event] = []
    for event in found:
        joined = (_joined(events[-1], event) or _with_cache(events[-1], event)) if events else None
        if joined is not None:
            events[-1] = joined
        else:
            events.append(event)
    return events


def _with_cache(first: Event, second: Event) -> Event | None:
    """One event of a failed page allocation and what SLUB then says of the cache that the page was for."""
    if first.kind is not ReportKind.FAILURE or second.kind is not ReportKind.SLAB or second.notice is None:
        return None
    known = first.notice
    if second.start - first.end > _LONGEST_REPORT or (known is not None and known.subject != second.notice.subject):
        return None
    count = second.notice.count + (known.count if known else 0)
    return replace(first, notice=replace(second.notice, count=count))


_LONGEST_REPORT = 20000


def _notice(n: Notice) -> Event:
    return Event(ReportKind(n.kind.value), n.start, n.end, mask=n.mask, names=n.names, notice=n)


def _failure(m: re.Match[str]) -> Event:
    kind = ReportKind.VMEMMAP if m["vmemmap"] else ReportKind.STALL if m["stalled"] else ReportKind.FAILURE
    return Event(
        kind, m.start(), m.end(), _comm(m), int(m["order"]), int(m["mask"], 16), _names(m["names"]),
        stalled_ms=int(m["stalled"]) if m["stalled"] else None,
    )  # fmt: skip


def _oom(m: re.Match[str]) -> Event | None:
    order = _ORDER.search(m["rest"])
    return Event(
        ReportKind.OOM,
        m.start(),
        m.end("names") if m["names"] is not None else m.end("mask"),
        _comm(m),
        int(order[1]) if order else None,
        int(m["mask"], 16),
        _names(m["names"]),
    )


def _vmalloc(m: re.Match[str]) -> Event:
    what = " ".join((m["what"] or "").split())
    step = next((step for begins, step in _STEPS.items() if what.startswith(begins)), VmallocStep.UNSAID)
    if m["done"]:
        step = VmallocStep.NO_PAGES
    failure = VmallocFailure(
        step, int(m["size"] or m["bytes"] or m["of"]), allocated=int(m["done"]) if m["done"] else None
    )
    order = int(m["order"]) if m["order"] else 0 if step is VmallocStep.NO_PAGES else None
    mask = int(m["mask"], 16) if m["mask"] else None
    return Event(ReportKind.VMALLOC, m.start(), m.end(), _comm(m), order, mask, _names(m["names"]), vmalloc=failure)


def _vmap(m: re.Match[str]) -> Event:
    size = int(m["size"] or m["in_range"])
    within = (int(m["from"], 16), int(m["to"], 16)) if m["from"] else None
    failure = VmallocFailure(VmallocStep.NO_AREA, size, area=size, range=within)
    return Event(ReportKind.VMALLOC, m.start(), m.end(), vmalloc=failure)


def _cma(m: re.Match[str], text: str) -> Event:
    runs = total = None
    if listed := _AVAILABLE.search(text, m.end(), m.end() + _NEAR):
        runs = tuple(int(run.partition("@")[0]) for run in listed[1].split("+") if "@" in run)
        total = int(listed[2]) if listed[2] else None
    failure = CmaFailure(m["name"], int(m["pages"]), int(m["ret"]), runs, total)
    return Event(ReportKind.CMA, m.start(), m.end(), cma=failure)


def _joined(first: Event, second: Event) -> Event | None:
    """One event of two messages about one failure of vmalloc(); None for two failures.

    First the address range that was looked for, then who asked: with the reason from 5.14 on, with the size alone
    before; and before 4.11 the size, then warn_alloc()'s line. A vmalloc area is a guard page larger than the request.
    """
    if first.vmalloc is None or first.mask is not None or second.start - first.end > _NEAR:
        return None
    if second.vmalloc is not None and first.vmalloc.area is not None and second.vmalloc.area is None:
        if not second.vmalloc.size <= first.vmalloc.area <= second.vmalloc.size + _GUARD:
            return None
        step = second.vmalloc.step
        failure = VmallocFailure(
            VmallocStep.NO_AREA if step is VmallocStep.UNSAID else step,
            second.vmalloc.size, second.vmalloc.allocated, first.vmalloc.area, first.vmalloc.range,
        )  # fmt: skip
        return replace(second, start=first.start, vmalloc=failure)
    if second.kind is ReportKind.FAILURE and second.order == 0 and first.vmalloc.warned:
        order = first.order if first.vmalloc.step is VmallocStep.NO_PAGES else None
        return replace(second, kind=ReportKind.VMALLOC, start=first.start, order=order, vmalloc=first.vmalloc)
    return None


_GUARD = 1 << 21
"""By so many bytes at most an area is larger than what was asked for: its guard page, and the rounding to pages."""


_FRONT = regex(r"([^\n]{1,64}?):?\s+$")
_LONGEST_COMM = 15


def _comm(m: re.Match[str]) -> str | None:
    """The task's name: what stands in front on the line, or alone on the line before; 15 characters at most."""
    line = _line_start(m.string, m.start())
    if line == m.start():
        # mail broke the line behind the name, which is then all that the line before has
        before = _line_start(m.string, max(0, line - 1))
        alone = m.string[before : max(before, line - 1)].split("] ")[-1].strip()
        alone = alone.removesuffix(":")
        return alone if alone and len(alone) <= _LONGEST_COMM and not _SENTENCE.search(alone) else None
    front = _FRONT.search(m.string, line, m.start())
    words = front[1].split("] ")[-1] if front else ""
    return words.rpartition(";")[2].strip()[-_LONGEST_COMM:].strip() or None


def _line_start(text: str, at: int) -> int:
    """Where the line begins that `at` is in; of a line that is longer than any name with its prefix, near enough."""
    near = max(0, at - _NEAR)
    return text.rfind("\n", near, at) + 1 or near


_SENTENCE = regex(r"\.$|[=,]| \w+ |^\w+ \w+$|^[<>\[(]")
"""What no name of a task looks like."""


def _names(names: str | None) -> str | None:
    return None if names is None else "".join(names.split())
