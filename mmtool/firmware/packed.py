"""Files that gzip, xz, bzip2, zstd, lz4 or zip packed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from stat import S_ISCHR
from typing import BinaryIO, Protocol

from mmtool.errors import InputError
from mmtool.units import human

SMALL, RATIO, LARGEST = 16 << 20, 50, 1 << 28
"""A file is unpacked to so many bytes, to so many times its own size if that is more, and never beyond the last."""
MOST_OF_DEVICE = 1 << 26
"""Bytes that are read of a device, such as /dev/kmsg; others have no end."""
MOST_PARTS = 1000
"""Packed parts of one file, one after the other."""
_allowed: int | None = None
"""What allow() was told."""


def allow(size: int) -> None:
    """Unpack every file up to `size` bytes from now on, however small it is."""
    global _allowed
    _allowed = size


def most_of(packed: int, largest: int | None = None) -> int:
    """To how many bytes a file of `packed` bytes is unpacked; `largest` in place of LARGEST."""
    return _allowed if _allowed is not None else min(max(SMALL, RATIO * packed), largest or LARGEST)


def too_large(most: int) -> str:
    """What to say of a file that unpacks to more than `most` bytes."""
    return f"unpacks to more than {human(most)}; where you trust it, allow it: mmtool --unpack SIZE COMMAND ..."


_MAGICS = (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"PK\x03\x04")
"""How the packed files begin that unpack() knows."""


class _Unpacker(Protocol):
    """What the decompressors of zlib, lzma and bz2 have in common."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


def names_folder(path: str) -> bool:
    """Does the path name a folder? Not one that cannot be a path at all: too long, or with a zero byte."""
    return path != "-" and os.path.isdir(path)


_read_already: object = None
"""The standard input that has been read."""


def standard_input() -> BinaryIO:
    """Standard input, for one file: a second one would find it empty. Raises InputError."""
    global _read_already
    if _read_already is sys.stdin:
        raise InputError("-", None, "standard input is asked for twice; give the name of a file for the other")
    _read_already = sys.stdin
    return sys.stdin.buffer


def read_bytes(path: str) -> bytes:
    """The bytes of a file, or of standard input for "-", unpacked if they are compressed. Raises InputError."""
    return unpack(read_raw(path), path)


def read_lines(path: str) -> Iterator[bytes]:
    """The lines of a file, or of standard input for "-", one by one, unpacked if it is compressed. Raises InputError.

    A file that is not compressed may be of any size.
    """
    try:
        with standard_input() if path == "-" else open(path, "rb") as file:
            if path != "-" and S_ISCHR(os.fstat(file.fileno()).st_mode):
                yield from unpack(read_raw(path), path).splitlines(keepends=True)
                return
            head = file.read(len(max(_MAGICS, key=len)))
            if head.startswith(_MAGICS):
                yield from unpack(head + file.read(), path).splitlines(keepends=True)
                return
            first = head if head.endswith(b"\n") else head + file.readline()
            yield from first.splitlines(keepends=True)
            yield from file
    except PermissionError as e:
        raise InputError(path, None, "cannot be read: permission denied; read it as root") from e
    except (OSError, ValueError) as e:
        raise InputError(path, None, f"cannot be read: {getattr(e, 'strerror', None) or e}") from e


def read_raw(path: str) -> bytes:
    """The bytes of a file, or of standard input for "-", as they are. Raises InputError."""
    try:
        if path == "-":
            return standard_input().read()
        with open(path, "rb") as file:
            if not S_ISCHR(os.fstat(file.fileno()).st_mode):
                return file.read()
            if len(data := file.read(MOST_OF_DEVICE + 1)) > MOST_OF_DEVICE:
                raise InputError(path, None, "is a device that has no end")
            return data
    except PermissionError as e:
        raise InputError(path, None, "cannot be read: permission denied; read it as root") from e
    except (OSError, ValueError) as e:
        raise InputError(path, None, f"cannot be read: {getattr(e, 'strerror', None) or e}") from e


