"""The flattened device tree as bytes: what is checked before pyfdt may read it, and the nodes that come of it.

pyfdt takes the blob apart into tags; the values stay raw bytes, because the types that pyfdt would give them are
guesses. A blob that it would choke on, loop over or misread (it trusts every offset) is refused before.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import field
from functools import lru_cache
from typing import Any

from pyfdt.pyfdt import FdtBlobParse

from mmtool.errors import InputError
from mmtool.firmware.devicetree import Problem
from mmtool.late import dataclass

MAX_DEPTH = 64
"""FDT_MAX_DEPTH of drivers/of/fdt.c: nodes from depth 63 on (the root has 0) never reach the kernel's tree."""
LONGEST_NAME = 128
"""Bytes of a property's name; the specification has 31, real trees some 60."""
MOST_NAMES = 4
"""Bytes of all properties' names per byte of the blob. pyfdt reads each name anew, byte by byte; real trees have less
than one, however often a name is used."""

_MAGIC = 0xD00DFEED
_HEADER = struct.Struct(">10I")
_FIELDS = ("magic", "totalsize", "off_dt_struct", "off_dt_strings", "off_mem_rsvmap", "version", "last_comp_version")
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9
_WORD = struct.Struct(">I")
_PAIR = struct.Struct(">QQ")


@dataclass(slots=True, eq=False)
class Node:
    """A node: its properties as raw bytes (of two of one name the first, as libfdt finds it), its children in order."""

    name: str
    parent: Node | None
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def path(self) -> str:
        names: list[str] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(names))

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the tree's order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def is_named(self, name: str) -> bool:
        """Does the name without its unit address equal `name`? Models of_node_name_eq()."""
        return self.name.split("@", 1)[0] == name

    def words(self, name: str) -> tuple[int, ...] | None:
        """The whole cells of a property (a rest of fewer than four bytes does not count), None without it."""
        value = self.properties.get(name)
        return None if value is None else struct.unpack_from(f">{len(value) // 4}I", value)

    def u32(self, name: str) -> int | None:
        """The first cell, None where there is none. Models of_property_read_u32()."""
        words = self.words(name)
        return words[0] if words else None

    def strings(self, name: str) -> tuple[str, ...]:
        """The strings of a list; what no NUL ends is no string. Models fdt_stringlist_get()."""
        parts = self.properties.get(name, b"").split(b"\0")
        return tuple(part.decode("utf-8", "replace") for part in parts[:-1])

    def string(self, name: str) -> str | None:
        strings = self.strings(name)
        return strings[0] if strings else None

    @property
    def available(self) -> bool:
        """No status, "ok" or "okay". Models of_fdt_device_is_available() as up to 6.12, and of_device_is_available();
        7.3's early scans take a status without an ending NUL for none."""
        return "status" not in self.properties or self.string("status") in ("ok", "okay")


@dataclass(frozen=True, slots=True)
class Blob:
    """What the blob holds: its size in bytes, the memory reservations [start, end), the root and what was amiss."""

    size: int
    memreserve: tuple[tuple[int, int], ...]
    root: Node
    problems: tuple[Problem, ...]


def parse_blob(data: bytes, source: str) -> Blob:
    """The nodes of a flattened device tree. Raises InputError, which names a node or a byte."""
    header = _check_header(data, source)
    data = data[: header["totalsize"]]
    reservations, complete = _count_reservations(data, header["off_mem_rsvmap"])
    tags = _Structure(data, header, source).count_tags()
    parsed = FdtBlobParse(io.BytesIO(_for_pyfdt(data, header)))
    memreserve = tuple(
        (entry["address"], entry["address"] + entry["size"]) for entry in parsed.fdt_reserve_entries[:reservations]
    )
    problems = [] if complete else [Problem("/", "/memreserve/", "the list does not end within the blob")]
    root = _nodes(parsed.fdt_dt_tags[:tags], problems)
    return Blob(header["totalsize"], memreserve, root, tuple(problems))


