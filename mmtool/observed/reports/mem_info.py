"""Mem-Info: what show_mem() prints below a failure, read from every form between 2.6.32 and 7.3.

The text may have been wrapped by mail, quoted, or mixed with what other CPUs said: values are found by their names and
not by their lines. What is missing or contradicts itself is noted, never refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import replace

from mmtool.late import dataclass
from mmtool.regex import regex

ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
"""Zone types, lowest first."""

_HEAD = regex(r"Mem-[Ii]nfo:")
_NAME = r"(?:Node\s+(?P<nid>\d{1,20})\s+)?\b(?P<zone>DMA32|DMA|Normal|HighMem|Movable|Device)"
_ZONE = regex(_NAME + r"\s+free:\s*(?P<free>\d{1,20})\s*kB")
_BLOCKS = regex(
    _NAME + r":(?P<blocks>(?:\s+\d{1,20}\*\s*\d{1,20}\s*kB(?:\s*\([A-Z]+\))?)+)(?:\s+=\s*(?P<sum>\d{1,20})\s*kB)?",
    re.DOTALL,
)
_RUN_TOGETHER = regex(
    _NAME + r":(?P<blocks>(?:\s+\\?\d{1,24}kB(?:\s*\([A-Z]+\))?){4,})\s+=\s*(?P<sum>\d{1,20})\s*kB", re.DOTALL
)
"""Blocks whose "*" markdown took for emphasis: "4*4kB" became "44kB"."""
_BLOCK = regex(r"(\d{1,20})\*\s*(\d{1,20})\s*kB(?:\s*\(([A-Z]+)\))?")
_NODE = regex(r"Node\s+(\d{1,20})\s+active_anon:")
_NODES = regex(r"\bNode\s+(\d{1,4})\b")
_FIELD = regex(r"\b([a-z]\w*(?:\(\w+\))?):\s*(\d{1,20})\s*[kK]B")
_TOTAL = regex(r"\b([A-Za-z][a-z_]*):(\d{1,20})\b(?!\s?[kK]B)")
_RESERVE = regex(r"lowmem_reserve\[\]:((?:\s+\d{1,20}(?![\d*:]|[ \t]*[a-z]))+)")
_PAGES = {
    "ram": regex(r"\b(\d{1,20})\s+pages\s+(?:of\s+)?RAM\b"),
    "reserved": regex(r"\b(\d{1,20})\s+(?:pages\s+reserved|reserved\s+pages)\b"),
    "highmem": regex(r"\b(\d{1,20})\s+pages\s+HighMem"),
    "cma": regex(r"\b(\d{1,20})\s+pages\s+cma\s+reserved"),
    "pagecache": regex(r"\b(\d{1,20})\s+total\s+pagecache\s+pages"),
    "swapcache": regex(r"\b(\d{1,20})\s+pages\s+in\s+swap\s+cache"),
}
_SWAP = {
    "free": regex(r"Free\s+swap\s*[=:]\s*(\d{1,20})\s*kB"),
    "total": regex(r"Total\s+swap\s*=\s*(\d{1,20})\s*kB"),
}
_HUGE = regex(
    r"Node\s+(\d{1,20})\s+hugepages_total=(\d{1,20})\s+hugepages_free=(\d{1,20})\s+hugepages_surp=(\d{1,20})\s+"
    r"hugepages_size=(\d{1,20})kB"
)
_SLAB_HEAD = regex(r"Unreclaimable slab info:")
_CACHE = regex(r"^(\S{1,64})\s+(\d{1,20})KB\s+(\d{1,20})KB\s*$", re.MULTILINE)
_TAG = regex(
    r"\b(\d{1,8}(?:\.\d{1,4})?)\s([KMGTP]?)i?B\s+(\d{1,20})\s+(\S{1,200}:\d{1,8})\s+(?:\[(\w{1,64})\]\s+)?func:(\S{1,100})"
)
_PER_CPU = regex(r"\busd:\s{0,8}(\d{1,20})\b")
_COUNTERS = {
    "active_anon", "inactive_anon", "isolated_anon", "active_file", "inactive_file", "isolated_file", "unevictable",
    "dirty", "writeback", "unstable", "slab", "slab_reclaimable", "slab_unreclaimable", "mapped", "shmem", "pagetables",
    "sec_pagetables", "bounce", "kernel_misc_reclaimable", "free", "free_pcp", "free_cma", "active", "inactive",
    "buffer", "kernel_stack", "zspages",
}  # fmt: skip
"""The counters at the head, where the line before them is lost."""
_MARKS = ("min", "low", "high")
PAGE_SIZES_KB = (4, 8, 16, 32, 64, 256)
"""Of any architecture, the most usual first."""


@dataclass(frozen=True, slots=True)
class OrderCount:
    """Free blocks of one order: how many, their size, and the migrate types among them as letters ("UMEHCI")."""

    count: int
    kb: int
    letters: str | None
    """None where the release prints none (before 3.10), and for no blocks."""


@dataclass(frozen=True, slots=True)
class ZoneDump:
    """A zone as the report has it; None for what the release does not print or the text lost. kB as printed."""

    nid: int
    name: str
    line: int
    kb: Mapping[str, int]
    """The fields of the zone's line: "free", "min", "present", "free_cma", ..."""
    lowmem_reserve: tuple[int, ...] | None
    """Pages kept from requests that could have used the zone of that index."""
    blocks: tuple[OrderCount, ...] | None
    """Free blocks by order."""
    blocks_kb: int | None
    """The sum that the text prints behind them."""

    @property
    def sum_kb(self) -> int | None:
        """The sum of the blocks, worked out."""
        return None if self.blocks is None else sum(b.count * b.kb for b in self.blocks)


