"""The kernel's own E820 table: what it merges, where it finds room for PCI, what updates leave behind."""

from __future__ import annotations

import pytest

from mmtool.build.fact import parse_version
from mmtool.build.release import release_facts
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.linux.arch.x86.kernel.e820 import E820Table, parse_memmap_opt, parse_memopt
from mmtool.linux.kernel.printk import KernelLog

M, G = 1 << 20, 1 << 30
RAM, RESERVED, ACPI, NVS, UNUSABLE = 1, 2, 3, 4, 5
PMEM, PRAM, SOFT = E820Type.PMEM, E820Type.PRAM, E820Type.SOFT_RESERVED


def table(*entries: tuple[int, int, int], release: str = "6.12", capacity: int = 128) -> E820Table:
    """A table with (start, end, type), in this order."""
    version = parse_version(release)
    assert version is not None
    made = E820Table(release_facts(version), KernelLog(), capacity)
    for start, end, kind in entries:
        made.range_add(start, end - start, kind)
    return made


def entries(made: E820Table) -> list[tuple[int, int, int]]:
    return [(e.start, e.end, e.type) for e in made.entries]


def said(made: E820Table) -> list[str]:
    return [line.text for line in made.log.lines]


@pytest.mark.parametrize(
    ("kind", "apart"), [(RAM, False), (ACPI, False), (NVS, False), (PMEM, False), (PRAM, True), (SOFT, True)]
)
def test_neighbours_of_some_types_stay_apart(kind, apart):
    made = table((0, M, kind), (M, 3 * M, kind), (4 * M, 5 * M, RESERVED))
    assert made.update_table()
    both = [(0, M, kind), (M, 3 * M, kind)] if apart else [(0, 3 * M, kind)]
    assert entries(made) == [*both, (4 * M, 5 * M, RESERVED)]


def test_the_highest_type_wins_where_entries_overlap():
    made = table((4 * M, 6 * M, NVS), (0, 8 * M, RAM), (5 * M, 7 * M, ACPI), (8 * M, 8 * M, UNUSABLE))
    assert made.update_table()
    assert entries(made) == [
        (0, 4 * M, RAM), (4 * M, 6 * M, NVS), (6 * M, 7 * M, ACPI), (7 * M, 8 * M, RAM),
    ]  # fmt: skip


def test_of_two_that_begin_at_one_address_the_higher_type_is_shown_and_nothing_empty():
    made = table((M, 2 * M, RAM), (M, 3 * M, RESERVED), (3 * M, 4 * M, RAM))
    assert made.update_table()
    assert entries(made) == [(M, 3 * M, RESERVED), (3 * M, 4 * M, RAM)]


def test_a_table_of_one_entry_is_left_as_it_is():
    for capacity in (1, 128):
        one = table((0, 0, RAM), capacity=capacity)
        assert not one.update_table()
        assert entries(one) == [(0, 0, RAM)]
    two = table((0, 0, RAM), (M, 2 * M, RAM))
    assert two.update_table()
    assert entries(two) == [(M, 2 * M, RAM)]
    assert not table().update_table()


def test_an_entry_that_wraps_round_stops_the_update():
    top = table((M, 2 * M, RAM), (2**64 - M, 2**64, RESERVED), (0, M, RAM))
    assert top.update_table()
    assert entries(top) == [(0, 2 * M, RAM), (2**64 - M, 2**64, RESERVED)]
    wraps = table((M, 2 * M, RAM), (2**64 - M, 2**64 + M, RESERVED))
    assert not wraps.update_table()


def test_the_result_of_an_update_ends_with_the_room():
    made = table((0, 4 * M, RAM), (M, 2 * M, RESERVED), capacity=2)
    assert made.update_table()
    assert entries(made) == [(0, M, RAM), (M, 2 * M, RESERVED)]


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ("6.12", "e820: too many entries; ignoring [mem 0x00200000-0x002fffff]"),
        ("7.3", "E820 table full; ignoring [mem 0x00200000-0x002fffff]"),
    ],
)
def test_a_full_table_says_what_it_drops(release, line):
    made = table((0, M, RAM), (M, 2 * M, RAM), (2 * M, 3 * M, RAM), release=release, capacity=2)
    assert said(made) == [line]
    assert entries(made) == [(0, M, RAM), (M, 2 * M, RAM)]


GAPS = [(0, G, RAM), (G + 256 * M, 2 * G, RAM), (2 * G + 256 * M, 4 * G, RESERVED)]


