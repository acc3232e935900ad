"""Writing a capture: into a folder of its own or into one tar file, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from mmtool.errors import UsageError
from mmtool.regex import regex
from mmtool.written import registered

INDEX = "capture.json"
"""The file that says what else is there."""
_TAR = (".tar.gz", ".tgz")
_ARCHIVE = regex(r"\.(?:tar(?:\.\w+)?|t[bx]z2?|zip)$", re.IGNORECASE)
"""Names of archives; a folder of such a name would be taken for one."""


def is_tar_name(target: str) -> bool:
    """Is a target's name one of a tar file's? "-" is standard output, on which a tar file is written."""
    return target == "-" or target.endswith(_TAR)


def check_target(target: str, *, force: bool) -> None:
    """UsageError where a capture cannot be written, so that nothing is collected for it."""
    if target == "-":
        return
    if _ARCHIVE.search(target) and not is_tar_name(target):
        raise UsageError(f"{target}: an archive is written as {' or '.join('FILE' + end for end in _TAR)}")
    path = Path(target)
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as e:  # such as a name that is too long
        raise UsageError(f"{target}: {e.strerror}") from None
    folder = path if path.is_dir() else path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{target}: there is no folder {path.parent}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{target}: you may not write into {folder}; choose another place")
    if not os.path.lexists(path):
        return
    if is_tar_name(target) != path.is_file():
        raise UsageError(f"{target} is there already and no capture; choose another name")
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.is_dir() and not (path / INDEX).is_file():
        raise UsageError(f"{target} is a folder with other things in it; choose another name")
    if not force:
        raise UsageError(f"{target} is there already; give --force to write over it")


def write_capture(files: Mapping[str, bytes], target: str, *, force: bool) -> bytes | None:
    """Write the files, INDEX among them, to a folder or to a tar file; for "-" the tar file's bytes come back.

    They are for their owner alone (0600, folders 0700). Of a capture that is written over, every file goes that its
    INDEX names. Raises UsageError.
    """
    check_target(target, force=force)
    if target == "-":
        return _tar(files, "capture")
    path = Path(target)
    part = path / f".{os.getpid()}" if path.is_dir() else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with registered(part):
            if is_tar_name(target):
                _write(part, _tar(files, path.name.removesuffix(".tgz").removesuffix(".tar.gz")))
                part.replace(path)
                return None
            part.mkdir(mode=0o700)
            for name, data in files.items():
                _make_parents(part, name)
                _write(part / name, data)
            if path.is_dir():
                _move_into(part, path, files)
            else:
                part.replace(path)
    except OSError as e:
        raise UsageError(f"{target}: {e.strerror or e}") from None
    return None


def _write(path: Path, data: bytes) -> None:
    """A new file for its owner alone, which nobody put there before. Raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)


def _make_parents(top: Path, name: str) -> None:
    """The folders between `top` and the file `name` below it, for their owner alone."""
    for folder in reversed(list(PurePosixPath(name).parents)[:-1]):
        (top / folder).mkdir(mode=0o700, exist_ok=True)


def _tar(files: Mapping[str, bytes], top: str) -> bytes:
    """A packed tar file with the files in a folder `top`; it names no user."""
    out = io.BytesIO()
    now = int(time.time())
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(data), now, 0o600
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _move_into(part: Path, path: Path, names: Iterable[str]) -> None:
    """Put the files that were written in place of a capture's, beside whatever else somebody keeps there.

    At every moment an INDEX names all that is there of the one and of the other, so that a move that was stopped is
    finished by the next.
    """
    stale = _listed(path) - set(names)
    both = {"files": [{"name": name} for name in sorted({*names, *stale})]}
    _write(part / "both", json.dumps(both).encode())
    (part / "both").replace(path / INDEX)
    for name in names:
        if name != INDEX:
            _make_parents(path, name)
            (part / name).replace(path / name)
    for name in stale:
        (path / name).unlink(missing_ok=True)
        for folder in list((path / name).parents)[: len(PurePosixPath(name).parts) - 1]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    (part / INDEX).replace(path / INDEX)


def _listed(path: Path) -> set[str]:
    """The files in a folder that its INDEX names."""
    if not (path / INDEX).is_file():
        return set()
    try:
        names = [PurePosixPath(entry["name"]) for entry in json.loads((path / INDEX).read_bytes())["files"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path}: its {INDEX} is damaged; remove the folder or choose another name") from None
    return {str(name) for name in names if not name.is_absolute() and ".." not in name.parts}