@dataclass(frozen=True, slots=True)
class HugePages:
    """A node's huge pages of one size, in kB; counts of pages."""

    nid: int
    size_kb: int
    total: int
    free: int
    surplus: int


@dataclass(frozen=True, slots=True)
class AllocationTag:
    """What one place in the source holds (6.10 on, with memory allocation profiling): bytes as printed, rounded."""

    bytes: int
    calls: int
    place: str
    function: str
    module: str | None


@dataclass(frozen=True, slots=True)
class MemInfo:
    """One Mem-Info. Totals and `pages` are pages, everything else kB as printed."""

    zones: tuple[ZoneDump, ...]
    nodes: Mapping[int, Mapping[str, int]]
    """The nodes' lines (from 4.8 on)."""
    totals: Mapping[str, int]
    """The machine's counters at the head: "active_anon", "free", "slab_unreclaimable", ... in pages."""
    pages: Mapping[str, int]
    """ "ram", "reserved", "highmem", "cma", "pagecache" below the zones."""
    swap: Mapping[str, int]
    """ "free" and "total"."""
    page_kb: int
    """The size of a page, from the blocks of order 0, else from what zones and totals say of the same memory."""
    page_kb_known: bool
    """Neither says so, and 4 KiB is a guess, if this is False."""
    numa: bool
    """Zones are printed with their node."""
    notes: tuple[tuple[int, str], ...]
    """What is missing or contradicts itself, with its line."""
    named_nodes: frozenset[int] = frozenset()
    """Every node that the text names, if only beside huge pages or CPUs' lists."""
    huge_pages: tuple[HugePages, ...] = ()
    caches: tuple[tuple[str, int], ...] = ()
    """Caches of "Unreclaimable slab info" with their size in kB, the largest first."""
    tags: tuple[AllocationTag, ...] = ()
    per_cpu: int | None = None
    """Pages on the CPUs' lists, added up (before 4.2, which have no counter of it)."""


class LineNumbers:
    """From a place in joined lines to the line's number."""

    def __init__(self, starts: list[int], numbers: list[int]) -> None:
        self.starts, self.numbers = starts, numbers

    def at(self, offset: int) -> int:
        return self.numbers[max(0, bisect_right(self.starts, offset) - 1)]

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The lines that text[start:end] is of, and which part of each: its places from the line's beginning on."""
        first = max(0, bisect_right(self.starts, start) - 1)
        for i in range(first, bisect_right(self.starts, end - 1)):
            follows = self.starts[i + 1] - 1 if i + 1 < len(self.starts) else end
            yield self.numbers[i], max(start, self.starts[i]) - self.starts[i], min(end, follows) - self.starts[i]


