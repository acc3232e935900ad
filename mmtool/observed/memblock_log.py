"""What a log made with memblock=debug tells of memblock: requests, changes, whole dumps, and where a limit changed.

Addresses and sizes in bytes; ranges are half-open here and inclusive in the log.
"""

from __future__ import annotations

import re
from itertools import pairwise

from mmtool.build.build import stable_version
from mmtool.build.fact import Fact, Version, parse_version
from mmtool.build.release import Release, release_facts
from mmtool.errors import InputError
from mmtool.firmware.cmdline import Cmdline, parse_cmdline
from mmtool.firmware.lines import decode, kernel_lines
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import Machine
from mmtool.firmware.packed import read_bytes
from mmtool.late import dataclass
from mmtool.regex import regex

OLDEST: Version = (4, 20, 0)
"""The first release whose memblock is modelled."""
X86_PAGE_MASK = 0xFFF


@dataclass(frozen=True, slots=True)
class Request:
    """An allocation that the kernel asked for: the arguments of `function`, which `caller` called.

    `end` is max_addr; 0 stands for the limit of that moment, and 1 too.
    """

    line: int
    function: str
    size: int
    align: int
    nid: int
    start: int
    end: int
    caller: str
    exact_nid: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A range [base, base + size) that was added, removed, reserved or freed; `nid` and `flags` from 6.16 on."""

    line: int
    kind: str
    base: int
    size: int
    caller: str
    nid: int = -1
    flags: int = 0

    @property
    def allocates(self) -> bool:
        """Was it an allocation function that reserved the range?"""
        return self.kind == "reserve" and _ALLOCATOR.match(self.caller) is not None


@dataclass(frozen=True, slots=True)
class DumpedRegion:
    """A region of a dump; `nid` is None where none is printed."""

    base: int
    size: int
    flags: int
    nid: int | None


@dataclass(frozen=True, slots=True)
class Dump:
    """Both lists, as "MEMBLOCK configuration:" prints them; `line` is its first."""

    line: int
    memory: tuple[DumpedRegion, ...]
    reserved: tuple[DumpedRegion, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """The boot has come to a point that is known by its lines: "mapped" (x86's direct map is there) or "numa"."""

    line: int
    kind: str


Event = Request | Change | Dump | Mark


@dataclass(frozen=True)
class MemblockLog:
    """A boot's events in their order, and what of its kernel counts for memblock.

    `low_limit` is where i386's direct map ends, as the log tells; None without one. `node_ranges` (node, start, end)
    is memory as "Early memory node ranges" gives it.
    """

    source: str
    facts: Release
    arch: str | None
    cmdline: Cmdline
    phys_addr_bits: int
    page_size: int
    numa: bool
    events: tuple[Event, ...]
    low_limit: int | None
    node_ranges: tuple[tuple[int, int, int], ...] = ()

    @property
    def requests(self) -> list[Request]:
        """The allocations that were asked for."""
        return [e for e in self.events if isinstance(e, Request)]


_RANGE = r"\[(?:mem )?0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]"
_NUMBER = r"0x([0-9a-f]{1,16})"
_REQUEST = regex(
    r"(memblock_(?:virt_)?(?:alloc|phys_alloc)\w*): (\d{1,20}) bytes align="
    + _NUMBER
    + r"(?: nid=(-?\d{1,5}))? from="
    + _NUMBER
    + r" max_addr="
    + _NUMBER
    + r"\s?(.*)"
)
_HUGETLB = regex(r"(memblock_alloc_hugetlb): (\d{1,20}) bytes, nid=(-?\d{1,5}), exact_nid=([01])\s?(.*)")
_CHANGE = regex(
    r"(?:__)?memblock_(add|add_node|remove|reserve|free|phys_free): "
    + _RANGE
    + r"(?: nid=(-?\d{1,5}) flags=([0-9a-f]{1,8}))?\s?(.*)"
)
_ALLOCATOR = regex(r"memblock_(?:virt_)?alloc|memblock_phys_alloc")
_REGION = regex(
    r"(memory|reserved)\[0x[0-9a-f]+\](?:\s|#011)*"
    + _RANGE
    + r", 0x[0-9a-f]+ bytes(?: on node (\d+))? flags: "
    + _NUMBER
)
_COUNT = regex(r"(memory|reserved)\.cnt\s+= " + _NUMBER)
# What one sees of allocations that no line asks for: NODE_DATA, areas for contiguous allocations, and before 5.16 the
# crash kernel and a RAM disk that moved.
_NODE_DATA = regex(r"(?:NUMA: )?NODE_DATA(?:\(\d+\) allocated)? " + _RANGE)
_CMA = regex(r"cma: Reserved (\d{1,9}) MiB at " + _NUMBER)
_CRASHKERNEL = regex(r"Reserving (\d{1,9})MB of (?:low )?memory at (\d{1,9})MB for crashkernel ")
_RAMDISK = regex(r"Allocated new RAMDISK: " + _RANGE)

_MAPPED = regex(
    r"memblock.* (?:init_mem_mapping|alloc_low_pages)\+|Using GB pages|RAMDISK: |ACPI: Early table|.*mapped low ram"
)
_NUMA = regex(r"NUMA: |NODE_DATA\(|No NUMA configuration found")
_NODE_RANGE = regex(r"\s+node\s+(\d{1,5}): " + _RANGE)
_LOW_LIMIT = regex(r"\s*mapped low ram: 0 - ([0-9a-f]{1,16})$")
_MAPPING_REQUEST = regex(r"memblock_phys_alloc_range: .* max_addr=" + _NUMBER + r" init_mem_mapping\+")
_PAGE_TABLE = regex(r"memblock_phys_alloc_range: (\d+) bytes .* early_pgtable_alloc\+")
_GRANULE = regex(r"-(16|64)k\b")


def read_memblock_log(path: str, release: Version | None = None) -> MemblockLog:
    """Read a log, plain or compressed ("-": standard input). InputError says what it lacks, or which line is wrong.

    `release` goes before the log's "Linux version".
    """
    return parse_memblock_log(decode(read_bytes(path), path), path, release)


def parse_memblock_log(text: str, source: str, release: Version | None = None) -> MemblockLog:
    """The events of the first boot in `text` that asks memblock for something; `source` names it in errors."""
    lines = _first_boot(kernel_lines(text))
    if lines is None:
        raise InputError(source, None, "no memblock_alloc... lines in it; give the log of a boot with memblock=debug")
    machine = read_log("\n".join(words for _, words in lines), source, need_map=False)
    version = release or _version(machine, lines)
    if version < OLDEST:
        name = ".".join(map(str, version))
        raise InputError(source, lines[0][0], f"a log of Linux {name}; memblock is modelled from 4.20 on")
    events = tuple(_events(lines))
    dumps = [e for e in events if isinstance(e, Dump)]
    if not dumps:
        missing = 'no whole "MEMBLOCK configuration:" in it; give the log from its beginning'
        raise InputError(source, lines[0][0], missing)
    nodes = any(r.nid is not None for d in dumps for r in d.memory)
    nodes = nodes or any(isinstance(e, Mark) and e.kind == "numa" for e in events)
    return MemblockLog(
        source, release_facts(version), machine.arch, parse_cmdline(machine.cmdline or ""),
        _phys_addr_bits(lines), _page_size(lines, machine.release or ""), nodes, events, _low_limit(lines),
        _node_ranges(lines),
    )  # fmt: skip


_MARKS = (("mapped", _MAPPED), ("numa", _NUMA))
_READ = (
    _REQUEST, _HUGETLB, _CHANGE, _REGION, _COUNT, _NODE_RANGE, _LOW_LIMIT, _MAPPING_REQUEST, _PAGE_TABLE, _NODE_DATA,
    _CMA, _CRASHKERNEL, _RAMDISK,
)  # fmt: skip


def lines_read(text: str) -> set[int]:
    """The numbers of the lines that `parse_memblock_log` takes something from; none of a log without requests."""
    lines = kernel_lines(text)
    if _first_boot(lines) is None:
        return set()
    begins = ("MEMBLOCK configuration:", "memory size")
    marks = (next((number for number, words in lines if mark.match(words)), None) for _, mark in _MARKS)
    return {number for number in marks if number is not None} | {
        number
        for number, words in lines
        if (stripped := words.strip()).startswith(begins)
        or any(pattern.match(words) or pattern.match(stripped) for pattern in _READ)
        or any(re.match(pattern, words) for pattern, _ in _SIGNS)
    }


def _first_with(name: str) -> Version:
    """The first release with a fact."""
    fact: Fact = getattr(Release, name)
    version = parse_version(fact.begins.first) if fact.begins is not None else None
    assert version is not None
    return version


# The oldest release that has a kind of line, newest first, for a log that lost its "Linux version".
_SIGNS: tuple[tuple[str, Version], ...] = (
    (r"memblock_alloc_hugetlb: ", _first_with("memblock_has_alloc_hugetlb")),
    (r"__memblock_reserve: ", _first_with("memblock_reservations_keep_their_request")),
    (r"cma: Reserved .* on node ", _first_with("cma_says_node")),
    (r"memblock_phys_free: ", _first_with("memblock_add_node_takes_flags")),
    (r"memblock_phys_alloc_range: ", _first_with("memblock_phys_alloc_range_says")),
)
OLDEST_WITHOUT_SIGN: Version = (5, 10, 0)


def _version(machine: Machine, lines: list[tuple[int, str]]) -> Version:
    """The kernel's release, or one whose lines look like these."""
    if machine.release and (version := stable_version(machine.release, machine.version_line or "")):
        return version
    for pattern, version in _SIGNS:
        if any(re.match(pattern, words) for _, words in lines):
            return version
    return OLDEST_WITHOUT_SIGN


def _first_boot(lines: list[tuple[int, str]]) -> list[tuple[int, str]] | None:
    """The lines from "Linux version" to the next of the first boot that has a request."""
    start, asked = 0, False
    for i, (_, words) in enumerate(lines):
        if words.startswith("Linux version "):
            if asked:
                return lines[start:i]
            start = i
        asked = asked or _request(0, words) is not None
    return lines[start:] if asked else None


def _phys_addr_bits(lines: list[tuple[int, str]]) -> int:
    """phys_addr_t is as wide as it is printed."""
    widths = [len(m[2]) for _, words in lines if (m := _CHANGE.match(words))]
    return 32 if widths and max(widths) <= 8 else 64


def _page_size(lines: list[tuple[int, str]], release: str) -> int:
    """4 KiB, unless the kernel's name or the size of a page table says something else (arm64)."""
    if m := _GRANULE.search(release):
        return int(m[1]) << 10
    sizes = (int(m[1]) for _, words in lines if (m := _PAGE_TABLE.match(words)))
    return next((size for size in sizes if size in (4096, 16384, 65536)), 4096)


def _low_limit(lines: list[tuple[int, str]]) -> int | None:
    for pattern in (_LOW_LIMIT, _MAPPING_REQUEST):
        for _, words in lines:
            if m := pattern.match(words):
                return int(m[1], 16)
    return None


def _node_ranges(lines: list[tuple[int, str]]) -> tuple[tuple[int, int, int], ...]:
    found = (m for _, words in lines if (m := _NODE_RANGE.match(words)))
    return tuple((int(m[1]), int(m[2], 16), int(m[3], 16) + 1) for m in found)


def _request(line: int, words: str) -> Request | None:
    if m := _REQUEST.match(words):
        function, size, align, nid, start, end, caller = m.groups()
        exact = "exact_nid" in function
        return Request(
            line, function, int(size), int(align, 16), int(nid or -1), int(start, 16), int(end, 16), caller, exact
        )
    if m := _HUGETLB.match(words):
        size = int(m[2])
        return Request(line, m[1], size, size, int(m[3]), 0, 0, m[5], m[4] == "1")
    return None


def _change(line: int, words: str) -> Change | None:
    if m := _CHANGE.match(words):
        kind = {"add_node": "add", "phys_free": "free"}.get(m[1], m[1])
        base, last = int(m[2], 16), int(m[3], 16)
        if last + 1 < base:
            return None
        return Change(line, kind, base, last + 1 - base, m[6], int(m[4] or -1), int(m[5] or "0", 16))
    if m := _NODE_DATA.match(words):
        base, last = int(m[1], 16), int(m[2], 16)
        return Change(line, "reserve", base, last + 1 - base, "NODE_DATA") if base <= last else None
    if m := _CMA.match(words):
        return Change(line, "reserve", int(m[2], 16), int(m[1]) << 20, "CMA")
    if m := _CRASHKERNEL.match(words):
        return Change(line, "reserve", int(m[2]) << 20, int(m[1]) << 20, "crashkernel")
    if m := _RAMDISK.match(words):
        base, last = int(m[1], 16), int(m[2], 16)
        return Change(line, "reserve", base, (last | X86_PAGE_MASK) + 1 - base, "RAMDISK") if base <= last else None
    return None


def _events(lines: list[tuple[int, str]]) -> list[Event]:
    events: list[Event] = []
    marked: set[str] = set()
    for i, (number, words) in enumerate(lines):
        for kind, pattern in _MARKS:
            if kind not in marked and pattern.match(words):
                marked.add(kind)
                events.append(Mark(number, kind))
        event: Event | None = None
        if words.startswith("MEMBLOCK configuration:"):
            event = _dump(lines, i)
        else:
            event = _request(number, words) or _change(number, words)
        if event is not None:
            events.append(event)
    return events


def _dump(lines: list[tuple[int, str]], at: int) -> Dump | None:
    """The dump that begins at lines[at]; None when lines of it are missing."""
    lists: dict[str, list[DumpedRegion]] = {}
    counts: dict[str, int] = {}
    for _, words in lines[at + 1 :]:
        words = words.strip()
        if m := _COUNT.match(words):
            counts[m[1]] = int(m[2], 16)
            lists[m[1]] = []
        elif (m := _REGION.match(words)) and m[1] in lists:
            base, last = int(m[2], 16), int(m[3], 16)
            lists[m[1]].append(DumpedRegion(base, last + 1 - base, int(m[5], 16), int(m[4]) if m[4] else None))
        elif not words.startswith("memory size") and words:
            break
    if any(len(lists.get(name, ())) != counts.get(name) for name in ("memory", "reserved")):
        return None
    regions = [r for name in lists for r in lists[name]]
    if any(r.size < 0 for r in regions) or not all(_ascends(lists[name]) for name in lists):
        return None
    return Dump(lines[at][0], tuple(lists["memory"]), tuple(r for r in lists["reserved"] if r.size))


def _ascends(regions: list[DumpedRegion]) -> bool:
    return all(a.base + a.size <= b.base for a, b in pairwise(regions))
