"""`Machine`: everything a machine's firmware and boot loader said, as frozen values.

Addresses and sizes are ints in bytes, ranges are half-open. Nothing in here was worked out by a kernel.
"""

from __future__ import annotations

from enum import IntEnum

from mmtool.firmware.devicetree import DeviceTree
from mmtool.late import dataclass


class E820Type(IntEnum):
    """Types of an E820 entry (enum e820_type of arch/x86/include/asm/e820/types.h).

    Firmware may use any other number; such an entry keeps its plain int.
    """

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
    PMEM = 7
    PRAM = 12
    RESERVED_KERN = 128
    SOFT_RESERVED = 0xEFFFFFFF


@dataclass(frozen=True, slots=True)
class E820Entry:
    """One range of an E820 map: bytes [start, end) of `type`."""

    start: int
    end: int
    type: int


@dataclass(frozen=True, slots=True)
class EfiRegion:
    """One descriptor of the EFI memory map: bytes [start, end); type and attributes in the log's words and letters."""

    number: int
    type: str
    attributes: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class AcpiTable:
    """An ACPI table's place: bytes [start, end); `reserved` when the log says that the kernel keeps it."""

    signature: str
    start: int
    end: int
    reserved: bool


@dataclass(frozen=True, slots=True)
class MemoryAffinity:
    """A memory affinity entry of the SRAT: bytes [start, end) belong to proximity domain `pxm`."""

    pxm: int
    start: int
    end: int
    enabled: bool = True
    hotplug: bool = False
    nonvolatile: bool = False


@dataclass(frozen=True, slots=True)
class CpuAffinity:
    """A processor affinity entry of the SRAT; `apic_id` is the local APIC or x2APIC id."""

    pxm: int
    apic_id: int
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Srat:
    """System Resource Affinity Table, entries in the table's order (`affinities` keeps memory and CPUs interleaved
    as they stand, because node numbers are given out in that order)."""

    affinities: tuple[MemoryAffinity | CpuAffinity, ...] = ()

    @property
    def memory(self) -> tuple[MemoryAffinity, ...]:
        return tuple(a for a in self.affinities if isinstance(a, MemoryAffinity))

    @property
    def cpus(self) -> tuple[CpuAffinity, ...]:
        return tuple(a for a in self.affinities if isinstance(a, CpuAffinity))


@dataclass(frozen=True, slots=True)
class Slit:
    """System Locality Information Table: distances[from][to], by proximity domain."""

    distances: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class LogNote:
    """A line of the log in which firmware, hardware or boot loader shows through.

    `kind` is a name of `firmware.notes.NOTES` (or "efi_table", "la57", "srat_node", "pae", "map_cut",
    "map_by_resources"), `values` its
    numbers in order, `line` the line's number, `text` the line without its prefixes (of an "efi_table" the table's
    name).
    """

    kind: str
    values: tuple[int, ...]
    line: int
    text: str = ""


@dataclass(frozen=True)
class Machine:
    """What one machine said. Absent things are empty or None; nothing is guessed here."""

    source: str
    """Which kind of map the ranges came from: "BIOS-e820", "BIOS-88", "BIOS-e801", "Xen", "efi", "sysfs memmap",
    "iomem", "table"; "none" when there was no map (and none was asked for)."""
    e820: tuple[E820Entry, ...]
    """The firmware's map, in the firmware's order, overlaps and all."""
    origin: str = "-"
    """The file, as the user named it."""
    e820_places: tuple[int | str, ...] = ()
    """Where each entry of `e820` stands in the file: a line's number, or its path in a folder. Empty where the map is
    not written down."""
    arch: str | None = None
    """"x86_64", "i386", "arm64", "arm" or "riscv" when the input tells."""
    release: str | None = None
    """"6.1.0-50-cloud-amd64", from the "Linux version" line."""
    version_line: str | None = None
    """The whole "Linux version ..." text: compiler, build options such as SMP and PREEMPT, the package's version."""
    cmdline: str | None = None
    initrd: tuple[int, int] | None = None
    """Where the boot loader put the initial RAM disk, [start, end)."""
    efi: tuple[EfiRegion, ...] = ()
    acpi: tuple[AcpiTable, ...] = ()
    srat: Srat | None = None
    slit: Slit | None = None
    cpus: int | None = None
    """CPUs that the kernel allows for (present and hotplug), where the log says."""
    notes: tuple[LogNote, ...] = ()
    """Everything else that the log shows of firmware and hardware, in its order."""
    kernel_base: int | None = None
    """Physical address of the kernel image (KASLR), as /proc/iomem's "Kernel code" starts."""
    build: tuple[str, str] | None = None
    """A profile of the kernel's build that was collected with the machine, as YAML, and the file that it is from."""
    fdt: DeviceTree | None = None
    """The device tree, on machines that have one."""
    warnings: tuple[tuple[int, str], ...] = ()
    """What the reader left out and why: (line, message)."""
