"""The state of the last boot: kept for the commands that go on from it, for this user alone."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT, EPERM
from typing import TYPE_CHECKING, Any

from mmtool.cli.output import note
from mmtool.errors import InputError
from mmtool.written import registered

if TYPE_CHECKING:
    from mmtool.linux.init.boot import Boot

SCHEMA = "mmtool.state/1"
NAME, FRESH, LOCK = "boot.json", "boot.json.new", "lock"


def last_state_file() -> str:
    """Where the state of the last boot lies: mmtool/boot.json in $XDG_STATE_HOME (~/.local/state). Raises OSError."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
        if base.startswith("~"):
            raise FileNotFoundError(ENOENT, "nothing says where your home is; set XDG_STATE_HOME")
    return os.path.join(base, "mmtool", NAME)


def keep_last_state(boot: Boot) -> None:
    """Keep a boot's state with what it came from; say so where that cannot be, and what the next command then takes."""
    from mmtool.system.codec.state import state_document
    from mmtool.system.of_boot import state_of_boot

    origin = boot.machine.origin
    try:
        state = state_of_boot(boot)
    except InputError as e:
        note(f"this boot is not kept: {e.message}{_left()}")
        return
    document = {
        "schema": SCHEMA,
        "source": os.path.abspath(origin) if os.path.exists(origin) else origin,
        "state": state_document(state, boot.kernel),
    }
    data = json.dumps(document).encode()
    try:
        _write(data)
    except OSError as e:
        note(f"this boot is not kept: {e.strerror or e}{_left()}")


def _write(data: bytes) -> None:
    """Write it beside and rename it, one process at a time."""
    path = os.path.dirname(last_state_file())
    with _folder(path, create=True) as folder:
        lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with registered(os.path.join(path, FRESH)):
                with suppress(FileNotFoundError):  # of one that was killed while it held the lock
                    os.unlink(FRESH, dir_fd=folder)
                fresh = os.open(FRESH, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
                with os.fdopen(fresh, "wb") as file:
                    file.write(data)
                os.replace(FRESH, NAME, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(lock)


@contextmanager
def _folder(path: str, *, create: bool) -> Iterator[int]:
    """The folder that states are kept in, opened: one's own, closed to others. Raises OSError."""
    if create:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
    me = os.geteuid()
    if os.path.islink(path) and os.lstat(path).st_uid != me:
        raise PermissionError(EPERM, f"{path} is a symbolic link of another user's")
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != me:
            raise PermissionError(EPERM, f"{path} is another user's")
        if create and found.st_mode & 0o077:
            os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _left() -> str:
    """What commands go on from when a boot could not be kept: nothing, lest an old state be taken for the new one."""
    try:
        with _folder(os.path.dirname(last_state_file()), create=False) as folder:
            os.unlink(NAME, dir_fd=folder)
    except FileNotFoundError:
        return "; no command can go on from it"
    except OSError:
        try:
            source = str(read_last_state()[0]["source"])
        except (OSError, InputError):
            return "; no command can go on from it"
        return f"; a command that goes on from the last boot takes an older one, of {source}"
    return "; the boot before, which was kept, is removed, and no command can go on from either"


def read_last_state() -> tuple[dict[str, Any], str]:
    """The document of the last boot and the name of its file. OSError where there is none, InputError for another's."""
    name = last_state_file()
    with _folder(os.path.dirname(name), create=False) as folder:
        try:
            kept = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError:
            raise InputError(name, None, "is no file that mmtool boot kept; remove it") from None
    with os.fdopen(kept, "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
            raise InputError(name, None, "is no file that mmtool boot kept for you; remove it")
        data = file.read()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    sound = isinstance(document, dict) and document.get("schema") == SCHEMA and isinstance(document.get("source"), str)
    if not sound:
        raise InputError(name, None, "was kept by another version of mmtool; run mmtool boot again")
    return document, name
