"""The ACPI SRAT (System Resource Affinity Table): which memory and which processors are near each other."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mmtool.firmware.acpi import HEADER_SIZE, check_table, table_error
from mmtool.firmware.machine import CpuAffinity, MemoryAffinity, Srat
from mmtool.units import U64_MAX

_ENTRIES = HEADER_SIZE + 12
"""Where the entries begin: behind the header stand 12 reserved bytes."""

# what stands behind an entry's type and length
_CPU = struct.Struct("<BBIB3sI")  # type 0: domain (low byte), APIC id, flags, SAPIC id, domain (high bytes), clock
_MEMORY = struct.Struct("<IHQQIIQ")  # type 1: domain, -, base, length, -, flags, -
_X2APIC = struct.Struct("<HIIII4s")  # type 2: -, domain, x2APIC id, flags, clock, -
_GICC = struct.Struct("<IIII")  # type 3: domain, processor uid, flags, clock
_SIZES = {0: 2 + _CPU.size, 1: 2 + _MEMORY.size, 2: 2 + _X2APIC.size, 3: 2 + _GICC.size}

_ENABLED, _HOTPLUG, _NONVOLATILE = 1, 2, 4


def parse_srat(data: bytes, source: str) -> Srat:
    """The entries of an SRAT, disabled ones too, in the table's order.

    Proximity domains have 8 bits in tables of revision 1 and 32 bits since, as acpi_numa_init() and
    x86's acpi_numa_processor_affinity_init() read them. Interrupt translation services (type 4),
    initiators (5) and ports (6) are passed over. Raises InputError, which names file and byte.
    """
    revision = check_table(data, "SRAT", source)
    entries = (_entry(data, offset, kind, revision, source) for offset, kind in _subtables(data, source))
    return Srat(tuple(e for e in entries if e is not None))


def _subtables(data: bytes, source: str) -> Iterator[tuple[int, int]]:
    """Offset and type of every entry, its length checked."""
    offset = _ENTRIES
    while offset < len(data):
        if offset + 2 > len(data):
            raise table_error(source, offset, "the last entry is cut off after one byte")
        kind, length = data[offset], data[offset + 1]
        if length < 2:
            raise table_error(source, offset + 1, f"an entry of {length} bytes cannot be")
        if offset + length > len(data):
            raise table_error(source, offset, f"the entry's {length} bytes reach beyond the table's {len(data)}")
        if kind in _SIZES and length < _SIZES[kind]:
            raise table_error(source, offset, f"an entry of type {kind} has {_SIZES[kind]} bytes, not {length}")
        yield offset, kind
        offset += length


def _entry(data: bytes, offset: int, kind: int, revision: int, source: str) -> MemoryAffinity | CpuAffinity | None:
    body = offset + 2
    if kind == 0:
        low, apic_id, flags, _, high, _ = _CPU.unpack_from(data, body)
        pxm = low | int.from_bytes(high, "little") << 8 if revision >= 2 else low
        return CpuAffinity(pxm, apic_id, bool(flags & _ENABLED))
    if kind == 1:
        return _memory(data, offset, revision, source)
    if kind == 2:
        _, pxm, apic_id, flags, _, _ = _X2APIC.unpack_from(data, body)
        return CpuAffinity(pxm, apic_id, bool(flags & _ENABLED))
    if kind == 3:
        pxm, uid, flags, _ = _GICC.unpack_from(data, body)
        return CpuAffinity(pxm, uid, bool(flags & _ENABLED))
    return None


def _memory(data: bytes, offset: int, revision: int, source: str) -> MemoryAffinity:
    pxm, _, base, length, _, flags, _ = _MEMORY.unpack_from(data, offset + 2)
    if flags & _ENABLED and base + length > U64_MAX + 1:
        raise table_error(source, offset + 8, f"the range {base:#x} + {length:#x} does not fit in 64 bits")
    return MemoryAffinity(
        pxm if revision >= 2 else pxm & 0xFF,
        base,
        base + length,
        bool(flags & _ENABLED),
        bool(flags & _HOTPLUG),
        bool(flags & _NONVOLATILE),
    )
