"""Lines that a mail program or a terminal broke, put together again.

Where the log's lines have stamps or a daemon's prefix, one without goes on the last, if the file looks as if somebody
had broken its lines: mail breaks between words, before they would cross a margin; a terminal cuts every line at its
width.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain

from mmtool.firmware.e820 import type_number
from mmtool.regex import regex

_QUOTES = regex(r"[>|`\s]*")
_MARGIN = 100
"""Columns up to which a file's lines are taken as broken by somebody: no whole log is as narrow."""
_COMPLETE = regex(r"(?:BIOS-e820|BIOS-88|Xen|user|modified): \[mem 0x[0-9a-f]+-0x[0-9a-f]+\] (\S.*)$", re.I)
_STARTS = regex(
    r"\s*(?:Linux version \d|BIOS-e820: |BIOS-provided|Command line: |Kernel command line: |Call Trace:|Mem-Info:|"
    r"Node \d+|<snip>|\[(?:snip|\.\.\.)|\.\.\.|--|==|```)"
)
_MAP_ALONE = regex(r"BIOS-e820: (?:\[mem(?: 0x[0-9a-f]+-0x[0-9a-f]+\])?)?$", re.I)

_STAMP = regex(r"\[\s*\d+\.\d+\]")

Piece = tuple[int, str]


def join(raw: list[str], heads: list[int]) -> list[Piece]:
    """The lines as (number, words); `heads` are where their prefixes end. A broken one has its first piece's number.

    Of empty lines that follow each other only the first is there: a stranger's file may have a million.
    """
    stamped = [
        head > 0 and (line.startswith(("[", "<")) or _quotes(line) < head)
        for line, head in zip(raw, heads, strict=True)
    ]  # fmt: skip
    words = [line[head:] if head else line for line, head in zip(raw, heads, strict=True)]
    filled = sum(1 for text in words if text and not text.isspace())
    with_stamp = sum(1 for text, is_stamped in zip(words, stamped, strict=True) if is_stamped and text.strip())
    if with_stamp * 4 < filled:
        return _join_entries(words)
    if with_stamp == filled:
        befores = chain(("-",), words)
        return [(i, text) for i, (text, before) in enumerate(zip(words, befores, strict=False), 1) if text or before]
    rule = _Rule(raw, stamped)
    out: list[Piece] = []
    for i, text in enumerate(words):
        joins = bool(text) and i and not stamped[i] and out and _goes_on(out[-1][1], text, raw[i - 1], raw[i])
        if joins and rule.broken(raw, i):
            glue = "" if rule.cut_at == len(raw[i - 1]) else " "
            number, before = out[-1]
            out[-1] = number, (before.rstrip() if glue else before) + glue + (text.strip() if glue else text)
        elif text or not out or out[-1][1]:
            out.append((i + 1, text))
    return out


class _Rule:
    """How the file's lines were broken, if they were."""

    def __init__(
        self,
        raw: list[str],
        stamped: list[bool],
    ) -> None:
        lengths = sorted(len(line.rstrip()) for line in raw if line and line.strip())
        self.margin = lengths[(len(lengths) - 1) * 99 // 100] if lengths else 0
        loose = (i for i in range(1, len(raw)) if raw[i] and not stamped[i] and raw[i].strip() and raw[i - 1].strip())
        before = [len(raw[i - 1]) for i in loose]
        self.cut_at = 0
        if len(before) >= 2:
            (width, count), *_ = Counter(before).most_common(1)
            longest = max((len(line) for line in raw), default=0)
            if width == longest and count * 4 >= len(before) * 3 and width >= 40:
                self.cut_at = width

    def broken(self, raw: list[str], i: int) -> bool:
        """Was line `i` broken off the one before it?"""
        if self.cut_at:
            return len(raw[i - 1]) >= self.cut_at - 1
        if self.margin <= _MARGIN:
            return True
        first = raw[i].split(maxsplit=1)[0]
        return len(raw[i - 1].rstrip()) + 1 + len(first) > self.margin


def _goes_on(before: str, text: str, raw_before: str, raw: str) -> bool:
    """Can `text` be the rest of a line that begins with `before`?"""
    if not text.strip() or not before.strip() or not raw_before.strip() or _STARTS.match(text):
        return False
    if _STAMP.search(text):
        return False  # a message follows on the same line: what stands before it is a console's
    if raw[: _quotes(raw)].count(">") != raw_before[: _quotes(raw_before)].count(">"):
        return False
    m = _COMPLETE.search(before.rstrip())
    return m is None or type_number(m[1]) is None or type_number(f"{m[1]} {text.strip()}") is not None


def _quotes(line: str) -> int:
    """Where in a raw line the mail's quoting ends."""
    m = _QUOTES.match(line)
    return m.end() if m else 0


def _join_entries(words: list[str]) -> list[Piece]:
    """Of a log without stamps only the map's entries: one without its type takes it from the next line."""
    out: list[Piece] = []
    for number, text in enumerate(words, 1):
        if text and out and text.strip() and _MAP_ALONE.search(out[-1][1].rstrip()) and not _STARTS.match(text):
            out[-1] = out[-1][0], f"{out[-1][1].rstrip()} {text.strip()}"
        elif text or not out or out[-1][1]:
            out.append((number, text))
    return out
