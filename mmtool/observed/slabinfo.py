"""/proc/slabinfo and /sys/kernel/slab: how many slabs and objects each cache has. Sizes in bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mmtool.errors import InputError
from mmtool.firmware.below import read_below
from mmtool.late import dataclass

_VERSION = re.compile(r"slabinfo - version: (\S+)(?:\s.*)?")
_NUMBERS, _THREE = (r"\s+".join([r"(\d{1,18})"] * count) for count in (5, 3))
_ROW = re.compile(rf"(\S+(?: \S+)*)\s{{1,99}}{_NUMBERS}\s*: tunables\s+{_THREE}\s*: slabdata\s+{_THREE}.*")
_NAMES = ("slabinfo", "slabinfo.txt", "proc/slabinfo")
_FILES = ("slabs", "objects", "total_objects", "order", "objs_per_slab", "object_size", "slab_size")


@dataclass(frozen=True, slots=True)
class CacheUse:
    """A cache: its objects in use, all of them, what one takes, its slabs, and the pages of a slab."""

    name: str
    active: int
    objects: int
    size: int
    per_slab: int
    pages_per_slab: int
    slabs: int

    @property
    def pages(self) -> int:
        return self.slabs * self.pages_per_slab


@dataclass(frozen=True, slots=True)
class SlabInfo:
    """The caches of a reading, in its order; `source` names it."""

    caches: tuple[CacheUse, ...]
    source: str


def read_slabinfo(source: str, text: str | None = None) -> SlabInfo:
    """A reading: the text of /proc/slabinfo (of the file `source`), or a folder.

    The folder is a copy of /sys/kernel/slab, or has a copy of /proc/slabinfo in it. InputError when it is none.
    """
    if text is not None:
        return parse_slabinfo(text.splitlines(), source)
    folder = Path(source)
    for name in _NAMES:
        if (data := _read(folder, name)) is not None:
            return parse_slabinfo(data.decode("utf-8", "replace").splitlines(), str(folder / name))
    rows = [row for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()
            if (row := _of_folder(path)) is not None]  # fmt: skip
    if not rows:
        raise InputError(source, None, "neither a copy of /sys/kernel/slab nor a folder with a copy of /proc/slabinfo")
    return SlabInfo(tuple(rows), source)


def parse_slabinfo(lines: Iterable[str], source: str) -> SlabInfo:
    """The text of /proc/slabinfo, version 2.1 or 2.0. InputError with the line that is none of it."""
    rows: list[CacheUse] = []
    version = None
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if m := _VERSION.fullmatch(line):
            version = m[1]
            if version not in ("2.0", "2.1"):
                raise InputError(source, number, f"slabinfo of version {version[:20]}; 2.0 and 2.1 can be read")
            continue
        if version is None:
            raise InputError(source, number, "does not begin with 'slabinfo - version: 2.1', as /proc/slabinfo does")
        m = _ROW.fullmatch(line)
        if m is None:
            raise InputError(source, number, "not a line of /proc/slabinfo")
        active, objects, size, per_slab, pages = (int(m[n]) for n in range(2, 7))
        rows.append(CacheUse(m[1], active, objects, size, per_slab, pages, int(m[11])))
    if version is None:
        raise InputError(source, None, "empty; /proc/slabinfo is for root alone")
    return SlabInfo(tuple(rows), source)


def _of_folder(folder: Path) -> CacheUse | None:
    """A folder of /sys/kernel/slab; None where the files are not there."""
    values = {}
    for name in _FILES:
        data = _read(folder, name)
        if data is None:
            return None
        word = data.decode("utf-8", "replace").split()
        if not word or not word[0].isdecimal():
            raise InputError(str(folder / name), 1, "does not begin with a number")
        values[name] = int(word[0])
    return CacheUse(
        folder.name, values["objects"], values["total_objects"], values["slab_size"], values["objs_per_slab"],
        1 << min(values["order"], 20), values["slabs"],
    )  # fmt: skip


def _read(folder: Path, name: str) -> bytes | None:
    """A file below a folder, None where there is none; a link is none of it. InputError."""
    try:
        return read_below(folder, name)
    except PermissionError:
        return None
    except (OSError, ValueError) as e:
        raise InputError(str(folder / name), None, f"cannot be read: {getattr(e, 'strerror', None) or e}") from None
