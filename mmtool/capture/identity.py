"""What a machine is known by: its names, its serial numbers, the addresses of its network cards."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mmtool.capture.reading import read_in_time
from mmtool.late import dataclass

_HOST_FILES = ("proc/sys/kernel/hostname", "proc/sys/kernel/domainname", "etc/hostname")
_MAC_FILES = ("sys/class/net/*/address",)
_SERIAL_FILES = (
    "sys/class/dmi/id/*_serial",
    "sys/class/dmi/id/product_uuid",
    "sys/class/dmi/id/chassis_asset_tag",
    "sys/class/block/*/device/serial",
    "sys/class/nvme/*/serial",
    "sys/bus/usb/devices/*/serial",
    "sys/firmware/devicetree/base/serial-number",
    "etc/machine-id",
)
NO_HOST = {"localhost", "localhost.localdomain", "(none)", "none", "localdomain"}
"""What a machine is called that was not given a name."""
_NOBODY = 65534
_SHORTEST_SERIAL = 6
"""Characters below which a number is no serial number, or one that many other words equal."""


@dataclass(frozen=True)
class Identity:
    """The words by which a machine is known, as they are written; a character stands for a byte."""

    hosts: frozenset[str] = frozenset()
    serials: frozenset[str] = frozenset()
    """Numbers of boards, disks and USB devices, and network cards' addresses without their colons."""
    users: frozenset[str] = frozenset()
    """Whoever has an account, but for the system's own."""


def read_identity(root: Path = Path("/")) -> Identity:
    """The words by which the machine below `root` is known, as far as they can be read."""
    hosts = {host for text in _texts(root, _HOST_FILES) for host in names_of_host(text)}
    macs = {text.replace(":", "") for text in _texts(root, _MAC_FILES)}
    serials = {*_texts(root, _SERIAL_FILES), *macs}
    users = {user for text in _texts(root, ("etc/passwd",)) for user in _users(text)}
    return Identity(frozenset(hosts), frozenset(filter(is_serial, serials)), frozenset(users))


def _users(passwd: str) -> Iterator[str]:
    """The accounts that people have: distributions number them from 1000 on."""
    for line in passwd.splitlines():
        name, _, rest = line.partition(":")
        number = rest.split(":")[1:2]
        if len(name) > 1 and number and number[0].isdecimal() and 1000 <= int(number[0][:9]) < _NOBODY:
            yield name


def names_of_host(name: str) -> Iterator[str]:
    """A host's name and the first part of it; nothing where it is the name of any machine."""
    for host in (name, name.partition(".")[0]):
        if host and host.lower() not in NO_HOST and not re.fullmatch(r"[\d.:]+", host):
            yield host


def is_serial(text: str) -> bool:
    """Is it a number of this one machine, not a word that its maker put in place of one?"""
    return (
        len(text) >= _SHORTEST_SERIAL
        and any(c.isdigit() for c in text)
        and len(set(text)) > 2
        and not re.match(r"0123456789|123456789", text)
    )


def _texts(root: Path, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        for path in root.glob(pattern):
            try:
                text = read_in_time(path).decode("latin-1").strip("\0 \t\r\n")
            except OSError:
                continue
            if text:
                yield text
