"""Collecting a capture: reading what a running kernel shows, whatever of it may be read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path

from mmtool.capture.reading import read_in_time, run_program
from mmtool.capture.sources import (
    CONFIG_COST,
    CONFIGS,
    LOG_COST,
    LOST_START,
    MAP_COST,
    SOURCES,
    SYSTEM_MAP_COST,
    SYSTEM_MAPS,
    TREE_COST,
    Source,
)
from mmtool.errors import InputError
from mmtool.firmware.capture import LOG, MEMMAP
from mmtool.firmware.iomem import parse_iomem
from mmtool.firmware.packed import unpack
from mmtool.late import dataclass
from mmtool.regex import regex

Run = Callable[[tuple[str, ...]], bytes | None]
"""Runs a program: its standard output, None where it is not there or fails."""

_PLACEHOLDER = 4096
"""Bytes below which a System.map is only a remark that says where the real one is."""


@dataclass(frozen=True)
class Missing:
    """A file that could not be collected, or not whole."""

    name: str
    why: str
    cost: str
    as_root: bool = False
    """Would it help to be root?"""

    def __str__(self) -> str:
        return f"no {self.name}, {self.why}: {self.cost}" + ("; run it as root" if self.as_root else "")


@dataclass
class Collected:
    """What was read, by the name of the file in the capture, and what could not be."""

    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)


def collect(root: Path = Path("/"), run: Run = run_program) -> Collected:
    """Everything that a boot in the model and a comparison with it read, of the machine below `root`.

    `run` runs dmesg and journalctl. What cannot be read is in `missing`. InputError when nothing says where memory is.
    """
    found = Collected()
    _collect_log(root, run, found)
    _collect_map(root, found)
    for source in SOURCES:
        _collect(root, source, found)
    release = _release(root, found)
    _collect_first(root, "config", CONFIGS, release, CONFIG_COST, found)
    _collect_first(root, "System.map", SYSTEM_MAPS, release, SYSTEM_MAP_COST, found)
    if not {LOG, MEMMAP, "machine.dtb"} & found.files.keys():
        raise InputError(str(root), None, "neither the kernel's log nor the map can be read; run it as root, on Linux")
    return found


def _collect(root: Path, source: Source, found: Collected) -> None:
    """One source; of a pattern every file that it fits."""
    if "*" not in source.path:
        _read(root, source.path, source.name or source.path, source, found)
        return
    for path in sorted(root.glob(source.path)):
        name = path.relative_to(root).as_posix()
        _read(root, name, name, source, found)


def _read(root: Path, path: str, name: str, source: Source, found: Collected) -> None:
    try:
        data = read_in_time(root / path)
    except FileNotFoundError:
        if not source.optional:
            found.missing.append(Missing(name, f"/{path} is not there", source.cost))
    except OSError as e:
        _refused(name, path, e, source.cost, found)
    else:
        if name == "proc/iomem" and _is_masked(data):
            found.missing.append(Missing(name, "its addresses are hidden", source.cost, as_root=True))
        elif data:
            found.files[name] = data


def _refused(name: str, path: str, error: OSError, cost: str, found: Collected) -> None:
    why = (error.strerror or str(error)).lower()
    denied = isinstance(error, PermissionError) and os.geteuid() != 0
    found.missing.append(Missing(name, why if name == path else f"/{path}: {why}", cost, as_root=denied))


def _is_masked(iomem: bytes) -> bool:
    try:
        parse_iomem(iomem.decode("utf-8", "replace"), "")
    except InputError:
        return True
    return False


# ---- the log ---------------------------------------------------------------------------------------


def _collect_log(root: Path, run: Run, found: Collected) -> None:
    """The first log that has its beginning, else the longest."""
    logs: list[bytes] = []
    for log in _logs(root, run):
        logs.append(log)
        if has_start(log):
            break
    best = next((log for log in logs if has_start(log)), max(logs, key=len, default=b""))
    if not best.strip():
        why = "dmesg, /dev/kmsg and journalctl -k give nothing"
        found.missing.append(Missing(LOG, why, LOG_COST, as_root=os.geteuid() != 0))
        return
    found.files[LOG] = best
    if not has_start(best):
        found.missing.append(Missing(f"start of {LOG}", "the kernel's buffer was too small", LOST_START))


def has_start(log: bytes) -> bool:
    """Does a log begin with the kernel's first words?"""
    return b"Linux version " in log


