"""Scripts of calls on slab caches: kmem_cache_create(), alloc(), free(), shrink(), destroy() and kmalloc()."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any

from mmtool.build.gfp import GfpError, GfpFlags
from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import CacheArgs
from mmtool.linux.mm.slab_flags import KNOWN, Flags

MAX_COUNT = 1 << 20
"""Objects that a line may ask for."""


@dataclass(frozen=True)
class Create:
    """`cache NAME size=N ...`: kmem_cache_create()."""

    args: CacheArgs


@dataclass(frozen=True)
class Alloc:
    """`alloc NAME N ...`: `count` objects, `bulk` at a time where that is not 0, on a CPU, from a node."""

    name: str
    count: int
    gfp: int
    node: int | None
    bulk: int
    cpu: int


@dataclass(frozen=True)
class Free:
    """`free NAME HOW`: which of the live objects, by `how` (every, lifo, fifo, random, all) and its number."""

    name: str
    how: str
    number: int
    seed: int
    cpu: int


@dataclass(frozen=True)
class OnCache:
    """`shrink NAME` and `destroy NAME`."""

    what: str
    name: str


@dataclass(frozen=True)
class Kmalloc:
    """`kmalloc SIZE ...`: `count` of them, freed at once."""

    size: int
    gfp: int
    count: int


@dataclass(frozen=True)
class Fragment:
    """`fragment` (on) and `defragment`: whether there are blocks above single pages."""

    on: bool


Operation = Create | Alloc | Free | OnCache | Kmalloc | Fragment


@dataclass(frozen=True)
class Line:
    """An operation and the number of its line."""

    number: int
    operation: Operation


@dataclass
class Words:
    """The words of a line: bare ones, and key=value."""

    source: str
    number: int
    bare: list[str] = field(default_factory=list)
    pairs: dict[str, str] = field(default_factory=dict)

    def fail(self, message: str) -> InputError:
        return InputError(self.source, self.number, message)

    def integer(self, text: str, what: str, least: int = 0, most: int = MAX_COUNT) -> int:
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            raise self.fail(f"{what} is a number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    def take(self, key: str, default: int, least: int = 0, most: int = MAX_COUNT) -> int:
        text = self.pairs.pop(key, None)
        return default if text is None else self.integer(text, key, least, most)

    def finish(self) -> None:
        if self.bare or self.pairs:
            word = (self.bare or list(self.pairs))[0]
            raise self.fail(f"{word[:40]!r} is no word of this line")

    def name(self, operation: str) -> str:
        if not self.bare:
            raise self.fail(f"{operation} needs the name of a cache")
        return self.bare.pop(0)


class Parser:
    """Reads a script for a machine of so many CPUs and nodes."""

    def __init__(self, source: str, gfp: GfpFlags, cpus: int, nodes: int) -> None:
        self.source, self.gfp, self.cpus, self.nodes = source, gfp, cpus, nodes
        self.names: set[str] = set()
        self.operations: dict[str, Callable[[Words], Operation]] = {
            "cache": self._cache,
            "alloc": self._alloc,
            "free": self._free,
            "shrink": lambda words: self._on_cache("shrink", words),
            "destroy": lambda words: self._on_cache("destroy", words),
            "kmalloc": self._kmalloc,
            "fragment": lambda words: Fragment(True),
            "defragment": lambda words: Fragment(False),
        }

    def parse(self, lines: Iterable[str]) -> Iterator[Line]:
        """The operations of a script. InputError names the line that is none."""
        for number, text in enumerate(lines, 1):
            all_words = text.split("#", 1)[0].split()
            if not all_words:
                continue
            words = Words(self.source, number)
            for word in all_words[1:]:
                key, equals, value = word.partition("=")
                if equals:
                    words.pairs[key] = value
                else:
                    words.bare.append(word)
            make = self.operations.get(all_words[0])
            if make is None:
                raise words.fail(f"{all_words[0][:40]!r}: there are {', '.join(self.operations)}")
            operation = make(words)
            words.finish()
            yield Line(number, operation)

    def _known(self, words: Words, operation: str) -> str:
        name = words.name(operation)
        if name not in self.names:
            raise words.fail(f"no cache {name[:40]!r}; create it with a line cache {name[:40]} size=N")
        return name

    def _cpu(self, words: Words) -> int:
        cpu = words.take("cpu", 0)
        if cpu >= self.cpus:
            raise words.fail(f"there is no CPU {cpu}; there are {self.cpus}")
        return cpu

    def _mask(self, words: Words) -> int:
        try:
            return self.gfp.parse(words.pairs.pop("gfp", "GFP_KERNEL"))
        except GfpError as e:
            raise words.fail(str(e)) from None

    def _cache(self, words: Words) -> Operation:
        name = words.name("cache")
        if name in self.names:
            raise words.fail(f"there is a cache {name[:40]!r} already")
        if "size" not in words.pairs:
            raise words.fail("cache needs size=N")
        most = 1 << 31
        size = words.take("size", 0, 1, most)
        align = words.take("align", 0, 0, 1 << 22)
        if align & (align - 1):
            raise words.fail(f"align={align} is not a power of two")
        flags: Flags = frozenset(flag.removeprefix("SLAB_") for flag in words.pairs.pop("flags", "").split("|") if flag)
        if unknown := flags - KNOWN:
            raise words.fail(f"no flag of caches: {', '.join(sorted(unknown))[:80]}")
        ctor = "ctor" in words.bare
        if ctor:
            words.bare.remove("ctor")
        freeptr = words.take("freeptr", -1, 0, most)
        self.names.add(name)
        return Create(
            CacheArgs(
                name, size, align, flags, ctor, words.take("useroffset", 0, 0, most),
                words.take("usersize", 0, 0, most), freeptr if freeptr >= 0 else None, words.take("sheaf", 0, 0, 4096),
            )
        )  # fmt: skip

    def _alloc(self, words: Words) -> Operation:
        name = self._known(words, "alloc")
        if not words.bare:
            raise words.fail("alloc NAME N needs the number of objects")
        count = words.integer(words.bare.pop(0), "the number of objects", 1)
        node = words.take("node", -1)
        if node >= self.nodes:
            raise words.fail(f"there is no node {node}; there are {self.nodes}")
        return Alloc(
            name, count, self._mask(words), node if node >= 0 else None, words.take("bulk", 0, 1), self._cpu(words)
        )

    def _free(self, words: Words) -> Operation:
        name = self._known(words, "free")
        cpu = self._cpu(words)
        if words.bare == ["all"]:
            words.bare.clear()
            return Free(name, "all", 0, 0, cpu)
        for how in ("every", "lifo", "fifo", "random"):
            if how in words.pairs:
                number = words.take(how, 0, 1)
                seed = words.take("seed", 0, 0, (1 << 32) - 1) if how == "random" else 0
                return Free(name, how, number, seed, cpu)
        raise words.fail("free NAME every=K, lifo=N, fifo=N, random=N seed=S or all")

    def _on_cache(self, what: str, words: Words) -> Operation:
        name = self._known(words, what)
        if what == "destroy":
            self.names.discard(name)
        return OnCache(what, name)

    def _kmalloc(self, words: Words) -> Operation:
        if not words.bare:
            raise words.fail("kmalloc needs a size in bytes")
        size = words.integer(words.bare.pop(0), "the size", 1, 1 << 40)
        return Kmalloc(size, self._mask(words), words.take("n", 1, 1))


def chosen(free: Free, live: list[Any]) -> tuple[Sequence[Any], list[Any]]:
    """The objects that a free line takes out of those alive, in its order, and those that stay alive."""
    if free.how == "all":
        return live, []
    if free.how == "every":
        step = free.number
        return live[::step], [place for at, place in enumerate(live) if at % step]
    if free.how == "fifo":
        return live[: free.number], live[free.number :]
    if free.how == "lifo":
        at = max(0, len(live) - free.number)
        return live[at:][::-1], live[:at]
    taken: list[Any] = []
    rest, x = list(live), free.seed & 0xFFFFFFFF
    while rest and len(taken) < free.number:
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        at = (x >> 8) % len(rest)
        taken.append(rest[at])
        last = rest.pop()
        if at < len(rest):
            rest[at] = last
    return taken, rest


def number_runs(numbers: Iterable[int | None]) -> list[list[Any]]:
    """Numbers as runs: [first, step, count], or ["new", count] of None."""
    runs: list[list[Any]] = []
    before = 0
    for number in numbers:
        run = runs[-1] if runs else None
        if number is None:
            if run is not None and run[0] == "new":
                run[1] += 1
            else:
                runs.append(["new", 1])
            continue
        if run is not None and run[0] != "new" and (run[2] == 1 or number - before == run[1]):
            if run[2] == 1:
                run[1] = number - run[0]
            run[2] += 1
        else:
            runs.append([number, 0, 1])
        before = number
    return runs


def slab_runs(numbers: Iterable[int]) -> list[list[int]]:
    """Slabs of objects as runs: [slab, objects]."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][0] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs
