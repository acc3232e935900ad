"""Values that go unless they are known to be harmless: of command lines, device trees and ACPI tables. Lengths stay."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from mmtool.firmware.acpi import HEADER_SIZE
from mmtool.firmware.cmdline import READ, next_arg, same_name
from mmtool.firmware.fdt import parse_root
from mmtool.firmware.fdt.blob import MAX_DEPTH, parse_blob
from mmtool.regex import regex

FLAGS = frozenset(
    (
        "debug", "earlyprintk", "ignore_loglevel", "initcall_debug", "keep_bootcon", "noapic", "nolapic", "nomodeset",
        "nomodule", "nosmt", "nosplash", "nowatchdog", "quiet", "ro", "rootwait", "rw", "single", "splash",
    )
)  # fmt: skip
"""Options without a value that everybody has; any other such word may be somebody's password."""
HARMLESS = frozenset(
    (
        "apparmor", "audit", "console", "consoleblank", "earlycon", "earlyprintk", "intel_iommu", "amd_iommu",
        "log_level", "loglevel", "mitigations", "nmi_watchdog", "panic", "pci", "preempt", "printk.time", "psi",
        "reboot", "rootfstype", "security", "selinux", "spectre_v2", "systemd.show_status", "tsc", "udev.log_level",
        "vsyscall",
    )
)  # fmt: skip
"""Options whose values name nobody and nothing of this one machine."""
_PLAIN = regex(r"[\w.,:@+-]{0,40}")
_READ = {same_name(name) for name in READ}
_KEPT = {same_name(name) for name in READ | HARMLESS}
_SHOWN = {same_name(name) for name in READ | HARMLESS | FLAGS}


def fill(text: str) -> str:
    """As many x."""
    return re.sub(r"[^\s\"]", "x", text)


def hide_values(text: str) -> str:
    """A command line with its options' names, and the values of those alone that mmtool reads or that tell nothing.

    Of any other value as many x stand there: the command line's length takes memory. So do words of which nothing says
    that they are options, and all that is init's (behind "--").
    """
    pieces: list[str] = []
    at = len(text) - len(text.lstrip())
    pieces.append(text[:at])
    while at < len(text):
        name, value, following = next_arg(text, at)
        pieces.append(_hide_value(text[at:following], name, value))
        at = following
        if name == "--" and value is None:
            break
    return "".join(pieces) + fill(text[at:])


def _hide_value(word: str, name: str, value: str | None) -> str:
    if value is None:
        return word if same_name(name) in _SHOWN or name == "--" else fill(word)
    known = same_name(name)
    if known in _KEPT and (known in _READ or _PLAIN.fullmatch(value)):
        return word
    equals = word.index("=", 2 if word[0] == '"' else 1) + 1
    return word[:equals] + fill(word[equals:])


# ---- ACPI tables -----------------------------------------------------------------------------------

_CHECKSUM, _MAKER = 9, slice(10, HEADER_SIZE)


def hide_table(data: bytes) -> bytes:
    """An ACPI table without its maker's names and numbers; its checksum still holds."""
    if len(data) < HEADER_SIZE:
        return data
    table = bytearray(data)
    table[_MAKER] = bytes(HEADER_SIZE - _MAKER.start)
    table[_CHECKSUM] = (data[_CHECKSUM] + sum(data[_MAKER])) & 0xFF
    return bytes(table)


# ---- device trees ----------------------------------------------------------------------------------


class _Noted(dict[str, bytes]):
    """A node's properties, which note whose values are asked for."""

    def __init__(self, held: dict[str, bytes]) -> None:
        super().__init__(held)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> bytes:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


def hide_tree(data: bytes, hide_bootargs: Callable[[bytes], bytes]) -> bytes:
    """A device tree's blob in which only those properties have a value that mmtool reads. Raises InputError.

    Of any other the letters are x and the bytes 0. What lies between its parts is 0 too.
    """
    blob = parse_blob(data, "machine.dtb")
    nodes = list(blob.root.walk())
    for node in nodes:
        node.properties = _Noted(node.properties)
    parse_root(blob, "machine.dtb")
    asked: dict[str, set[str]] = {}
    for node in nodes:
        noted = node.properties
        assert isinstance(noted, _Noted)
        asked.setdefault(node.path, set()).update(noted.asked)
    out = bytearray(len(data))
    for start, end in _parts(data):
        out[start:end] = data[start:end]
    for path, name, start, end, counts in _properties(data):
        value = data[start:end]
        if name == "bootargs":
            out[start:end] = hide_bootargs(value)
        elif not counts or name == _NAME_OF_THE_BOARD or name not in asked.get(path, ()):
            out[start:end] = re.sub(rb"[^\0]", b"x", value) if _STRINGS.fullmatch(value) else bytes(len(value))
    return bytes(out)


_NAME_OF_THE_BOARD = "model"
"""Read, and of no account for what comes of the tree."""
_STRINGS = re.compile(rb"(?:[\x20-\x7e\x80-\xff]+\0)+|[\x20-\x7e]+")
_HEADER = struct.Struct(">10I")
_FDT_BEGIN_NODE, _FDT_END_NODE, _FDT_PROP, _FDT_NOP = 1, 2, 3, 4


def _parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Where in a blob its header, its reservations, its structure and its strings lie."""
    _, total, structure, strings, reservations, version, _, _, strings_size, structure_size = _HEADER.unpack_from(data)
    yield 0, _HEADER.size
    end = reservations
    while end + 16 <= total and data[end : end + 16] != bytes(16):
        end += 16
    yield reservations, min(end + 16, total)
    yield structure, structure + structure_size if version >= 17 else total
    yield strings, strings + strings_size


def _properties(data: bytes) -> Iterator[tuple[str, str, int, int, bool]]:
    """The properties of a sound blob: the node's path, the name, where the value starts and ends, is it the first?"""
    _, _, place, strings = struct.unpack_from(">4I", data)
    path: list[str] = []
    seen: list[set[str]] = []
    while True:
        (tag,) = struct.unpack_from(">I", data, place)
        place += 4
        if tag == _FDT_BEGIN_NODE:
            end = data.index(b"\0", place)
            path.append(data[place:end].decode("ascii", "replace"))
            seen.append(set())
            place = (end + 4) & ~3
        elif tag == _FDT_END_NODE:
            path.pop()
            seen.pop()
        elif tag == _FDT_PROP:
            size, offset = struct.unpack_from(">2I", data, place)
            at = strings + offset
            name = data[at : data.index(b"\0", at)].decode("ascii", "replace")
            counts = name not in seen[-1] and len(path) < MAX_DEPTH
            seen[-1].add(name)
            yield "/" + "/".join(path[1:]), name, place + 8, place + 8 + size, counts
            place = (place + 8 + size + 3) & ~3
        elif tag != _FDT_NOP:
            return
