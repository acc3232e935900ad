"""The drawings that need no script: bars whose places are shares of their width, so that no text is ever scaled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mmtool.report.html.markup import Markup, join, tag
from mmtool.report.picture.axis import Range
from mmtool.report.picture.rows import Piece
from mmtool.units import human

FINEST = 1 / 2000
"""Share of a bar's width below which neighbours of one look are one piece."""
CHARACTER = 7.6
"""Room for a character of 12 px in any usual font."""
NARROW, MIDDLE, WIDE = 300.0, 560.0, 900.0
"""Widths of a bar, in px, on the screens for which labels are chosen."""


def share(part: float, whole: float) -> str:
    """A place in a bar, as CSS and SVG have it."""
    return f"{100 * part / whole:.3f}".rstrip("0").rstrip(".") + "%" if whole else "0%"


def lane_bar(pieces: Sequence[Piece], shown: Range, name: str) -> Markup:
    """A bar of pieces to true scale from shown[0] to shown[1], with labels where there is room on every screen."""
    first, last = shown
    whole = last - first
    parts = []
    for start, end, look, says in _visible(pieces, first, last):
        x, width = share(start - first, whole), share(max(end - start, whole * FINEST), whole)
        parts.append(tag("rect", x=x, y=0, width=width, height="100%", class_=f"p {look}"))
        label = says if end - start == 0 else f"{says} {human(end - start)}"
        room = (end - start) / whole
        least = next((k for k, w in (("", NARROW), ("m", MIDDLE), ("w", WIDE)) if room * w > text_room(label)), None)
        if least is not None:
            middle = share(start - first + (end - start) / 2, whole)
            parts.append(tag("text", label, x=middle, y="50%", class_=f"l {least}".rstrip()))
    return tag("svg", join(parts), class_="bar", role="img", aria_label=name, data_lane=name)


def text_room(label: str) -> float:
    """Room, in px, that a label and the space around it never exceed."""
    return len(label) * CHARACTER + 8


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
    drawn, at = [], 0
    for label, amount, look in parts:
        drawn.append(
            tag("rect", tag("title", f"{label}: {human(amount)}"), x=share(at, whole), y=0, width=share(amount, whole),
                height="100%", class_=f"p {look}")
        )  # fmt: skip
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
        tag("rect", x=share(a, whole), y=8, width=share(b - a, whole), height=8, class_=f"p g{i}")
        for i, (a, b) in enumerate(pairwise(edges))
        if b > a
    ]
    at = min(free, whole)
    parts.append(tag("rect", x=0, y=4, width=share(at, whole), height=2, class_="needle"))
    return tag("svg", join(parts), class_="gauge", role="img", aria_label=says)
