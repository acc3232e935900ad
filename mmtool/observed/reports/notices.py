"""Failures that the kernel reports in a line or two of their own, and kills that its OOM killer did not do.

SLUB's and SLAB's "Unable to allocate memory", swiotlb's bounce buffers, huge pages at boot, per-CPU memory; Android's
lowmemorykiller and lmkd, systemd-oomd and earlyoom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import Enum

from mmtool.late import dataclass
from mmtool.regex import regex


class NoticeKind(Enum):
    SLAB = "slab"
    SWIOTLB = "swiotlb"
    HUGETLB = "hugetlb"
    PERCPU = "percpu"
    LOWMEMORYKILLER = "lowmemorykiller"
    SYSTEMD_OOMD = "systemd-oomd"
    EARLYOOM = "earlyoom"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice: text[start:end]; `numbers` by what they are, as printed."""

    kind: NoticeKind
    start: int
    end: int
    subject: str | None
    """The cache, the device, the process or the cgroup."""
    pid: int | None = None
    mask: int | None = None
    names: str | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    words: str | None = None
    """What it says beside: why, on whose behalf, of which cgroup the cache is."""
    count: int = 1
    """So many alike, one after the other."""


_SLAB = regex(
    r"SL[UA]B: Unable to allocate memory on (?:CPU \d{1,5} \(of node -?\d{1,5}\) on )?node (?P<node>-?\d{1,10}),? ?\(?"
    r"gfp=(?P<mask>0x[0-9a-f]{1,16})(?:\((?P<names>[^()]*)\))?\)?"
    r"(?:\s+cache: (?P<cache>[^\n,(]{1,200})(?:\((?P<memcg>[^\n)]{1,300})\))?, object size: (?P<object>\d{1,10}),"
    r"(?: buffer size: (?P<buffer>\d{1,10}), default order: (?P<default>\d{1,2}), min order: (?P<min>\d{1,2})"
    r"| order: (?P<order>\d{1,2})))?"
)
_SLAB_NODE = regex(
    r"\s{0,40}node \d{1,5}: slabs: (\d{1,20})(?:/\d{1,20})?, objs: (\d{1,20})(?:/\d{1,20})?, free: (\d{1,20})"
)
_SWIOTLB = regex(
    r"swiotlb buffer is full \(sz: (?P<size>\d{1,20}) bytes\)"
    r"(?:, total (?P<total>\d{1,20}) \(slots\), used (?P<used>\d{1,20}) \(slots\))?"
    r"|DMA: Out of SW-IOMMU space for (?P<old>\d{1,20}) bytes at device (?P<old_device>\S{1,80})"
)
_LONGEST_DEVICE = 80
_HUGETLB = regex(
    r"HugeTLB: allocating (?P<wanted>\d{1,20}) of page size (?P<size>[\d.]{1,10} [KMGT]i?B) failed\.\s+Only allocated "
    r"(?P<got>\d{1,20}) hugepages"
)
_PERCPU = regex(
    r"percpu: allocation failed, size=(?P<size>\d{1,20}) align=(?P<align>\d{1,20}) atomic=(?P<atomic>\d)"
    r"(?:, (?P<why>[^\n]{1,80}))?"
)
_LOWMEMORYKILLER = regex(
    r"lowmemorykiller: Killing '(?P<name>[^'\n]{0,64})' \((?P<pid>\d{1,10})\)(?: \(tgid \d{1,10}\))?, "
    r"adj (?P<adj>-?\d{1,5}),"
    r"\s+to free (?P<size>\d{1,20})kB on behalf of '(?P<by>[^'\n]{0,64})' \(\d{1,10}\) because"
    r"\s+cache (?P<cache>\d{1,20})kB is below limit (?P<limit>\d{1,20})kB for oom_score_adj (?P<threshold>-?\d{1,5})"
    r"(?:\s+Free memory is (?P<free>-?\d{1,20})kB above reserved)?"
)
_LMKD = regex(
    r"(?:lmkd|lowmemorykiller)[^\n]{0,24}?: Kill(?:ing)? '(?P<name>[^'\n]{0,64})' \((?P<pid>\d{1,10})\), "
    r"uid (?P<uid>\d{1,10}), oom_(?:score_)?adj (?P<adj>-?\d{1,5}) to free (?P<size>\d{1,20})kB"
    r"(?: rss, (?P<swap>\d{1,20})kB swap)?(?:; reason: (?P<why>[^\n]{1,160}))?"
)
_OOMD = regex(
    r"Killed (?P<cgroup>/\S{1,4096}) due to (?:"
    r"memory pressure for (?P<monitored>/\S{0,4096}) being (?P<pressure>[\d.]{1,8})% > "
    r"(?P<threshold>[\d.]{1,8})% for > (?P<time>[^\n]{1,40}?) with reclaim activity"
    r"|(?P<usage>memory used [^\n]{1,200}?being more than [\d.]{1,8}%))"
)
_EARLYOOM = regex(
    r"(?:sending (?P<signal>SIGTERM|SIGKILL) to process (?P<pid>\d{1,10}) (?:uid \d{1,10} )?"
    r"\"(?P<name>[^\"\n]{0,64})\": |"
    r"[Kk]illing process (?:(?P<old_pid>\d{1,10}) \"(?P<old_name>[^\"\n]{0,64})\" with signal \d{1,2}: "
    r"|'(?P<first_name>[^'\n]{0,64})' with signal \d{1,2}, pid: (?P<first_pid>\d{1,10}), ))"
    r"(?:badness|oom_score):? (?P<score>-?\d{1,6}), VmRSS:? (?P<rss>\d{1,10}) MiB"
)
_LIMITS = regex(r"([Ll]ow [Mm]emory! [Aa]t or below [Ss][Ii][Gg]\w{4} limits:? [^\n]{1,60})")
_NEAR = 600