def parse_mem_info(text: str, start: int, end: int, numbers: LineNumbers) -> MemInfo | None:
    """The Mem-Info within text[start:end]; None when there is no trace of one."""
    if restored := _with_stars(text[start:end]):
        text, end = text[:start] + restored, start + len(restored)
    head = _HEAD.search(text, start, end)
    heads, lists = list(_ZONE.finditer(text, start, end)), list(_BLOCKS.finditer(text, start, end))
    if head is None and not heads and not lists:
        return None
    begin = head.end() if head else (heads or lists)[0].start()
    nodes = list(_NODE.finditer(text, begin, end))
    reader = _Reader(text, end, numbers, sorted(m.start() for m in (*heads, *lists, *nodes)))
    zones = reader.zones(heads, lists)
    totals = reader.totals(begin if head else start, known_only=head is None)
    if not zones:
        reader.note(begin, "no zone's line is in the text")
    pages = {name: int(m[1]) for name, pattern in _PAGES.items() if (m := pattern.search(text, begin, end))}
    page_kb = _page_kb(zones, totals, pages.get("ram"))
    return MemInfo(
        tuple(zones),
        {int(m[1]): reader.fields(m.start(), reader.stop_after(m.start())) for m in nodes},
        totals,
        pages,
        {name: int(m[1]) for name, pattern in _SWAP.items() if (m := pattern.search(text, begin, end))},
        page_kb or PAGE_SIZES_KB[0],
        page_kb is not None,
        any(m["nid"] is not None for m in (*heads, *lists)),
        tuple(reader.notes),
        frozenset(int(m[1]) for m in _NODES.finditer(text, start, end)),
        tuple(
            HugePages(int(m[1]), int(m[5]), int(m[2]), int(m[3]), int(m[4])) for m in _HUGE.finditer(text, begin, end)
        ),
        _caches(text, begin, end),
        tuple(_tag(m) for m in _TAG.finditer(text, begin, end)),
        _sum_of(_PER_CPU, text, begin, end),
    )


def _with_stars(text: str) -> str | None:
    """The text with the "*" that markdown ate in the lists of free blocks; None where none lacks.

    A block's size ends the digits, and of all sizes of pages only one makes the sum what the line says.
    """
    if not _RUN_TOGETHER.search(text):
        return None
    pieces, at = [], 0
    for m in _RUN_TOGETHER.finditer(text):
        tokens = re.findall(r"(\d+)kB(\s*\([A-Z]+\))?", m["blocks"])
        for page_kb in PAGE_SIZES_KB:
            sizes = [str(page_kb << order) for order in range(len(tokens))]
            if all(digits.endswith(size) and digits != size for (digits, _), size in zip(tokens, sizes, strict=True)):
                counts = [int(digits.removesuffix(size)) for (digits, _), size in zip(tokens, sizes, strict=True)]
                if sum(n * int(size) for n, size in zip(counts, sizes, strict=True)) == int(m["sum"]):
                    whole = "".join(
                        f" {n}*{size}kB{types}" for n, size, (_, types) in zip(counts, sizes, tokens, strict=True)
                    )
                    pieces += [text[at : m.start("blocks")], whole]
                    at = m.end("blocks")
                    break
    return "".join([*pieces, text[at:]]) if pieces else None


def _caches(text: str, begin: int, end: int) -> tuple[tuple[str, int], ...]:
    head = _SLAB_HEAD.search(text, begin, end)
    if head is None:
        return ()
    found = [(m[1], int(m[3])) for m in _CACHE.finditer(text, head.end(), end)]
    return tuple(sorted(found, key=lambda cache: -cache[1]))


def _tag(m: re.Match[str]) -> AllocationTag:
    size = int(float(m[1]) * 1024 ** " KMGTP".index(m[2] or " "))
    return AllocationTag(size, int(m[3]), m[4], m[6], m[5])


def _sum_of(pattern: re.Pattern[str], text: str, begin: int, end: int) -> int | None:
    found = [int(m[1]) for m in pattern.finditer(text, begin, end)]
    return sum(found) if found else None


