"""memblock: what differs between releases, who owns what, what changed, and the kernel's own dump."""

from __future__ import annotations

import pytest
from support.boots import boot_at

from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import (
    MEMBLOCK_KHO_SCRATCH,
    MEMBLOCK_MIRROR,
    MEMBLOCK_RSRV_KERN,
    NUMA_NO_NODE,
    Memblock,
    MemblockPanic,
)
from mmtool.linux.mm.memblock.dump import dump_lines, memblock_dump_all

MiB = 1 << 20
GiB = 1 << 30


def memblock(major, minor, *, patch=0, numa=True, max_numnodes=16, **options):
    options = {"page_size": 4096, "smp_cache_bytes": 64} | options
    return Memblock(release_facts((major, minor, patch)), numa=numa, max_numnodes=max_numnodes, **options)


def regions(type_):
    return [(r.base, r.size, r.flags, r.nid) for r in type_.regions]


# Differences between releases.


@pytest.mark.parametrize(("version", "nid", "flags"), [((6, 1), 16, 0), ((6, 12), 16, 0), ((6, 16), 0, 0x20)])
def test_an_allocation_keeps_its_request_from_6_16_on(version, nid, flags):
    mb = memblock(*version)
    mb.add_node(0, GiB, 0)
    assert mb.alloc_node(MiB, 4096, 0) == GiB - MiB
    assert regions(mb.reserved) == [(GiB - MiB, MiB, flags, nid)]


@pytest.mark.parametrize(("version", "count"), [((6, 10), 1), ((6, 11), 0)])
def test_an_empty_list_has_a_region_up_to_6_10(version, count):
    mb = memblock(*version)
    assert mb.memory.cnt == count
    mb.add(0, MiB)
    mb.remove(0, MiB)
    assert mb.memory.cnt == count


def test_neighbours_left_by_a_cap_are_merged_by_the_next_addition_only_in_old_releases():
    left = {}
    for version in ((6, 2), (6, 3)):
        mb = memblock(*version)
        mb.add(0, 16 * MiB)
        mb.mark_nomap(0, 16 * MiB)
        mb.cap_memory_range(4 * MiB, 4 * MiB)
        assert mb.memory.cnt == 3
        mb.add(32 * MiB, MiB)
        left[version] = mb.memory.cnt
    assert left == {(6, 2): 2, (6, 3): 4}


@pytest.mark.parametrize("version", [(5, 10), (6, 6), (6, 7), (7, 3)])
def test_growing_before_it_is_allowed(version):
    mb = memblock(*version)
    mb.add_node(0, GiB, 0)
    for i in range(128):
        assert mb.reserve(2 * i * MiB, MiB) == 0
    if version < (6, 7):
        assert mb.reserve(900 * MiB, MiB) == -12
        assert mb.reserved.cnt == 128
    else:
        with pytest.raises(MemblockPanic, match="memblock: cannot resize reserved array"):
            mb.reserve(900 * MiB, MiB)


@pytest.mark.parametrize("version", [(5, 10), (6, 1), (7, 3)])
def test_a_list_without_room_for_its_new_array_refuses_more(version):
    mb = memblock(*version)
    mb.allow_resize()
    assert [mb.reserve(2 * i * MiB, MiB) for i in range(129)] == [0] * 128 + [-12]
    assert (mb.reserved.cnt, mb.reserved.max, mb.grown_arrays) == (128, 128, ())


def test_growing_reserves_the_new_array_and_frees_the_old_one():
    mb = memblock(6, 1)
    mb.add_node(0, GiB, 0)
    mb.allow_resize()
    for i in range(300):
        mb.reserve(i * 2 * MiB + 4096, 4096)
    assert mb.reserved.max == 512
    assert mb.owners(GiB - MiB, MiB) == ["memblock.reserved array"]
    assert mb.reserved_size() == 300 * 4096 + 512 * 24