def find_notices(text: str) -> list[Notice]:
    """Every notice of a log (lines freed of prefixes, joined), in order; what is repeated at once is one."""
    found: list[Notice] = []
    for sign, pattern, read in _READERS:
        if sign not in text:
            continue
        found += [read(m) for m in pattern.finditer(text)]
    found.sort(key=lambda notice: notice.start)
    kept: list[Notice] = []
    for notice in found:
        last = kept[-1] if kept else None
        if last is not None and notice.start < last.end:
            continue
        if last is not None and notice.kind in _REPEATED and _alike(last, notice):
            kept[-1] = replace(last, end=notice.end, count=last.count + 1)
        else:
            kept.append(notice)
    return kept


_REPEATED = (NoticeKind.SLAB, NoticeKind.SWIOTLB, NoticeKind.PERCPU)


def _alike(a: Notice, b: Notice) -> bool:
    same = (a.kind, a.subject, a.mask, a.words) == (b.kind, b.subject, b.mask, b.words)
    return same and a.numbers.get("size") == b.numbers.get("size") and b.start - a.end < _NEAR


def _numbers(m: re.Match[str], *names: str) -> dict[str, int]:
    return {name: int(m[name]) for name in names if m[name] is not None}


def _slab(m: re.Match[str]) -> Notice:
    numbers = _numbers(m, "node", "object", "buffer", "default", "min", "order")
    end, totals = m.end(), [0, 0, 0]
    while node := _SLAB_NODE.match(m.string, end):
        totals = [total + int(n) for total, n in zip(totals, node.groups(), strict=True)]
        end = node.end()
    if any(totals):
        numbers |= dict(zip(("slabs", "objects", "free"), totals, strict=True))
    names = "".join(m["names"].split()) if m["names"] is not None else None
    return Notice(NoticeKind.SLAB, m.start(), end, m["cache"], None, int(m["mask"], 16), names, numbers, m["memcg"])


def _swiotlb(m: re.Match[str]) -> Notice:
    if m["old"]:
        return Notice(NoticeKind.SWIOTLB, m.start(), m.end(), m["old_device"], numbers={"size": int(m["old"])})
    line = m.string.rfind("\n", max(0, m.start() - _LONGEST_DEVICE), m.start()) + 1 or max(
        0, m.start() - _LONGEST_DEVICE
    )
    device = m.string[line : m.start()].split("] ")[-1].removesuffix("swiotlb: ").strip().removesuffix(":") or None
    return Notice(NoticeKind.SWIOTLB, m.start(), m.end(), device, numbers=_numbers(m, "size", "total", "used"))


def _hugetlb(m: re.Match[str]) -> Notice:
    return Notice(NoticeKind.HUGETLB, m.start(), m.end(), m["size"], numbers=_numbers(m, "wanted", "got"))


def _percpu(m: re.Match[str]) -> Notice:
    return Notice(
        NoticeKind.PERCPU, m.start(), m.end(), None, numbers=_numbers(m, "size", "align", "atomic"), words=m["why"]
    )


def _lowmemorykiller(m: re.Match[str]) -> Notice:
    numbers = _numbers(m, "adj", "size", "cache", "limit", "threshold", "free")
    return Notice(
        NoticeKind.LOWMEMORYKILLER, m.start(), m.end(), m["name"], int(m["pid"]), numbers=numbers, words=m["by"]
    )


def _lmkd(m: re.Match[str]) -> Notice:
    numbers = _numbers(m, "uid", "adj", "size", "swap")
    return Notice(
        NoticeKind.LOWMEMORYKILLER, m.start(), m.end(), m["name"], int(m["pid"]), numbers=numbers, words=m["why"]
    )


def _oomd(m: re.Match[str]) -> Notice:
    why = m["usage"] or (
        f"memory pressure of {m['monitored']} was {m['pressure']}%, above {m['threshold']}% for {m['time']}"
    )
    return Notice(NoticeKind.SYSTEMD_OOMD, m.start(), m.end(), m["cgroup"], words=why)


def _earlyoom(m: re.Match[str]) -> Notice:
    limits = list(_LIMITS.finditer(m.string, max(0, m.start() - 400), m.start()))
    words = "; ".join(word for word in (m["signal"], limits[-1][1] if limits else None) if word)
    name, pid = m["name"] or m["old_name"] or m["first_name"], m["pid"] or m["old_pid"] or m["first_pid"]
    numbers = _numbers(m, "score", "rss")
    return Notice(NoticeKind.EARLYOOM, m.start(), m.end(), name, int(pid), numbers=numbers, words=words or None)


_READERS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Notice]], ...] = (
    ("Unable to allocate memory on", _SLAB, _slab),
    ("swiotlb buffer is full", _SWIOTLB, _swiotlb),
    ("Out of SW-IOMMU", _SWIOTLB, _swiotlb),
    ("HugeTLB: alloc", _HUGETLB, _hugetlb),
    ("percpu: alloc", _PERCPU, _percpu),
    ("lowmemorykiller: ", _LOWMEMORYKILLER, _lowmemorykiller),
    ("oom_", _LMKD, _lmkd),
    ("due to memory", _OOMD, _oomd),
    ("process ", _EARLYOOM, _earlyoom),
)
