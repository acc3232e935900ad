"""Files that gzip, xz or bzip2 packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mmtool.errors import InputError

LARGEST = 1 << 28
"""Bytes beyond which a file is not unpacked."""


class _Unpacker(Protocol):
    """What the decompressors of zlib, lzma and bz2 have in common."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def unpack(data: bytes, source: str) -> bytes:
    """What gzip, xz or bzip2 packed; other data as it is. Raises InputError."""
    if data[:2] == b"\x1f\x8b":
        import zlib

        return _unpack(lambda: zlib.decompressobj(wbits=31), zlib.error, data, source)
    if data[:6] == b"\xfd7zXZ\0":
        import lzma

        return _unpack(lzma.LZMADecompressor, lzma.LZMAError, data, source)
    if data[:3] == b"BZh":
        import bz2

        return _unpack(bz2.BZ2Decompressor, OSError, data, source)
    return data


def _unpack(new: Callable[[], _Unpacker], error: type[Exception], data: bytes, source: str) -> bytes:
    """Every packed part of the data, one after the other (appending to a compressed log makes several)."""
    magic, parts, size = data[:2], [], 0
    while data[:2] == magic:
        unpacker = new()
        try:
            parts.append(unpacker.decompress(data, LARGEST - size + 1))
        except (error, EOFError, ValueError) as e:
            raise InputError(source, None, f"the compressed file is damaged: {e}; copy it again") from e
        size += len(parts[-1])
        if size > LARGEST:
            raise InputError(source, None, "unpacks to more than 256 MiB, which no log is; give the part with the boot")
        if not unpacker.eof:
            raise InputError(source, None, "the compressed file ends too early; copy it again")
        data = unpacker.unused_data
    return b"".join(parts)
