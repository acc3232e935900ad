"""Lines of a kernel log, freed of what consoles, daemons and mail readers put in front of them.

One pass over the text: a carriage return, mail quoting, a log level, time stamps and caller ids of
printk, and the prefixes of syslog, journalctl and `dmesg -T`/`-x` go; what the kernel said stays, its own
leading spaces included. The kernel's lines are numbered as an editor numbers the file's.
"""

from __future__ import annotations

import re

# [    0.000000], [  +0.000001], [    0.000000 <    0.000000>], [    0.000000@0]; printk puts one space behind it
_STAMP = r"\[\s*\+?\d+\.\d+(?:@\d+|\s*<\s*\+?\d+\.\d+>)?\]"
_CLOCK = r"\d\d:\d\d:\d\d"

_PREFIX = re.compile(
    rf"""(?:
      {_STAMP}[ ]?
    | \[\s*[TC]\d+\][ ]?                                            # caller id: task or CPU
    | <\d{{1,3}}>                                                   # level
    | \d+,\d+,\d+,[-c+][^;\n]{{0,40}};                              # a record of /dev/kmsg
    | \w+[ ]*:\w+[ ]*:[ ](?=\[)                                     # dmesg -x: "kern  :info  : ["
    | \[[^\[\]]{{3,12}}[ ]+\d+[ ]{_CLOCK}[ ]\d{{4}}\][ ]?           # dmesg -T: [Thu Feb  1 10:00:00 2024]
    | \[[A-Z][a-z]{{2}}[ ]*\d+[ ]\d\d:\d\d\][ ]?                     # dmesg -H: [Feb13 10:00]
    | (?:\w{{2,5}}\.?[ ]+\d\d?[ ]|\d{{4}}-\d\d-\d\d[T ])?{_CLOCK}[^\s\[]*  # syslog's and the journal's clock
      (?:[ ][^\s\[]+)?[ ](?:kernel(?:\[\d+\])?:|[A-Z]+:)\s?
    | \d{{4}}-\d\d-\d\dT{_CLOCK}[,.]\d+\S*[ ]                       # dmesg --time-format iso
    | (?:[\w.-]+[ ])?kernel(?:\[\d+\])?:[ ]                         # the journal's: host and program
    | [>|][ ]?                                                      # mail quoting
    | [ \t\r]+(?=\[[\s+]*\d+\.\d|<\d+>|\[\s*[TC]\d+\])
    )+""",
    re.VERBOSE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[mK]")
_INNER = re.compile(rf"(?:<\d{{1,3}}>)?{_STAMP}")


def decode(data: bytes) -> str:
    """The text of a log file: UTF-8, or UTF-16 when it begins with a byte order mark; noise becomes U+FFFD.

    A terminal's colours go.
    """
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
    return _COLOUR.sub("", text) if "\x1b" in text else text


def plain(line: str) -> str:
    """What the kernel said in one raw line."""
    m = _PREFIX.match(line)
    return (line[m.end() :] if m else line).rstrip()


def kernel_lines(text: str) -> list[tuple[int, str]]:
    """Every line that the kernel said, as (number of the line in `text` from 1 on, words).

    Two messages on one line (a line break lost on a slow console) become two entries with one number:
    a time stamp in the middle of a line starts a new one.
    """
    out: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        m = _PREFIX.match(line)
        words = line[m.end() :] if m else line
        if cuts := _cuts(words):
            pieces = [words[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
            out.extend((number, piece) for piece in map(plain, pieces) if piece)
        else:
            out.append((number, words.rstrip()))
    return out


def raw_pieces(line: str) -> list[str]:
    """A raw line cut where `kernel_lines` cuts it; put together again they are the line."""
    m = _PREFIX.match(line)
    start = m.end() if m else 0
    cuts = [start + cut for cut in _cuts(line[start:])]
    return [line[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]


def _cuts(words: str) -> list[int]:
    """Where in a line without its prefix further messages begin."""
    # printk pads the seconds to five places, so a stamp from the boot holds this
    return [inner.start() for inner in _INNER.finditer(words)] if "[ " in words else []
