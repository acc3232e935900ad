"""The large hash tables: sizes that real kernels chose, their options, and where they come from."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.build.release import release_facts
from mmtool.firmware.machine import E820Entry, E820Type, Machine, MemoryAffinity, Srat
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.memblock import Memblock
from mmtool.linux.mm.system_hash import KernelPages, count_free_pages, count_zone_pages, hash_entries, vmalloc_kind

MIB, GIB = 1 << 20, 1 << 30


@cache
def kernel(profile: str = "debian-6.1-cloud-amd64") -> Kernel:
    return kernel_for(Machine("table", (), origin="map.txt"), profile)


def booted(size: int, cmdline: str = "", profile: str = "debian-6.1-cloud-amd64", nodes: int = 1) -> Boot:
    """A boot with `size` bytes of RAM from 1 MiB on, shared by `nodes`."""
    ram = (E820Entry(0, 0x9FC00, E820Type.RAM), E820Entry(MIB, size, E820Type.RAM))
    share = size // nodes
    affinity = tuple(MemoryAffinity(n, n * share, (n + 1) * share) for n in range(nodes))
    srat = Srat(affinity) if nodes > 1 else None
    machine = Machine("table", ram, origin="map.txt", srat=srat, cmdline=cmdline)
    return start_kernel(machine, kernel(profile), kernel_base=16 * MIB)


def hash_lines(boot: Boot) -> list[str]:
    return [line.text for line in boot.log.lines if " hash table entries: " in line.text]


# nr_kernel_pages and nr_all_pages of real boots, and the entries of the tables with scale 13, 14 and 19.
REAL = [
    ("debian-5.10-cloud-amd64", 32105, 32105, (16384, 8192, 512)),
    ("debian-5.10-cloud-amd64", 1032041, 1032041, (524288, 262144, 8192)),
    ("debian-6.1-cloud-amd64", 16514783, 16514783, (8388608, 4194304, 131072)),
    ("debian-6.1-cloud-amd64", 1160928, 1160928, (1048576, 524288, 16384)),
    ("debian-6.12-cloud-amd64", 1019920, 1019920, (524288, 262144, 8192)),
    ("debian-7.3-cloud-amd64", 115347, 115347, (65536, 32768, 1024)),
    ("debian-6.1-686", 221596, 259824, (131072, 65536, 2048)),
    ("debian-6.1-686-pae", 185244, 522298, (131072, 65536, 2048)),
]


@pytest.mark.parametrize(("profile", "low", "total", "entries"), REAL)
def test_entries_of_real_boots(profile: str, low: int, total: int, entries: tuple[int, ...]) -> None:
    k = kernel(profile)
    bucket = k.word_size
    assert tuple(hash_entries(0, scale, bucket, KernelPages(low, total), k) for scale in (13, 14, 19)) == entries


def test_beyond_64_gib_tables_grow_half_as_fast() -> None:
    def entries(gib: int, profile: str = "debian-6.1-cloud-amd64") -> int:
        pages = gib << 18
        return hash_entries(0, 13, 8, KernelPages(pages, pages), kernel(profile))

    assert entries(64) == 1 << 23
    assert entries(256) == 1 << 24
    assert entries(1024) == 1 << 25
    assert entries(8 << 10) == 1 << 26


def test_a_table_has_a_page_at_least_and_a_sixteenth_at_most() -> None:
    k = kernel()
    assert hash_entries(0, 19, 8, KernelPages(256, 256), k) == 512
    assert hash_entries(1 << 30, 13, 8, KernelPages(32768, 32768), k) == (32768 << 12 >> 4) // 8
    assert hash_entries(1 << 40, 13, 8, KernelPages(1 << 34, 1 << 34), k) == 1 << 31
    assert hash_entries(0, 13, 8, KernelPages(0, 0), k) == 1


@given(st.integers(0, 1 << 24), st.integers(10, 20), st.integers(0, 1 << 33))
def test_entries_are_a_power_of_two_within_a_sixteenth(pages: int, scale: int, wanted: int) -> None:
    entries = hash_entries(wanted, scale, 8, KernelPages(pages, pages), kernel())
    assert entries & (entries - 1) == 0
    assert entries * 8 <= max(pages << 12 >> 4, 8)


def test_memory_counts_without_what_memblock_gave_away() -> None:
    mb = Memblock(release_facts((6, 12, 0)), numa=True, page_size=4096, smp_cache_bytes=64)
    mb.add(0x800, 64 * MIB)
    mb.reserve(16 * MIB + 1, 0x1000)
    # The first and last pages are broken, two are touched by the reservation.
    assert count_free_pages(mb, 12, None) == KernelPages(16384 - 1 - 2, 16384 - 1 - 2)
    assert count_free_pages(mb, 12, 4096) == KernelPages(4095, 16381)
    assert count_free_pages(mb, 14, None) == KernelPages(4096 - 1 - 1, 4096 - 1 - 1)


def test_high_memory_charges_its_map_to_low_memory_where_there_is_enough() -> None:
    boot = booted(2 * GIB, profile="debian-6.1-686-pae")
    zones = [zone for node in boot.nodes.values() for zone in node.zones]
    for zone in zones:
        zone.managed_pages = zone.present_pages
    counted = count_zone_pages(zones, boot.kernel)
    high = next(z for z in zones if z.name == "HighMem")
    assert counted.all == sum(z.present_pages for z in zones)
    assert counted.kernel == counted.all - high.present_pages - -(-high.spanned_pages * 40 >> 12)
    for zone in zones:
        zone.managed_pages = min(zone.managed_pages, 100)
    assert count_zone_pages(zones, boot.kernel).kernel == 200


def test_one_node_takes_its_tables_from_memblock() -> None:
    boot = booted(2 * GIB)
    assert hash_lines(boot) == [
        "Dentry cache hash table entries: 262144 (order: 9, 2097152 bytes, linear)",
        "Inode-cache hash table entries: 131072 (order: 8, 1048576 bytes, linear)",
        "Mount-cache hash table entries: 4096 (order: 3, 32768 bytes, linear)",
        "Mountpoint-cache hash table entries: 4096 (order: 3, 32768 bytes, linear)",
    ]
    owners = {o for r in boot.memblock.reserved.regions for o in boot.memblock.owners(r.base, r.size)}
    assert {"Dentry cache hash table", "Inode-cache hash table"} <= owners


def test_nodes_share_their_tables() -> None:
    boot = booted(4 * GIB, nodes=2)
    assert hash_lines(boot)[:2] == [
        "Dentry cache hash table entries: 524288 (order: 10, 4194304 bytes, vmalloc hugepage)",
        "Inode-cache hash table entries: 262144 (order: 9, 2097152 bytes, vmalloc)",
    ]
    owners = {o for r in boot.memblock.reserved.regions for o in boot.memblock.owners(r.base, r.size)}
    assert "Dentry cache hash table" not in owners
    assert hash_lines(booted(4 * GIB, "hashdist=0", nodes=2))[0].endswith("4194304 bytes, linear)")


def test_options_set_the_number_of_entries() -> None:
    cmdline = "dhash_entries=1000 ihash_entries=0x1000 mhash_entries=3 mphash_entries=99999999999"
    lines = hash_lines(booted(2 * GIB, cmdline))
    # The last one gets a sixteenth of memory, rounded down to a power of two.
    assert [line.split("entries: ")[1].split()[0] for line in lines] == ["1024", "4096", "4", "8388608"]


@pytest.mark.parametrize(
    ("profile", "nodes", "kind"),
    [
        ("debian-5.10-cloud-amd64", 2, "vmalloc"),
        ("debian-6.1-cloud-amd64", 2, "vmalloc hugepage"),
        ("debian-6.12-cloud-amd64", 4, "vmalloc"),
        ("debian-6.18-cloud-amd64", 4, "vmalloc hugepage"),
        ("debian-6.1-686", 1, "vmalloc"),
    ],
)
def test_where_vmalloc_uses_huge_pages(profile: str, nodes: int, kind: str) -> None:
    assert vmalloc_kind(4 * MIB, nodes, kernel(profile)) == kind
    assert vmalloc_kind(64 << 10, nodes, kernel(profile)) == "vmalloc"
