"""Flattened device trees made of plain values, so that a test can say exactly which bytes a reader meets."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Tree = Mapping[str, "Tree | bytes"]
"""A node: bytes are properties, mappings are children, in this order."""


def cells(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def text(*values: str) -> bytes:
    return b"".join(value.encode() + b"\0" for value in values)


def blob(
    tree: Tree, memreserve: Sequence[tuple[int, int]] = ((0, 0),), *, version: int = 17, oldest: int = 16
) -> bytes:
    """A blob of `tree`; `memreserve` holds (address, size) with the end mark, `version` goes into the header."""
    strings: dict[str, int] = {}
    pool = bytearray()

    def node(name: str, content: Tree) -> bytes:
        out = cells(1) + _padded(name.encode() + b"\0")
        for key, value in content.items():
            if isinstance(value, bytes):
                if key not in strings:
                    strings[key] = len(pool)
                    pool.extend(key.encode("latin-1") + b"\0")
                out += cells(3, len(value), strings[key]) + _padded(value)
            else:
                out += node(key, value)
        return out + cells(2)

    return assemble(node("", tree) + cells(9), bytes(pool), memreserve, version=version, oldest=oldest)


def assemble(
    structure: bytes,
    strings: bytes,
    memreserve: Sequence[tuple[int, int]] = ((0, 0),),
    *,
    version: int = 17,
    oldest: int = 16,
) -> bytes:
    """A blob of a ready structure block and strings block."""
    reserve = b"".join(struct.pack(">2Q", *entry) for entry in memreserve)
    at = 40 + len(reserve)
    total = at + len(structure) + len(strings)
    sizes = (len(strings), len(structure))
    header = (0xD00DFEED, total, at, at + len(structure), 40, version, oldest, 0, *sizes)
    return struct.pack(">10I", *header) + reserve + structure + strings


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
