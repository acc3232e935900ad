"""memblock's two region lists as a JSON document: alone, inside a state of the boot, or inside a whole recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmtool.errors import InputError
from mmtool.units import parse_size

MAX_NUMNODES = 1024
"""The kernel writes this number (or a negative one) where a region belongs to no node."""
ADDRESS_END = 1 << 64

_FLAGS = {"hotplug": 0x1, "mirror": 0x2, "nomap": 0x4, "driver_managed": 0x8, "rsrv_noinit": 0x10, "noinit": 0x10}
_FLAGS |= {"rsrv_kern": 0x20, "kho_scratch": 0x40}


@dataclass(frozen=True, slots=True)
class MemblockRegion:
    """A region of memblock: bytes [base, base + size), the flags as bits, the node or None."""

    base: int
    size: int
    flags: int
    nid: int | None


@dataclass(frozen=True, slots=True)
class MemblockLists:
    """memblock.memory and memblock.reserved, each ascending and without overlap."""

    memory: tuple[MemblockRegion, ...]
    reserved: tuple[MemblockRegion, ...]


def memblock_from_json(document: object, source: str) -> MemblockLists:
    """The region lists of a parsed JSON document.

    Takes {"memory": [...], "reserved": [...]}, an object with that under "memblock", or a recording whose
    "stages" hold "before_free_all". A region has base and size (bytes, as numbers or as text that memparse
    reads), and may have flags (bits or a list of names) and nid. `source` names the document in errors.
    Raises InputError with the place in the document.
    """
    found, path = _locate(document, source)
    lists = {}
    for name in ("memory", "reserved"):
        regions = found.get(name)
        if not isinstance(regions, list):
            raise InputError(source, path + name, "a list of memblock regions is needed here")
        lists[name] = _regions(regions, source, path + name)
    if not lists["memory"]:
        raise InputError(source, path + "memory", "there is no memory in it")
    return MemblockLists(**lists)


def _locate(document: object, source: str) -> tuple[Mapping[str, Any], str]:
    """The object that has the two lists, and its path in the document, ending in a dot."""
    path = ""
    for keys in (("stages", "before_free_all"), ("memblock",)):
        if isinstance(document, dict) and keys[0] in document:
            for key in keys:
                path += f"{key}."
                document = document.get(key) if isinstance(document, dict) else None
    if not isinstance(document, dict):
        raise InputError(source, path.rstrip(".") or None, 'an object with "memory" and "reserved" is needed')
    return document, path


def _regions(entries: list[Any], source: str, path: str) -> tuple[MemblockRegion, ...]:
    regions = []
    end = 0
    for number, entry in enumerate(entries):
        where = f"{path}[{number}]"
        if not isinstance(entry, dict):
            raise InputError(source, where, "a region is an object with base and size")
        region = MemblockRegion(
            _address(entry, "base", source, where),
            _address(entry, "size", source, where),
            _flags(entry.get("flags", 0), source, f"{where}.flags"),
            _nid(entry.get("nid"), source, f"{where}.nid"),
        )
        if region.base + region.size > ADDRESS_END:
            raise InputError(source, where, "the region goes past the end of 64-bit addresses")
        if region.size and region.base < end:
            raise InputError(source, where, f"begins at {region.base:#x}, before the previous region's end {end:#x}")
        # An empty list of the kernel's is one region without size.
        if region.size:
            regions.append(region)
            end = region.base + region.size
    return tuple(regions)


def _address(entry: dict[str, Any], key: str, source: str, where: str) -> int:
    if key not in entry:
        raise InputError(source, where, f"the region has no {key}")
    value = entry[key]
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError as error:
            raise InputError(source, f"{where}.{key}", _short(str(error))) from None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(source, f"{where}.{key}", f"{_short(repr(value))} is not a whole number of bytes")
    if not 0 <= value < ADDRESS_END:
        raise InputError(source, f"{where}.{key}", "is not a 64-bit number of bytes")
    return value


def _flags(value: object, source: str, where: str) -> int:
    if isinstance(value, list):
        bits = 0
        for name in value:
            known = _FLAGS.get(name.lower().removeprefix("memblock_")) if isinstance(name, str) else None
            if known is None:
                raise InputError(source, where, f"{_short(repr(name))} is not a flag ({', '.join(_FLAGS)})")
            bits |= known
        return bits
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32:
        return value
    raise InputError(source, where, f"{_short(repr(value))} is neither flag bits nor a list of flag names")


def _nid(value: object, source: str, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(source, where, f"{_short(repr(value))} is not a node number")
    return value if 0 <= value < MAX_NUMNODES else None


def _short(text: str) -> str:
    """An excerpt for a message: what was read may be of any length."""
    return text if len(text) <= 60 else text[:57] + "..."
