"""/proc/iomem as a source of the map: what a running kernel made of the firmware's, for want of better.

A kernel lists the map after its own changes (the first page and the BIOS area are no RAM any more, memory cut by
mem= is missing), so a log or /sys/firmware/memmap says more.
"""

from __future__ import annotations

import re

from mmtool.errors import InputError
from mmtool.firmware.e820 import Located, check_range, type_number
from mmtool.firmware.machine import E820Entry, EfiRegion
from mmtool.regex import regex

_LINE = regex(r"( *)([0-9a-f]+)-([0-9a-f]+) : (.*?)\s*$", re.IGNORECASE)

MASKED = "every address is zero: it was read without privilege; read /proc/iomem as root"


def is_iomem_line(line: str) -> bool:
    return _LINE.match(line) is not None


def memory_of_iomem(text: str) -> tuple[EfiRegion, ...]:
    """All memory of an arm64 machine, as descriptors that EFI may have given of it: System RAM, and at the top level
    "reserved", which is memory that is not to be mapped. Empty where addresses are hidden.

    request_standard_resources() lists every region of memblock's memory so.
    """
    kinds = {"System RAM": "Conventional", "reserved": "Reserved"}
    found = [m for line in text.split("\n") if (m := _LINE.match(line)) and not m[1] and m[4] in kinds]
    ranges = [(kinds[m[4]], int(m[2], 16), int(m[3], 16) + 1) for m in found if int(m[3], 16)]
    return tuple(EfiRegion(n, kind, ("WB",), start, end) for n, (kind, start, end) in enumerate(ranges))


def parse_iomem(text: str, source: str) -> tuple[tuple[Located, ...], int | None]:
    """The ranges that bear the name of an E820 type, and where the kernel's code begins (None when not listed).

    A range nested in one that counts does not count again (the kernel's own parts of RAM, memory that a driver
    plugged in); one nested in a bus or a device does. Raises InputError.
    """
    entries: list[Located] = []
    kernel_base: int | None = None
    inside: int | None = None
    highest = 0
    for number, line in enumerate(text.split("\n"), 1):
        m = _LINE.match(line)
        if m is None:
            if line.strip():
                what = f"not a line of /proc/iomem: {line.strip()[:60]!r}"
                raise InputError(source, number, f"{what}; it reads like '00100000-3fffffff : System RAM'")
            continue
        depth, start, end, name = len(m[1]), int(m[2], 16), int(m[3], 16) + 1, m[4]
        check_range(start, end, source, number)
        highest = max(highest, end - 1)
        if inside is not None and depth <= inside:
            inside = None
        kind = type_number(name)
        if kind is not None and inside is None:
            entries.append((number, E820Entry(start, end, kind)))
            inside = depth
        if name == "Kernel code" and kernel_base is None:
            kernel_base = start
    if highest == 0:
        raise InputError(source, None, MASKED)
    if not entries:
        raise InputError(source, None, "no System RAM and nothing reserved in it; give /proc/iomem whole, read as root")
    return tuple(entries), kernel_base
