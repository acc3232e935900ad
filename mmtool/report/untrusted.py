"""Text that strangers wrote (names of tasks, cgroups and devices, logs) as a terminal and a spreadsheet may have it."""

from __future__ import annotations

import re

from mmtool.regex import regex

_HARMFUL = regex("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""Control characters but the line feed, what is invisible or turns the direction of writing, and half characters."""
_FORMULA = regex(r"[=+@\t\r]|-(?![\d.]*\d$|$)")


def printable(text: str) -> str:
    """`text` with every control character as \\x.. (\\u.... beyond 255); line feeds stay."""
    # Nearly every text is: what str.isprintable() lets pass holds nothing of _HARMFUL, which takes long to compile.
    if text.replace("\n", "").isprintable():
        return text
    return _HARMFUL.sub(_escaped, text)


def one_line(text: str) -> str:
    """`text` as `printable` has it, its line feeds too."""
    return printable(text).replace("\n", "\\x0a")


def csv_text(text: str) -> str:
    """A text for one cell of CSV: on one line, and defused where a spreadsheet would run it as a formula."""
    text = one_line(text)
    return f"'{text}" if _FORMULA.match(text) else text


def _escaped(m: re.Match[str]) -> str:
    code = ord(m[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
