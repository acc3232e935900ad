"""The EFI memory map and configuration tables, as kernels print them (efi=debug)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmtool.firmware.machine import EfiRegion
from mmtool.regex import regex

EFI_TYPES = (
    "Reserved", "Loader Code", "Loader Data", "Boot Code", "Boot Data", "Runtime Code", "Runtime Data", "Conventional",
    "Unusable", "ACPI Reclaim", "ACPI Mem NVS", "MMIO", "MMIO Port", "PAL Code", "Persistent", "Unaccepted",
)  # fmt: skip
"""A descriptor's type by number, in the words of the logs since 4.12."""

LONG_NAMES = {
    "Conventional Memory": "Conventional", "Unusable Memory": "Unusable", "ACPI Reclaim Memory": "ACPI Reclaim",
    "ACPI Memory NVS": "ACPI Mem NVS", "Memory Mapped I/O": "MMIO", "MMIO Port Space": "MMIO Port",
    "Persistent Memory": "Persistent",
}  # fmt: skip
"""The words of older logs."""

ATTRIBUTES = {
    0: "UC", 1: "WC", 2: "WT", 3: "WB", 4: "UCE", 12: "WP", 13: "RP", 14: "XP", 15: "NV", 16: "MR", 17: "RO", 18: "SP",
    19: "CC", 20: "HP", 63: "RUN",
}  # fmt: skip
"""Bits of a descriptor's attribute and their letters."""

_HEX = r"0x([0-9a-f]{1,16})"
# mem00: [Conventional|   |...|WB|WT|WC|UC] range=[0x..-0x..] (7MB); before 4.? "[0x..-0x..)" with the end exclusive
_REGION = regex(rf"mem(\d+): \[([^|\]]*)\|?([^\]]*)\] range=\[{_HEX}-{_HEX}([\])])(.*)", re.IGNORECASE)
# mem00: type=7, attr=0xf, range=[0x..-0x..) (7MB), until 3.19
_NUMBERS = regex(rf"mem(\d+): type=(\d+), attr={_HEX}, range=\[{_HEX}-{_HEX}([\])])(.*)", re.IGNORECASE)
# arm64: 0x000040000000-0x000041c01fff [Loader Data |...|UC]*
_ARM = regex(rf"{_HEX}-{_HEX} \[([^|\]]*)\|?([^\]]*)\]", re.IGNORECASE)
_TABLE = regex(r"([A-Za-z][A-Za-z0-9_]*(?: \d\.\d)?)=0x([0-9a-f]{1,16})(?=\s|$)")


def parse_region(text: str, number: int) -> EfiRegion | None:
    """The descriptor of a line of the map (without its "efi: "), half-open; None when the line is another one or
    the kernel calls the descriptor invalid. `number` serves where the line has none of its own (arm64)."""
    if m := _REGION.match(text):
        if "invalid" in m[7]:
            return None
        return EfiRegion(int(m[1]), _name(m[2]), _letters(m[3]), int(m[4], 16), int(m[5], 16) + (m[6] == "]"))
    if m := _NUMBERS.match(text):
        kind, bits = int(m[2]), int(m[3], 16)
        name = EFI_TYPES[kind] if kind < len(EFI_TYPES) else f"type={kind}"
        letters = tuple(ATTRIBUTES[bit] for bit in sorted(ATTRIBUTES, reverse=True) if bits >> bit & 1)
        return EfiRegion(int(m[1]), name, letters, int(m[4], 16), int(m[5], 16) + (m[6] == "]"))
    if m := _ARM.match(text):
        return EfiRegion(number, _name(m[3]), _letters(m[4]), int(m[1], 16), int(m[2], 16) + 1)
    return None


def _name(words: str) -> str:
    name = words.strip()
    return LONG_NAMES.get(name, name)


def _letters(columns: str) -> tuple[str, ...]:
    return tuple(column.strip() for column in columns.split("|") if column.strip())


def parse_tables(text: str) -> Iterator[tuple[str, int]]:
    """The configuration tables of a line such as "ACPI=0x.. ACPI 2.0=0x.. MEMATTR=0x..": (name, address)."""
    if "=0x" in text and ": " not in text:
        for m in _TABLE.finditer(text):
            yield m[1], int(m[2], 16)
