"""A device tree as a folder, /proc/device-tree or /sys/firmware/devicetree/base: made a blob again."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from mmtool.errors import InputError
from mmtool.firmware.below import read_plain
from mmtool.firmware.fdt.blob import MAX_DEPTH

_MAGIC, _VERSION, _COMPATIBLE = 0xD00DFEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROP, _END = 1, 2, 3, 9
_HEADER, _RESERVATIONS = 40, 16
_LARGEST = 16 << 20


def flatten(path: Path, source: str) -> bytes:
    """The blob of a tree that lies in a folder: a file a property, a folder a node. Raises InputError.

    Folders do not keep the order of nodes: they are put in the order of their names' unit addresses. What only the
    blob has, /memreserve/, is lost.
    """
    body, strings, offsets = bytearray(), bytearray(), dict[str, int]()

    def words(*values: int) -> None:
        body.extend(struct.pack(f">{len(values)}I", *values))

    def pad() -> None:
        body.extend(bytes(-len(body) % 4))

    def node(folder: Path, name: str, depth: int = 0) -> None:
        words(_BEGIN_NODE)
        body.extend(name.encode("latin-1", "replace") + b"\0")
        pad()
        entries = sorted(folder.iterdir(), key=_by_address)
        for file in (entry for entry in entries if entry.name != "name" and entry.is_file() and not entry.is_symlink()):
            value = read_plain(file, _LARGEST)
            if file.name not in offsets:
                offsets[file.name] = len(strings)
                strings.extend(file.name.encode("latin-1", "replace") + b"\0")
            words(_PROP, len(value), offsets[file.name])
            body.extend(value)
            pad()
            if len(body) > _LARGEST:
                raise InputError(source, None, "holds more than 16 MiB, which no device tree does")
        for child in (entry for entry in entries if entry.is_dir() and not entry.is_symlink()):
            if depth < MAX_DEPTH:  # those below are no kernel's either, as whoever reads the blob says
                node(child, child.name, depth + 1)
        words(_END_NODE)

    try:
        node(path, "")
    except OSError as e:
        raise InputError(source, None, f"cannot be read: {e.strerror or e}; read it as root") from e
    words(_END)
    structure = _HEADER + _RESERVATIONS
    header = (
        _MAGIC, structure + len(body) + len(strings), structure, structure + len(body), _HEADER, _VERSION, _COMPATIBLE,
        0, len(strings), len(body),
    )  # fmt: skip
    return struct.pack(">10I", *header) + bytes(_RESERVATIONS) + bytes(body) + bytes(strings)


def _by_address(entry: Path) -> tuple[int, str]:
    m = re.search(r"@([0-9a-f]+)", entry.name)
    return (int(m[1], 16) if m else -1, entry.name)
