"""What is left of a wrapper in the lines themselves: line ends written out, the newest line first."""

from __future__ import annotations

from itertools import pairwise

from mmtool.regex import regex

_WRITTEN = regex(r"\\r\\n|\\n|#012|\\x0a|\\012")
_OTHER = regex(r"\\(t|\"|'|/|u003[ce]|u0026|x1b\[[0-9;]*[mK]|u001b\[[0-9;]*[mK])")
_CHARACTERS = {"t": "\t", "u003c": "<", "u003e": ">", "u0026": "&"}
_KERNEL = regex(r"(?:\\r\\n|\\n|#012|\\x0a|\\012)(?:<\d+>|\[ *\d+\.\d{6}\]|BIOS-|Command line|Linux version)")


def undo(text: str) -> str | None:
    """A log in one line, or in few, with its line ends written as a program's source has them."""
    if ("\\" not in text and "#012" not in text) or len(_KERNEL.findall(text)) < 3:
        return None
    text = _WRITTEN.sub("\n", text)
    return _OTHER.sub(lambda m: _CHARACTERS.get(m[1], m[1] if len(m[1]) == 1 else ""), text)


_STAMP = regex(r"\[ *(\d{1,7}\.\d{6})\]")
_FIRST = regex(r"Linux version \d|Booting Linux on ")
_LATER = regex(r"BIOS-e820: |Zone ranges:|Memory: \d+K|Kernel command line: ")


def oldest_first(text: str) -> str:
    """The lines in the order of their time: what shows logs on a page often has the newest on top."""
    first, later = _FIRST.search(text), _LATER.search(text)
    if first is None or later is None or later.start() > first.start():
        return text
    times = [float(s) for s in _STAMP.findall(text)] or [int(s, 16) for s in _MAP.findall(text)]
    steps = [after - before for before, after in pairwise(times) if after != before]
    falls = sum(step < 0 for step in steps)
    return "\n".join(reversed(text.rstrip("\n").split("\n"))) + "\n" if falls * 10 > len(steps) * 9 else text


_MAP = regex(r"BIOS-e820: \[mem 0x([0-9a-f]+)-")
