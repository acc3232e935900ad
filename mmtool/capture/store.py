"""Writing a capture: into a folder of its own or into one tar file, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from mmtool.errors import UsageError

INDEX = "capture.json"
"""The file that says what else is there."""
_TAR = (".tar.gz", ".tgz")


def is_tar_name(target: str) -> bool:
    """Is a target's name one of a tar file's? "-" is standard output, on which a tar file is written."""
    return target == "-" or target.endswith(_TAR)


def check_target(target: str, *, force: bool) -> None:
    """UsageError where a capture cannot be written, so that nothing is collected for it."""
    if target == "-":
        return
    path = Path(target)
    parent = path.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"{target}: there is no folder {path.parent}")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{target}: you may not write into {path.parent}; choose another place")
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

    Of a capture that is written over, every file goes that its INDEX names. Raises UsageError.
    """
    check_target(target, force=force)
    if target == "-":
        return _tar(files, "capture")
    path = Path(target)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if is_tar_name(target):
            part.write_bytes(_tar(files, path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")))
            part.replace(path)
        else:
            for name, data in files.items():
                file = part / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            _put_in_place(part, path)
    except OSError as e:
        raise UsageError(f"{target}: {e.strerror or e}") from None
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
    return None


def _tar(files: Mapping[str, bytes], top: str) -> bytes:
    """A packed tar file with the files in a folder `top`; it names no user."""
    out = io.BytesIO()
    now = int(time.time())
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime = len(data), now
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _put_in_place(part: Path, path: Path) -> None:
    """Put the folder that was written in place of a capture, beside whatever else somebody keeps there."""
    if (path / INDEX).is_file():
        _remove_capture(path)
    if not path.exists() or not any(path.iterdir()):
        part.replace(path)
        return
    for file in sorted(part.rglob("*")):
        if file.is_file():
            to = path / file.relative_to(part)
            to.parent.mkdir(parents=True, exist_ok=True)
            file.replace(to)


def _remove_capture(path: Path) -> None:
    """Remove the files that a capture's INDEX names, and folders that this leaves empty."""
    try:
        listed = json.loads((path / INDEX).read_bytes())["files"]
        names = [PurePosixPath(entry["name"]) for entry in listed]
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: its {INDEX} is damaged; remove the folder or choose another name") from None
    for name in (*names, PurePosixPath(INDEX)):
        if not name.is_absolute() and ".." not in name.parts:
            (path / name).unlink(missing_ok=True)
    for folder in sorted((p for p in path.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
