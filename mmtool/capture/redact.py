"""Taking out of a capture by what one machine is known among others: host names, serial numbers, MAC addresses.

Each is replaced by a stand-in as long as itself, the same one wherever it occurs, so that lines stay as long as the
kernel made them and a device tree keeps its size. Nothing else changes: a host name that is also a word of the kernel's
is replaced only where a name can stand.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise

from mmtool.capture.identity import NO_HOST, Identity, is_serial, names_of_host
from mmtool.errors import InputError
from mmtool.firmware.capture import LOG
from mmtool.firmware.lines import plain, raw_pieces
from mmtool.firmware.log import is_read
from mmtool.regex import regex

_HEX_PAIRS = regex(r"(?<![0-9a-f])[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4,}(?![0-9a-f])", re.IGNORECASE)
_EUI_64 = regex(r"(?<![0-9a-f])[0-9a-f]{1,4}:[0-9a-f]{1,2}ff:fe[0-9a-f]{2}:[0-9a-f]{1,4}(?![0-9a-f])", re.I)
_UUID = regex(r"(?<![0-9a-f])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}(?::[0-9a-f]{8}){3})", re.I)
_MAC_PARTS = {6: (0, 6), 7: (1, 7), 14: (0, 6, 12)}
"""Where addresses begin and end among so many bytes: alone, behind BOOTIF's type, two in a packet's head."""

_SERIALS = tuple(
    regex(pattern)
    for pattern in (
        r"\bSerialNumber: ([^\n]+)",
        r"(?i)\bserial[-_ ]?(?:no|number)\s*[:=#]\s*\"?([^\s\",;]{3,})",
        r"(?i)\bs/n\s*[:=#]?\s*([^\s\",;]{3,})",
        r"(?i)\b(?:ww[pn]n|wwid|sas_?addr(?:ess)?|eui|nguid|naa)[^\s0-9a-f]{0,3}((?:0x)?[0-9a-f]{16,32})\b",
        r"\b(?:iqn|nqn)\.([^\s,\";]+)",
        r"/dev/disk/by-id/([^\s,\";]+)",
    )
)
_THIS_HOST = tuple(
    regex(pattern)
    for pattern in (
        r"(?i)\bhostname (?:set )?to [<'\"]?([\w.-]+)",
        r"\b(?:host|hostname|nodename)=([\w.-]+)",
        r"\bip=(?:[^\s:]*:){4}([\w.-]+)",
    )
)
_OTHER_HOSTS = tuple(
    regex(pattern)
    for pattern in (
        r"\bLinux version \S+ \([^\s@()]+@([^\s()]+)\)",
        r"\b(?:nis-)?domain=([\w.-]+)",
        r"\bCONFIG_DEFAULT_HOSTNAME=\"([^\"\n]+)\"",
        r"\bnfsroot=([a-zA-Z][\w.-]*):",
        r"(?i)\bnfs: server ([a-zA-Z][\w.-]*)",
        r"(?i)\bcifs: .*\\\\([a-z][\w.-]*)\\",
    )
)
_BUILDER = regex(r"\bLinux version \S+ \(([^\s@()]+)@")

_CMDLINE = regex(r"(?:Kernel command line|Command line|Unknown kernel command line parameters):? ")
_USERLAND = regex(r"[\w.@-]+\[\d+\]: ")
_NAMES_VALUE = regex(r"(?:rd\.|root=|resume=|netroot=|netconsole=|ip=|BOOT_IMAGE=|[\w.]*=[^\s]*/)")
"""Options whose values hold names: of volumes, hosts, files."""

_TREE_SERIALS = {"serial-number"}
_TREE_MACS = {"local-mac-address", "mac-address", "local-bd-address"}


class Redactor:
    """Replaces by stand-ins by what machines are known; one object gives one stand-in to one name."""

    def __init__(self, identity: Identity) -> None:
        self._hosts = identity.hosts
        self._serials = identity.serials
        self._stand_ins: dict[tuple[str, str], str] = {}

    def files(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """The files of a capture without names."""
        for name in (LOG, "proc/cmdline"):
            self._learn(_text(files.get(name, b"")))
        edits: dict[str, Callable[[bytes], bytes]] = {
            LOG: lambda data: _bytes(self.log(_text(data))),
            "proc/cmdline": lambda data: _bytes(self.cmdline(_text(data))),
            "proc/version": lambda data: _bytes(self.log(_text(data))),
            "config": lambda data: _bytes(self.log(_text(data))),
            "machine.dtb": self.tree,
        }
        return {name: edits[name](data) if name in edits else data for name, data in files.items()}

    def log(self, text: str) -> str:
        """A kernel log without names."""
        self._learn(text)
        return "\n".join(map(self._line, text.split("\n")))

    def cmdline(self, text: str) -> str:
        """A command line without names."""
        return self._cmdline(self._patterns(text))

    def tree(self, data: bytes) -> bytes:
        """A device tree's blob without names, as long as before. Raises InputError."""
        out = bytearray(data)
        for name, start, end in _properties(data):
            value = data[start:end]
            if name in _TREE_SERIALS:
                out[start:end] = _bytes(self._stand_in("serial", _text(value.rstrip(b"\0")).lower())).ljust(
                    len(value), b"\0"
                )
            elif name in _TREE_MACS:
                out[start:end] = bytes.fromhex(self._stand_in("mac", value.hex()))
            elif name == "bootargs":
                out[start:end] = _bytes(self.cmdline(_text(value)))
        return bytes(out)

    # ---- what a text is known to hold --------------------------------------------------------------

    def _learn(self, text: str) -> None:
        """Names that the text itself says are this machine's."""
        for pattern in _THIS_HOST:
            self._hosts |= {host for m in pattern.finditer(text) for host in names_of_host(m[1])}

    def _line(self, line: str) -> str:
        return "".join(map(self._message, raw_pieces(line)))

    def _message(self, line: str) -> str:
        words = plain(line)
        head = line[: line.rfind(words)] if words else line
        rest = self._patterns(line[len(head) :])
        if m := _CMDLINE.match(rest):
            return head + m[0] + self._cmdline(rest[m.end() :])
        if is_read(words):
            return head + rest
        return head + self._known(rest, distinct=not _USERLAND.match(rest))

    def _cmdline(self, text: str) -> str:
        options, dashes, arguments = text.partition(" -- ")
        words = re.split(r"(\s+)", options)
        words = [self._known(word, distinct=not _NAMES_VALUE.match(word)) for word in words]
        return "".join(words) + dashes + self._known(arguments)

    def _patterns(self, text: str) -> str:
        """Without what is known by its form or by the words before it."""
        text = _UUID.sub(lambda m: self._stand_in("uuid", m[0].lower()), text)
        text = _HEX_PAIRS.sub(self._macs, text)
        text = _EUI_64.sub(lambda m: self._stand_in("eui", m[0].lower()), text)
        for kind, patterns in (("serial", _SERIALS), ("host", (*_THIS_HOST, *_OTHER_HOSTS)), ("user", (_BUILDER,))):
            for pattern in patterns:
                text = pattern.sub(partial(self._group, kind), text)
        return text

    def _group(self, kind: str, m: re.Match[str]) -> str:
        start, end = m.start(1) - m.start(), m.end(1) - m.start()
        if m[1].lower() in NO_HOST:
            return m[0]
        return m[0][:start] + self._stand_in(kind, m[1].lower()) + m[0][end:]

    def _macs(self, m: re.Match[str]) -> str:
        pairs = m[0].split(m[1])
        places = _MAC_PARTS.get(len(pairs), (0, len(pairs)))
        for start, end in pairwise(places):
            digits = self._stand_in("mac", "".join(pairs[start:end]).lower())
            pairs[start:end] = re.findall("..", digits)
        return m[1].join(pairs)

    def _known(self, text: str, *, distinct: bool = False) -> str:
        """Without known names and numbers where they stand as words; of hosts' only `distinct` ones if so asked."""
        for kind, names in (("host", self._hosts), ("serial", self._serials)):
            if pattern := _words(names, distinct and kind == "host"):
                text = pattern.sub(lambda m, kind=kind: self._stand_in(kind, m[0].lower()), text)  # type: ignore[misc]
        return text

    # ---- stand-ins ---------------------------------------------------------------------------------

    def _stand_in(self, kind: str, name: str) -> str:
        if name in self._stand_ins.values() or (kind in _MAKERS and set(name) <= set("0f:-")):
            return name  # a stand-in already, or an address of everybody or of nobody
        if (kind, name) not in self._stand_ins:
            number = 1 + sum(known == kind for known, _ in self._stand_ins)
            self._stand_ins[kind, name] = _MAKERS.get(kind, _word)(kind, name, number)
        return self._stand_ins[kind, name]


