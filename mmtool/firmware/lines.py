"""Lines of a kernel log, freed of what consoles, daemons and mail readers put in front of them.

A carriage return, mail quoting, a log level, time stamps and caller ids of printk, and the prefixes of syslog,
journalctl and `dmesg -T`/`-x` go; what the kernel said stays, its own leading spaces included. A line that mail or
a terminal broke is put together again. The kernel's lines are numbered as an editor numbers the file's.
"""

from __future__ import annotations

import re

from mmtool.errors import InputError
from mmtool.firmware.joined import join
from mmtool.firmware.shapes import learn
from mmtool.firmware.wrapped import unwrap
from mmtool.regex import regex

# [    0.000000], [  +0.000001], [    0.000000 <    0.000000>], [    0.000000@0]; printk puts one space behind it
_STAMP = r"\[\s*\+?\d+\.\d+(?:@\d+|\s*<\s*\+?\d+\.\d+>)?\]"
_CLOCK = r"\d\d:\d\d:\d\d"

_PREFIX = regex(
    rf"""(?:
      {_STAMP}[ ]?
    | \[\s*[TC]\d+\][ ]?                                            # caller id: task or CPU
    | <\d{{1,3}}>                                                   # level
    | (?:\d[^\s,;]*,)?\d+,\d+,\d+,[-c+][^;\n]{{0,40}};               # a record of /dev/kmsg, also netconsole's
    | \(XEN\)[ ](?:HVM\d+:[ ]|\[\S{{1,24}}[ ][\d:.]+\][ ](?:HVM\d+:[ ])?)?  # Xen's own, a guest's
    | \[\d{{4}}-\d\d-\d\d[T ]{_CLOCK}[,.\dZ+-]*(?::\d\d)?\]:?[ ]     # a terminal's or a container's clock
    | \w+[ ]*:\w+[ ]*:[ ](?=\[)                                     # dmesg -x: "kern  :info  : ["
    | \[[^\[\]]{{3,12}}[ ]+\d+[ ]{_CLOCK}[ ]\d{{4}}\][ ]?           # dmesg -T: [Thu Feb  1 10:00:00 2024]
    | \[[A-Z][a-z]{{2}}[ ]*\d+[ ]\d\d:\d\d\][ ]?                     # dmesg -H: [Feb13 10:00]
    | (?:\w{{2,5}}\.?[ ]+\d\d?[ ]|\d{{4}}-\d\d-\d\d[T ])?{_CLOCK}[^\s\[]*  # syslog's and the journal's clock
      (?:[ ][^\s\[]+)?[ ](?:kernel(?:\[\d+\])?:|(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL):)\s?
    | \d{{4}}-\d\d-\d\dT{_CLOCK}[,.]\d+\S*[ ]                       # dmesg --time-format iso
    | (?:[\w.-]+[ ])?kernel(?:\[\d+\])?:[ ]                         # the journal's: host and program
    | [>|`][ ]?                                                     # mail quoting, markdown
    | [ \t\r]+(?=\[[\s+]*\d+\.\d|<\d+>|\[\s*[TC]\d+\])
    )+""",
    re.VERBOSE,
)
_COLOUR = regex(r"\x1b\[[0-9;]*[mK]")
_INNER = regex(rf"(?:<\d{{1,3}}>)?{_STAMP}")


MOST_SHORT_LINES, SHORT = 250_000, 32
"""A text of more lines than the first, of fewer characters on average than the second, is no kernel's log. Empty ones
do not count: a capture has them in place of what is not read."""
_LINE_BEGINS = regex(r"\n[^\n]")


def decode(data: bytes, source: str = "-") -> str:
    """The text of a log file: UTF-8, or UTF-16, without its wrappers; noise becomes U+FFFD.

    A terminal's colours go, and a page's hard spaces become plain ones. InputError, with `source` as the file's name,
    where the text is far more lines than any log of its size.
    """
    text = data.decode(_encoding(data), errors="replace").removeprefix("\ufeff")
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    if "\r" in text:
        text = text.replace("\r\r\n", "\n").replace("\r\n", "\n")
        text = text.replace("\r", "\n") if "\n" not in text else text
    _refuse_crumbs(text, source)
    inner = unwrap(text, source)
    if inner is not text:
        _refuse_crumbs(inner, source)
    return inner if inner.isascii() else inner.translate(_SPACES)


def _refuse_crumbs(text: str, source: str) -> None:
    """InputError for a text whose lines are too many and too short: reading takes time and memory by the line."""
    if text.count("\n") <= MOST_SHORT_LINES:
        return
    lines = sum(1 for _ in _LINE_BEGINS.finditer(text))
    if lines > MOST_SHORT_LINES and len(text) < lines * SHORT:
        short = f"{len(text) // lines} characters a line on average"
        raise InputError(source, None, f"{lines} lines of {short} are no kernel's log; give the log out of them")


_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u202f"), " ") | dict.fromkeys(map(ord, "\u200b\ufeff\u200e\u00ad"), "")


def _encoding(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    head = data[:200]
    if len(head) >= 40 and head[1::2].count(0) * 10 > len(head) * 4:
        return "utf-16-le"
    if len(head) >= 40 and head[::2].count(0) * 10 > len(head) * 4:
        return "utf-16-be"
    return "utf-8"


def plain(line: str) -> str:
    """What the kernel said in one raw line."""
    m = _PREFIX.match(line)
    return (line[m.end() :] if m else line).rstrip()


def kernel_lines(text: str) -> list[tuple[int, str]]:
    """Every line that the kernel said, as (number of the line in `text` from 1 on, words).

    Two messages on one line (a line break lost on a slow console) become two entries with one number:
    a time stamp in the middle of a line starts a new one. The pieces of a broken line become one entry, with the
    first one's number.
    """
    raw = text.split("\n")
    heads = [m.end() if line and (m := _PREFIX.match(line)) else 0 for line in raw]
    learnt = learn(raw, heads)
    if learnt is not None:
        raw, heads = learnt.raw, learnt.heads
    pieces = join(raw, heads)
    out: list[tuple[int, str]] = []
    for piece in pieces:
        number, words = piece
        # printk pads the seconds to five places, so a stamp from the boot holds this
        if "[ " in words and (cuts := _cuts(words)):
            ends = [words[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
            out.extend((number, said) for said in map(plain, ends) if said)
        elif (said := words.rstrip()) == words:
            out.append(piece)
        else:
            out.append((number, said))
    return out


def raw_pieces(line: str) -> list[str]:
    """A raw line cut where `kernel_lines` cuts it; put together again they are the line."""
    m = _PREFIX.match(line)
    start = m.end() if m else 0
    cuts = [start + cut for cut in _cuts(line[start:])] if "[ " in line else []
    return [line[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]


def _cuts(words: str) -> list[int]:
    """Where in a line without its prefix further messages begin."""
    return [inner.start() for inner in _INNER.finditer(words)]
