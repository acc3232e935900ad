"""The flattened device tree as bytes: what is checked before pyfdt may read it, and the nodes that come of it.

pyfdt takes the blob apart into tags; the values stay raw bytes, because the types that pyfdt would give them are
guesses. A blob that it would choke on, loop over or misread (it trusts every offset) is refused before.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pyfdt.pyfdt import FdtBlobParse

from mmtool.errors import InputError
from mmtool.firmware.fdt.values import Problem

MAX_DEPTH = 64
"""FDT_MAX_DEPTH of drivers/of/fdt.c: nodes from depth 63 on (the root has 0) never reach the kernel's tree."""
LONGEST_NAME = 128
"""Bytes of a property's name; the specification has 31, real trees some 60."""

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
    offsets = _check_structure(data, header, source)
    parsed = FdtBlobParse(io.BytesIO(_for_pyfdt(data, header)))
    memreserve = tuple(
        (entry["address"], entry["address"] + entry["size"]) for entry in parsed.fdt_reserve_entries[:reservations]
    )
    problems = [] if complete else [Problem("/", "/memreserve/", "the list does not end within the blob")]
    root = _nodes(parsed.fdt_dt_tags[: len(offsets)], problems)
    return Blob(header["totalsize"], memreserve, root, tuple(problems))


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


def _check_structure(data: bytes, header: dict[str, int], source: str) -> list[int]:
    """The offset of every tag up to the end, once they all hold together."""
    offset, offsets, names = header["off_dt_struct"], [], list[str]()
    end = offset + header["size_dt_struct"]
    strings = (header["off_dt_strings"], header["off_dt_strings"] + header["size_dt_strings"])
    closed = False

    def error(what: str) -> InputError:
        if not names:
            return InputError(source, f"{offset:#x}", what)
        return InputError(source, "/" + "/".join(names[1:]), f"{what} (byte {offset:#x})")

    while True:
        if offset + 4 > end:
            raise error("the structure block ends without an end tag")
        tag = _WORD.unpack_from(data, offset)[0]
        offsets.append(offset)
        if tag == _END:
            break
        if tag == _NOP:
            offset += 4
            continue
        if closed or (not names and tag != _BEGIN_NODE):
            raise error(f"tag {tag:#x} stands outside the root node")
        if tag == _BEGIN_NODE:
            stop = data.find(b"\0", offset + 4, end)
            if stop < 0:
                raise error("a node's name does not end")
            names.append(_check_name(data[offset + 4 : stop], error))
            offset = (stop + 4) & ~3
        elif tag == _END_NODE:
            names.pop()
            closed = not names
            offset += 4
        elif tag == _PROP:
            offset = _check_property(data, offset, end, strings, error)
        else:
            raise error(f"{tag:#x} is no tag")
    if len(offsets) == 1 or not (closed or names):
        raise error("there is no root node")
    return offsets


def _check_name(name: bytes, error: Callable[[str], InputError]) -> str:
    if not all(0x20 < byte < 0x7F for byte in name):
        raise error(f"the name {name[:40]!r} holds what is no printable ASCII")
    return name.decode("ascii")


def _check_property(
    data: bytes, offset: int, end: int, strings: tuple[int, int], error: Callable[[str], InputError]
) -> int:
    """The offset behind a property whose name and value lie where they may."""
    if offset + 12 > end:
        raise error("a property is cut off")
    length: int
    length, name_offset = struct.unpack_from(">2I", data, offset + 4)
    if offset + 12 + length > end:
        raise error(f"a property of {length} bytes reaches beyond the structure block")
    name = strings[0] + name_offset
    if name >= strings[1]:
        raise error(f"a property's name at {name_offset:#x} lies outside the strings block")
    stop = data.find(b"\0", name, min(name + LONGEST_NAME + 1, strings[1]))
    if stop < 0:
        raise error(f"a property's name at {name_offset:#x} of the strings does not end within {LONGEST_NAME} bytes")
    _check_name(data[name:stop], error)
    return (offset + 12 + length + 3) & ~3


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
