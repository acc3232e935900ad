"""A trace of memory accesses as people have them: page numbers, a stream of addresses, or a kernel's own events.

What comes out is the same for all: which page was used, and how, access by access, in arrays of a few bytes each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import chain, islice

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

READ, WRITE, LOAD, STORE = range(4)
"""A read or a write by a system call, a load or a store through a mapping."""
PAGE_SHIFT = 12
OBJECT_SHIFT = 52
"""A page's key: the number of its object, and below this bit its own."""
MOST_ACCESSES, MOST_PAGES, MOST_OBJECTS = 100_000_000, 1 << 24, 1 << 20
SNIFFED = 200
"""Lines by which the form of a trace is recognised."""
LONGEST = 18
"""Digits of a number."""
ADDRESSES = "memory"
"""What addresses belong to where the trace does not say."""


@dataclass(slots=True)
class AccessTrace:
    """The accesses of a trace, oldest first: `ops` and, as indices into `keys`, `ids`."""

    form: str
    objects: list[tuple[str, bool]] = field(default_factory=list)
    """Name of each object, and whether it is an anonymous mapping."""
    keys: list[int] = field(default_factory=list)
    """The pages that occur, by first use: object << OBJECT_SHIFT | page."""
    ids: array[int] = field(default_factory=lambda: array("I"))
    ops: bytearray = field(default_factory=bytearray)
    merged: int = 0
    """Accesses of a stream of addresses that were to the page of the one before, in the same way."""
    ignored: dict[str, int] = field(default_factory=dict)
    """Events that say nothing of an access that is not known otherwise."""
    rests_on: list[str] = field(default_factory=list)


class _Builder:
    """Collects accesses; a page's number is given when it first occurs."""

    def __init__(self, form: str, source: str) -> None:
        self.trace = AccessTrace(form)
        self.source = source
        self._id_of: dict[int, int] = {}
        self._object_of: dict[str, int] = {}

    def object(self, name: str, anon: bool) -> int:
        """The key of an object's page 0."""
        number = self._object_of.get(name)
        if number is None:
            number = self._object_of[name] = len(self.trace.objects)
            if number >= MOST_OBJECTS:
                raise InputError(self.source, None, f"more than {MOST_OBJECTS} files and mappings")
            self.trace.objects.append((name, anon))
        return number << OBJECT_SHIFT

    def id_of(self, key: int, line: int) -> int:
        """The number of a page that is new; InputError where there are too many."""
        number = len(self.trace.keys)
        if number >= MOST_PAGES:
            raise InputError(self.source, line, f"more than {MOST_PAGES} different pages")
        self._id_of[key] = number
        self.trace.keys.append(key)
        return number

    def add(self, op: int, key: int, line: int) -> None:
        """One access."""
        number = self._id_of.get(key)
        if number is None:
            number = self.id_of(key, line)
        self.trace.ids.append(number)
        self.trace.ops.append(op)

    def done(self, why_none: str) -> AccessTrace:
        """The trace; InputError where nothing was in it, or too much."""
        if not self.trace.ids:
            raise InputError(self.source, None, why_none)
        self.check_length(None)
        return self.trace

    def check_length(self, line: int | None) -> None:
        """InputError where there are too many accesses."""
        if len(self.trace.ids) > MOST_ACCESSES:
            raise InputError(self.source, line, f"more than {MOST_ACCESSES} accesses; give a part of the trace")


_OF_SCRIPT = regex(rb"\s*(?:machine(?:\s+\w{1,20}=|\s*(?:#|$))|(?:file|anon)\s+\w\s+\d+\s*(?:#|$))")


def is_script(lines: list[bytes]) -> bool:
    """Do lines begin a script of accesses (`mmtool.system.reclaim_script`)? Such a script has a `machine` line."""
    return any(_OF_SCRIPT.match(line) for line in lines)


def sniff(lines: Iterable[bytes]) -> tuple[list[bytes], Iterator[bytes]]:
    """The first lines, and all of them."""
    it = iter(lines)
    head = list(islice(it, SNIFFED))
    return head, chain(head, it)


