"""A program's ELF file: what exec reads of it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from mmtool.errors import InputError

_FILE = {1: struct.Struct("<HHIIIIIHHH"), 2: struct.Struct("<HHIQQQIHHH")}
_HEADER = {1: struct.Struct("<8I"), 2: struct.Struct("<IIQQQQQQ")}
_LOAD, _INTERP, _DYN = 1, 3, 3


def read_program(file: Path) -> tuple[dict[str, Any], str | None]:
    """Type, entry and program headers as a layout record has them, and the interpreter's name. InputError for others.

    Only the headers and that name are read, so that the first KiB of a file serves as well as all of it.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 52 or head[4] not in _FILE or head[5] != 1:
                raise InputError(str(file), None, "not an ELF program for a little-endian machine")
            kind, _, _, entry, at, _, _, _, size, count = _FILE[head[4]].unpack_from(head, 16)
            stream.seek(at)
            table = stream.read(size * count)
            record = _HEADER[head[4]]
            if size < record.size or len(table) < size * count:
                raise InputError(str(file), None, "ends before its program headers")
            headers, interpreter = [], None
            for i in range(count):
                row = record.unpack_from(table, i * size)
                if head[4] == 1:
                    what, offset, virtual, _, in_file, in_memory, flags, align = row
                else:
                    what, flags, offset, virtual, _, in_file, in_memory, align = row
                if what == _INTERP:
                    stream.seek(offset)
                    interpreter = stream.read(in_file).split(b"\0")[0].decode("utf-8", "replace")
                if what == _LOAD:
                    letters = "".join(c for bit, c in ((4, "r"), (2, "w"), (1, "x")) if flags & bit)
                    named = zip(
                        ("offset", "vaddr", "filesz", "memsz", "align"),
                        (offset, virtual, in_file, in_memory, align),
                        strict=True,
                    )
                    headers.append({"type": "LOAD", "flags": letters} | {k: hex(v) for k, v in named})
    except OSError as error:
        raise InputError(str(file), None, error.strerror or str(error)) from None
    if not headers:
        raise InputError(str(file), None, "nothing of it is loaded")
    return {"type": "DYN" if kind == _DYN else "EXEC", "entry": hex(entry), "phdrs": headers}, interpreter