@lru_cache(maxsize=1)
def same_blob(data: bytes, source: str) -> Blob:
    """parse_blob() for readers of one tree after another: what it is, is asked before what it says.

    Nobody may change its nodes.
    """
    return parse_blob(data, source)


def _check_header(data: bytes, source: str) -> dict[str, int]:
    """The header's fields, when every block lies inside. Models fdt_check_header() of scripts/dtc/libfdt/fdt.c."""
    if len(data) < 4 or _WORD.unpack_from(data)[0] != _MAGIC:
        raise InputError(source, "0x0", _not_a_blob(data))
    if len(data) < _HEADER.size:
        raise InputError(
            source, f"{len(data):#x}", f"the header of {_HEADER.size} bytes is cut off; copy the file again"
        )
    values = _HEADER.unpack_from(data)
    header = dict(zip(_FIELDS, values[:7], strict=True)) | {"size_dt_strings": values[8], "size_dt_struct": values[9]}
    total, version, oldest = header["totalsize"], header["version"], header["last_comp_version"]
    if version < 16 or oldest > 17 or oldest > version:
        raise InputError(source, "0x14", f"version {version} (back to {oldest}) cannot be read; 16 and 17 can")
    if total > len(data):
        raise InputError(source, "0x4", f"the blob has {total} bytes, the file only {len(data)}; copy it whole")
    start = header["off_dt_struct"]
    if version < 17:
        header["size_dt_struct"] = max(total - start, 0)
    blocks = (
        (8, "structure block", start, header["size_dt_struct"], 4),
        (12, "strings block", header["off_dt_strings"], header["size_dt_strings"], 1),
        (16, "memory reservation block", header["off_mem_rsvmap"], 0, 8),
    )
    for place, what, offset, size, alignment in blocks:
        if not _HEADER.size <= offset <= offset + size <= total:
            raise InputError(
                source, f"{place:#x}", f"the {what} at {offset:#x}, {size} bytes, lies outside the blob of {total}"
            )
        if offset % alignment:
            raise InputError(source, f"{place:#x}", f"the {what} at {offset:#x} is not aligned to {alignment} bytes")
    return header


def _not_a_blob(data: bytes) -> str:
    if not data:
        return "empty file; give a device-tree blob, such as a copy of /sys/firmware/fdt"
    if data.lstrip()[:8] == b"/dts-v1/":
        return "is a device tree's source; compile it first: dtc -O dtb -o machine.dtb FILE"
    if data[:4] == _WORD.pack(_MAGIC)[::-1]:
        return "the magic number's bytes are swapped; device-tree blobs are big-endian"
    return f"not a device-tree blob: begins with {data[:4].hex()}, not with d00dfeed; give a copy of /sys/firmware/fdt"


def _count_reservations(data: bytes, offset: int) -> tuple[int, bool]:
    """How many reservations the kernel takes, and whether one of size 0 ends them.

    Models the loop of early_init_fdt_scan_reserved_mem().
    """
    count = 0
    while offset + _PAIR.size <= len(data):
        if _PAIR.unpack_from(data, offset)[1] == 0:
            return count, True
        count, offset = count + 1, offset + _PAIR.size
    return count, False


def _for_pyfdt(data: bytes, header: dict[str, int]) -> bytes:
    """The blob with versions that pyfdt accepts, and an end to the reservations in any case."""
    versions = struct.pack(">2I", min(header["version"], 17), min(header["last_comp_version"], 16))
    return data[:20] + versions + data[28:] + bytes(2 * _PAIR.size)


