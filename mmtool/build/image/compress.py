"""Decompression of kernel images, by the first bytes of what is compressed.

What comes after the compressed stream is ignored: kernels append the uncompressed size, signed ones a signature.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from mmtool.build.image.lz4 import LZ4_LEGACY, decompress_lz4
from mmtool.errors import InputError
from mmtool.firmware.packed import most_of, run_unpacker, too_large

LARGEST = 1 << 30
"""Bytes beyond which no kernel image is: more is a mistake or an attack."""

_ZSTD = b"\x28\xb5\x2f\xfd"


def decompress(data: bytes, source: str) -> bytes | None:
    """The stream at the start of `data`, decompressed; None when `data` begins with none that is known.

    gzip, xz, lzma, bzip2, LZ4 (as `lz4 -l` writes it) and, where Python or the program zstd can, Zstandard.
    InputError when the stream is broken, cut off or too long.
    """
    for magic, (name, expand) in _KINDS.items():
        if data.startswith(magic):
            try:
                return expand(data)
            except (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError) as e:
                raise InputError(source, None, f"broken {name} data: {e}") from None
            except _NoProgramError as e:
                raise InputError(source, None, str(e)) from None
    return None


class _NoProgramError(Exception):
    """What would decompress it is not there."""


def _gzip(data: bytes) -> bytes:
    return _all(zlib.decompressobj(31), data)


def _xz(data: bytes) -> bytes:
    return _all(lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST), data)


def _lzma(data: bytes) -> bytes:
    return _all(lzma.LZMADecompressor(lzma.FORMAT_ALONE, LARGEST), data)


def _bzip2(data: bytes) -> bytes:
    return _all(bz2.BZ2Decompressor(), data)


def _all(stream: zlib._Decompress | lzma.LZMADecompressor | bz2.BZ2Decompressor, data: bytes) -> bytes:
    most = most_of(len(data), LARGEST)
    out = stream.decompress(data, most)
    if not stream.eof:
        raise ValueError(too_large(most) if len(out) >= most else "it ends too early")
    return out


def _zstd(data: bytes) -> bytes:
    frame = data[: _zstd_length(data)]
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _zstd_program(frame)
    try:
        return bytes(zstd.ZstdDecompressor().decompress(frame, most_of(len(frame), LARGEST)))
    except zstd.ZstdError as e:
        raise ValueError(e) from None


def _zstd_program(frame: bytes) -> bytes:
    most = most_of(len(frame), LARGEST)
    try:
        unpacked, status = run_unpacker("zstd", frame, most)
    except FileNotFoundError:
        raise _NoProgramError(
            "compressed with zstd, which this Python cannot read: install the program zstd or decompress it first"
        ) from None
    if len(unpacked) > most:
        raise ValueError(too_large(most))
    if status:
        raise ValueError("zstd says that it is damaged")
    return unpacked


def _zstd_length(data: bytes) -> int:
    """Bytes of the frame at the start (RFC 8878, 3.1.1): the program refuses what comes after it."""
    flags = _byte(data, 4)
    single = flags >> 5 & 1
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
    last = 0
    while not last:
        block = _byte(data, at) | _byte(data, at + 1) << 8 | _byte(data, at + 2) << 16
        last, kind = block & 1, block >> 1 & 3
        at += 3 + (1 if kind == 1 else block >> 3)
    return at + (4 if flags & 4 else 0)


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("it ends too early")
    return data[at]


_KINDS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"\xfd7zXZ\0": ("xz", _xz),
    b"\x5d\0\0": ("lzma", _lzma),
    b"BZh": ("bzip2", _bzip2),
    LZ4_LEGACY: ("lz4", lambda data: decompress_lz4(data, most_of(len(data), LARGEST))),
    _ZSTD: ("zstd", _zstd),
}