def _word(kind: str, name: str, number: int) -> str:
    """host0001, as long as the name."""
    digits = str(number)
    if len(name) < len(digits) + 1:
        return "x" * len(name)
    letters = kind[: len(name) - len(digits)]
    return letters + digits.zfill(len(name) - len(letters))


def _mac(kind: str, name: str, number: int) -> str:
    """An address that nobody was given: 02 and the number."""
    return "02" + f"{number:x}".zfill(len(name) - 2)


def _digits(kind: str, name: str, number: int) -> str:
    """The number in hex, with the separators of the name."""
    left = list(f"{number:x}".zfill(sum(c.isalnum() for c in name)))
    return "".join(left.pop(0) if c.isalnum() else c for c in name)


_MAKERS = {"mac": _mac, "uuid": _digits, "eui": _digits}


@cache
def _words(names: frozenset[str], distinct: bool) -> re.Pattern[str] | None:
    """Finds these names as whole words, also as device mapper writes them; None where there are none."""
    chosen = [name for name in names if not distinct or _is_distinct(name)]
    forms = {form for name in chosen for form in (name, name.replace("-", "--"))}
    longest_first = "|".join(map(re.escape, sorted(forms, key=len, reverse=True)))
    return re.compile(rf"(?<![0-9A-Za-z])(?:{longest_first})(?![0-9A-Za-z])", re.IGNORECASE) if forms else None