@pytest.mark.parametrize(
    ("release", "entries_", "start", "size"),
    [
        # of equal gaps the lowest up to 6.19, the highest from 7.0 on
        ("6.12", GAPS, G, 256 * M),
        ("7.3", GAPS, 2 * G, 256 * M),
        # above the last entry, and above 4 GiB nothing counts
        ("6.12", [(0, 3 * G, RAM), (5 * G, 6 * G, RAM)], 3 * G, G),
        ("7.3", [(0, 3 * G, RAM), (5 * G, 6 * G, RAM)], 3 * G, G),
        ("7.3", [(0, 3 * G, RAM)], 3 * G, G),
        # below the first entry there is none up to 6.19
        ("6.12", [(2 * G, 4 * G - 4 * M, RAM)], 4 * G - 4 * M, 4 * M),
        ("7.3", [(2 * G, 4 * G - 4 * M, RAM)], 0, 2 * G),
        # exactly 4 MiB will do
        ("7.3", [(0, 4 * G - 4 * M, RAM)], 4 * G - 4 * M, 4 * M),
        # less will not: behind memory then, of a size that is said all the same
        ("6.12", [(0, 4 * G - 4 * M + 4096, RAM)], 8 * G + M, 4 * M),
        ("7.3", [(0, 4 * G - 4 * M + 4096, RAM)], 8 * G + M, 4 * M),
        # one that begins right at 4 GiB is none
        ("7.3", [(0, 4 * G, RAM), (5 * G, 6 * G, RAM)], 8 * G + M, 4 * M),
    ],
)
def test_the_gap_for_pci(release, entries_, start, size):
    made = table(*entries_, release=release)
    assert made.setup_pci_gap(8 * G // 4096, True) == start
    assert f"{start:#010x}-{start + size - 1:#010x}] available for PCI devices" in said(made)[-1]
    none = ["e820: Cannot find an available gap in the 32-bit address range",
            "e820: PCI devices with unassigned 32-bit BARs may not work!"]  # fmt: skip
    assert said(made)[:-1] == (none if start > 8 * G else [])


def test_without_a_gap_a_32_bit_kernel_takes_256_mib():
    made = table((0, 4 * G, RAM))
    assert made.setup_pci_gap(8 * G // 4096, False) == 256 * M
    assert len(said(made)) == 1


UPDATES = [
    # (start, end, what becomes of [2M, 6M) of type RAM, bytes)
    (2, 6, [(2, 6, NVS)], 4),
    (1, 7, [(2, 6, NVS)], 4),
    (3, 4, [(2, 3, RAM), (3, 4, NVS), (4, 6, RAM)], 1),
    (2, 4, [(4, 6, RAM), (2, 4, NVS)], 2),
    (1, 4, [(4, 6, RAM), (2, 4, NVS)], 2),
    (4, 6, [(2, 4, RAM), (4, 6, NVS)], 2),
    (4, 9, [(2, 4, RAM), (4, 6, NVS)], 2),
    (0, 2, [(2, 6, RAM)], 0),
    (6, 8, [(2, 6, RAM)], 0),
]


@pytest.mark.parametrize(("start", "end", "left", "mib"), UPDATES)
def test_a_part_gets_another_type(start, end, left, mib):
    made = table((2 * M, 6 * M, RAM), (20 * M, 21 * M, RESERVED))
    assert made.range_update(start * M, (end - start) * M, RAM, NVS) == mib * M
    expected = [(a * M, b * M, kind) for a, b, kind in left]
    assert sorted(entries(made)) == sorted([*expected, (20 * M, 21 * M, RESERVED)])
    last = end * M - 1
    assert said(made) == [f"e820: update [mem {start * M:#010x}-{last:#010x}] usable ==> ACPI NVS"]
    assert made.range_update(0, 30 * M, ACPI, RAM) == 0


@pytest.mark.parametrize(("start", "end", "left", "mib"), UPDATES)
def test_a_part_goes(start, end, left, mib):
    made = table((2 * M, 6 * M, RAM), (20 * M, 21 * M, RESERVED))
    assert made.range_remove(start * M, (end - start) * M, RAM) == mib * M
    expected = [(a * M, b * M, kind) for a, b, kind in left if kind == RAM]
    kept = [e for e in entries(made) if e[0] != e[1]]
    assert sorted(kept) == sorted([*expected, (20 * M, 21 * M, RESERVED)])
    assert made.range_remove(0, 30 * M, None) == sum(b - a for a, b, _ in expected) + M
    assert {e.size for e in made.entries} == {0}


def test_an_update_does_not_reach_the_last_byte_of_64_bits():
    made = table((0, M, RAM), (2**64 - M, 2**64, RAM))
    assert made.range_update(2**64 - M, 2 * M, RAM, RESERVED) == M - 1
    assert said(made) == ["e820: update [mem 0xfffffffffff00000-0xfffffffffffffffe] usable ==> reserved"]


def test_what_is_removed_is_said_by_its_type():
    made = table((0, M, RESERVED), (M, 2 * M, RAM), (2 * M, 3 * M, RESERVED), (3 * M, 4 * M, RAM))
    assert made.range_remove(0, 4 * M, RAM) == 2 * M
    assert made.range_remove(0, 4 * M, None) == 2 * M
    assert said(made) == [
        "e820: remove [mem 0x00000000-0x003fffff] usable", "e820: remove [mem 0x00000000-0x003fffff]",
    ]  # fmt: skip


def test_the_firmwares_entries_end_at_the_first_that_wraps_round():
    made = table()
    good = [E820Entry(2**64 - M, 2**64, RESERVED), E820Entry(M, M, RAM)]
    made.append([*good, E820Entry(2**64 - M, 2**64 + 1, RESERVED), E820Entry(0, M, RAM)])
    assert entries(made) == [(e.start, e.end, e.type) for e in good]
    by_one = table((0, M, RAM), (2**64 - M, 2**64 + 1, RESERVED))
    assert not by_one.update_table()


def test_is_all_of_a_range_of_a_type():
    made = table((0, M, RAM), (M, 2 * M, RESERVED), (2 * M, 3 * M, RAM), (3 * M, 4 * M, RAM))
    assert made.mapped_all(0, M, RAM)
    assert made.mapped_all(2 * M, 4 * M, RAM)
    assert made.mapped_all(3 * M - 1, 3 * M + 1, RAM)
    assert made.mapped_all(M, 2 * M, RESERVED)
    assert not made.mapped_all(0, M + 1, RAM)
    assert not made.mapped_all(2 * M - 1, 3 * M, RAM)
    assert not made.mapped_all(3 * M, 4 * M + 1, RAM)
    assert not made.mapped_all(8 * M, 9 * M, RAM)


def test_the_end_of_memory():
    for release, last in (("6.6", 0x300), ("6.12", 0x400)):
        made = table((0, 3 * M, RAM), (3 * M, 4 * M, ACPI), (5 * M, 6 * M, RESERVED), release=release)
        assert made.end_pfn(1 << 20, 1 << 34) == last
        assert said(made) == [f"last_pfn = {last:#x} max_arch_pfn = 0x400000000"]
    made = table((0, 3 * M + 1, RAM), (4 * M, 8 * M, RAM))
    assert made.end_pfn(0x400, 1 << 34) == 0x300
    assert made.end_pfn(0x401, 1 << 34) == 0x401
    assert made.end_pfn(0x800, 1 << 34) == 0x800
    assert made.end_pfn(0x900, 1 << 34) == 0x800
    assert made.end_pfn(0x900, 0x700) == 0x700
    assert table().end_pfn(1, 1) == 0


@pytest.mark.parametrize(
    ("value", "users", "left"),
    [
        ("nopentium", False, [(0, 2 * G, RAM), (2 * G, 3 * G, ACPI)]),
        ("1G", True, [(0, G, RAM), (2 * G, 3 * G, ACPI)]),
        ("0", True, [(0, 2 * G, RAM), (2 * G, 3 * G, ACPI)]),
    ],
)
def test_mem_takes_memory_away(value, users, left):
    made = table((0, 2 * G, RAM), (2 * G, 3 * G, ACPI))
    assert parse_memopt(made, value) is users
    assert entries(made) == left


@pytest.mark.parametrize(
    ("value", "users", "left"),
    [
        ("x", False, [(0, 2 * G, RAM)]),
        ("exactmap", True, []),
        ("exactmap,64M@1M", True, [(M, 65 * M, RAM)]),
        ("1G", True, [(0, G, RAM)]),
        ("1M#4G", True, [(0, 2 * G, RAM), (4 * G, 4 * G + M, ACPI)]),
        ("1M$4G", True, [(0, 2 * G, RAM), (4 * G, 4 * G + M, RESERVED)]),
        ("1M!4G", True, [(0, 2 * G, RAM), (4 * G, 4 * G + M, PRAM)]),
        ("1G%1G-1+2", True, [(0, G, RAM), (G, 2 * G, RESERVED)]),
        ("1G%1G-1", True, [(0, G, RAM)]),
        ("1G%1G-2", True, [(0, 2 * G, RAM)]),
        ("1G%1G", True, [(0, G, RAM)]),
        ("1G%4G+12", True, [(0, 2 * G, RAM), (4 * G, 5 * G, PRAM)]),
        ("1G%1G-1+2x", True, [(0, 2 * G, RAM)]),
        ("x,1G", True, [(0, G, RAM)]),
    ],
)
def test_memmap_edits_the_map(value, users, left):
    made = table((0, 2 * G, RAM))
    assert parse_memmap_opt(made, value) is users
    assert entries(made) == left
