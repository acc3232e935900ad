"""Lines of a kernel log in which firmware, hardware or the boot loader shows through: the table of them.

A row of NOTES is (kind, how the line begins, the pattern behind that, how its groups become the values of the
LogNote). Ranges come out half-open, in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mmtool.firmware.machine import LogNote

Values = tuple[int, ...]
Groups = tuple[str | None, ...]


def hexadecimal(groups: Groups) -> Values:
    return tuple(int(g, 16) for g in groups if g is not None)


def decimal(groups: Groups) -> Values:
    return tuple(int(g) for g in groups if g is not None)


def inclusive(groups: Groups) -> Values:
    """First and last byte in hex; half-open in the note."""
    start, last = hexadecimal(groups)
    return start, last + 1


def numbered_range(groups: Groups) -> Values:
    """A decimal number, then first and last byte in hex: (start, end, number)."""
    number, start, last = groups
    return int(start or "0", 16), int(last or "0", 16) + 1, int(number or "0")


_R = r"0x([0-9a-f]+)-0x([0-9a-f]+)"

NOTES: tuple[tuple[str, str, str, Callable[[Groups], Values]], ...] = (
    ("setup_data", "e820: update ", rf"\[mem {_R}\] (?:usable ==> usable|System RAM ==> System RAM)", inclusive),
    ("efi_remove_mmio", "efi: ", rf"Remove mem(\d+): MMIO range=\[{_R}\]", numbered_range),
    ("efi_keep_mmio", "efi: ", rf"Not removing mem(\d+): MMIO range=\[{_R}\]", numbered_range),
    ("esrt", "esrt: ", r"Reserving ESRT space from 0x([0-9a-f]+) to 0x([0-9a-f]+)", hexadecimal),
)

_ROWS: dict[str, list[tuple[str, re.Pattern[str], Callable[[Groups], Values]]]] = {}
for _kind, _prefix, _pattern, _convert in NOTES:
    _ROWS.setdefault(_prefix, []).append((_kind, re.compile(_pattern, re.IGNORECASE), _convert))

NOTE_PREFIXES = tuple(_ROWS)


def find_note(words: str, line: int) -> Iterator[LogNote]:
    """The notes of one line (at most a few)."""
    for prefix, rows in _ROWS.items():
        if words.startswith(prefix):
            for kind, pattern, convert in rows:
                if m := pattern.match(words, len(prefix)):
                    yield LogNote(kind, convert(m.groups()), line, words)
