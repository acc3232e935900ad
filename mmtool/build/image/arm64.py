"""The header of an arm64 kernel's Image: Documentation/arch/arm64/booting.rst, and the PE header for EFI in it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import field

from mmtool.errors import InputError
from mmtool.late import dataclass

_MAGIC_AT, _MAGIC = 56, b"ARM\x64"
_PAGE_SIZES = {1: 4096, 2: 16384, 3: 65536}


@dataclass(frozen=True)
class Arm64Image:
    """An Image: its bytes (from _text on, without .bss) and what its headers tell.

    `page_size` in bytes, None for a kernel of before 3.17; `places` are offsets from _text in bytes, by the names of
    `segments.SYMBOLS`.
    """

    data: bytes = field(repr=False)
    source: str
    page_size: int | None
    places: Mapping[str, int]


def is_arm64(data: bytes) -> bool:
    """Does it begin with the header of an arm64 Image?"""
    return data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC


def read_arm64(data: bytes, source: str) -> Arm64Image:
    """The headers of an Image; InputError when it is not one or for a big-endian kernel."""
    if not is_arm64(data) or len(data) < 64:
        raise InputError(source, None, "not an arm64 Image")
    image_size, flags = struct.unpack_from("<QQ", data, 16)
    if flags & 1:
        raise InputError(source, None, "an arm64 Image in big-endian order, which is not supported")
    places = {"end": image_size} if image_size else {}
    return Arm64Image(data, source, _PAGE_SIZES.get(flags >> 1 & 3), places | _pe_places(data))


def _pe_places(data: bytes) -> dict[str, int]:
    """What the PE section table tells: .text begins at _stext; .data at __initdata_begin, its bytes end at _edata."""
    pe = int.from_bytes(data[60:64], "little")
    if data[pe : pe + 4] != b"PE\0\0" or pe + 24 > len(data):
        return {}
    count, optional = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    places: dict[str, int] = {}
    for i in range(min(count, 16)):
        at = pe + 24 + optional + 40 * i
        if at + 40 > len(data):
            break
        name, _size, start, raw = struct.unpack_from("<8sIII", data, at)
        if name.rstrip(b"\0") == b".text":
            places["stext"] = start
        elif name.rstrip(b"\0") == b".data":
            places |= {"initdata_begin": start, "edata": start + raw}
    return places
