"""A series of writes and discards on one zram device, as a file of lines tells it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.drivers.block.zram.zram_drv import MmStat, Zram
from mmtool.linux.mm.zsmalloc import ZsPool
from mmtool.regex import regex
from mmtool.units import parse_size

USAGE = (
    "machine disksize=PAGES [limit=PAGES], write FROM-TO LEN[*N],same[*N],..., discard FROM-TO, read FROM-TO, compact, "
    "reset-max or idle"
)
MOST_PAGES = 1 << 18
"""Pages that the lines of a script may touch in all, so that a line of ten words does not run for hours."""
MOST_TOLD, LINE = 2_000_000, 100
"""Pages of the device that are told of after each of the lines, all in all, and how many of them a line counts for."""
ALGORITHMS = ("lzo", "lzo-rle", "lz4", "lz4hc", "zstd", "deflate", "842")
_RANGE = regex(r"(\d{1,18})(?:-(\d{1,18}))?")
_LENGTH = regex(r"(same|\d{1,9})(?:\*(\d{1,18}))?")

Length = tuple[int | None, int]
"""(compressed bytes, or None for a page of one word over and over; how many pages)."""


@dataclass(frozen=True, slots=True)
class ZramLine:
    """A line that does something: its number, its word, the pages [first, last] and the lengths of what is written."""

    line: int
    does: str
    first: int = 0
    last: int = -1
    lengths: tuple[Length, ...] = ()


@dataclass(frozen=True, slots=True)
class ZramScript:
    """A device of `disksize` pages with `limit` pages for its pool (0: no limit), and what is done to it.

    `source` is the script's name.
    """

    disksize: int
    limit: int
    lines: tuple[ZramLine, ...]
    source: str


@dataclass(frozen=True, slots=True)
class ZramResult:
    """What the device is like after a line: mm_stat, its pages in run lengths, and how many writes failed."""

    line: int
    does: str
    mm_stat: MmStat
    pages: str
    failed: int


def parse_zram_script(text: Iterable[str], source: str, page_size: int) -> ZramScript:
    """The lines of a script, `#` starting a comment; InputError, at the line, for what is none."""
    disksize, limit = 0, 0
    lines: list[ZramLine] = []
    touched = 0
    for number, raw in enumerate(text, 1):
        words = raw.split("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "machine":
                if lines:
                    raise ValueError("machine comes before the first access")
                disksize, limit = _machine(words[1:])
                continue
            if not disksize:
                raise ValueError("a script begins with machine disksize=PAGES")
            line = _line(number, words, disksize, page_size)
            touched += line.last - line.first + 1
            if touched > MOST_PAGES:
                raise ValueError(f"the script touches more than {MOST_PAGES} pages")
        except ValueError as e:
            raise InputError(source, number, str(e)) from None
        lines.append(line)
    return ZramScript(disksize, limit, tuple(lines), source)


def _machine(words: list[str]) -> tuple[int, int]:
    values = {"limit": 0}
    for word in words:
        name, _, value = word.partition("=")
        if name == "algo":
            if value not in ALGORITHMS:
                raise ValueError(f"algo={value[:20]}: there are {', '.join(ALGORITHMS)}")
        elif name in ("disksize", "limit"):
            values[name] = parse_size(value)
        else:
            raise ValueError(f"{word[:40]!r} is not disksize=, limit= or algo=")
    if not values.get("disksize"):
        raise ValueError("machine needs disksize=PAGES")
    return values["disksize"], values["limit"]


def _line(number: int, words: list[str], disksize: int, page_size: int) -> ZramLine:
    does = words[0]
    if does in ("compact", "reset-max", "idle") and len(words) == 1:
        return ZramLine(number, does)
    if (does, len(words)) not in (("write", 3), ("discard", 2), ("read", 2)):
        raise ValueError(f"{' '.join(words)[:60]!r} is no line of a script: {USAGE}")
    m = _RANGE.fullmatch(words[1])
    if m is None:
        raise ValueError(f"{words[1][:40]!r} is not a range FROM-TO of pages")
    first, last = int(m[1]), int(m[2] or m[1])
    if not first <= last < disksize:
        raise ValueError(f"pages {words[1]} do not lie on a device of {disksize} pages")
    lengths = tuple(_lengths(words[2], page_size)) if does == "write" else ()
    told = sum(n for _, n in lengths)
    if does == "write" and told != last - first + 1:
        raise ValueError(f"{last - first + 1} pages are written, and {told} lengths told")
    return ZramLine(number, does, first, last, lengths)


def _lengths(text: str, page_size: int) -> Iterator[Length]:
    for part in text.split(","):
        m = _LENGTH.fullmatch(part)
        if m is None:
            raise ValueError(f"{part[:40]!r} is not a length LEN[*N] or same[*N]")
        size = None if m[1] == "same" else int(m[1])
        if size is not None and not 1 <= size <= page_size:
            raise ValueError(f"a page compresses to 1 to {page_size} bytes, not to {size}")
        yield size, int(m[2] or 1)


def run_zram_script(script: ZramScript, pool: ZsPool) -> Iterator[ZramResult]:
    """Do what the lines say on a new device over `pool`, and tell its state after each.

    InputError, at the line, where that is more than anybody reads.
    """
    zram = Zram(pool, script.limit)
    told = 0
    for line in script.lines:
        told += LINE + len(zram.table)
        if told > MOST_TOLD:
            raise InputError(script.source, line.line, "the whole device is told of after each line; make two of it")
        yield ZramResult(line.line, line.does, *_after(zram, _do(zram, line)))


def _do(zram: Zram, line: ZramLine) -> int:
    """Do one line; how many of its writes failed. To read a page or to mark it idle moves nothing."""
    if line.does == "compact":
        zram.pool.zs_compact()
    elif line.does == "reset-max":
        zram.reset_used_max()
    elif line.does == "discard":
        for index in range(line.first, line.last + 1):
            zram.slot_free(index)
    elif line.does == "write":
        return _write(zram, line)
    return 0


def _write(zram: Zram, line: ZramLine) -> int:
    index, failed = line.first, 0
    for size, count in line.lengths:
        for _ in range(count):
            if size is None:
                zram.write_same_filled_page(index)
            else:
                failed += not zram.write_page(index, size)
            index += 1
    return failed


def _after(zram: Zram, failed: int) -> tuple[MmStat, str, int]:
    runs: list[str] = []
    kind, start, at = "", 0, 0
    for index, slot in sorted(zram.table.items(), key=_INDEX):
        letter = "s" if slot.handle is None else "h" if slot.huge else "x"
        if letter == kind and index == at:
            at += 1
            continue
        runs.append(_run(at - start, kind))
        runs.append(_run(index - at, "."))
        kind, start, at = letter, index, index + 1
    runs.append(_run(at - start, kind))
    return zram.mm_stat(), "".join(runs), failed


_INDEX = itemgetter(0)


def _run(count: int, letter: str) -> str:
    return f"{count}{letter}" if count > 1 else letter if count else ""
