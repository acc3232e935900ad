"""The kernel's own E820 table: what it merges, where it finds room for PCI, what updates leave behind."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def bytes_of(made: E820Table) -> Counter[tuple[int, int]]:
    """How often each byte has each type."""
    return Counter((at, e.type) for e in made.entries for at in range(e.start, e.end))


MOST = 24
spans = st.tuples(st.integers(0, MOST), st.integers(1, MOST)).map(lambda two: (two[0], two[0] + two[1]))


@settings(deadline=None)
@given(
    st.lists(st.tuples(spans, st.sampled_from([RAM, RESERVED, ACPI])), max_size=6), spans,
    st.sampled_from([RAM, RESERVED]), st.sampled_from([NVS, None]), st.booleans(),
)  # fmt: skip
def test_byte_by_byte_an_update_changes_what_was_of_the_old_type(held, span, old, new, any_type):
    """Entries in any order, one over the other; removed is what is of the old type, or whatever it is."""
    made = table(*((*one, kind) for one, kind in held))
    left = Counter({key: n for key, n in bytes_of(made).items() if not span[0] <= key[0] < span[1]})
    inside = bytes_of(made) - left
    if new is None:
        gone = made.range_remove(span[0], span[1] - span[0], None if any_type else old)
        hit = inside if any_type else Counter({key: n for key, n in inside.items() if key[1] == old})
        left += inside - hit
    else:
        gone = made.range_update(span[0], span[1] - span[0], old, new)
        hit = Counter({key: n for key, n in inside.items() if key[1] == old})
        left += inside - hit
        left += Counter({(at, new): n for (at, _), n in hit.items()})
    assert gone == hit.total()
    assert bytes_of(made) == left


@settings(deadline=None)
@given(st.lists(st.tuples(spans, st.sampled_from([RAM, RESERVED, ACPI, PRAM])), min_size=2, max_size=6))
def test_byte_by_byte_the_highest_type_wins_and_equal_neighbours_are_one(held):
    made = table(*((*one, kind) for one, kind in held))
    highest: dict[int, int] = {}
    for at, kind in bytes_of(made):
        highest[at] = max(kind, highest.get(at, 0))
    assert made.update_table()
    assert bytes_of(made) == Counter(highest.items())
    pairs = list(zip(made.entries, made.entries[1:], strict=False))
    assert all(a.end < b.start or (a.end == b.start and (a.type != b.type or a.type == PRAM)) for a, b in pairs)


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
    # nothing at all is of a type inside an entry, and of none at its edges
    assert made.mapped_all(M // 2, M // 2, RAM)
    assert not made.mapped_all(M, M, RESERVED)
    assert not made.mapped_all(2 * M, 2 * M, RESERVED)


@pytest.mark.parametrize(
    ("release", "lines"),
    [
        ("6.12", [
            "BIOS-e820: [mem 0x0000000000001000-0x000000000009ffff] usable",
            "BIOS-e820: [mem 0x00000000000a0000-0x00000000000fffff] reserved",
            "BIOS-e820: [mem 0x0000000000200000-0x00000000002fffff] type 77",
        ]),
        ("7.3", [
            "BIOS-e820: [gap 0x0000000000000000-0x0000000000000fff]",
            "BIOS-e820: [mem 0x0000000000001000-0x000000000009ffff]  System RAM",
            "BIOS-e820: [mem 0x00000000000a0000-0x00000000000fffff]  device reserved",
            "BIOS-e820: [gap 0x0000000000100000-0x00000000001fffff]",
            "BIOS-e820: [mem 0x0000000000200000-0x00000000002fffff]  type 77",
        ]),
    ],
)  # fmt: skip
def test_the_map_is_said_entry_by_entry_from_7_0_on_with_its_gaps(release, lines):
    made = table((0x1000, 0xA0000, RAM), (0xA0000, M, RESERVED), (2 * M, 3 * M, 77), release=release)
    made.print_table("BIOS-e820")
    assert said(made) == lines
    from_0 = table((0, M, RAM), release=release)
    from_0.print_table("x")
    assert len(said(from_0)) == 1


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
