"""How wide the terminal is; shutil knows too, but loads every library of compression to say it."""

from __future__ import annotations

import os
import sys

_UNKNOWN = 80


def terminal_columns() -> int:
    """COLUMNS, else what the terminal of standard output has, else 80: as shutil.get_terminal_size()."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or _UNKNOWN  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):  # no standard output, or no terminal
        return _UNKNOWN


def terminal_width() -> int | None:
    """How many columns there are; None for a pipe or a file that nobody gave a width."""
    return terminal_columns() if os.environ.get("COLUMNS") or sys.stdout.isatty() else None
