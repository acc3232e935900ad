"""A capture as files by name: what one machine reported, in a folder or in a tar file of one."""

from __future__ import annotations

import io
from collections.abc import Callable

from mmtool.errors import InputError
from mmtool.firmware.below import read_below
from mmtool.firmware.packed import LARGEST, unpack
from mmtool.late import dataclass

LOG, MEMMAP, PROFILE = "dmesg.txt", "memmap.txt", "profile.yaml"
TREES = ("machine.dtb.gz", "machine.dtb")
_BEGINNINGS = (LOG, MEMMAP, *TREES)
"""Files without one of which nothing says where memory is."""

MOST_MEMBERS = 10_000
"""Of a tar file; a capture has some hundred."""


@dataclass(frozen=True)
class CaptureFiles:
    """The files below a capture's root, by their path in it."""

    path: str
    """The capture as the user named it."""
    get: Callable[[str], bytes | None]
    """What a file holds, None where it is not there."""

    @property
    def is_capture(self) -> bool:
        return any(self.get(name) is not None for name in _BEGINNINGS)

    def place(self, name: str) -> str:
        """How a message calls one of the files."""
        from pathlib import Path

        return str(Path(self.path) / name)

    def read(self, name: str) -> bytes | None:
        """What a file holds, unpacked; None where it is not there. Raises InputError."""
        data = self.get(name)
        return None if data is None else unpack(data, self.place(name))


def open_folder(path: str) -> CaptureFiles:
    """The files of a capture's folder. Reading one raises InputError."""

    def get(name: str) -> bytes | None:
        try:
            return read_below(path, name)
        except (OSError, ValueError) as e:
            raise InputError(f"{path}/{name}", None, f"cannot be read: {getattr(e, 'strerror', None) or e}") from e

    return CaptureFiles(path, get)


def is_tar(data: bytes) -> bool:
    return data[257:262] == b"ustar"


def open_tar(data: bytes, path: str) -> CaptureFiles:
    """The files of a tar file, whose capture may lie in a folder of its own.

    It is read in memory and nothing is written. Links, devices and what else is no plain file are passed over, so that
    a name such as "../x" is a name and no place. InputError for a damaged one, and for one that holds too much.
    """
    import tarfile

    if not is_tar(data):
        raise InputError(path, None, "is not a capture: neither a folder nor a tar file; give a log with --e820")
    held: dict[str, bytes] = {}
    size = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for number, member in enumerate(tar):
                if number == MOST_MEMBERS:
                    raise InputError(path, None, f"holds more than {MOST_MEMBERS} files, which no capture does")
                # of a sparse member the size is what it would be unpacked, whatever the tar file's own is
                size += member.size if member.isreg() else 0
                if size > LARGEST:
                    raise InputError(path, None, f"holds more than {LARGEST >> 20} MiB, which no capture does")
                file = tar.extractfile(member) if member.isreg() else None
                if file is not None:
                    held[member.name.removeprefix("./")] = file.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as e:
        raise InputError(path, None, f"the tar file is damaged: {e}; pack it again") from e
    tops = [name[: -len(last)] for last in _BEGINNINGS for name in held if f"/{name}".endswith(f"/{last}")]
    top = min(tops, key=len, default="")
    files = {name.removeprefix(top): data for name, data in held.items() if name.startswith(top)}
    return CaptureFiles(path, files.get)
