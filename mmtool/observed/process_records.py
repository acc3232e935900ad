"""Records of scripts on a process: JSON objects, one a line (plain, gzip or xz)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmtool.errors import InputError
from mmtool.firmware.packed import unpack


def read_records(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and records of `file` ("-": standard input). InputError for what is none."""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(file, number, f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise InputError(file, number, "not an object")
        yield number, record


def read_text(file: str) -> str:
    """The text of a file ("-": standard input), unpacked."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputError(file, None, error.strerror or str(error)) from None
    return unpack(data, file).decode("utf-8", errors="replace")