@pytest.mark.parametrize("version", [(5, 10), (6, 1), (6, 12), (7, 3)])
@pytest.mark.parametrize(("regions_", "grown"), [(63, 128), (64, 256), (65, 256)])
def test_a_list_grows_when_all_gaps_might_not_fit(version, regions_, grown):
    # n regions have n + 1 gaps around them; from 6.1 on they are counted only where 2 * n + 1 might not fit
    mb = memblock(*version)
    mb.add_node(0, GiB, 0)
    mb.allow_resize()
    for i in range(regions_):
        mb.reserve(2 * i * MiB + MiB, MiB)
    assert mb.reserve(0, 512 * MiB) == 0
    assert mb.reserved.max == grown
    array = [(GiB - 8192, GiB - 8192 + 256 * 24)] if grown > 128 else []
    assert list(mb.grown_arrays) == [(base, base + 8192) for base, _ in array]
    assert mb.reserved_size() == 512 * MiB + len(array) * 8192


@pytest.mark.parametrize("bottom_up", [False, True])
@pytest.mark.parametrize(
    ("added", "array"),
    [
        # above what is being added while there is room there, from either side
        ((600 * MiB, 100 * MiB), {False: GiB - 8192, True: 700 * MiB}),
        # else below it, never in it
        ((600 * MiB, 424 * MiB), {False: 600 * MiB - 8192, True: 256 * MiB - 4096}),
        ((600 * MiB, 424 * MiB - 4096), {False: 600 * MiB - 8192, True: 256 * MiB - 4096}),
        ((600 * MiB, 424 * MiB - 8192), {False: GiB - 8192, True: GiB - 8192}),
    ],
)
def test_the_array_of_reservations_keeps_clear_of_what_is_being_added(bottom_up, added, array):
    mb = memblock(6, 12)
    mb.add_node(0, GiB, 0)
    mb.allow_resize()
    # 128 regions with holes of a page between them, too small for the array
    for i in range(128):
        mb.reserve(2 * i * MiB, 2 * MiB - 4096)
    assert (mb.reserved.cnt, mb.reserved.max) == (128, 128)
    mb.bottom_up = bottom_up
    assert mb.reserve(*added) == 0
    assert mb.grown_arrays == ((array[bottom_up], array[bottom_up] + 8192),)


@pytest.mark.parametrize(("version", "marked"), [((5, 19), True), ((6, 0), False)])
def test_mirrored_memory_wants_kernelcore_mirror_from_6_0_on(version, marked):
    mb = memblock(*version)
    mb.add_node(0, GiB, 0)
    mb.mark_mirror(0, MiB)
    assert (mb.memory.regions[0].flags == MEMBLOCK_MIRROR) is marked
    mb.mirrored_kernelcore = True
    mb.mark_mirror(0, MiB)
    assert mb.memory.regions[0].flags == MEMBLOCK_MIRROR


def test_old_bottom_up_search_begins_behind_the_kernel_and_then_goes_top_down():
    old, new = memblock(5, 10, patch=14), memblock(5, 10, patch=15)
    for mb in (old, new):
        mb.add_node(0, GiB, 0)
        mb.bottom_up = True
        mb.kernel_end = 16 * MiB
    assert old.alloc(MiB, 4096) == 16 * MiB
    assert new.alloc(MiB, 4096) == 4096
    assert old.phys_alloc_range(MiB, 4096, 0, 8 * MiB) == 7 * MiB


def test_up_to_5_0_the_minimum_is_given_up_before_the_mirror():
    found = {}
    for version in ((5, 0), (5, 1)):
        mb = memblock(*version)
        mb.add_node(0, GiB, 0)
        mb.mark_mirror(0, 64 * MiB)
        found[version] = mb.alloc_from(MiB, MiB, 512 * MiB)
    assert found == {(5, 0): 63 * MiB, (5, 1): GiB - MiB}


@pytest.mark.parametrize(
    ("version", "nids"),
    [((6, 4, 0), [16, 16]), ((6, 5, 0), [0, 1]), ((6, 12, 100), [0, 1]), ((6, 15, 0), [0, 1])],
)
def test_the_hand_over_gives_reservations_their_nodes(version, nids):
    mb = memblock(version[0], version[1], patch=version[2])
    mb.add_node(0, 64 * MiB, 0)
    mb.add_node(64 * MiB, 64 * MiB, 1)
    mb.reserve(63 * MiB, 2 * MiB)
    freed = mb.free_all(128 * MiB >> 12)
    assert [r.nid for r in mb.reserved.regions] == nids[: mb.reserved.cnt]
    assert freed.pages == 126 * MiB >> 12