class _Reader:
    """The text up to `end`, the places where lines of zones and nodes begin, and what was noted while reading."""

    def __init__(self, text: str, end: int, numbers: LineNumbers, stops: list[int]) -> None:
        self.text, self.end, self.numbers, self.stops = text, end, numbers, stops
        self.notes: list[tuple[int, str]] = []

    def note(self, offset: int, words: str) -> None:
        self.notes.append((self.numbers.at(offset), words))

    def stop_after(self, offset: int) -> int:
        at = bisect_right(self.stops, offset)
        return self.stops[at] if at < len(self.stops) else self.end

    def fields(self, start: int, end: int) -> dict[str, int]:
        """Values in kB by name, the first of each name."""
        return {m[1]: int(m[2]) for m in reversed(list(_FIELD.finditer(self.text, start, end)))}

    def totals(self, begin: int, *, known_only: bool) -> dict[str, int]:
        """The machine's counters, which stand before the first zone or node; other words may be before them."""
        end = next((stop for stop in self.stops if stop >= begin), self.end)
        found = {m[1].lower(): int(m[2]) for m in reversed(list(_TOTAL.finditer(self.text, begin, end)))}
        return {name: n for name, n in found.items() if name in _COUNTERS} if known_only else found

    def zones(self, heads: list[re.Match[str]], lists: list[re.Match[str]]) -> list[ZoneDump]:
        """The zones by their lines (`heads`) and their blocks (`lists`), each the first of its name."""
        blocks = {_key(m): m for m in reversed(lists)}
        zones: dict[tuple[int, str], ZoneDump] = {}
        for m in heads:
            if _key(m) not in zones:
                zones[_key(m)] = self._zone(m, blocks.get(_key(m)))
        for key, m in reversed(blocks.items()):
            if key not in zones:
                self.note(m.start(), f"{_said(key)}: its line is missing, only its free blocks are there")
                zones[key] = ZoneDump(*key, self.numbers.at(m.start()), {}, None, *self._block_counts(m))
        return self._with_whole_reserves(list(zones.values()))

    def _zone(self, head: re.Match[str], blocks: re.Match[str] | None) -> ZoneDump:
        said, end = _said(_key(head)), self.stop_after(head.start())
        reserve = _RESERVE.search(self.text, head.end(), end)
        fields = self.fields(head.start(), reserve.start() if reserve else end) | {"free": int(head["free"])}
        missing = [mark for mark in _MARKS if mark not in fields]
        if missing:
            self.note(head.start(), f"{said}: {', '.join(missing)} missing")
        if reserve is None:
            self.note(head.start(), f"{said}: lowmem_reserve[] missing")
        if blocks is None:
            self.note(head.start(), f"{said}: its free blocks are missing")
        return ZoneDump(
            *_key(head),
            self.numbers.at(head.start()),
            fields,
            tuple(int(n) for n in reserve[1].split()) if reserve else None,
            *(self._block_counts(blocks) if blocks else (None, None)),
        )

    def _block_counts(self, m: re.Match[str]) -> tuple[tuple[OrderCount, ...] | None, int | None]:
        """A zone's free blocks by order, and their sum as the line says it."""
        counts = tuple(OrderCount(int(b[1]), int(b[2]), b[3]) for b in _BLOCK.finditer(m["blocks"]))
        printed = int(m["sum"]) if m["sum"] else None
        total, said = sum(b.count * b.kb for b in counts), _said(_key(m))
        if any(b.kb != counts[0].kb << order for order, b in enumerate(counts)):
            self.note(m.start(), f"{said}: an order is missing among its free blocks")
            return None, printed
        if printed is None:
            self.note(m.start(), f"{said}: its free blocks break off")
        elif printed != total:
            self.note(m.start(), f"{said}: its free blocks are {total} kB, but the line says {printed} kB")
        return counts, printed

    def _with_whole_reserves(self, zones: list[ZoneDump]) -> list[ZoneDump]:
        """Drop each lowmem_reserve[] that lost its end (all have one length), or that is another zone's.

        The latter shows where the line of a zone above is lost: all zeroes are then that zone's.
        """
        length = max((len(zone.lowmem_reserve) for zone in zones if zone.lowmem_reserve), default=0)
        lost = {(zone.nid, ZONES.index(zone.name)) for zone in zones if not zone.kb}
        for i, zone in enumerate(zones):
            if zone.lowmem_reserve is None:
                continue
            lost_above = any(nid == zone.nid and index > ZONES.index(zone.name) for nid, index in lost)
            if len(zone.lowmem_reserve) < length or (lost_above and not any(zone.lowmem_reserve)):
                self.notes.append((zone.line, f"{_said((zone.nid, zone.name))}: lowmem_reserve[] breaks off"))
                zones[i] = replace(zone, lowmem_reserve=None)
        return zones


def _key(m: re.Match[str]) -> tuple[int, str]:
    """The node and the zone that a line is of; without NUMA there is but node 0."""
    return int(m["nid"] or 0), m["zone"]


def _said(key: tuple[int, str]) -> str:
    return f"node {key[0]} zone {key[1]}"


def _page_kb(zones: list[ZoneDump], totals: Mapping[str, int], ram: int | None) -> int | None:
    """What the smallest blocks say, else the machine's pages against the kB of the same memory, if all is there."""
    for zone in zones:
        if zone.blocks:
            return zone.blocks[0].kb
    present_kb = sum(zone.kb.get("present", 0) for zone in zones)
    for kb in PAGE_SIZES_KB:
        if ram and present_kb == kb * ram:
            return kb
    free_kb, free = sum(zone.kb.get("free", 0) for zone in zones), totals.get("free", 0)
    return next((kb for kb in PAGE_SIZES_KB if free and abs(free_kb - kb * free) * 100 < free_kb), None)
