"""Sizes of a kernel's structures from its BTF, the type information that lies in its image (.BTF).

The format: Documentation/bpf/btf.rst. A header, the types one after the other, their names.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator, Mapping
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")  # magic, version, flags, header's length, types' and names' offset and length
_MEMBER = struct.Struct("<III")  # name, type, place
_TYPE = struct.Struct("<III")  # name, kind and count of members, size or type
_KIND_STRUCT, _KIND_UNION, _KIND_DATASEC = 4, 5, 15
# Bytes that follow a type: (always, for each member), by kind.
_TAIL: Mapping[int, tuple[int, int]] = {
    1: (4, 0),  # INT
    2: (0, 0),  # PTR
    3: (12, 0),  # ARRAY
    _KIND_STRUCT: (0, 12),
    _KIND_UNION: (0, 12),
    6: (0, 8),  # ENUM
    7: (0, 0),  # FWD
    8: (0, 0),  # TYPEDEF
    9: (0, 0),  # VOLATILE
    10: (0, 0),  # CONST
    11: (0, 0),  # RESTRICT
    12: (0, 0),  # FUNC
    13: (0, 8),  # FUNC_PROTO
    14: (4, 0),  # VAR
    _KIND_DATASEC: (0, 12),
    16: (0, 0),  # FLOAT
    17: (4, 0),  # DECL_TAG
    18: (0, 0),  # TYPE_TAG
    19: (0, 12),  # ENUM64
}


@dataclass(frozen=True)
class Types:
    """What a kernel's type information tells, in bytes.

    `structures`: the size of every named struct and union (of two with one name, the first counts); `sections`: of
    the sections whose variables it lists, up to the end of the last variable (pahole lists .data..percpu).
    """

    structures: Mapping[str, int]
    sections: Mapping[str, int]
    members: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of the members of the structures that were asked for."""


NO_TYPES = Types({}, {})


def read_btf(data: bytes, source: str, members_of: Container[str] = ()) -> Types:
    """Read type information; `data` begins with its header, and bytes after its end do no harm.

    `members_of`: the structures whose members are wanted.
    InputError when it is not BTF or broken.
    """
    types, names = _parts(data, source)
    structures: dict[str, int] = {}
    sections: dict[str, int] = {}
    members: dict[str, frozenset[str]] = {}
    for name, kind, size, at, count in _walk(types, source):
        if kind in (_KIND_STRUCT, _KIND_UNION) and name:
            called = _name(names, name, source)
            structures.setdefault(called, size)
            if called in members_of and called not in members:
                offsets = (_MEMBER.unpack_from(types, at + i * _MEMBER.size)[0] for i in range(count))
                members[called] = frozenset(_name(names, offset, source) for offset in offsets)
        elif kind == _KIND_DATASEC:
            sections.setdefault(_name(names, name, source), size)
    return Types(structures, sections, members)


def length(data: bytes, offset: int) -> int | None:
    """Bytes of the BTF whose header lies at `offset`; None when there is no sound header."""
    if offset < 0 or offset + _HEADER.size > len(data):
        return None
    magic, version, flags, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data, offset)
    sound = (magic, version, flags) == (_MAGIC, 1, 0) and header >= _HEADER.size and type_off == 0
    if not sound or str_off != type_len or not type_len or offset + header + str_off + str_len > len(data):
        return None
    return int(header + str_off + str_len)


def find(data: bytes) -> bytes | None:
    """The BTF somewhere in an image that has no section table; None when there is none.

    A kernel has one BTF, and it is its largest: smaller hits are other data that looks like a header.
    """
    magic = struct.pack("<HBBI", _MAGIC, 1, 0, _HEADER.size)
    best, at = b"", data.find(magic)
    while at >= 0:
        size = length(data, at) or 0
        if size > len(best):
            best = data[at : at + size]
        at = data.find(magic, at + 1)
    return best or None


def _parts(data: bytes, source: str) -> tuple[bytes, bytes]:
    if len(data) < _HEADER.size:
        raise InputError(source, ".BTF", "too short for type information")
    magic, version, _flags, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1:
        raise InputError(source, ".BTF", "not type information of version 1 in little-endian order")
    types, names = header + type_off, header + str_off
    if max(types + type_len, names + str_len) > len(data):
        raise InputError(source, ".BTF", "type information ends too early")
    return data[types : types + type_len], data[names : names + str_len]


def _walk(types: bytes, source: str) -> Iterator[tuple[int, int, int, int, int]]:
    """(offset of the name, kind, size, where its members begin, how many there are) of each type."""
    at, end = 0, len(types)
    while at < end:
        if at + _TYPE.size > end:
            raise InputError(source, ".BTF", f"the type at {at:#x} is cut off")
        name, info, size = _TYPE.unpack_from(types, at)
        kind, members = info >> 24 & 0x1F, info & 0xFFFF
        if kind not in _TAIL:
            raise InputError(source, ".BTF", f"the type at {at:#x} is of kind {kind}, which is unknown")
        always, each = _TAIL[kind]
        at += _TYPE.size + always + each * members
        if at > end:
            raise InputError(source, ".BTF", f"the type that ends at {at:#x} is cut off")
        yield name, kind, size, at - each * members, members


def _name(names: bytes, offset: int, source: str) -> str:
    end = names.find(b"\0", offset)
    if end < 0:
        raise InputError(source, ".BTF", f"no name at {offset:#x}")
    return names[offset:end].decode("utf-8", "replace")