def read_accesses(
    lines: Iterable[bytes], source: str, *, addresses: bool = False, addresses_anon: bool = True
) -> AccessTrace:
    """The accesses of a trace in any of the forms.

    `addresses`: the numbers of the plain form are addresses in bytes. `addresses_anon`: what has an address and no
    file is anonymous memory; else a mapped file. InputError, at the line, for what is none.
    """
    head, lines = sniff(lines)
    if any(line.startswith(b"PERFILE") for line in head[:1]):
        raise InputError(source, None, "perf's own file; give what `perf script` prints of it")
    if any(_LACKEY.match(line) for line in head):
        return _lackey(lines, source, addresses_anon)
    if any(_EVENT.search(line) for line in head):
        return _events(lines, source, addresses_anon)
    return _plain(lines, source, addresses, addresses_anon)


# The plain form

OPS = {
    b"r": READ, b"read": READ, b"w": WRITE, b"write": WRITE, b"l": LOAD, b"load": LOAD, b"s": STORE, b"store": STORE,
    b"R": READ, b"W": WRITE, b"L": LOAD, b"S": STORE,
}  # fmt: skip
LINES_REMEMBERED = 1 << 18
"""Lines that need no second reading when they come again."""
THROUGH_A_MAPPING = (LOAD, STORE, LOAD, STORE)
PLAIN = "[r|w|l|s] [OBJECT:]PAGE"


def _plain(lines: Iterable[bytes], source: str, addresses: bool, addresses_anon: bool) -> AccessTrace:
    """A page a line, with the way it was used before or behind it."""
    b = _Builder("addresses" if addresses else "page numbers", source)
    shift = PAGE_SHIFT if addresses else 0
    bases: dict[bytes, tuple[int, bool]] = {}
    known: dict[bytes, tuple[int, int]] = {}
    ids, ops = b.trace.ids, b.trace.ops
    for number, line in enumerate(lines, 1):
        seen = known.get(line)
        if seen is not None:
            op, key = seen
            ids.append(key)
            ops.append(op)
            continue
        words = line.split(b"#")[0].split()
        if not words:
            continue
        try:
            op, name, page = _plain_access(words, addresses)
        except ValueError as e:
            raise InputError(source, number, str(e)) from None
        found = bases.get(name)
        if found is None:
            text = name.decode("utf-8", "replace")
            anon = text == "anon" or text.startswith("anon/") or (addresses and not text and addresses_anon)
            found = bases[name] = b.object(text or (ADDRESSES if addresses else "file"), anon), anon
        base, anon = found
        if anon or addresses:
            op = THROUGH_A_MAPPING[op]
        b.add(op, base | page >> shift, number)
        if len(known) < LINES_REMEMBERED:
            known[line] = op, ids[-1]
    return b.done("no accesses in it; a line each: " + PLAIN)


def _plain_access(words: list[bytes], addresses: bool) -> tuple[int, bytes, int]:
    """How, which object ("" for the only one) and which number."""
    if len(words) > 2:
        raise ValueError(f"{_short(b' '.join(words))} is no access; a line each: {PLAIN}")
    op, page = b"r", words[-1]
    if len(words) == 2:
        op, page = words if words[0] in OPS else words[::-1]
    if op not in OPS:
        raise ValueError(f"{_short(op)} is no way to use a page; there are r, w (system calls), l, s (a mapping)")
    name, _, digits = page.rpartition(b":")
    most = 64 if addresses else 64 - PAGE_SHIFT
    if len(digits) <= LONGEST + 2:
        try:
            value = int(digits, 0) if digits[:2] in (b"0x", b"0X") else int(digits)
        except ValueError:
            value = -1
        if 0 <= value < 1 << most and digits[:1].isdigit():
            return OPS[op], name, value
    raise ValueError(f"{_short(digits)} is no {'address' if addresses else 'number of a page'}")


def _short(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))


# Streams of addresses

_LACKEY = regex(rb"(?:I |\s[LSM]) +[0-9a-fA-F]{1,16},\d{1,3}\s*$")
_LACKEY_OPS = {b"I ": LOAD, b" L": LOAD, b" S": STORE, b" M": STORE}


