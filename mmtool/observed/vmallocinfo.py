"""/proc/vmallocinfo: the areas of virtual memory, one a line, and what can be told from them. Bytes, but for pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

KINDS = ("ioremap", "sparse", "vmalloc", "vmap", "user", "dma-coherent", "vpages", "vm_map_ram", "unpurged")
TOP_2_GIB = (1 << 64) - (2 << 30)
_ADDRESS = r"0x(?:([0-9a-fA-F]+)|\(_*ptrval_*\))"
_LINE = regex(rf"{_ADDRESS}-{_ADDRESS}\s+(\d{{1,19}})(?:\s+(.*))?")
_NODE = regex(r"N(\d{1,19})=(\d{1,19})")


@dataclass(frozen=True, slots=True)
class InfoArea:
    """One line. `start` and `end` are as the file has them, None where it hides them; `size` counts the guard page."""

    start: int | None
    end: int | None
    size: int
    caller: str
    pages: int
    phys: int | None
    kinds: tuple[str, ...]
    nodes: tuple[tuple[int, int], ...]
    """Pages by node."""

    @property
    def placed(self) -> bool:
        """Are the addresses the area's? Not where the kernel has hashed them."""
        return self.start is not None and self.end is not None and self.end - self.start == self.size

    @property
    def function(self) -> str:
        """The caller without offset and module."""
        return self.caller.partition("+")[0]


@dataclass(frozen=True, slots=True)
class VmallocInfo:
    """The file's areas in its order; `source` names it."""

    areas: tuple[InfoArea, ...]
    source: str

    @property
    def hashed(self) -> bool:
        """Are addresses hashed or hidden? One that does not fit its size shows that all are."""
        return not all(area.placed for area in self.areas)


def parse_vmallocinfo(lines: Iterable[str], source: str) -> VmallocInfo:
    """Read the file; InputError with the line that is no area, or when there is none."""
    areas = []
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        m = _LINE.fullmatch(line)
        if m is None:
            raise InputError(source, number, "not an area of /proc/vmallocinfo (0xSTART-0xEND SIZE CALLER ...)")
        try:
            areas.append(_area(m[1], m[2], int(m[3]), (m[4] or "").split()))
        except ValueError as e:
            raise InputError(source, number, str(e)) from None
    if not areas:
        raise InputError(source, None, "there is no area in it; copy /proc/vmallocinfo as root")
    return VmallocInfo(tuple(areas), source)


def _area(start: str | None, end: str | None, size: int, words: Sequence[str]) -> InfoArea:
    pages, phys = 0, None
    nodes: list[tuple[int, int]] = []
    kinds: list[str] = []
    rest: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        if name == "pages" and value:
            pages = _number(word, value, 10)
        elif name == "phys" and value:
            phys = _number(word, value, 16)
        elif m := _NODE.fullmatch(word):
            nodes.append((int(m[1]), int(m[2])))
        elif word in KINDS:
            kinds.append(word)
        else:
            rest.append(word)
    caller = "" if "unpurged" in kinds else " ".join(rest)
    begins, ends = (None if text is None else int(text, 16) for text in (start, end))
    return InfoArea(begins, ends, size, caller, pages, phys, tuple(kinds), tuple(nodes))


def _number(word: str, text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise ValueError(f"{word[:40]!r} holds no number") from None


@dataclass(frozen=True, slots=True)
class Holes:
    """What is free between areas: (start, end) by address, within `start` to `end`."""

    start: int
    end: int
    holes: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        return sum(end - start for start, end in self.holes)

    @property
    def largest(self) -> tuple[int, int] | None:
        return max(self.holes, key=lambda hole: (hole[1] - hole[0], -hole[0]), default=None)

    @property
    def fragmentation(self) -> float:
        """The share of what is free that is not in the largest hole, from 0 to 1."""
        largest = self.largest
        return 1 - (largest[1] - largest[0]) / self.total if largest else 0.0

    def fits(self, page_size: int) -> int:
        """The largest size that vmalloc() would still find room for: the largest hole without the guard page."""
        largest = self.largest
        return max(largest[1] - largest[0] - page_size, 0) if largest else 0


def holes_of(info: VmallocInfo, start: int | None = None, end: int | None = None) -> Holes | None:
    """The holes between the areas, and up to `start` and `end` where these are known; None if addresses are hashed.

    What was freed and is not purged yet counts as free, as it is as soon as there is need. Areas outside of `start`
    to `end` count for nothing; without these that is what lies in the last 2 GiB of 64 bits, where x86-64 has modules.
    """
    if info.hashed:
        return None
    first_byte, end_byte = (0, TOP_2_GIB) if start is None or end is None else (start, end)
    places = sorted(
        (area.start, area.end) for area in info.areas
        if area.start is not None and area.end is not None and first_byte <= area.start < area.end <= end_byte
    )  # fmt: skip
    unpurged = {area.start for area in info.areas if "unpurged" in area.kinds}
    if not places:
        return None
    low = places[0][0] if start is None else start
    high = max(last for _, last in places) if end is None else end
    at, holes = low, []
    for first, last in places:
        if first in unpurged:
            continue
        if first > at:
            holes.append((at, first))
        at = max(at, last)
    if high > at:
        holes.append((at, high))
    return Holes(low, high, tuple(holes))
