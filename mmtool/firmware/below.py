"""Reading files below a folder that a stranger made: plain files alone, no link followed, no more bytes than a limit.

A device, a fifo or a socket is never waited for: it is opened without blocking, looked at, and left.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from mmtool.firmware.packed import LARGEST

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_LINK = "a symbolic link, which is not followed here; put the file itself in its place"
NOT_PLAIN = "not a plain file"
_GONE = (FileNotFoundError, NotADirectoryError)


def read_below(folder: str | Path, name: str, most: int = LARGEST) -> bytes | None:
    """The bytes of the plain file `name` ("proc/version") below `folder`; None where there is none of that name.

    The folder itself may be reached by a link, nothing below it. OSError, whose strerror says so, for a link, for what
    is no plain file, and for more than `most` bytes.
    """
    *parents, last = (part for part in name.split("/") if part not in ("", "."))
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except _GONE:
        return None
    try:
        for part in parents:
            _refuse_link(part, at)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        _refuse_link(last, at)
        return _read(os.open(last, _PLAIN | os.O_NOFOLLOW, dir_fd=at), most)
    except (*_GONE, IsADirectoryError):
        return None
    finally:
        os.close(at)


def read_plain(path: str | Path, most: int = LARGEST) -> bytes:
    """The bytes of the plain file at `path`, which may be a link to one. OSError as for `read_below`."""
    return _read(os.open(path, _PLAIN), most)


def _refuse_link(name: str, folder: int) -> None:
    if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
        raise OSError(errno.ELOOP, _NO_LINK)


def _read(file: int, most: int) -> bytes:
    try:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, NOT_PLAIN)
        # files of /proc and /sys tell no size, or one that is not theirs; of /proc/sys no more may be asked for at once
        # than the kernel has room for
        data, more = bytearray(), found.st_size <= most
        while more and len(data) <= most:
            part = os.read(file, _AT_ONCE)
            data += part
            more = bool(part)
    finally:
        os.close(file)
    if more or found.st_size > most or len(data) > most:
        raise OSError(errno.EFBIG, f"longer than {most} bytes")
    return bytes(data)


_AT_ONCE = 1 << 18