def test_up_to_6_14_the_last_node_reaches_too_far():
    nids = {}
    for version in ((6, 14, 0), (6, 12, 100), (6, 15, 0)):
        mb = memblock(version[0], version[1], patch=version[2])
        mb.add_node(16 * MiB, 16 * MiB, 3)
        mb.reserve(40 * MiB, MiB)
        mb.free_all(0)
        nids[version] = mb.reserved.regions[0].nid
    assert nids == {(6, 14, 0): 3, (6, 12, 100): 16, (6, 15, 0): 16}


@pytest.mark.parametrize(("version", "pages"), [((6, 14), 256), ((6, 15), 512)])
def test_high_memory_is_handed_over_with_the_rest_from_6_15_on(version, pages):
    mb = memblock(*version, numa=False, phys_addr_bits=32)
    mb.add(0, 2 * MiB)
    assert mb.free_all(256, highmem=True).pages == pages


def test_before_5_16_memory_of_a_node_has_no_flags():
    mb = memblock(5, 10)
    mb.add_node(0, MiB, 0, 1)
    assert regions(mb.memory) == [(0, MiB, 0, 0)]


def test_huge_pages_stay_out_of_handover_scratch():
    mb = memblock(7, 3)
    mb.add_node(0, GiB, 0)
    mb.kho_scratch = ((GiB - 4 * MiB, MiB),)
    assert mb.alloc_hugetlb(2 * MiB, NUMA_NO_NODE, False) == GiB - 2 * MiB
    assert mb.alloc_hugetlb(2 * MiB, NUMA_NO_NODE, False) == GiB - 6 * MiB
    assert mb.reserved_hugetlb_size(GiB, NUMA_NO_NODE) == 4 * MiB
    # a place that only touches scratch memory is none of its
    mb.kho_scratch += ((GiB - 10 * MiB, 2 * MiB),)
    assert mb.alloc_hugetlb(2 * MiB, NUMA_NO_NODE, False) == GiB - 8 * MiB
    assert mb.alloc_hugetlb(2 * MiB, NUMA_NO_NODE, False) == GiB - 12 * MiB


@pytest.mark.parametrize("release", [(5, 0), (6, 1), (7, 3)])
@pytest.mark.parametrize(
    ("function", "arguments", "searches"),
    [
        ("phys_alloc_range", (0, 0), 1), ("phys_alloc", (), 1), ("phys_alloc_try_nid", (0,), 1), ("alloc", (), 1),
        ("alloc_low", (), 1), ("alloc_node", (0,), 1), ("alloc_from", (MiB,), 2), ("alloc_try_nid", (0, 0, 0), 1),
    ],
)  # fmt: skip
def test_mirrored_memory_is_given_up_once_in_each_search(release, function, arguments, searches):
    """From 5.1 on a minimum makes it two; before, it was given up first, and memblock_phys_alloc() had no wish."""
    mb = memblock(*release)
    mb.mirrored_kernelcore = True
    mb.add_node(0, GiB, 0)
    mb.mark_mirror(0, MiB)
    assert not getattr(mb, function)(2 * GiB, 4096, *arguments)
    if release < (5, 1):
        searches = 0 if function in ("phys_alloc", "phys_alloc_range") else 1
    assert mb.mirror_warnings == searches


@pytest.mark.parametrize("release", [(6, 1), (7, 3)])
def test_a_place_that_was_found_and_not_taken_is_found_again(release):
    mb = memblock(*release)
    mb.add_node(0, GiB, 0)
    mb.reserve(8 * MiB, GiB)
    mb.reserve(4 * MiB, 3 * MiB)
    for _ in range(3):
        assert mb.find_in_range(0, GiB, MiB, 4096) == 7 * MiB
    apart = memblock(*release)
    apart.add_node(0, 4 * MiB, 0)
    apart.add_node(7 * MiB, MiB, 0)
    for _ in range(3):
        assert apart.find_in_range(0, GiB, MiB, 4096) == 7 * MiB


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [((0, 10), (9, 5), True), ((0, 10), (10, 5), False), ((0, 10), (3, 2), True), ((5, 10), (0, 4), False)],
)
def test_ranges_that_touch_share_no_byte(first, second, share):
    mb = memblock(6, 12)
    assert mb.addrs_overlap(*first, *second) is mb.addrs_overlap(*second, *first) is share


