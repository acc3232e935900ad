"""Lists of caches to create: a JSON object a line, with what the caller of kmem_cache_create() gives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mmtool.errors import InputError
from mmtool.linux.mm.slab_common import CacheArgs
from mmtool.linux.mm.slab_flags import KNOWN, Flags

_NUMBERS = {"size": "size", "align": "align", "useroffset": "useroffset", "usersize": "usersize", "sheaf": "sheaf"}


def read_creations(lines: Iterable[str], source: str) -> list[CacheArgs]:
    """The caches of a list, in the order of creation. InputError with the line that is none."""
    return [_cache(line, source, number) for number, line in enumerate(lines, 1) if line.strip()]


def _cache(line: str, source: str, number: int) -> CacheArgs:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(source, number, "not a JSON object") from None
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise InputError(source, number, 'a cache is an object with "name", "size" and "flags"')
    values = {to: _number(row.get(key, 0), key, source, number) for key, to in _NUMBERS.items()}
    if not values["size"]:
        raise InputError(source, number, f"cache {row['name']!r} has no size")
    freeptr = row.get("freeptr")
    if freeptr is not None:
        freeptr = _number(freeptr, "freeptr", source, number)
    flags = read_flags(row.get("flags", []), source, number)
    return CacheArgs(row["name"], flags=flags, ctor=bool(row.get("ctor")), freeptr=freeptr, **values)


def _number(value: Any, key: str, source: str, line: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise InputError(source, line, f"{key!r} is not a number of bytes: {str(value)[:40]}")
    return value


def read_flags(names: Any, source: str, line: int) -> Flags:
    """Flags of a cache by their names without SLAB_. InputError for one that there is not."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(source, line, '"flags" is a list of names')
    flags = frozenset(name.removeprefix("SLAB_") for name in names)
    if unknown := flags - KNOWN:
        raise InputError(source, line, f"no flag of caches: {', '.join(sorted(unknown))[:80]}")
    return flags
