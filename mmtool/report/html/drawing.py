"""The drawings that need no script: bars whose places are shares of their width, so that no text is ever scaled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.picture.axis import Range
from mmtool.report.picture.lanes import Lane
from mmtool.report.picture.rows import Piece
from mmtool.report.picture.text import text_width
from mmtool.units import human

FINEST = 1 / 2000
"""Share of a bar's width below which neighbours of one look are one piece."""
FONT = 12.0
"""Pixels of a label's font, as the style sheet has it."""
SCREENS = (("", 300.0), ("m", 560.0), ("w", 900.0))
"""For which screens labels are chosen: the style sheet's class, and the least width of a bar there in px."""


def share(part: float, whole: float) -> str:
    """A place in a bar, as CSS and SVG have it."""
    return f"{100 * part / whole:.3f}".rstrip("0").rstrip(".") + "%" if whole else "0%"


def lane_bar(lane: Lane, shown: Range) -> Markup:
    """A bar of pieces to true scale from shown[0] to shown[1], with labels where there is room on every screen."""
    first, last = shown
    whole = last - first
    parts = []
    for start, end, look, says in _visible(lane.pieces, first, last):
        x, width = share(start - first, whole), share(max(end - start, whole * FINEST), whole)
        parts.append(tag("rect", x=x, y=0, width=width, height="100%", class_=f"p {look}"))
        middle = share(start - first + (end - start) / 2, whole)
        for label, screens in _labels(says, end - start, (end - start) / whole):
            parts.append(tag("text", label, x=middle, y="50%", class_=f"l {screens}".rstrip()))
    says = f"{lane.name}: {lane.about}"
    return tag("svg", join(parts), class_="bar", role="img", aria_label=says, data_lane=lane.name)


def _labels(says: str, size: int, room: float) -> Iterator[tuple[str, str]]:
    """What a piece with that share of the bar has room for: (label, classes of the screens that show it)."""
    full = f"{says} {human(size)}"
    whole, short = (
        next((i for i, (_, width) in enumerate(SCREENS) if room * width > text_width(label, FONT) + 8), len(SCREENS))
        for label in (full, says)
    )
    if short < whole:
        until = f" to-{SCREENS[whole][0]}" if whole < len(SCREENS) else ""
        yield says, f"{SCREENS[short][0]}{until}".strip()
    if whole < len(SCREENS):
        yield full, SCREENS[whole][0]


def _visible(pieces: Iterable[Piece], first: int, last: int) -> list[tuple[int, int, str, str]]:
    """What is drawn from `first` to `last`; neighbours too fine to be told apart are one."""
    least = (last - first) * FINEST
    out: list[tuple[int, int, str, str]] = []
    for p in pieces:
        start, end = max(p.start, first), min(p.end, last)
        if start >= end:
            continue
        near = bool(out) and p.look == out[-1][2] and start - out[-1][1] < least
        if near and (end - start < least or p.says == out[-1][3]):
            out[-1] = out[-1][0], end, p.look, out[-1][3]
        else:
            out.append((start, end, p.look, p.says))
    return out


def stack(parts: Sequence[tuple[str, int, str]], name: str) -> Markup:
    """A bar of (label, amount, look) one after the other."""
    whole = sum(amount for _, amount, _ in parts)
    drawn: list[Markup] = []
    at = 0
    for label, amount, look in parts:
        drawn.append(
            tag("rect", tag("title", f"{label}: {human(amount)}"), x=share(at, whole), y=0, width=share(amount, whole),
                height="100%", class_=f"p {look}")
        )  # fmt: skip
        middle = share(at + amount / 2, whole)
        for said, screens in _labels(label, amount, amount / whole if whole else 0):
            drawn.append(tag("text", said, x=middle, y="50%", class_=f"l {screens}".rstrip()))
        at += amount
    return tag("svg", join(drawn), class_="bar", role="img", aria_label=name)


def ruler(first: int, last: int) -> Markup:
    """Addresses below a bar."""
    ticks = []
    for i, anchor in enumerate(("start", "middle", "end")):
        at = first + (last - first) * i // 2
        ticks.append(tag("text", human(at), x=f"{50 * i}%", y=14, text_anchor=anchor))
    return tag("svg", join(ticks), class_="ruler", aria_hidden="true")


def gauge(marks: tuple[int, int, int], free: int, says: str) -> Markup:
    """How far free pages are above a zone's watermarks: the bar ends at one and a half times the high mark."""
    lowest, low, high = marks
    whole = max(high + high // 2, 1)
    edges = [0, lowest, low, high, whole]
    parts = [
        tag("rect", x=share(a, whole), y=6, width=share(b - a, whole), height=12, class_=f"p g{i}")
        for i, (a, b) in enumerate(pairwise(edges))
        if b > a
    ]
    parts.append(tag("rect", x=share(min(free, whole) * 0.97, whole), y=2, width=4, height=20, rx=2, class_="needle"))
    return tag("svg", join(parts), class_="gauge", role="img", aria_label=says)