def test_what_a_memblock_begins_with():
    """MAX_NUMNODES is 64 where nothing is said, 1 without NUMA; four ranges fit into physmem."""
    for numa, nodes in ((True, 64), (False, 1)):
        mb = Memblock(release_facts((6, 12, 0)), numa=numa, page_size=4096, smp_cache_bytes=64)
        assert mb.max_numnodes == nodes
        assert (mb.memory.max, mb.reserved.max, mb.physmem.max) == (128, 128, 4)


def test_nothing_at_all_lies_below_the_end_of_a_window():
    """Upwards a place must begin below the end, even one of size 0."""
    mb = memblock(6, 12)
    mb.add_node(0, GiB, 0)
    mb.bottom_up = True
    assert mb.find_in_range_node(0, 64, MiB, MiB) == 0
    assert mb.find_in_range_node(0, 64, MiB, MiB + 64) == MiB


def test_pages_begin_at_or_after_an_address():
    mb = memblock(6, 12)
    assert [mb.pfn_up(address) for address in (0, 1, 4095, 4096, 4097, 8192)] == [0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("release", [(6, 12), (7, 3)])
def test_no_nodes_number_means_any_node_from_6_10_on(release):
    mb = memblock(*release)
    mb.add_node(0, GiB, 3)
    for nid in (-1, 16, 17):
        assert mb.alloc_exact_nid_raw(MiB, 4096, 0, 0, nid)
    assert mb.alloc_exact_nid_raw(MiB, 4096, 0, 0, 15) is None


def test_a_narrow_address_space_wraps_at_its_own_end():
    mb = memblock(6, 1, numa=False, phys_addr_bits=32)
    mb.add(0, 2**32)
    assert mb.phys_mem_size() == 2**32 - 1
    assert mb.current_limit == 2**32 - 1


# What the program adds to the kernel's lists.


def test_owners_in_address_order_with_freed_ranges_cut_out():
    mb = memblock(6, 1)
    mb.add_node(0, GiB, 0)
    mb.reserve(8 * MiB, 4 * MiB, owner="initrd")
    mb.reserve(2 * MiB, 6 * MiB, owner="kernel")
    mb.reserve(0, MiB)
    address = mb.alloc(MiB, 4096, owner="log buffer")
    assert mb.reserved.cnt == 3
    assert mb.owners(0, 16 * MiB) == ["kernel", "initrd"]
    assert mb.owners(address, 1) == ["log buffer"]
    mb.phys_free(7 * MiB, 2 * MiB)
    assert mb.owners(7 * MiB, 2 * MiB) == []
    assert mb.owners(6 * MiB, MiB) == ["kernel"]
    mb.enforce_memory_limit(512 * MiB)
    assert mb.owners(address, MiB) == []


def test_changes_since_the_last_look():
    mb = memblock(6, 1)
    mb.add_node(0, GiB, 0)
    mb.watch()
    assert mb.changes() == []
    mb.set_node(0, MiB, mb.memory, 1)
    mb.mark_nomap(4 * MiB, MiB)
    assert mb.changes() == []
    mb.remove(512 * MiB, 512 * MiB)
    mb.add(2 * GiB, GiB)
    mb.reserve(MiB, MiB)
    mb.reserve(8 * MiB, MiB)
    mb.phys_free(8 * MiB, MiB)
    assert mb.changes() == [
        ("memory", "remove", 512 * MiB, GiB),
        ("memory", "add", 2 * GiB, 3 * GiB),
        ("reserved", "add", MiB, 2 * MiB),
    ]
    assert mb.changes() == []


def test_the_hand_over_ends_what_was_for_the_boot_alone():
    """Hot-pluggable memory and scratch of a handover are memory like any other; of parts of a page nothing is given."""
    mb = memblock(7, 3)
    mb.add_node(0, 64 * MiB, 0)
    mb.mark_hotplug(0, 64 * MiB)
    mb.add_node(65 * MiB + 100, 200, 0)
    mb.kho_scratch_only = True
    assert mb.free_all(1 << 40).ranges == ((0, 64 * MiB >> 12),)
    assert regions(mb.memory) == [(0, 64 * MiB, 0, 0), (65 * MiB + 100, 200, 0, 0)]
    assert mb.kho_scratch_only is False


def test_a_limit_at_a_regions_end_frees_what_is_reserved_behind_it():
    mb = memblock(6, 12)
    for base in (0, 4 * MiB):
        mb.add_node(base, 2 * MiB, 0)
    for base in (MiB, 3 * MiB, 5 * MiB):
        mb.reserve(base, 4096)
    mb.enforce_memory_limit(2 * MiB)
    assert [r.base for r in mb.memory.regions] == [0]
    assert [r.base for r in mb.reserved.regions] == [MiB]


def test_a_region_takes_24_bytes_where_a_build_does_not_say():
    assert boot_at("6.12", "", []).memblock.region_size == 24


def test_trimming_is_a_change():
    mb = memblock(6, 1)
    mb.add_node(0x100, 0x8000, 0)
    mb.watch()
    mb.trim_memory(0x1000)
    assert mb.changes() == [
        ("memory", "remove", 0x100, 0x1000), ("memory", "remove", 0x8000, 0x8100),
    ]  # fmt: skip


def test_handing_over_a_huge_machine_costs_no_more_than_its_ranges():
    mb = memblock(7, 3)
    mb.add_node(0, 1 << 50, 0)
    mb.reserve(0, 4096)
    freed = mb.free_all(1 << 38)
    assert freed.pages == (1 << 38) - 1
    assert len(list(freed.runs())) == 11
    assert next(iter(freed)) == (1, 0)


# The kernel's own dump; the texts are lines of real boots.

DUMPS = {
    "i386 6.1 without PAE": (
        {"version": (6, 1), "numa": False, "phys_addr_bits": 32},
        """\
MEMBLOCK configuration:
 memory size = 0x3ff7ec00 reserved size = 0x0109e000
 memory.cnt  = 0x2
 memory[0x0]\t[0x00001000-0x0009efff], 0x0009e000 bytes flags: 0x0
 memory[0x1]\t[0x00100000-0x3ffdffff], 0x3fee0000 bytes flags: 0x0
 reserved.cnt  = 0x4
 reserved[0x0]\t[0x00000000-0x0000ffff], 0x00010000 bytes flags: 0x0
 reserved[0x1]\t[0x0009f000-0x000fffff], 0x00061000 bytes flags: 0x0
 reserved[0x2]\t[0x09000000-0x09f15fff], 0x00f16000 bytes flags: 0x0
 reserved[0x3]\t[0x3fec9000-0x3ffdffff], 0x00117000 bytes flags: 0x0
""",
    ),
    "x86-64 7.3": (
        {"version": (7, 3), "numa": True},
        """\
MEMBLOCK configuration:
 memory size = 0x00000000fff7ec00 reserved size = 0x000000000338e000
 memory.cnt  = 0x3
 memory[0x0]\t[0x0000000000001000-0x000000000009efff], 0x000000000009e000 bytes flags: 0x40
 memory[0x1]\t[0x0000000000100000-0x00000000bffdffff], 0x00000000bfee0000 bytes flags: 0x0
 memory[0x2]\t[0x0000000100000000-0x000000013fffffff], 0x0000000040000000 bytes flags: 0x0
 reserved.cnt  = 0x4
 reserved[0x0]\t[0x0000000000000000-0x000000000000ffff], 0x0000000000010000 bytes flags: 0x0
 reserved[0x1]\t[0x000000000009f000-0x00000000000fffff], 0x0000000000061000 bytes flags: 0x0
 reserved[0x2]\t[0x000000004b000000-0x000000004e210fff], 0x0000000003211000 bytes flags: 0x20
 reserved[0x3]\t[0x00000000bfed4000-0x00000000bffdffff], 0x000000000010c000 bytes flags: 0x20
""",
    ),
    "arm64 6.12": (
        {"version": (6, 12), "numa": True},
        """\
MEMBLOCK configuration:
 memory size = 0x0000000040000000 reserved size = 0x000000000765649c
 memory.cnt  = 0x1
 memory[0x0]\t[0x0000000040000000-0x000000007fffffff], 0x0000000040000000 bytes on node 0 flags: 0x0
 reserved.cnt  = 0x8
 reserved[0x0]\t[0x0000000040200000-0x000000004243ffff], 0x0000000002240000 bytes on node 0 flags: 0x0
 reserved[0x1]\t[0x0000000048000000-0x00000000480fefff], 0x00000000000ff000 bytes on node 0 flags: 0x0
 reserved[0x2]\t[0x0000000048200000-0x00000000482fffff], 0x0000000000100000 bytes on node 0 flags: 0x0
 reserved[0x3]\t[0x000000007ac00000-0x000000007fbfffff], 0x0000000005000000 bytes flags: 0x0
 reserved[0x4]\t[0x000000007fde8000-0x000000007fde9fff], 0x0000000000002000 bytes flags: 0x0
 reserved[0x5]\t[0x000000007fdeab40-0x000000007fdff47f], 0x0000000000014940 bytes flags: 0x0
 reserved[0x6]\t[0x000000007fdff4a0-0x000000007fe09ffb], 0x000000000000ab5c bytes on node 0 flags: 0x0
 reserved[0x7]\t[0x000000007fe0a000-0x000000007fffffff], 0x00000000001f6000 bytes on node 0 flags: 0x0
""",
    ),
}


def boot_to(name, mb):
    """Bring a memblock to the state of one of DUMPS by the means a boot has."""
    if name == "i386 6.1 without PAE":
        mb.add(0, 0x9FC00)
        mb.add(0x100000, 0x3FEE0000)
        mb.remove(0, 0x1000)
        mb.trim_memory(0x1000)
        mb.reserve(0, 0x10000)
        mb.reserve(0x9F000, 0x61000)
        mb.reserve(0x9000000, 0xF16000)
        mb.reserve(0x3FEC9000, 0x117000)
    elif name == "x86-64 7.3":
        mb.add(0, 0x9FC00)
        mb.add(0x100000, 0xBFEE0000)
        mb.add(0x100000000, 0x40000000)
        mb.remove(0, 0x1000)
        mb.trim_memory(0x1000)
        mb.mark_kho_scratch(0, MiB)
        mb.reserve(0, 0x10000)
        mb.reserve(0x9F000, 0x61000)
        mb.reserve_kern(0x4B000000, 0x3211000)
        mb.alloc_try_nid(0x10C000, 4096, 0, 3 * GiB, NUMA_NO_NODE)
        assert mb.memory.regions[0].flags == MEMBLOCK_KHO_SCRATCH
        assert mb.reserved.regions[-1].flags == MEMBLOCK_RSRV_KERN
    else:
        mb.add_node(0x40000000, 0x40000000, 0)
        mb.reserve(0x40200000, 0x2240000)
        mb.reserve(0x48000000, 0xFF000)
        mb.reserve(0x48200000, 0x100000)
        mb.reserve(0x7FDFF4A0, 0xAB5C)
        mb.reserve(0x7FE0A000, 0x1F6000)
        mb.set_node(0, 2**64 - 1, mb.reserved, 0)
        mb.reserve(0x7AC00000, 0x5000000)
        mb.reserve(0x7FDE8000, 0x2000)
        mb.reserve(0x7FDEAB40, 0x14940)


@pytest.mark.parametrize("name", DUMPS)
def test_dump_is_the_kernels_own_text(name):
    options, text = DUMPS[name]
    options = dict(options)
    mb = memblock(*options.pop("version"), **options)
    boot_to(name, mb)
    assert dump_lines(mb) == text.splitlines()


@pytest.mark.parametrize(("cmdline", "said"), [("memblock=debug", True), ("memblock=nothing", False), ("", False)])
def test_memblock_debug_on_the_command_line_asks_for_the_dump(cmdline, said):
    mb, log = memblock(6, 12), KernelLog()
    memblock_dump_all(mb, parse_cmdline(cmdline), log)
    assert [line.text for line in log.lines] == (dump_lines(mb) if said else [])


def test_dump_of_empty_lists():
    assert dump_lines(memblock(6, 12)) == [
        "MEMBLOCK configuration:",
        " memory size = 0x0000000000000000 reserved size = 0x0000000000000000",
        " memory.cnt  = 0x0",
        " reserved.cnt  = 0x0",
    ]
    empty = " memory[0x0]\t[0x0000000000000000-0xffffffffffffffff], 0x0000000000000000 bytes on node 0 flags: 0x0"
    assert dump_lines(memblock(6, 1))[3] == empty
    assert dump_lines(memblock(6, 1), physmem=True)[-2] == " physmem.cnt  = 0x1"
