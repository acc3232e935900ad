"""What a kernel log says of the machine: firmware's map and tables, the boot loader's words, the hardware's.

Only what was said *to* the kernel is read. What the kernel worked out from it (zones, totals, last_pfn, the
"user:" and "modified:" maps, NUMA and NODE_DATA lines) is passed over, even where the log holds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from mmtool.errors import InputError
from mmtool.firmware.e820 import parse_entry
from mmtool.firmware.lines import kernel_lines
from mmtool.firmware.machine import (
    AcpiTable,
    CpuAffinity,
    E820Entry,
    EfiRegion,
    LogNote,
    Machine,
    MemoryAffinity,
    Srat,
)
from mmtool.firmware.notes import NOTE_PREFIXES, find_note

Line = tuple[int, str]

MAPS = ("BIOS-e820", "BIOS-88", "BIOS-e801", "Xen")
"""Who may have given a kernel its map, as the log names it in front of every entry."""


@dataclass
class _Boot:
    """What was read of one boot so far."""

    source: str
    version_line: str | None = None
    first_cmdline: str | None = None
    late_cmdline: str | None = None
    maps: dict[str, list[E820Entry]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    last_map: str | None = None
    initrd: tuple[int, int] | None = None
    efi: list[EfiRegion] = field(default_factory=list)
    tables: dict[tuple[str, int], AcpiTable] = field(default_factory=dict)
    dynamic_table: bool = False
    affinities: list[MemoryAffinity | CpuAffinity] = field(default_factory=list)
    cpus: int | None = None
    notes: list[LogNote] = field(default_factory=list)
    arch_votes: list[str] = field(default_factory=list)
    warnings: list[tuple[int, str]] = field(default_factory=list)


def read_log(text: str, source: str, *, need_map: bool = True) -> Machine:
    """The Machine that a kernel log speaks of; of several boots in one file, the first that prints a map.

    `text` may carry any console's or daemon's prefixes and may begin in the middle of a boot. Without
    `need_map` a log without a map is taken too (the map comes from elsewhere, such as a device tree).
    Raises InputError.
    """
    boots = _boots(kernel_lines(text))
    chosen = next((b for b in boots if any(_is_map_line(words) for _, words in b)), None)
    if chosen is None:
        chosen = next((b for b in boots if any(words.startswith("efi: mem") for _, words in b)), None)
    if chosen is None:
        if need_map:
            raise InputError(source, None, NO_MAP)
        chosen = boots[0] if boots else []
    boot = _Boot(source)
    for number, words in chosen:
        stripped = words.lstrip()
        m = _HEAD.match(stripped)
        if m is not None:
            _HANDLERS[m[0]](boot, number, stripped)
    return _machine(boot)


NO_MAP = (
    "no memory map in it: no 'BIOS-e820: [mem ...]' line of a kernel log, no entry of /sys/firmware/memmap, no table; "
    "give a log from the start of the boot (dmesg, journalctl -k -b), or `grep -r . /sys/firmware/memmap`"
)


def _boots(lines: list[Line]) -> list[list[Line]]:
    """The log cut where a kernel begins to speak."""
    starts = [i for i, (_, words) in enumerate(lines) if words.lstrip().startswith("Linux version ")]
    if not starts or starts[0] != 0:
        starts.insert(0, 0)
    return [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _is_map_line(words: str) -> bool:
    return words.lstrip().startswith(_MAP_HEADS)


def _machine(boot: _Boot) -> Machine:
    kind, entries = _the_map(boot)
    version = boot.version_line
    return Machine(
        source=kind,
        e820=tuple(entries),
        origin=boot.source,
        arch=_arch(boot),
        release=version.split()[2] if version and len(version.split()) > 2 else None,
        version_line=version,
        cmdline=boot.first_cmdline if boot.first_cmdline is not None else boot.late_cmdline,
        initrd=boot.initrd,
        efi=tuple(boot.efi),
        acpi=tuple(boot.tables.values()),
        srat=Srat(tuple(boot.affinities)) if boot.affinities else None,
        cpus=boot.cpus,
        notes=tuple(boot.notes),
        warnings=tuple(boot.warnings),
    )


def _the_map(boot: _Boot) -> tuple[str, list[E820Entry]]:
    for kind in MAPS:
        if kind in boot.maps:
            return kind, boot.maps[kind]
    return ("efi" if boot.efi else "none"), []


def _arch(boot: _Boot) -> str | None:
    return boot.arch_votes[0] if boot.arch_votes else None


# ---- one function a kind of line -------------------------------------------------------------------


def _map_entry(boot: _Boot, number: int, words: str) -> None:
    kind, _, body = words.partition(":")
    entries = boot.maps.setdefault(kind, [])
    entry = parse_entry(body.strip(), boot.source, number)
    if entry is not None:
        entries.append(entry)


def _version(boot: _Boot, number: int, words: str) -> None:
    if boot.version_line is None:
        boot.version_line = words


def _first_cmdline(boot: _Boot, number: int, words: str) -> None:
    if boot.first_cmdline is None:
        boot.first_cmdline = words.partition(":")[2].strip()
        boot.arch_votes.append("x86_64")


def _late_cmdline(boot: _Boot, number: int, words: str) -> None:
    if boot.late_cmdline is None:
        boot.late_cmdline = words.partition(":")[2].strip()


_MEM = re.compile(r"\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", re.IGNORECASE)


def _mem(words: str) -> tuple[int, int] | None:
    """The half-open range of the first "[mem 0x..-0x..]" in the line."""
    m = _MEM.search(words)
    return (int(m[1], 16), int(m[2], 16) + 1) if m else None


def _ramdisk(boot: _Boot, number: int, words: str) -> None:
    found = _mem(words)
    if boot.initrd is None and found:
        boot.initrd = found


_TABLE = re.compile(r"ACPI: ([A-Z0-9!_]{4}) (?:0x)?([0-9A-F]{8,16}) (?:0x)?([0-9A-F]{5,6})\b", re.IGNORECASE)
_TABLE_KEPT = re.compile(r"ACPI: Reserving ([A-Z0-9!_]{4}) table memory at \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")
_SRAT_MEMORY = re.compile(
    r"(?:ACPI: )?SRAT: Node (\d+) PXM (\d+) (?:\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]|([0-9a-f]+)-([0-9a-f]+)\b)(.*)",
    re.IGNORECASE,
)
_SRAT_CPU = re.compile(r"(?:ACPI: )?SRAT: PXM (\d+) -> (?:APIC|X2APIC|MPIDR) (0x[0-9a-f]+|\d+)", re.IGNORECASE)


def _acpi(boot: _Boot, number: int, words: str) -> None:
    if words.startswith("ACPI: SRAT:"):
        _srat(boot, number, words)
    elif m := _TABLE.match(words):
        start, size = int(m[2], 16), int(m[3], 16)
        if not boot.dynamic_table and start < 1 << 52:
            boot.tables.setdefault((m[1], start), AcpiTable(m[1], start, start + size, False))
        boot.dynamic_table = False
    elif m := _TABLE_KEPT.match(words):
        start, end = int(m[2], 16), int(m[3], 16) + 1
        boot.tables[m[1], start] = AcpiTable(m[1], start, end, True)
    elif words.startswith("ACPI: Dynamic OEM Table Load"):
        # the table that is named next was made by another one: its address is virtual
        boot.dynamic_table = True
    else:
        _note(boot, number, words)


def _srat(boot: _Boot, number: int, words: str) -> None:
    if m := _SRAT_MEMORY.match(words):
        start = int(m[3] or m[5], 16)
        end = int(m[4], 16) + 1 if m[4] else int(m[6], 16)
        boot.affinities.append(
            MemoryAffinity(int(m[2]), start, end, hotplug="hotplug" in m[7], nonvolatile="non-volatile" in m[7])
        )
        boot.notes.append(LogNote("srat_node", (int(m[1]), int(m[2])), number, words))
    elif m := _SRAT_CPU.match(words):
        boot.affinities.append(CpuAffinity(int(m[1]), int(m[2], 0)))


_EFI_REGION = re.compile(
    r"(?:efi: )?mem(\d+): \[([^|\]]*)\|?([^\]]*)\] range=\[0x([0-9a-f]+)-0x([0-9a-f]+)([\])])", re.IGNORECASE
)
_EFI_OLD = re.compile(
    r"(?:efi: )?mem(\d+): type=(\d+), attr=(0x[0-9a-f]+), range=\[0x([0-9a-f]+)-0x([0-9a-f]+)([\])])", re.IGNORECASE
)

EFI_TYPES = (
    "Reserved", "Loader Code", "Loader Data", "Boot Code", "Boot Data", "Runtime Code", "Runtime Data", "Conventional",
    "Unusable", "ACPI Reclaim", "ACPI Mem NVS", "MMIO", "MMIO Port", "PAL Code", "Persistent",
)  # fmt: skip
EFI_ATTRIBUTES = {
    0: "UC", 1: "WC", 2: "WT", 3: "WB", 4: "UCE", 12: "WP", 13: "RP", 14: "XP", 15: "NV", 16: "MR", 17: "RO", 18: "SP",
    19: "CC", 63: "RUN",
}  # fmt: skip


def _efi(boot: _Boot, number: int, words: str) -> None:
    if m := _EFI_REGION.match(words):
        attributes = tuple(a for a in (part.strip() for part in m[3].split("|")) if a)
        boot.efi.append(EfiRegion(int(m[1]), m[2].strip(), attributes, int(m[4], 16), int(m[5], 16) + (m[6] == "]")))
    elif m := _EFI_OLD.match(words):
        bits = int(m[3], 16)
        kind = EFI_TYPES[int(m[2])] if int(m[2]) < len(EFI_TYPES) else f"type {m[2]}"
        attributes = tuple(name for bit, name in sorted(EFI_ATTRIBUTES.items(), reverse=True) if bits >> bit & 1)
        boot.efi.append(EfiRegion(int(m[1]), kind, attributes, int(m[4], 16), int(m[5], 16) + (m[6] == "]")))
    else:
        _note(boot, number, words)


_CPUS = re.compile(r".*?Allowing (\d+) (?:present )?CPUs(?:, | plus )(\d+) hotplug CPUs")


def _cpus(boot: _Boot, number: int, words: str) -> None:
    if boot.cpus is None and (m := _CPUS.match(words)):
        present, hotplug = int(m[1]), int(m[2])
        # "Allowing 4 CPUs, 2 hotplug CPUs" counts the hotplug ones in; "4 present CPUs plus 2" does not
        boot.cpus = present + hotplug if "present" in m[0] else present


def _note(boot: _Boot, number: int, words: str) -> None:
    for note in find_note(words, number):
        boot.notes.append(note)


_HANDLERS: dict[str, Callable[[_Boot, int, str], None]] = {
    **dict.fromkeys((f"{who}: " for who in MAPS if who != "Xen"), _map_entry),
    "Xen: [mem ": _map_entry,
    "Linux version ": _version,
    "Command line: ": _first_cmdline,
    "Kernel command line: ": _late_cmdline,
    "RAMDISK: ": _ramdisk,
    "ACPI: ": _acpi,
    "SRAT: ": _srat,
    "efi: ": _efi,
    "smpboot: Allowing ": _cpus,
    "SMP: Allowing ": _cpus,
    "CPU topo: Allowing ": _cpus,
    "Allowing ": _cpus,
}
_HANDLERS.update({prefix: _note for prefix in NOTE_PREFIXES if prefix not in _HANDLERS})
_MAP_HEADS = tuple(f"{who}: [mem" for who in MAPS) + tuple(f"{who}: 0" for who in MAPS)
_HEAD = re.compile("|".join(re.escape(head) for head in sorted(_HANDLERS, key=len, reverse=True)))
