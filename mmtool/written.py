"""Files that are written whole or not at all, whatever ends the program meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PARTS: set[str | Path] = set()
"""What this process is writing: files and folders that are not whole yet."""


@contextmanager
def part_beside(path: Path) -> Iterator[Path]:
    """A hidden name beside `path`, to be written and then renamed; what is left there in the end is removed."""
    part = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    _remove(part)  # of one that was killed, under the same number
    with registered(part):
        yield part


@contextmanager
def registered(part: str | Path) -> Iterator[None]:
    """For as long as `part` is being written: it is removed in the end, also where a signal ends the program."""
    _PARTS.add(part)
    try:
        yield
    finally:
        _remove(part)
        _PARTS.discard(part)


def remove_parts() -> None:
    """Remove what is not whole yet: the program ends here and now."""
    for part in _PARTS:
        _remove(part)


def _remove(part: str | Path) -> None:
    with suppress(OSError):
        if os.path.isdir(part) and not os.path.islink(part):
            from shutil import rmtree  # which loads every library of compression

            rmtree(part, ignore_errors=True)
        else:
            os.unlink(part)
