"""Records of scripts on a process: JSON objects, one a line (plain, gzip or xz)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mmtool.errors import InputError
from mmtool.firmware.packed import read_bytes


def records_of(text: str, file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and records of a file's text. InputError for what is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(file, number, f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise InputError(file, number, "not an object")
        if not isinstance(record.get("id", ""), str):
            raise InputError(file, number, "/id: is no text")
        yield number, record


def split_script(text: str) -> tuple[list[str], list[tuple[int, str]]]:
    """A script's setup (its % lines) and its operations with the numbers of their lines, without comments."""
    setup, operations = [], []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].strip()
        if words.startswith("%"):
            setup.append(words[1:].strip())
        elif words:
            operations.append((number, words))
    return setup, operations


def read_text(file: str) -> str:
    """The text of a file ("-": standard input), unpacked."""
    return read_bytes(file).decode("utf-8", errors="replace")