def _lackey(lines: Iterable[bytes], source: str, anon: bool) -> AccessTrace:
    """valgrind's lackey with --trace-mem=yes: `I  address,size` and ` L`, ` S`, ` M` likewise."""
    b = _Builder("addresses of valgrind's lackey", source)
    base = b.object(ADDRESSES, anon)
    ids, ops, id_of = b.trace.ids, b.trace.ops, b._id_of
    kinds, last_of_page, shift = _LACKEY_OPS, (1 << PAGE_SHIFT) - 1, PAGE_SHIFT
    merged, last = 0, (-1, -1)
    for number, line in enumerate(lines, 1):
        op = kinds.get(line[:2])
        try:
            if op is None:
                raise ValueError
            text, _, size = line[2:].partition(b",")
            address = int(text, 16)
            end = (address & last_of_page) + int(size)
            if not 0 <= address <= (1 << 64) - int(size) or int(size) < 0 or end > 2 * last_of_page:
                raise ValueError
        except ValueError:
            if line[:2] in (b"==", b"--", b"**") or not line.strip():
                continue
            raise InputError(source, number, f"{_short(line.rstrip())} is no line of lackey's") from None
        page = address >> shift
        if (op, page) == last and end <= last_of_page + 1:
            merged += 1
            continue
        last = op, page
        key = base | page
        found = id_of.get(key)
        ids.append(b.id_of(key, number) if found is None else found)
        ops.append(op)
        if end > last_of_page + 1:
            b.add(op, key + 1, number)
            last = op, page + 1
    b.trace.merged = merged
    return b.done("no accesses in it")


# A kernel's events

_EVENT = regex(
    rb"(?:^|[\s:])(mm_filemap_\w{1,40}|page_fault_user|page_fault_kernel|(?:page-|minor-|major-)?faults)"
    rb"(?::[a-zA-Z]{0,8})?:\s+(.*)"
)
_TASK = regex(rb"^\s*.*?[\s-](\d{1,10})(?:/\d{1,10})?\s+(?:\([^)]{0,20}\)\s+)?(?:\[\d{1,5}\]|\d{1,12}\.\d)")
_FILE = regex(rb"dev[ =](\d{1,6}:\d{1,8}) ino[ =](?:0x)?([0-9a-f]{1,16})\b.*?\bofs=(\d{1,18})(?:-(\d{1,18}))?")
_ORDER = regex(rb"\border=(\d{1,2})\b")
_FAULT = regex(rb"address=(?:0x)?([0-9a-f]{1,16}) .*?error_code=(?:0x)?([0-9a-f]{1,8})")
_ADDR = regex(rb"([0-9a-f]{4,16})(?:\s+[0-9a-f]{4,16}\b.*)?$")
_WRITE_FAULT = 2
"""X86_PF_WRITE of an error code."""
_MOST_OF_A_RANGE = 1 << 18
"""Pages that one event may name."""

FILLS_ONLY = (
    "the trace holds what was brought into memory, not what was found there: accesses that hit are unknown, so that "
    "less memory than the machine had then will cost more than is said here"
)
FAULTS_ONLY = (
    "the trace holds page faults: accesses to pages that were mapped are unknown, so that less memory than the machine "
    "had then will cost more than is said here"
)
FAULTS_ANON = "a fault says no file: what it touched is taken to be anonymous memory of its process"
FAULTS_FILE = "a fault says no file: what it touched is taken to be a file mapped by its process"
NO_WRITES = "no event tells of write(2) to pages that are in memory"
FILLS_LEFT_OUT = "pages that came in and were not read, by write(2) or read ahead, are left out"


class _Ranges:
    """mm_filemap_get_pages: what is asked for, of which each event serves a part, up to where the next one begins."""

    def __init__(self, builder: _Builder) -> None:
        self.builder = builder
        self.last: dict[bytes, tuple[int, int, int, int]] = {}
        """By task, its last event: the object's page 0, the first page, the last, and where in the trace it begins."""
        self.not_served = array("Q")
        """Places in the trace of pages that a later event has served."""

    def asked(self, task: bytes, base: int, first: int, last: int, line: int) -> None:
        """A task asks for pages."""
        before = self.last.get(task)
        if before is not None and (before[0], before[2]) == (base, last) and before[1] < first:
            at = before[3] + first - before[1]
            self.not_served.extend(range(at, at + last - first + 1))
        self.last[task] = base, first, last, len(self.builder.trace.ids)
        for page in range(first, last + 1):
            self.builder.add(READ, base | page, line)

    def ended(self, task: bytes) -> None:
        """A task does something else than read."""
        self.last.pop(task, None)