def unpack(data: bytes, source: str) -> bytes:
    """What gzip, xz, bzip2, zip (of one file) or, by the programs of their names, zstd and lz4 packed.

    Other data as it is. Raises InputError.
    """
    if data[:2] == b"\x1f\x8b":
        import zlib

        return _unpack(lambda: zlib.decompressobj(wbits=31), zlib.error, data, source)
    if data[:6] == b"\xfd7zXZ\0":
        import lzma

        return _unpack(lzma.LZMADecompressor, lzma.LZMAError, data, source)
    if data[:3] == b"BZh":
        import bz2

        return _unpack(bz2.BZ2Decompressor, OSError, data, source)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return _by_program("zstd", data, source)
    if data[:4] == b"\x04\x22\x4d\x18":
        return _by_program("lz4", data, source)
    if data[:4] == b"PK\x03\x04":
        return _unzip(data, source)
    return data


def _by_program(name: str, data: bytes, source: str) -> bytes:
    most = most_of(len(data))
    try:
        unpacked, status = run_unpacker(name, data, most)
    except FileNotFoundError:
        hint = f"compressed with {name}, which is not installed here; give it unpacked ({name} -d)"
        raise InputError(source, None, hint) from None
    if len(unpacked) > most:
        raise InputError(source, None, too_large(most))
    if status:
        raise InputError(source, None, f"the compressed file is damaged, says {name}; copy it again")
    return unpacked


def run_unpacker(name: str, data: bytes, most: int) -> tuple[bytes, int]:
    """What the program of that name unpacks, and its exit status. Raises FileNotFoundError if it is not there.

    No more than `most` + 1 bytes are taken from it, so that a small file of a stranger does not fill the memory.
    """
    import subprocess
    import tempfile

    with tempfile.TemporaryFile() as packed:
        packed.write(data)
        packed.seek(0)
        command = [name, "-dc"]
        with subprocess.Popen(command, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
            assert program.stdout is not None
            unpacked = program.stdout.read(most + 1)
            if len(unpacked) > most:
                program.kill()
        return unpacked, program.returncode


def _unzip(data: bytes, source: str) -> bytes:
    import io
    import zipfile
    import zlib

    most = most_of(len(data))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [member for member in archive.infolist() if not member.is_dir()]
            if len(files) != 1:
                names = ", ".join(member.filename for member in files[:4])
                raise InputError(source, None, f"a zip archive of {len(files)} files ({names}); give the log out of it")
            if files[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(source, None, "packed as few zip archives are; unpack it first")
            with archive.open(files[0]) as file:
                unpacked = file.read(most + 1)
            if len(unpacked) > most:
                raise InputError(source, None, too_large(most))
            return unpacked
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError, LookupError) as e:
        raise InputError(source, None, f"the compressed file is damaged: {e}; copy it again") from e


def _unpack(new: Callable[[], _Unpacker], error: type[Exception], data: bytes, source: str) -> bytes:
    """Every packed part of the data, one after the other (appending to a compressed log makes several)."""
    magic, size, most = data[:2], 0, most_of(len(data))
    parts: list[bytes] = []
    while data[:2] == magic:
        if len(parts) == MOST_PARTS:
            raise InputError(source, None, f"more than {MOST_PARTS} packed parts, one after the other")
        unpacker = new()
        try:
            parts.append(unpacker.decompress(data, most - size + 1))
        except (error, EOFError, ValueError) as e:
            raise InputError(source, None, f"the compressed file is damaged: {e}; copy it again") from e
        size += len(parts[-1])
        if size > most:
            raise InputError(source, None, too_large(most))
        if not unpacker.eof:
            raise InputError(source, None, "the compressed file ends too early; copy it again")
        data = unpacker.unused_data
    return b"".join(parts)
