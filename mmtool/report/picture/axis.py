"""From a physical address to a place in a picture: to scale, but for holes that are cut and pieces too small to see.

Addresses are bytes, ranges half-open; places and widths are in the picture's units, from 0 at the left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import field
from enum import Enum
from functools import cached_property
from itertools import pairwise

from mmtool.late import dataclass
from mmtool.linux.mm.range_set import RangeSet

Range = tuple[int, int]


class Scale(Enum):
    """How a stretch of the axis is drawn."""

    TRUE = "to scale"
    WIDENED = "wider than to scale, to be seen"
    BROKEN = "cut short"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Addresses [start, end) at [x, x + width) of the picture, evenly spread."""

    start: int
    end: int
    x: float
    width: float
    scale: Scale


@dataclass(frozen=True)
class Axis:
    """Stretches one after the other, without gaps in addresses or in the picture."""

    stretches: tuple[Stretch, ...]
    bytes_per_unit: float
    """What one unit stands for where the axis is true."""
    least: float
    """The width of a stretch that would be narrower."""
    _starts: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_starts", [s.start for s in self.stretches])

    @cached_property
    def width(self) -> float:
        return self.stretches[-1].x + self.stretches[-1].width

    def x(self, address: int) -> float:
        """Where `address` lies; what is outside of the axis lies at its end."""
        s = self.stretches[max(bisect_right(self._starts, address) - 1, 0)]
        if address >= s.end:
            return s.x + s.width
        return s.x + max(address - s.start, 0) / (s.end - s.start) * s.width

    def drawn(self, scale: Scale) -> list[Stretch]:
        return [s for s in self.stretches if s.scale is scale]


def make_axis(
    memory: Collection[Range], borders: Iterable[int], *, width: float = 1000, least: float = 3, broken: float = 64
) -> Axis:
    """The axis on which `memory` takes `width` units and every border lies apart from the next.

    Between two borders (memory's ends are borders too) lies a stretch. One that would be narrower than `least` gets
    that, one without memory that would be wider than `broken` gets that. Where there are many of either,
    they get less: the narrow ones never more than half of `width` in all. ValueError without two borders.
    """
    there = RangeSet()
    cuts = sorted({*borders, *(edge for r in memory for edge in r)})
    for start, end in memory:
        there.add(start, end)
    if len(cuts) < 2:
        raise ValueError("an axis needs two borders")
    total = sum(there.ends) - sum(there.starts)
    if not total:  # Nothing but devices: they are what there is to scale.
        there.add(cuts[0], cuts[-1])
        total = cuts[-1] - cuts[0]
    unit = total / width
    ranges = list(pairwise(cuts))
    empty = [(end - start) / unit for start, end in ranges if there.missing(start, end)]
    broken = min(broken, width / max(sum(size > broken for size in empty), 1))
    least = min(least, broken, width / 2 / len(ranges))
    stretches: list[Stretch] = []
    x = 0.0
    for start, end in ranges:
        size, scale = (end - start) / unit, Scale.TRUE
        if size < least:
            size, scale = least, Scale.WIDENED
        elif size > broken and there.missing(start, end):
            size, scale = broken, Scale.BROKEN
        stretches.append(Stretch(start, end, x, size, scale))
        x += size
    return Axis(tuple(stretches), unit, least)
