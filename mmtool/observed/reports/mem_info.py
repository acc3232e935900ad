"""Mem-Info: what show_mem() prints below a failure, read from every form between 2.6.32 and 7.3.

The text may have been wrapped by mail, quoted, or mixed with what other CPUs said: values are found by their names and
not by their lines. What is missing or contradicts itself is noted, never refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace

ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
"""Zone types, lowest first."""

_HEAD = re.compile(r"Mem-[Ii]nfo:")
_NAME = r"(?:Node\s+(?P<nid>\d{1,20})\s+)?\b(?P<zone>DMA32|DMA|Normal|HighMem|Movable|Device)"
_ZONE = re.compile(_NAME + r"\s+free:\s*(?P<free>\d{1,20})\s*kB")
_BLOCKS = re.compile(
    _NAME + r":(?P<blocks>(?:\s+\d{1,20}\*\s*\d{1,20}\s*kB(?:\s*\([A-Z]+\))?)+)(?:\s+=\s*(?P<sum>\d{1,20})\s*kB)?",
    re.DOTALL,
)
_BLOCK = re.compile(r"(\d{1,20})\*\s*(\d{1,20})\s*kB(?:\s*\(([A-Z]+)\))?")
_NODE = re.compile(r"Node\s+(\d{1,20})\s+active_anon:")
_FIELD = re.compile(r"\b([a-z]\w*(?:\(\w+\))?):\s*(\d{1,20})\s*[kK]B")
_TOTAL = re.compile(r"\b([A-Za-z][a-z_]*):(\d{1,20})\b(?!\s?[kK]B)")
_RESERVE = re.compile(r"lowmem_reserve\[\]:((?:\s+\d{1,20}(?![\d*:]|[ \t]*[a-z]))+)")
_PAGES = {
    "ram": re.compile(r"\b(\d{1,20})\s+pages\s+(?:of\s+)?RAM\b"),
    "reserved": re.compile(r"\b(\d{1,20})\s+(?:pages\s+reserved|reserved\s+pages)\b"),
    "highmem": re.compile(r"\b(\d{1,20})\s+pages\s+HighMem"),
    "cma": re.compile(r"\b(\d{1,20})\s+pages\s+cma\s+reserved"),
    "pagecache": re.compile(r"\b(\d{1,20})\s+total\s+pagecache\s+pages"),
}
_SWAP = {
    "free": re.compile(r"Free\s+swap\s*[=:]\s*(\d{1,20})\s*kB"),
    "total": re.compile(r"Total\s+swap\s*=\s*(\d{1,20})\s*kB"),
}
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


class LineNumbers:
    """From a place in joined lines to the line's number."""

    def __init__(self, starts: list[int], numbers: list[int]) -> None:
        self.starts, self.numbers = starts, numbers

    def at(self, offset: int) -> int:
        return self.numbers[max(0, bisect_right(self.starts, offset) - 1)]


def parse_mem_info(text: str, start: int, end: int, numbers: LineNumbers) -> MemInfo | None:
    """The Mem-Info within text[start:end]; None when there is no trace of one."""
    head = _HEAD.search(text, start, end)
    heads, lists = list(_ZONE.finditer(text, start, end)), list(_BLOCKS.finditer(text, start, end))
    if head is None and not heads and not lists:
        return None
    begin = head.end() if head else (heads or lists)[0].start()
    nodes = list(_NODE.finditer(text, begin, end))
    reader = _Reader(text, end, numbers, sorted(m.start() for m in (*heads, *lists, *nodes)))
    zones = reader.zones(heads, lists)
    totals = reader.totals(begin)
    if not zones:
        reader.note(begin, "no zone's line is in the text")
    page_kb = _page_kb(zones, totals)
    return MemInfo(
        tuple(zones),
        {int(m[1]): reader.fields(m.start(), reader.stop_after(m.start())) for m in nodes},
        totals,
        {name: int(m[1]) for name, pattern in _PAGES.items() if (m := pattern.search(text, begin, end))},
        {name: int(m[1]) for name, pattern in _SWAP.items() if (m := pattern.search(text, begin, end))},
        page_kb or PAGE_SIZES_KB[0],
        page_kb is not None,
        any(m["nid"] is not None for m in (*heads, *lists)),
        tuple(reader.notes),
    )


class _Reader:
    """The text up to `end`, the places where lines of zones and nodes begin, and what was noted while reading."""

    def __init__(self, text: str, end: int, numbers: LineNumbers, stops: list[int]) -> None:
        self.text, self.end, self.numbers, self.stops = text, end, numbers, stops
        self.notes: list[tuple[int, str]] = []

    def note(self, offset: int, words: str) -> None:
        self.notes.append((self.numbers.at(offset), words))

    def stop_after(self, offset: int) -> int:
        return next((stop for stop in self.stops if stop > offset), self.end)

    def fields(self, start: int, end: int) -> dict[str, int]:
        """Values in kB by name, the first of each name."""
        return {m[1]: int(m[2]) for m in reversed(list(_FIELD.finditer(self.text, start, end)))}

    def totals(self, begin: int) -> dict[str, int]:
        """The machine's counters, which stand before the first zone or node."""
        end = next((stop for stop in self.stops if stop >= begin), self.end)
        return {m[1].lower(): int(m[2]) for m in reversed(list(_TOTAL.finditer(self.text, begin, end)))}

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


def _page_kb(zones: list[ZoneDump], totals: Mapping[str, int]) -> int | None:
    """What the smallest blocks say, else the machine's free pages against free kB, if the zones are all there."""
    for zone in zones:
        if zone.blocks:
            return zone.blocks[0].kb
    free_kb, free = sum(zone.kb.get("free", 0) for zone in zones), totals.get("free", 0)
    return next((kb for kb in PAGE_SIZES_KB if free and abs(free_kb - kb * free) * 100 < free_kb), None)