def _logs(root: Path, run: Run) -> Iterator[bytes]:
    yield run(("dmesg",)) or b""
    yield _kmsg(root / "dev/kmsg")
    journal = run(("journalctl", "-k", "-b", "-o", "short-monotonic", "--no-hostname", "--no-pager")) or b""
    yield re.sub(rb"^-- .*\n?", b"", journal, flags=re.MULTILINE)  # its own words, such as "-- No entries --"


def _kmsg(path: Path) -> bytes:
    """The records of /dev/kmsg as dmesg prints them."""
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    records: list[bytes] = []
    try:
        while True:
            try:
                record = os.read(device, 1 << 16)
            except BrokenPipeError:
                continue  # the record was overwritten; the next read gives the oldest that is left
            except OSError:
                break  # no more records: reading would wait for one
            if not record:
                break
            records.append(record)
    finally:
        os.close(device)
    return b"".join(_printed(line) for line in b"".join(records).splitlines())


_RECORD = regex(rb"\d+,\d+,(\d+),[^;]*;(.*)")


def _printed(record: bytes) -> bytes:
    """A line of /dev/kmsg as dmesg prints it; nothing of a line that only names a device."""
    m = _RECORD.fullmatch(record)
    if m is None:
        return b""
    seconds, microseconds = divmod(int(m[1]), 1_000_000)
    text = re.sub(rb"\\x([0-9a-f]{2})", lambda e: bytes.fromhex(e[1].decode()), m[2])
    return b"[%5d.%06d] %s\n" % (seconds, microseconds, text)


# ---- the firmware's map ----------------------------------------------------------------------------


def _collect_map(root: Path, found: Collected) -> None:
    """The E820 map as grep prints it; of a machine without one its device tree."""
    memmap = root / "sys/firmware/memmap"
    if memmap.is_dir():
        try:
            found.files[MEMMAP] = _memmap_text(memmap).encode()
        except OSError as e:
            _refused(MEMMAP, "sys/firmware/memmap", e, MAP_COST, found)
    else:
        _collect(root, Source("sys/firmware/fdt", TREE_COST, name="machine.dtb"), found)


def _memmap_text(memmap: Path) -> str:
    """What `grep -H . /sys/firmware/memmap/*/*` prints: in the shell's order, 10 before 2."""
    entries = sorted(entry for entry in memmap.iterdir() if entry.is_dir())
    lines = (
        f"/sys/firmware/memmap/{entry.name}/{file.name}:{line}\n"
        for entry in entries
        for file in sorted(entry.iterdir())
        for line in read_in_time(file).decode("utf-8", "replace").splitlines()
    )
    return "".join(lines)


# ---- the kernel's build ----------------------------------------------------------------------------


def _release(root: Path, found: Collected) -> str | None:
    words = found.files.get("proc/version", b"").decode("utf-8", "replace").split()
    if len(words) > 2:
        return words[2]
    m = re.search(rb"Linux version (\S+)", found.files.get(LOG, b""))
    return m[1].decode("utf-8", "replace") if m else None


def _collect_first(
    root: Path, name: str, paths: tuple[str, ...], release: str | None, cost: str, found: Collected
) -> None:
    """The first of several places where a file of the kernel's build may lie."""
    places = [path.format(release=release) for path in paths if release is not None or "{" not in path]
    denied: OSError | None = None
    for path in places:
        try:
            data = unpack(read_in_time(root / path), f"/{path}")
        except FileNotFoundError:
            continue
        except OSError as e:
            denied = e
            continue
        if name != "System.map" or len(data) >= _PLACEHOLDER:
            found.files[name] = data
            return
    if denied is not None:
        _refused(name, next(path for path in places if (root / path).exists()), denied, cost, found)
    else:
        why = f"neither {' nor '.join(f'/{path}' for path in places)} holds it" if places else "its release is unknown"
        found.missing.append(Missing(name, why, cost))