def _is_distinct(host: str) -> bool:
    """Can it hardly be a word of the kernel's?"""
    return is_serial(host) and any(c.isalpha() for c in host)


# ---- bytes -----------------------------------------------------------------------------------------


def _text(data: bytes) -> str:
    """A character a byte, so that what is not ASCII comes through and lengths stay."""
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


_FDT_BEGIN_NODE, _FDT_END_NODE, _FDT_PROP, _FDT_NOP = 1, 2, 3, 4


def _properties(data: bytes) -> list[tuple[str, int, int]]:
    """The properties of a device tree's blob: name, and where the value starts and ends in it. Raises InputError."""
    found: list[tuple[str, int, int]] = []
    try:
        _, _, structure, strings = struct.unpack_from(">4I", data)
        place = structure
        while True:
            (tag,) = struct.unpack_from(">I", data, place)
            place += 4
            if tag == _FDT_BEGIN_NODE:
                place = (data.index(b"\0", place) + 4) & ~3
            elif tag == _FDT_PROP:
                size, offset = struct.unpack_from(">2I", data, place)
                name = data[strings + offset : data.index(b"\0", strings + offset)]
                found.append((name.decode("utf-8", "replace"), place + 8, place + 8 + size))
                place = (place + 8 + size + 3) & ~3
            elif tag not in (_FDT_END_NODE, _FDT_NOP):
                return found
    except (struct.error, ValueError):
        raise InputError("machine.dtb", None, "the device tree is damaged, its names cannot be left out") from None
