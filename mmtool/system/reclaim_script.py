"""A workload inside a memory cgroup, as a script of accesses tells it: the language of `mmtool reclaim run`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import accumulate

from mmtool.errors import InputError
from mmtool.late import dataclass

ACCESSES = ("read", "write", "load", "store")
MADVICE = ("cold", "pageout", "free", "dontneed", "willneed")
FADVICE = ("dontneed", "willneed")
MACHINE_KEYS = ("max", "high", "swap", "swappiness", "fault_around", "page_cluster", "elsewhere")
DEVICES = ("zram", "ram", "disk")
MOST_HELD = 1 << 22
"""Pages of all objects together, and of all swap: a list has an entry for each."""
MAX_PAGES = 1 << 30
"""The pages that an object may have: a GiB lies between two objects' addresses."""
MAX_ACCESSES = 100_000
"""Of pages by a script, unless more are allowed: what a script asks for may be very much longer than the script."""


@dataclass(frozen=True, slots=True)
class SwapDevice:
    """A swap device: its kind (zram, ram, disk), pages with the header, and swapon's priority (None: its own)."""

    kind: str
    pages: int
    priority: int | None = None


@dataclass(slots=True)
class WorkloadMachine:
    """The `machine` line; sizes in pages, None for no limit, `fault_around` in bytes."""

    max: int | None = None
    high: int | None = None
    swap: tuple[SwapDevice, ...] = ()
    swappiness: int = 60
    fault_around: int = 4096
    page_cluster: int = 0
    elsewhere: int = 435
    """Pages of files on the lists of the rest of the machine, which MADV_PAGEOUT's refaults are weighed by; the guests
    of the records agree with about that much on every release."""


@dataclass(frozen=True, slots=True)
class WorkloadObject:
    """A file or an anonymous mapping and its pages."""

    name: str
    anon: bool
    pages: int


@dataclass(frozen=True, slots=True)
class Step:
    """A line that does something. `accesses` are (operation, object, pages) in order; else `words` say it."""

    line: int
    text: str
    op: str
    target: str = ""
    pages: tuple[int, ...] = ()
    mix: tuple[tuple[str, str, int], ...] = ()
    words: tuple[str, ...] = ()
    range: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Workload:
    """A script, parsed."""

    machine: WorkloadMachine = field(default_factory=WorkloadMachine)
    objects: dict[str, WorkloadObject] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    source: str = "-"
    """The script as the user named it."""
    left: int = MAX_ACCESSES
    """How many accesses may still be asked for."""
    most: int = MAX_ACCESSES
    """How many there may be in all."""


def parse_workload(lines: Iterable[str], source: str, most: int = MAX_ACCESSES) -> Workload:
    """Parse a script; InputError, at the line, for what is none, or asks for more than `most` accesses in all."""
    workload = Workload(source=source, left=most, most=most)
    machine_seen = False
    for number, text in enumerate(lines, 1):
        words = text.split("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "machine":
                _not_late(workload)
                _parse_machine(workload.machine, words[1:])
                machine_seen = True
            elif words[0] in ("file", "anon"):
                _not_late(workload)
                _parse_object(workload, words)
            else:
                workload.steps.append(_parse_step(workload, number, text, words))
        except ValueError as e:
            raise InputError(source, number, str(e)) from None
    if not machine_seen:
        raise InputError(source, None, "there is no `machine` line")
    return workload


def _not_late(workload: Workload) -> None:
    if workload.steps:
        raise ValueError("machine, file and anon come before the first access")


def _number(text: str, what: str, *, least: int = 0, most: int = MAX_PAGES) -> int:
    if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"{what}: {text!r} is no number from {least} to {most}")
    return int(text)


def _limit(text: str, what: str) -> int | None:
    return None if text == "max" else _number(text, what, most=1 << 50)


