"""/proc/zoneinfo: every zone's pages, watermarks, reserves, counters and per-CPU lists, as the running kernel has them.

Printed by zoneinfo_show() of mm/vmstat.c. Which lines there are depends on the release; what all have is required, so
that a text that breaks off is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

_ZONE = regex(r"Node (\d{1,19}), zone +(\S+)")
_FIELD = regex(r" +(?:pages )?([a-z_]+):? +(\d{1,19})")
_PROTECTION = regex(r" +protection: \((\d{1,19}(?:, \d{1,19})*)\)")
_CPU = regex(r" +cpu: (\d{1,19})(?: .*)?")
_THRESHOLD = regex(r" +vm stats threshold: \d{1,19}")

_REQUIRED = ("free", "min", "low", "high", "spanned", "present", "managed")
_PAGES = (*_REQUIRED, "boost", "promo", "cma", "scanned")
_LAST = ("start_pfn", "node_unreclaimable", "all_unreclaimable", "inactive_ratio", "reserved_highatomic",
         "free_highatomic")  # fmt: skip
_PAGESET = ("count", "high", "batch", "high_min", "high_max")


@dataclass(frozen=True, slots=True)
class Pageset:
    """A CPU's lists of a zone: pages on them, and how many they may hold and move at once."""

    cpu: int
    count: int
    high: int
    batch: int
    high_min: int | None = None
    """From 6.7 on `high` moves between `high_min` and `high_max`."""
    high_max: int | None = None


@dataclass(frozen=True, slots=True)
class ZoneInfo:
    """One zone. All counts in pages; what a release does not print is None or 0 as said."""

    line: int
    """Where it begins in the text."""
    nid: int
    name: str
    free: int
    min: int
    """With the others, as the kernel uses it: from 5.19 on, `boost` is a part of it."""
    low: int
    high: int
    spanned: int
    present: int
    managed: int
    protection: tuple[int, ...]
    """lowmem_reserve: pages kept from requests that could have used the zone of that index."""
    boost: int = 0
    promo: int | None = None
    cma: int | None = None
    """Pages of CMA areas, free or not; None where the release or the build does not print it."""
    start_pfn: int | None = None
    """None for a zone without pages, of which nothing below is printed either."""
    reserved_highatomic: int | None = None
    free_highatomic: int | None = None
    unreclaimable: bool = False
    """kswapd has given up on the node (node_unreclaimable, before 4.8 all_unreclaimable of the zone)."""
    counters: Mapping[str, int] = field(default_factory=dict)
    """The zone's vmstat counters by name ("nr_free_cma")."""
    pagesets: tuple[Pageset, ...] = ()

    @property
    def populated(self) -> bool:
        return self.present > 0


@dataclass(frozen=True, slots=True)
class ZoneInfoFile:
    """The whole text: zones in its order, and the counters of each node (from 4.8 on)."""

    zones: tuple[ZoneInfo, ...]
    nodes: Mapping[int, Mapping[str, int]]


def parse_zoneinfo(text: str, source: str) -> ZoneInfoFile:
    """The zones of a /proc/zoneinfo. InputError, at the line, for what is foreign, breaks off or contradicts itself."""
    zones: list[ZoneInfo] = []
    nodes: dict[int, Mapping[str, int]] = {}
    current: _Zone | None = None
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        if m := _ZONE.fullmatch(line):
            if current is not None:
                zones.append(current.finish(nodes, number))
            current = _Zone(source, number, int(m[1]), m[2])
            if any((z.nid, z.name) == (current.nid, current.name) for z in zones):
                raise InputError(source, number, f"zone {current.name} of node {current.nid} comes twice")
        elif current is not None:
            current.read(number, line)
        else:
            raise InputError(source, number, "is not /proc/zoneinfo: it begins with 'Node 0, zone ...'")
    if current is None:
        raise InputError(source, None, "is empty; /proc/zoneinfo begins with 'Node 0, zone ...'")
    zones.append(current.finish(nodes, number))
    return ZoneInfoFile(tuple(zones), nodes)


class _Zone:
    """A zone while its lines are read."""

    def __init__(self, source: str, line: int, nid: int, name: str) -> None:
        self.source, self.line, self.nid, self.name = source, line, nid, name
        self.pages: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.counters: dict[str, int] = {}
        self.node: dict[str, int] = {}
        self.protection: tuple[int, ...] | None = None
        self.pagesets: list[dict[str, int]] = []
        self.section = "per-node stats"

    def read(self, number: int, line: str) -> None:
        if m := _PROTECTION.fullmatch(line):
            self.protection = tuple(int(n) for n in m[1].split(","))
        elif line.strip() in ("per-node stats", "pagesets"):
            self.section = line.strip()
        elif self.section == "pagesets" and (m := _CPU.fullmatch(line)):
            self.pagesets.append({"cpu": int(m[1])})
        elif m := _FIELD.fullmatch(line):
            if m[1] == "free":
                self.section = "pages"
            self._store(m[1], int(m[2]))
        elif not _THRESHOLD.fullmatch(line):
            raise InputError(self.source, number, f"is no line of /proc/zoneinfo: {line.strip()[:60]!r}")

    def _store(self, name: str, value: int) -> None:
        if self.section == "per-node stats":
            self.node[name] = value
        elif self.section == "pages":
            (self.pages if name in _PAGES else self.counters)[name] = value
        elif name in _PAGESET and self.pagesets:
            self.pagesets[-1][name] = value
        elif name in _LAST:
            self.last[name] = value

    def finish(self, nodes: dict[int, Mapping[str, int]], number: int) -> ZoneInfo:
        missing = [name for name in _REQUIRED if name not in self.pages]
        if self.protection is None:
            missing.append("protection")
        elif self.pages.get("present") and "start_pfn" not in self.last:
            missing.append("start_pfn")
        if missing or any(not pageset.keys() >= {"count", "high", "batch"} for pageset in self.pagesets):
            what = missing[0] if missing else "a CPU's count, high or batch"
            raise InputError(
                self.source, number, f"zone {self.name} of node {self.nid} ends without {what}: give the file whole"
            )
        if self.node:
            nodes[self.nid] = self.node
        return ZoneInfo(
            self.line, self.nid, self.name, **{name: self.pages[name] for name in _REQUIRED},
            protection=self.protection or (), boost=self.pages.get("boost", 0), promo=self.pages.get("promo"),
            cma=self.pages.get("cma"), start_pfn=self.last.get("start_pfn"),
            reserved_highatomic=self.last.get("reserved_highatomic"), free_highatomic=self.last.get("free_highatomic"),
            unreclaimable=bool(self.last.get("node_unreclaimable", self.last.get("all_unreclaimable", 0))),
            counters=self.counters, pagesets=tuple(Pageset(**pageset) for pageset in self.pagesets),
        )  # fmt: skip
