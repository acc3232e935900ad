"""SRAT and SLIT, binary: what is in them, and what is wrong with a damaged one and where."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.errors import InputError
from mmtool.firmware.machine import CpuAffinity, MemoryAffinity, Slit, Srat
from mmtool.firmware.slit import parse_slit
from mmtool.firmware.srat import parse_srat


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """An ACPI table with a right checksum."""
    head = struct.pack("<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, b"FIRM", b"TABLE", 1, b"TEST", 1)
    whole = bytearray(head + body)
    whole[9] = -sum(whole) & 0xFF
    return bytes(whole)


def cpu(pxm: int, apic_id: int, flags: int = 1) -> bytes:
    return struct.pack("<BBBBIB3sI", 0, 16, pxm & 0xFF, apic_id, flags, 0, (pxm >> 8).to_bytes(3, "little"), 0)


def memory(pxm: int, start: int, size: int, flags: int = 1) -> bytes:
    return struct.pack("<BBIHQQIIQ", 1, 40, pxm, 0, start, size, 0, flags, 0)


def x2apic(pxm: int, apic_id: int) -> bytes:
    return struct.pack("<BBHIIII4x", 2, 24, 0, pxm, apic_id, 1, 0)


def gicc(pxm: int, uid: int) -> bytes:
    return struct.pack("<BBIIII", 3, 18, pxm, uid, 1, 0)


def srat(*entries: bytes, revision: int = 3) -> bytes:
    return table(b"SRAT", revision, bytes(12) + b"".join(entries))


def slit(count: int, distances: bytes) -> bytes:
    return table(b"SLIT", 1, struct.pack("<Q", count) + distances)


def refuse(parse: Callable[[bytes, str], object], data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        parse(data, "T.aml")
    return str(caught.value)


def test_srat_in_the_tables_order() -> None:
    data = srat(
        cpu(1, 0),
        memory(1, 0, 0xA0000),
        cpu(0x10203, 4, flags=0),
        memory(0x100, 1 << 32, 1 << 30, flags=7),
        memory(2, 0, 0, flags=0),
        x2apic(3, 0x1000),
        gicc(4, 9),
        struct.pack("<BB30x", 5, 32),
        struct.pack("<BB10x", 4, 12),
    )
    assert parse_srat(data, "T.aml") == Srat(
        (
            CpuAffinity(1, 0),
            MemoryAffinity(1, 0, 0xA0000),
            CpuAffinity(0x10203, 4, enabled=False),
            MemoryAffinity(0x100, 1 << 32, (1 << 32) + (1 << 30), hotplug=True, nonvolatile=True),
            MemoryAffinity(2, 0, 0, enabled=False),
            CpuAffinity(3, 0x1000),
            CpuAffinity(4, 9),
        )
    )


def test_domains_have_8_bits_in_revision_1() -> None:
    data = srat(cpu(0x10203, 4), memory(0x10203, 0, 4096), revision=1)
    assert parse_srat(data, "T.aml") == Srat((CpuAffinity(3, 4), MemoryAffinity(3, 0, 4096)))


def test_slit() -> None:
    assert parse_slit(slit(2, bytes([10, 20, 21, 10])), "T.aml") == Slit(((10, 20), (21, 10)))
    assert parse_slit(slit(0, b""), "T.aml") == Slit(())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "T.aml:0x0: not an ACPI table: empty; give a copy of /sys/firmware/acpi/tables/SRAT"),
        (
            b"SRAT\0",
            "T.aml:0x0: not an ACPI table: 5 bytes, shorter than the header of 36; "
            "give a copy of /sys/firmware/acpi/tables/SRAT",
        ),
        (slit(0, b""), "T.aml:0x0: the signature is 'SLIT', not 'SRAT'"),
        (srat() + b"\0", "T.aml:0x4: the table claims 48 bytes, the file has 49; copy it whole"),
        (srat()[:-1], "T.aml:0x4: the table claims 48 bytes, the file has 47; copy it whole"),
        (srat()[:-1] + b"\x01", "T.aml:0x9: wrong checksum: the bytes sum up to 0x01, not to 0; copy it again"),
        (srat(b"\x00"), "T.aml:0x30: the last entry is cut off after one byte"),
        (srat(b"\x00\x00"), "T.aml:0x31: an entry of 0 bytes cannot be"),
        (srat(cpu(0, 0), b"\x01\x28\x00"), "T.aml:0x40: the entry's 40 bytes reach beyond the table's 67"),
        (srat(b"\x01\x04\x00\x00"), "T.aml:0x30: an entry of type 1 has 40 bytes, not 4"),
        (
            srat(memory(0, 2**64 - 4096, 8192)),
            "T.aml:0x38: the range 0xfffffffffffff000 + 0x2000 does not fit in 64 bits",
        ),
    ],
)
def test_bad_srat(data: bytes, message: str) -> None:
    assert refuse(parse_srat, data) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (srat(), "T.aml:0x0: the signature is 'SRAT', not 'SLIT'"),
        (table(b"SLIT", 1, b"\0\0"), "T.aml:0x24: the table ends before its number of localities"),
        (slit(2, b"\x0a\x14\x14"), "T.aml:0x24: 2 localities need 4 distances, the table has 3"),
        (
            slit(2**63, b""),
            f"T.aml:0x24: {2**63} localities need {2**126} distances, the table has 0",
        ),
    ],
)
def test_bad_slit(data: bytes, message: str) -> None:
    assert refuse(parse_slit, data) == message


entries = st.lists(
    st.builds(cpu, st.integers(0, 2**24 - 1), st.integers(0, 255), st.integers(0, 1))
    | st.builds(memory, st.integers(0, 2**32 - 1), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 7))
    | st.builds(x2apic, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    max_size=8,
)


@given(entries)
def test_every_entry_is_read(parts: list[bytes]) -> None:
    assert len(parse_srat(srat(*parts), "T.aml").affinities) == len(parts)


@given(entries, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_damaged_tables_are_refused_or_read(parts: list[bytes], damage: list[tuple[int, int]], mend: bool) -> None:
    data = bytearray(srat(*parts))
    for at, value in damage:
        data[at % len(data)] = value
    if mend:
        data[9] = 0
        data[9] = -sum(data) & 0xFF
    for parse in (parse_srat, parse_slit):
        try:
            parse(bytes(data), "T.aml")
        except InputError as e:
            assert str(e).startswith("T.aml:0x") and "\n" not in str(e)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    refuse(parse_srat, data)
    refuse(parse_slit, data)
