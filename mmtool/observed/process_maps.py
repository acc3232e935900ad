"""A process's mappings as /proc/PID/maps or smaps shows them."""

from __future__ import annotations

import re
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass

_ROW = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-][w-][x-][sp]) ([0-9a-f]{1,16}) (\S+) (\d{1,20})(?: +(.*))?$")
_FIELD = re.compile(r"(\w+):\s+(\d{1,20})(?: kB)?$")


@dataclass(frozen=True)
class MapsRow:
    """One mapping; `sizes` are smaps' fields in KiB, `flags` its VmFlags (None: only maps was read)."""

    start: int
    end: int
    perms: str
    offset: int
    device: str
    inode: int
    name: str
    line: int
    sizes: dict[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        return self.end - self.start


def parse_maps(text: str, source: str) -> list[MapsRow]:
    """The rows of a maps or smaps text, in order. InputError names the line that is neither."""
    rows: list[MapsRow] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.rstrip()
        if not words:
            continue
        if m := _ROW.match(words):
            start, end = int(m[1], 16), int(m[2], 16)
            if end <= start or (rows and start < rows[-1].end):
                raise InputError(source, number, "the mapping is empty, or overlaps the one before it")
            rows.append(MapsRow(start, end, m[3], int(m[4], 16), m[5], int(m[6]), (m[7] or "").strip(), number))
        elif rows and words.startswith("VmFlags:"):
            rows[-1] = _with_flags(rows[-1], tuple(words.split()[1:]))
        elif rows and (m := _FIELD.match(words)):
            rows[-1].sizes[m[1]] = int(m[2])
        elif not rows or ":" not in words:
            raise InputError(source, number, "not a line of /proc/PID/maps or smaps")
    if not rows:
        raise InputError(source, None, "no mapping is in it; give /proc/PID/maps or /proc/PID/smaps")
    return rows


def _with_flags(row: MapsRow, flags: tuple[str, ...]) -> MapsRow:
    return MapsRow(
        row.start, row.end, row.perms, row.offset, row.device, row.inode, row.name, row.line, row.sizes, flags
    )