def _keywords(words: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    known = set(known)
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise ValueError(f"{word!r} is not understood here; there are {', '.join(f'{k}=' for k in sorted(known))}")
        found[key] = value
    return found


def _parse_machine(machine: WorkloadMachine, words: list[str]) -> None:
    for key, value in _keywords(words, MACHINE_KEYS).items():
        if key == "max":
            machine.max = _limit(value, key)
        elif key == "high":
            machine.high = _limit(value, key)
        elif key == "swap":
            machine.swap = parse_swap(value)
        elif key == "swappiness":
            machine.swappiness = _number(value, key, most=200)
        elif key == "fault_around":
            machine.fault_around = _number(value, key, least=4096)
        elif key == "elsewhere":
            machine.elsewhere = _number(value, key)
        else:
            machine.page_cluster = _number(value, key, most=31)


def parse_swap(value: str) -> tuple[SwapDevice, ...]:
    """`none`, or areas as DEV:PAGES[:PRIO] joined by +; ValueError for what is none."""
    devices: list[SwapDevice] = []
    for text in value.split("+"):
        kind, _, rest = text.partition(":")
        if kind == "none":
            continue
        if kind not in DEVICES:
            raise ValueError(f"swap={value}: {kind!r} is no device; there are {', '.join(DEVICES)} and none")
        pages, colon, priority = rest.partition(":")
        devices.append(
            SwapDevice(
                kind, _number(pages, "swap", least=2, most=MOST_HELD - sum(device.pages for device in devices)),
                _number(priority, "priority", most=32767) if colon else None,
            )
        )  # fmt: skip
    return tuple(devices)


def _parse_object(workload: Workload, words: list[str]) -> None:
    if len(words) != 3:
        raise ValueError(f"{words[0]} NAME PAGES")
    kind, name, pages = words
    if len(name) != 1 or not name.isalpha():
        raise ValueError(f"{name!r} is no name of one letter")
    if name in workload.objects:
        raise ValueError(f"there is a {name} already")
    left = MOST_HELD - sum(obj.pages for obj in workload.objects.values())
    workload.objects[name] = WorkloadObject(name, kind == "anon", _number(pages, "PAGES", least=1, most=left))


def _object(workload: Workload, name: str) -> WorkloadObject:
    if name not in workload.objects:
        raise ValueError(f"there is no {name!r}")
    return workload.objects[name]


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    start = _number(first, "page")
    return start, _number(last, "page") if dash else start


def _ordered(text: str) -> tuple[int, int]:
    first, last = _range(text)
    if last < first:
        raise ValueError(f"{text}: the last page comes before the first")
    return first, last


def _parse_step(workload: Workload, number: int, text: str, words: list[str]) -> Step:
    op, rest = words[0], words[1:]
    text = text.split("#")[0].strip()
    if op in ACCESSES:
        if len(rest) < 2:
            raise ValueError(f"{op} NAME PATTERN")
        obj = _object(workload, rest[0])
        _check_access(op, obj)
        pages = tuple(pattern(rest[1:], workload.left))
        workload.left -= len(pages)
        _check_pages(obj, pages)
        return Step(number, text, op, obj.name, pages=pages)
    if op == "mix":
        mixed = _mix(workload, rest)
        workload.left -= len(mixed)
        return Step(number, text, op, mix=tuple(mixed))
    if op in ("advise", "fadvise"):
        known = MADVICE if op == "advise" else FADVICE
        if len(rest) != 3 or rest[1] not in known:
            raise ValueError(f"{op} NAME {'|'.join(known)} FROM-TO")
        return _ranged(workload, number, text, op, rest[0], rest[2], (rest[1],))
    if op in ("mlock", "munlock"):
        if len(rest) != 2:
            raise ValueError(f"{op} NAME FROM-TO")
        return _ranged(workload, number, text, op, rest[0], rest[1], ())
    if op == "sync":
        if len(rest) != 1 or _object(workload, rest[0]).anon:
            raise ValueError("sync NAME, a file")
        return Step(number, text, op, rest[0])
    if op == "set":
        if len(rest) != 2 or rest[0] not in ("memory.max", "memory.high", "swappiness"):
            raise ValueError("set memory.max|memory.high PAGES or set swappiness N")
        if rest[0] == "swappiness":
            _number(rest[1], "swappiness", most=200)
        else:
            _limit(rest[1], rest[0])
        return Step(number, text, op, words=tuple(rest))
    if op == "reclaim":
        if not rest:
            raise ValueError("reclaim PAGES [swappiness=N]")
        _number(rest[0], "PAGES")
        swappiness = _keywords(rest[1:], ("swappiness",)).get("swappiness")
        if swappiness not in (None, "max"):
            _number(str(swappiness), "swappiness", most=200)
        return Step(number, text, op, words=(rest[0], swappiness or ""))
    raise ValueError(f"{op!r} is no operation")


def _ranged(workload: Workload, number: int, text: str, op: str, name: str, pages: str, words: tuple[str, ...]) -> Step:
    obj = _object(workload, name)
    if op == "fadvise" and obj.anon:
        raise ValueError(f"{name} is no file")
    first, last = _ordered(pages)
    _check_pages(obj, (first, last))
    return Step(number, text, op, name, words=words, range=(first, last + 1))


def _check_access(op: str, obj: WorkloadObject) -> None:
    if obj.anon and op in ("read", "write"):
        raise ValueError(f"{op}: {obj.name} is no file")


def _check_pages(obj: WorkloadObject, pages: Iterable[int]) -> None:
    beyond = next((page for page in pages if not 0 <= page < obj.pages), None)
    if beyond is not None:
        raise ValueError(f"page {beyond} is beyond the {obj.pages} of {obj.name}")


def random_numbers(seed: int) -> Iterator[int]:
    """The numbers that `uniform` and `zipf` draw."""
    x = seed
    while True:
        x = (x * 1103515245 + 12345) % (1 << 31)
        yield x >> 8


def pattern(words: list[str], most: int) -> list[int]:
    """The pages that a pattern names, in order; ValueError for what is none, or names more than `most`."""
    kind, rest = words[0], words[1:]
    if kind == "pages":
        spans = [_span(*_range(word)) for word in ",".join(rest).split(",") if word]
        _check_number(sum(map(len, spans)), most)
        return [p for span in spans for p in span]
    if kind not in _KEYWORDS or not rest:
        raise ValueError(f"{kind!r} is no pattern; there are pages, {', '.join(sorted(_KEYWORDS))}, each with A-B")
    first, last = _ordered(rest[0])
    options = _keywords(rest[1:], _KEYWORDS[kind])
    missing = [key for key in _NEEDED.get(kind, ()) if key not in options]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(f'{key}=' for key in missing)}")
    times = _number(options.get("times", "1"), "times", least=1)
    step = _number(options.get("step", "1"), "step", least=1)
    if kind == "zipf":
        _check_number(last - first + 1, most)
    _check_number(_number(options["n"], "n") if "n" in options else ((last - first) // step + 1) * times, most)
    pages = _one_pattern(kind, first, last, options)
    _check_number(len(pages) * times, most)
    if kind == "hot":
        return _hot(first, last, options, times)
    return pages * times


def _check_number(accesses: int, most: int) -> None:
    if accesses > most:
        raise ValueError("the script asks for too many accesses; --accesses N allows N of them")


_KEYWORDS = {
    "seq": ("step", "times"), "rev": ("times",), "lifo": ("times",), "hot": ("set", "every", "times"),
    "uniform": ("n", "seed"), "zipf": ("n", "seed"),
}  # fmt: skip
_NEEDED = {"hot": ("set", "every"), "uniform": ("n", "seed"), "zipf": ("n", "seed")}


def _one_pattern(kind: str, first: int, last: int, options: dict[str, str]) -> list[int]:
    count = last - first + 1
    if kind == "seq":
        return list(range(first, last + 1, _number(options.get("step", "1"), "step", least=1)))
    if kind == "rev":
        return list(range(last, first - 1, -1))
    if kind == "lifo":
        return [*range(first, last + 1), *range(last, first - 1, -1)]
    if kind == "hot":
        return list(range(first, last + 1)) * 2
    n = _number(options["n"], "n")
    numbers = random_numbers(_number(options["seed"], "seed", most=(1 << 31) - 1))
    if kind == "uniform":
        return [first + next(numbers) % count for _ in range(n)]
    sums = list(accumulate((1 << 20) // (r + 1) for r in range(count)))
    return [first + min(bisect_right(sums, next(numbers) % sums[-1]), count - 1) for _ in range(n)]


def _hot(first: int, last: int, options: dict[str, str], times: int) -> list[int]:
    start, end = _ordered(options["set"])
    every = _number(options["every"], "every", least=1)
    pages: list[int] = []
    hot = 0
    for _ in range(times):
        for count, page in enumerate(range(first, last + 1), 1):
            pages.append(page)
            if count % every == 0:
                pages.append(start + hot % (end - start + 1))
                hot += 1
    return pages


def _span(first: int, last: int) -> range:
    return range(first, last + 1) if last >= first else range(first, last - 1, -1)


def _mix(workload: Workload, words: list[str]) -> list[tuple[str, str, int]]:
    options = _keywords((word for word in words if "=" in word), ("times",))
    lists = []
    for word in words:
        if "=" in word:
            continue
        op, _, rest = word.partition(":")
        name, _, pages = rest.partition(":")
        if op not in ACCESSES:
            raise ValueError(f"{word!r}: OP:NAME:FROM-TO")
        obj = _object(workload, name)
        _check_access(op, obj)
        span = _span(*_range(pages))
        _check_pages(obj, (span[0], span[-1]))
        lists.append((op, name, span))
    if not lists:
        raise ValueError("mix OP:NAME:FROM-TO ... [times=N]")
    rounds = max(len(span) for _, _, span in lists) * _number(options.get("times", "1"), "times", least=1)
    _check_number(rounds * len(lists), workload.left)
    return [(op, name, span[i % len(span)]) for i in range(rounds) for op, name, span in lists]