class _Structure:
    """A walk over the structure block that trusts nothing; the errors that it makes know node and byte."""

    def __init__(self, data: bytes, header: dict[str, int], source: str) -> None:
        self.data, self.source = data, source
        self.offset = header["off_dt_struct"]
        self.end = self.offset + header["size_dt_struct"]
        self.strings = header["off_dt_strings"]
        self.strings_end = self.strings + header["size_dt_strings"]
        self.names: list[str] = []
        """The names of the nodes that are open here, the root's first."""
        self.name_bytes = 0

    def error(self, what: str) -> InputError:
        if not self.names:
            return InputError(self.source, f"{self.offset:#x}", what)
        return InputError(self.source, "/" + "/".join(self.names[1:]), f"{what} (byte {self.offset:#x})")

    def count_tags(self) -> int:
        """How many tags stand before the end, once they all hold together.

        Nodes may still be open there, as the kernel allows.
        """
        count, closed = 0, False
        while (tag := self._tag()) != _END:
            count += 1
            if tag == _NOP:
                self.offset += 4
            elif closed or (not self.names and tag != _BEGIN_NODE):
                raise self.error(f"tag {tag:#x} stands outside the root node")
            elif tag == _BEGIN_NODE:
                self._begin_node()
            elif tag == _END_NODE:
                self.names.pop()
                closed = not self.names
                self.offset += 4
            elif tag == _PROP:
                self._property()
            else:
                raise self.error(f"{tag:#x} is no tag")
        if not (closed or self.names):
            raise self.error("there is no root node")
        return count

    def _tag(self) -> int:
        if self.offset + 4 > self.end:
            raise self.error("the structure block ends without an end tag")
        return int.from_bytes(self.data[self.offset : self.offset + 4], "big")

    def _begin_node(self) -> None:
        stop = self.data.find(b"\0", self.offset + 4, self.end)
        if stop < 0:
            raise self.error("a node's name does not end")
        self.names.append(self._name(self.offset + 4, stop))
        self.offset = (stop + 4) & ~3

    def _property(self) -> None:
        if self.offset + 12 > self.end:
            raise self.error("a property is cut off")
        length, at = struct.unpack_from(">2I", self.data, self.offset + 4)
        behind = self.offset + 12 + length
        if behind > self.end:
            raise self.error(f"a property of {length} bytes reaches beyond the structure block")
        name = self.strings + at
        if name >= self.strings_end:
            raise self.error(f"a property's name at {at:#x} lies outside the strings block")
        stop = self.data.find(b"\0", name, min(name + LONGEST_NAME + 1, self.strings_end))
        if stop < 0:
            raise self.error(f"a property's name at {at:#x} of the strings does not end within {LONGEST_NAME} bytes")
        self._name(name, stop)
        self.name_bytes += stop - name
        if self.name_bytes > MOST_NAMES * len(self.data):
            raise self.error(f"the properties' names have more than {MOST_NAMES} times the blob's bytes")
        self.offset = (behind + 3) & ~3

    def _name(self, start: int, stop: int) -> str:
        name = self.data[start:stop]
        if not all(0x20 < byte < 0x7F for byte in name):
            raise self.error(f"the name {name[:40]!r} holds what is no printable ASCII")
        return name.decode("ascii")


def _nodes(tags: Iterable[tuple[int, Any]], problems: list[Problem]) -> Node:
    """The tree of pyfdt's tags; what the kernel never sees is left out and told."""
    root = node = Node("", None)
    depth = -1
    for tag, value in tags:
        if tag == _BEGIN_NODE:
            depth += 1
            if depth == MAX_DEPTH - 1:
                problems.append(Problem(node.path, "", f"nodes below depth {MAX_DEPTH - 2} are left out"))
            if 0 < depth < MAX_DEPTH - 1:
                node.children.append(child := Node("" if value == "/" else value, node))
                node = child
        elif tag == _END_NODE:
            if depth < MAX_DEPTH - 1 and node.parent is not None:
                node = node.parent
            depth -= 1
        elif tag == _PROP and depth < MAX_DEPTH - 1:
            name, raw = value
            if node.children:
                problems.append(Problem(node.path, name, "stands behind a child node, where no kernel looks for it"))
            elif name in node.properties:
                problems.append(Problem(node.path, name, "is there twice; the first counts"))
            else:
                node.properties[name] = raw
    return root
