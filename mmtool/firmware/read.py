"""Reading a machine from a file, whatever of the known kinds the file is."""

from __future__ import annotations

import sys
from pathlib import Path

from mmtool.errors import InputError
from mmtool.firmware.lines import decode
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import Machine


def read_machine(path: str, *, need_map: bool = True) -> Machine:
    """The Machine that the file at `path` ("-": standard input) describes. Raises InputError."""
    data = read_bytes(path)
    return read_log(decode(data), path, need_map=need_map)


def read_bytes(path: str) -> bytes:
    """The bytes of a file, or of standard input for "-". Raises InputError with the reason."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise InputError(path, None, f"cannot be read: {e.strerror}") from e
