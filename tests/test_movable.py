"""movable_node and kernelcore=mirror: what keeps the kernel's own memory away from other memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmtool.build.choose import kernel_for
from mmtool.build.release import release_facts
from mmtool.firmware.machine import CpuAffinity, E820Entry, EfiRegion, LogNote, Machine, MemoryAffinity, Srat
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import MEMBLOCK_HOTPLUG, MEMBLOCK_MIRROR, Memblock
from mmtool.linux.mm.mm_init import MovableWish, ZoneRange, find_zone_movable_pfns

MIB, GIB = 1 << 20, 1 << 30
MAP = (E820Entry(0, 0x9FC00, 1), E820Entry(MIB, 2 * GIB, 1), E820Entry(4 * GIB, 6 * GIB, 1))
NODES = Srat((
    CpuAffinity(0, 0), CpuAffinity(1, 1),
    MemoryAffinity(0, 0, 2 * GIB), MemoryAffinity(1, 4 * GIB, 6 * GIB, hotplug=True),
))  # fmt: skip
BASE = Machine("table", MAP, srat=NODES, cpus=2, notes=(LogNote("efi_version", (), 1),), kernel_base=16 * MIB)
RELEASES = ("debian-5.10-cloud-amd64", "debian-6.1-cloud-amd64", "debian-6.12-cloud-amd64", "debian-7.3-cloud-amd64")


def booted(profile: str, cmdline: str, machine: Machine = BASE) -> Boot:
    return start_kernel(machine, kernel_for(machine, profile), cmdline=cmdline)


def zone_pages(boot: Boot, name: str) -> dict[int, int]:
    return {nid: z.present_pages for nid, node in boot.nodes.items() for z in node.zones if z.name == name}


@pytest.mark.parametrize("profile", RELEASES)
def test_movable_node_keeps_what_the_kernel_takes_out_of_hot_pluggable_memory(profile: str) -> None:
    boot = booted(profile, "movable_node")
    assert zone_pages(boot, "Movable") == {0: 0, 1: 2 * GIB >> 12}
    hot = [r for r in boot.memblock.memory.regions if r.flags & MEMBLOCK_HOTPLUG]
    assert [(r.base, r.end) for r in hot] == [(4 * GIB, 6 * GIB)]
    allocated = [r for r in boot.memblock.reserved.regions if r.end > 4 * GIB]
    assert not allocated or boot.memblock.owners(4 * GIB, 2 * GIB) == []
    assert not boot.memblock.bottom_up
    usual = booted(profile, "")
    assert zone_pages(usual, "Movable") == {0: 0, 1: 0}
    assert usual.memblock.owners(4 * GIB, 2 * GIB)


@pytest.mark.parametrize("profile", RELEASES)
def test_movable_node_has_the_first_page_tables_near_the_kernel(profile: str) -> None:
    """Until the SRAT is read memblock goes upwards from the image, and the direct map is made upwards too."""
    def tables(cmdline: str) -> list[int]:
        boot = booted(profile, cmdline)
        made = next(record for record in boot.steps if record.name == "init_mem_mapping")
        return [start for kind, change, start, _ in made.memblock if (kind, change) == ("reserved", "add")]

    assert max(tables("movable_node"), default=0) < 1 * GIB
    assert max(tables("")) > 4 * GIB


def mirrored(*ranges: tuple[int, int]) -> Machine:
    regions = [EfiRegion(n, "Conventional", ("MR", "WB"), *r) for n, r in enumerate(ranges)]
    rest = EfiRegion(len(regions), "Conventional", ("WB",), 5 * GIB, 6 * GIB)
    return replace(BASE, srat=None, efi=(*regions, rest))


@pytest.mark.parametrize("profile", RELEASES)
def test_what_is_not_mirrored_above_4_gib_is_movable(profile: str) -> None:
    boot = booted(profile, "kernelcore=mirror", mirrored((MIB, 2 * GIB), (4 * GIB, 5 * GIB)))
    said = [line.text for line in boot.log.lines]
    assert "efi: Memory: 3071M/4095M mirrored memory" in said
    assert zone_pages(boot, "Movable") == {0: GIB >> 12}
    assert boot.memblock.owners(5 * GIB, GIB) == []


@pytest.mark.parametrize("profile", RELEASES)
def test_without_mirrored_memory(profile: str) -> None:
    """From 6.12 (open since 6.1) the option is ignored; before, all memory above 4 GiB becomes movable."""
    boot = booted(profile, "kernelcore=mirror", replace(BASE, srat=None))
    ignored = boot.kernel.release.mirror_wants_mirrored_memory
    warning = "The system has no mirror memory, ignore kernelcore=mirror."
    assert (warning in [line.text for line in boot.log.lines]) is ignored
    assert zone_pages(boot, "Movable") == {0: 0 if ignored else 2 * GIB >> 12}


def test_a_crash_kernel_does_not_look_for_mirrored_memory() -> None:
    machine = mirrored((MIB, 2 * GIB), (4 * GIB, 5 * GIB))
    profile = "debian-7.3-cloud-amd64"
    for cmdline, pages in (("kernelcore=mirror elfcorehdr=1G", 0), ("kernelcore=mirror", GIB >> 12)):
        kernel = kernel_for(machine, profile)
        kernel = replace(kernel, profile=kernel.profile.nearest({"CRASH_DUMP": True}))
        assert zone_pages(start_kernel(machine, kernel, cmdline=cmdline), "Movable") == {0: pages}


def test_a_build_without_bounce_buffers_reserves_none() -> None:
    kernel = kernel_for(BASE, "debian-6.12-cloud-amd64")
    without = replace(kernel, profile=kernel.profile.nearest({"SWIOTLB": False}))
    has = ["swiotlb" in start_kernel(BASE, k, cmdline="").memblock.owners(0, 6 * GIB) for k in (kernel, without)]
    assert has == [True, False]


def movable_pfns(memory, wish, normal_from=4 * GIB >> 12, flags=()):
    """Where find_zone_movable_pfns() begins the Movable zones of (start, end, node) in GiB, and what it says."""
    mb = Memblock(release_facts((6, 12, 0)), numa=True, max_numnodes=8, page_size=4096, smp_cache_bytes=64)
    log = KernelLog()
    for i, (start, end, nid) in enumerate(memory):
        mb.add_node(int(start * GIB), int((end - start) * GIB), nid, flags[i] if flags else 0)
    mb.has_mirror = True
    ranges = [ZoneRange("DMA32", 0, normal_from), ZoneRange("Normal", normal_from, 1 << 30), ZoneRange("Movable", 0, 0)]
    found = find_zone_movable_pfns(mb, ranges, wish, 1024, log)
    return {nid: pfn * 4096 / GIB for nid, pfn in found.items()}, [line.text for line in log.lines]


def pages(gib: float) -> int:
    return int(gib * GIB) >> 12


@pytest.mark.parametrize(
    ("memory", "wish", "starts"),
    [
        ([(0, 8, 0)], MovableWish(), {}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(5)), {0: 5}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(2)), {0: 4}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(8)), {}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(8) - 1), {}),
        ([(0, 8, 0)], MovableWish(kernelcore_percent=75), {0: 6}),
        ([(0, 8, 0)], MovableWish(movablecore=pages(1)), {0: 7}),
        ([(0, 8, 0)], MovableWish(movablecore=pages(1) - 1023), {0: 7}),
        ([(0, 8, 0)], MovableWish(movablecore_percent=25), {0: 6}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(5), movablecore=pages(1)), {0: 7}),
        ([(0, 8, 0)], MovableWish(kernelcore=pages(7.5), movablecore=pages(1)), {0: 7.5}),
        # what lies below the zone is the kernel's as a whole, and counts for no more than is wanted
        ([(0, 4, 0), (4, 6, 1)], MovableWish(kernelcore=pages(1)), {1: 4}),
        ([(0, 4, 0), (4, 6, 1)], MovableWish(kernelcore=pages(5)), {1: 5}),
        # a node that has too little passes the rest on: 2 GiB each, then 1 GiB of the first for two others
        ([(4, 5, 0), (5, 9, 1), (9, 13, 2)], MovableWish(kernelcore=pages(6)), {1: 7.5, 2: 11.5}),
        ([(4, 5, 0), (6, 7, 0), (8, 12, 1)], MovableWish(kernelcore=pages(3)), {0: 6.5, 1: 9.5}),
    ],
)
def test_kernelcore_is_spread_over_the_nodes(memory, wish, starts):
    assert movable_pfns(memory, wish) == (starts, [])


def test_a_region_at_pfn_0_begins_no_movable_zone():
    hot = MEMBLOCK_HOTPLUG
    memory, wish = [(0, 1, 0), (2, 3, 0), (4, 5, 0), (5, 6, 1)], MovableWish(movable_node=True)
    assert movable_pfns(memory, wish, flags=[hot, hot, hot, 0]) == ({0: 2}, [])
    assert movable_pfns(memory, wish, flags=[hot, 0, hot, hot]) == ({0: 4, 1: 5}, [])
    # at pfn 1 one does, rounded up to the largest block
    from_1 = [(4096 / GIB, 1, 0), (1, 2, 0)]
    assert movable_pfns(from_1, wish, flags=[hot, 0]) == ({0: 1024 * 4096 / GIB}, [])


def test_memory_below_4_gib_without_a_mirror_is_the_kernels_all_the_same():
    mirror, wish = MEMBLOCK_MIRROR, MovableWish(mirror=True)
    memory = [(0, 1, 0), (2, 3, 0), (4, 5, 0), (5, 6, 0)]
    said = ["This configuration results in unmirrored kernel memory."]
    assert movable_pfns(memory, wish, flags=[0, mirror, mirror, 0]) == ({0: 5}, said)
    assert movable_pfns(memory, wish, flags=[mirror, 0, 0, mirror]) == ({0: 4}, said)
    assert movable_pfns(memory, wish, flags=[mirror, mirror, 0, mirror]) == ({0: 4}, [])
