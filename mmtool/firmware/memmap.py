"""/sys/firmware/memmap: the firmware's map as a running x86 kernel shows it, one folder an entry.

Every entry N has three files: N/start and N/end (hex, inclusive) and N/type ("System RAM", ...). It is read
from the folder itself, from a tar file of it, or from what `grep -r . /sys/firmware/memmap` prints.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mmtool.errors import InputError
from mmtool.firmware.below import read_below
from mmtool.firmware.e820 import Located, check_range, make_entry
from mmtool.regex import regex

if TYPE_CHECKING:
    from pathlib import Path

Value = tuple[int, str, str, int | str]
"""Number of the entry, name of its file, what the file holds, and where that stands (for messages)."""

FIELDS = ("start", "end", "type")
_LINE = regex(r"(?:.*?/)?(\d{1,9})/(start|end|type):\s*(.*?)\s*$")
_PATH = regex(r"(?:.*/)?(\d{1,9})/(start|end|type)$")
_SMALL = 4096
"""Bytes of a file beyond which it is no file of sysfs."""


def is_memmap_line(line: str) -> bool:
    return _LINE.match(line) is not None


def parse_memmap_text(text: str, source: str) -> tuple[Located, ...]:
    """The map in the words of `grep -r . /sys/firmware/memmap` (or `grep -H . .../*/*`), in any order.

    Raises InputError.
    """
    values: list[Value] = []
    for number, line in enumerate(text.split("\n"), 1):
        if m := _LINE.match(line):
            values.append((int(m[1]), m[2], m[3], number))
        elif line.strip():
            what = f"not a line of `grep -r . /sys/firmware/memmap`: {line.strip()[:60]!r}"
            raise InputError(source, number, f"{what}; it reads like '/sys/firmware/memmap/0/start:0x0'")
    return _entries(values, source)


def read_memmap_tree(path: Path, source: str) -> tuple[Located, ...]:
    """The map in a copy of the folder /sys/firmware/memmap. Raises InputError."""
    values: list[Value] = []
    try:
        for entry in sorted(path.iterdir()):
            if re.fullmatch(r"\d{1,9}", entry.name):
                for name in FIELDS:
                    data = read_below(path, f"{entry.name}/{name}", _SMALL)
                    if data is not None:
                        text = data.decode("utf-8", "replace")
                        values.append((int(entry.name), name, text.strip(), f"{entry.name}/{name}"))
    except OSError as e:
        raise InputError(source, None, f"cannot be read: {e.strerror}") from e
    if not values and (path / "memmap").is_dir():
        return read_memmap_tree(path / "memmap", source)
    return _entries(values, source)


def read_memmap_tar(data: bytes, source: str) -> tuple[Located, ...]:
    """The map in a tar file of /sys/firmware/memmap. Raises InputError."""
    import tarfile

    values: list[Value] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                m = _PATH.match(member.name)
                file = tar.extractfile(member) if m and member.isreg() else None
                if m and file is not None:
                    text = file.read(_SMALL).decode("utf-8", "replace")
                    values.append((int(m[1]), m[2], text.strip("\0 \t\r\n"), f"{m[1]}/{m[2]}"))
    except (tarfile.TarError, OSError, EOFError, ValueError) as e:
        raise InputError(source, None, f"the tar file is damaged: {e}; pack /sys/firmware/memmap again") from e
    return _entries(values, source)


def _entries(values: Iterable[Value], source: str) -> tuple[Located, ...]:
    """The entries by number, each with all of its files."""
    found: dict[int, dict[str, tuple[str, int | str]]] = {}
    for number, name, text, where in values:
        fields = found.setdefault(number, {})
        if name in fields and fields[name][0] != text:
            raise InputError(source, where, f"entry {number} has two different values of {name!r}")
        fields[name] = (text, where)
    if not found:
        raise InputError(source, None, "no entries (0/start, 0/end, 0/type, ...); give a copy of /sys/firmware/memmap")
    return tuple(_entry(number, found[number], source) for number in sorted(found))


def _entry(number: int, fields: dict[str, tuple[str, int | str]], source: str) -> Located:
    if missing := [name for name in FIELDS if name not in fields]:
        where = next(iter(fields.values()))[1]
        raise InputError(source, where, f"entry {number} has no {' and no '.join(missing)}; copy the folder whole")
    start, end = (_address(*fields[name], source) for name in ("start", "end"))
    check_range(start, end + 1, source, fields["end"][1])
    where = fields["start"][1]
    return where if isinstance(where, int) else f"{number}", make_entry(
        start, end + 1, fields["type"][0], source, fields["type"][1]
    )


def _address(text: str, where: int | str, source: str) -> int:
    if not re.fullmatch(r"(?:0x)?[0-9a-fA-F]{1,32}", text):
        raise InputError(source, where, f"not a hexadecimal address: {text[:40]!r}")
    return int(text, 16)
