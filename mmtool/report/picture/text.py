"""Text in SVG: how wide it is at most, what of it fits, how it is written. Sizes in the picture's units."""

from __future__ import annotations

from unicodedata import east_asian_width
from xml.sax.saxutils import escape

from mmtool.regex import regex
from mmtool.report.untrusted import printable

ADVANCE = 0.64
"""Width of a character by the size of the font; monospaced fonts have 0.5 to 0.62."""
MONOSPACED = '"DejaVu Sans Mono","Liberation Mono",Menlo,Consolas,monospace'

_NOT_IN_XML = regex("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_width(text: str, size: float) -> float:
    """No monospaced font needs more for `text`."""
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text) * ADVANCE * size


def fitting(text: str, width: float, size: float) -> str:
    """`text`, cut where it would be wider than `width`."""
    if text_width(text, size) <= width:
        return text
    text = text[: int(width / (ADVANCE * size)) + 1]
    while text and text_width(text + "\u2026", size) > width:
        text = text[:-1]
    return text + "\u2026"


def xml(text: str) -> str:
    return escape(printable(_NOT_IN_XML.sub("\ufffd", text)))