def _events(lines: Iterable[bytes], source: str, addresses_anon: bool) -> AccessTrace:
    """perf script's or ftrace's lines with events of filemap and page faults.

    From 6.12 on events tell what is read whether it was in memory or not; then those of what was brought in say
    nothing more.
    """
    b = _Builder("events", source)
    ranges = _Ranges(b)
    fills = array("Q")
    faults = reads = 0
    ignored = b.trace.ignored
    for number, line in enumerate(lines, 1):
        m = _EVENT.search(line)
        if m is None:
            continue
        name, rest = m[1], m[2]
        task = t[1] if (t := _TASK.match(line)) is not None else b""
        if name.startswith(b"mm_filemap_"):
            if name in (b"mm_filemap_delete_from_page_cache", b"mm_filemap_map_pages"):
                ignored[name.decode()] = ignored.get(name.decode(), 0) + 1
                continue
            base, first, last = _file_range(b, name, rest, source, number)
            if name == b"mm_filemap_get_pages":
                ranges.asked(task, base, first, last, number)
                reads += 1
                continue
            if name == b"mm_filemap_fault":
                ranges.ended(task)
                b.add(LOAD, base | first, number)
                reads += 1
                continue
            for page in range(first, last + 1):
                fills.append(len(b.trace.ids))
                b.add(READ, base | page, number)
        else:
            ranges.ended(task)
            found = _fault(name, rest, source, number)
            if found is None:
                ignored[name.decode()] = ignored.get(name.decode(), 0) + 1
                continue
            address, op = found
            where = f"{ADDRESSES}/{task.decode()}" if task else ADDRESSES
            b.add(op, b.object(where, addresses_anon) | address >> PAGE_SHIFT, number)
            faults += 1
    gone = ranges.not_served
    if reads and fills:
        ignored["mm_filemap_add_to_page_cache"] = len(fills)
        gone += fills
    if gone:
        _leave_out(b.trace, sorted(gone))
    _what_events_do_not_say(b.trace, reads > 0, len(fills) > 0, faults > 0, addresses_anon)
    return b.done("no event of an access in it")


def _what_events_do_not_say(trace: AccessTrace, reads: bool, fills: bool, faults: bool, anon: bool) -> None:
    if fills and not reads:
        trace.rests_on.append(FILLS_ONLY)
    if faults:
        trace.rests_on += [FAULTS_ONLY, FAULTS_ANON if anon else FAULTS_FILE]
    if reads and fills:
        trace.rests_on.append(FILLS_LEFT_OUT)
    if reads or fills:
        trace.rests_on.append(NO_WRITES)


def _file_range(b: _Builder, name: bytes, rest: bytes, source: str, line: int) -> tuple[int, int, int]:
    """The object's page 0, and the first and the last page, of an event of filemap."""
    m = _FILE.search(rest)
    if m is None:
        raise InputError(source, line, f"{name.decode()} without dev, ino and ofs")
    first = int(m[3]) >> PAGE_SHIFT
    last = first if m[4] is None else int(m[4]) >> PAGE_SHIFT
    order = _ORDER.search(rest)
    if order is not None:
        last = first + (1 << min(int(order[1]), 20)) - 1
    if not 0 <= last - first < _MOST_OF_A_RANGE:
        raise InputError(source, line, f"{name.decode()} names {last - first + 1} pages")
    b.check_length(line)
    return b.object(f"{m[1].decode()}:{m[2].decode()}", False), first, last


def _fault(name: bytes, rest: bytes, source: str, line: int) -> tuple[int, int] | None:
    """Address and way of a page fault; None where it says none."""
    if name.startswith(b"page_fault_"):
        m = _FAULT.match(rest)
        return None if m is None else (int(m[1], 16), STORE if int(m[2], 16) & _WRITE_FAULT else LOAD)
    m = _ADDR.match(rest.strip())
    if m is None:
        raise InputError(source, line, f"{name.decode()} without an address; record it with `perf record -d`")
    return int(m[1], 16), LOAD


def _leave_out(trace: AccessTrace, which: Iterable[int]) -> None:
    """Take accesses out again, by their places in order, and the pages that no other one uses."""
    ids, ops = array("I"), bytearray()
    at = 0
    for gone in which:
        ids += trace.ids[at:gone]
        ops += trace.ops[at:gone]
        at = gone + 1
    ids += trace.ids[at:]
    trace.ops = ops + trace.ops[at:]
    used = {old: new for new, old in enumerate(dict.fromkeys(ids))}
    trace.keys = [trace.keys[old] for old in used]
    trace.ids = array("I", [used[old] for old in ids])
