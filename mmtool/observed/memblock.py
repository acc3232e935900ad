"""memblock's two region lists as a JSON document: alone, inside a state of the boot, or inside a whole recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.mm.memblock import NUMA_NO_NODE, MemblockRegion
from mmtool.units import parse_size

MAX_NUMNODES = 1024
"""The kernel writes this number (or a negative one) where a region belongs to no node."""
ADDRESS_END = 1 << 64

_FLAGS = {"hotplug": 0x1, "mirror": 0x2, "nomap": 0x4, "driver_managed": 0x8, "rsrv_noinit": 0x10, "noinit": 0x10}
_FLAGS |= {"rsrv_kern": 0x20, "kho_scratch": 0x40}


@dataclass(frozen=True, slots=True)
class RecordedMemblock:
    """memblock.memory and memblock.reserved, each ascending and without overlap, and which kernel they are of.

    Memory without a node is node 0's, a reservation without one has -1. `release` is as uname -r has it, `version`
    as uname -v; these and the command line are None where the document does not say.
    """

    memory: tuple[MemblockRegion, ...]
    reserved: tuple[MemblockRegion, ...]
    cmdline: str | None = None
    release: str | None = None
    version: str | None = None


def memblock_from_json(document: object, source: str) -> RecordedMemblock:
    """The region lists of a parsed JSON document.

    Takes {"memory": [...], "reserved": [...]}, an object with that under "memblock" (and perhaps "cmdline" and
    "kernel" {"release", "version"}), or a recording whose "stages" hold "before_free_all". A region has base and
    size (bytes, as numbers or as text that memparse reads), and may have flags (bits or a list of names) and
    nid. `source` names the document in errors. Raises InputError with the place in the document.
    """
    stage, stage_path = _stage(document, source)
    found, path = _inside(stage, "memblock", stage_path, source) if "memblock" in stage else (stage, stage_path)
    lists = {}
    for name, no_node in (("memory", 0), ("reserved", NUMA_NO_NODE)):
        regions = found.get(name)
        if not isinstance(regions, list):
            raise InputError(source, path + name, "a list of memblock regions is needed here")
        lists[name] = _regions(regions, no_node, source, path + name)
    if not lists["memory"]:
        raise InputError(source, path + "memory", "there is no memory in it")
    kernel, kernel_path = _inside(stage, "kernel", stage_path, source) if "kernel" in stage else ({}, "")
    return RecordedMemblock(
        lists["memory"], lists["reserved"], _text(stage, "cmdline", stage_path, source),
        _text(kernel, "release", kernel_path, source), _text(kernel, "version", kernel_path, source),
    )  # fmt: skip


def _stage(document: object, source: str) -> tuple[Mapping[str, Any], str]:
    """The object that speaks of one moment of the boot, and its path in the document, ending in a dot unless empty."""
    if not isinstance(document, dict):
        raise InputError(source, None, 'an object with "memory" and "reserved" is needed')
    if "stages" not in document:
        return document, ""
    stages, path = _inside(document, "stages", "", source)
    return _inside(stages, "before_free_all", path, source)


def _inside(outer: Mapping[str, Any], key: str, path: str, source: str) -> tuple[Mapping[str, Any], str]:
    inner = outer.get(key)
    if not isinstance(inner, dict):
        raise InputError(source, path + key, "an object is needed here")
    return inner, f"{path}{key}."


def _text(outer: Mapping[str, Any], key: str, path: str, source: str) -> str | None:
    value = outer.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(source, path + key, f"{_short(repr(value))} is not text")
    return value


def _regions(entries: list[Any], no_node: int, source: str, path: str) -> tuple[MemblockRegion, ...]:
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
            _nid(entry.get("nid"), no_node, source, f"{where}.nid"),
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


def _nid(value: object, no_node: int, source: str, where: str) -> int:
    if value is None:
        return no_node
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(source, where, f"{_short(repr(value))} is not a node number")
    return value if 0 <= value < MAX_NUMNODES else no_node


def _short(text: str) -> str:
    """An excerpt for a message: what was read may be of any length."""
    return text if len(text) <= 60 else text[:57] + "..."
