"""What holds of every boot, whatever the map, the SRAT and the command line; bad ones end in one InputError."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.machine import CpuAffinity, E820Entry, E820Type, LogNote, Machine, MemoryAffinity, Slit, Srat
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.report.boot import TABLES, document
from mmtool.report.dmesg import dmesg_lines
from mmtool.report.table import text_tables

PAGE = 4096
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
PROFILES = (
    "debian-5.10-cloud-amd64", "debian-6.1-cloud-amd64", "debian-6.12-cloud-amd64", "debian-6.18-cloud-amd64",
    "debian-7.3-cloud-amd64", "debian-6.1-686", "debian-6.1-686-pae", "generic-x86_64",
)  # fmt: skip
NO_MACHINE = Machine("table", (), origin="map.txt", notes=(LogNote("gb_pages", (), 1),))
"""Without a map; its processor maps whole GiB, as those of large machines do."""
SECTIONS = ("firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "watermarks", "vmalloc", "steps")


@cache
def kernel(profile: str) -> Kernel:
    return kernel_for(NO_MACHINE, profile)


def memory(*ranges: tuple[int, int], kind: int = E820Type.RAM) -> tuple[E820Entry, ...]:
    return tuple(E820Entry(start, end, kind) for start, end in ranges)


EDGES = [
    0, PAGE, 64 * KIB, 0x9FC00, 640 * KIB, MIB, 2 * MIB, 16 * MIB, 64 * MIB, 128 * MIB, 896 * MIB, GIB, 3 * GIB,
    4 * GIB - PAGE, 4 * GIB, 5 * GIB, 64 * GIB, TIB, 1 << 52, (1 << 64) - PAGE, (1 << 64) - 1, 1 << 64,
]  # fmt: skip
near_edges = st.builds(
    lambda edge, off: min(max(edge + off, 0), 1 << 64),
    st.sampled_from(EDGES),
    st.sampled_from([0, 0, 0, 1, -1, 512, PAGE, -PAGE, 3 * MIB, 200 * MIB]),
)
addresses = near_edges | st.integers(0, 8 * GIB) | st.integers(0, 8 * GIB // MIB).map(lambda n: n * MIB)
kinds = st.sampled_from([1, 1, 1, 1, 2, 3, 4, 5, 7, 12, 20, 0, 0xEFFFFFFF, 0xFFFFFFFF])
entries = st.builds(lambda a, b, kind: E820Entry(min(a, b), max(a, b), kind), addresses, addresses, kinds)
usual = st.sampled_from(
    [
        memory((0, 0x9FC00), (MIB, GIB)),
        memory((0, 0x9FC00), (MIB, 3 * GIB), (4 * GIB, 6 * GIB)),
        memory((0, 640 * KIB), (MIB, 2 * MIB)),
        memory((4 * GIB, 8 * GIB)),
        memory((MIB, 3 * GIB), (4 * GIB, TIB)),
    ]
)
maps = st.builds(lambda base, more: base + tuple(more), usual | st.just(()), st.lists(entries, max_size=8))

sizes = st.sampled_from(
    ["0", "1", "4K", "64K", "1M", "100M", "1G", "3G", "5G", "1T", "0x10000", "-1", "", "x", "16E", "9" * 20]
)
percents = st.integers(0, 200).map(lambda n: f"{n}%")
memmaps = st.builds(
    lambda size, mark, start, tail: f"{size}{mark}{start}{tail}",
    sizes,
    st.sampled_from(["@", "#", "$", "!", "%", "", "?"]),
    sizes,
    st.sampled_from(["", "", "-1", "+2", "-1+2", "-2+1", "+0x80", "-x"]),
)
options = st.one_of(
    st.lists(memmaps, min_size=1, max_size=4).map(lambda each: "memmap=" + ",".join(each)),
    st.sampled_from(["memmap=exactmap", "mem=nopentium", "numa=off", "numa=noacpi", "acpi=off", "movable_node"]),
    st.sampled_from(["kernelcore=mirror", "no5lvl", "numa", "mem", "memmap", "noefi", "add_efi_memmap"]),
    st.builds(lambda name, size: f"{name}={size}", st.sampled_from(["mem", "vmalloc", "highmem"]), sizes),
    st.builds(lambda name, size: f"{name}={size}", st.sampled_from(["kernelcore", "movablecore"]), sizes | percents),
    st.builds(
        lambda size, tail: f"numa=fake={size}{tail}",
        sizes | st.integers(0, 3000).map(str),
        st.sampled_from(["", "", "U", "M", "G", ":10,20,20,10", ":", ":x", ":-1,300"]),
    ),
    st.builds(
        lambda name, size, tail: f"{name}={size}{tail}",
        st.sampled_from(["crashkernel", "hugepages", "hugepagesz", "cma", "hugetlb_cma", "reserve_mem", "log_buf_len"]),
        sizes,
        st.sampled_from(["", "", "@16M", "@0", ",high", ",low", "-:64M", ":1M", "0:1", "0:1,1:2", ":4K:name", ","]),
    ),
    st.sampled_from(["memblock=debug", "swiotlb=1024", "swiotlb=force", "percpu_alloc=page", "nokaslr", "nopse"]),
    st.text(alphabet='abc=",-% 0123', max_size=12),
)
cmdlines = st.lists(options, max_size=4).map(" ".join)

domains = st.sampled_from([0, 1, 2, 3, 7, 255, 2**31, 2**32 - 1])
affinities = st.builds(
    lambda pxm, a, b, enabled, hotplug: MemoryAffinity(pxm, min(a, b), max(a, b), enabled, hotplug),
    domains, addresses, addresses, st.sampled_from([True, True, False]), st.booleans(),
) | st.builds(CpuAffinity, domains, st.integers(0, 8), st.booleans())  # fmt: skip
srats = st.none() | st.lists(affinities, max_size=6).map(lambda each: Srat(tuple(each)))
slits = st.none() | st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 255), min_size=n, max_size=n).map(tuple), min_size=n, max_size=n)
).map(lambda rows: Slit(tuple(rows)))
machines = st.builds(lambda e820, srat, slit: replace(NO_MACHINE, e820=e820, srat=srat, slit=slit), maps, srats, slits)
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def boot(machine: Machine, profile: str, cmdline: str = "", base: int | None = None) -> Boot | None:
    """The booted machine; None when mmtool says, in one line about the map, that it cannot be booted."""
    try:
        return start_kernel(machine, kernel(profile), cmdline=cmdline, kernel_base=base)
    except InputError as e:
        assert e.source == machine.origin and "\n" not in str(e)
        return None


def check(booted: Boot) -> None:
    check_memory(booted)
    check_nodes(booted)
    for node in booted.nodes.values():
        for zone in node.zones:
            check_free_blocks(zone, gigantic_pages(booted, zone))
    check_output(booted)


def check_memory(booted: Boot) -> None:
    """memblock's memory lies inside RAM of the edited map, sorted and disjoint."""
    ram = [e for e in booted.edited_map() if e.type in (E820Type.RAM, E820Type.RESERVED_KERN)]
    regions = [r for r in booted.memblock.memory.regions if r.size]
    for r in regions:
        assert sum(max(0, min(r.end, e.end) - max(r.base, e.start)) for e in ram) >= r.size
    assert all(a.end <= b.base for a, b in itertools.pairwise(regions))


def check_nodes(booted: Boot) -> None:
    """No page is lost or in two zones: the zones' present pages add up to memory, and a node's zones are disjoint."""
    mirrored = "mirror" in booted.cmdline.all("kernelcore")
    zones = [z for node in booted.nodes.values() for z in node.zones if z.spanned_pages]
    mb = booted.memblock
    reachable = mb.max_pfn if booted.kernel.word_size == 8 else max(mb.max_pfn, mb.max_low_pfn)
    ranges = list(booted.memblock.for_each_mem_pfn_range(booted.memblock.max_numnodes))
    owned = [(start, min(end, reachable)) for start, end, nid in ranges if nid in booted.nodes and start < reachable]
    if not mirrored:
        assert sum(z.present_pages for z in zones) == sum(end - start for start, end in owned)
    for node in booted.nodes.values():
        mine = sorted((z.zone_start_pfn, z.zone_end_pfn) for z in node.zones if z.spanned_pages)
        assert mirrored or all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
    for z in zones:
        assert 0 <= z.present_pages <= z.spanned_pages
        # A page without a node (up to 1 MiB of them may be), or of an image that lies in no memory, goes to the zone
        # that spans it.
        assert 0 <= z.managed_pages <= z.present_pages or len(owned) < len(ranges) or not image_in_memory(booted)
    assert set(booted.numa.online) <= set(booted.nodes)


def image_in_memory(booted: Boot) -> bool:
    return booted.kernel_base is None or booted.memblock.is_region_memory(booted.kernel_base, 64 * MIB)


def gigantic_pages(booted: Boot, zone: Zone) -> int:
    """How many of the zone's page frames huge pages hold that memblock gave."""
    pools = booted.hugetlb.hstates
    blocks = [(address // PAGE, (address + pool.size) // PAGE) for pool in pools for address, _ in pool.pages]
    return sum(max(0, min(end, zone.zone_end_pfn) - max(start, zone.zone_start_pfn)) for start, end in blocks)


def check_free_blocks(zone: Zone, gigantic: int) -> None:
    """Free blocks are aligned, disjoint, inside their zone, merged, and add up to what the zone manages.

    What gigantic pages hold is managed but not free.
    """
    found: list[tuple[int, int, int, MigrateType]] = []
    for order, kind, runs in zone.free_lists():
        found += [(pfn, pfn + (count << order), order, kind) for pfn, count in runs]
    found.sort(key=lambda block: block[0])
    assert sum(end - start for start, end, _, _ in found) == zone.nr_free_pages == zone.managed_pages - gigantic
    for start, end, order, _ in found:
        assert start % (1 << order) == 0
        assert zone.zone_start_pfn <= start and end <= zone.zone_end_pfn
    for (start, end, order, kind), (behind, _, next_order, next_kind) in itertools.pairwise(found):
        assert end <= behind
        if order == next_order < zone.pageblock_order and kind == next_kind and end == behind:
            last = end - (1 << order)
            assert last ^ (1 << order) != behind, f"blocks {last:#x} and {behind:#x} of order {order} should be one"
        assert end - start == 1 << order or order == zone.top_order or (end - start) >> order <= 2


def check_output(booted: Boot) -> None:
    """Every format can show it."""
    assert all("\n" not in line for line in dmesg_lines(booted))
    doc = document(booted, SECTIONS)
    assert doc["schema"] == "mmtool.boot/1"
    assert text_tables(TABLES[s](booted) for s in SECTIONS if s in TABLES)


WEIRD = {
    "nothing below 1 MiB": memory((MIB, GIB)),
    "only above 4 GiB": memory((4 * GIB, 8 * GIB)),
    "2 MiB": memory((0, 640 * KIB), (MIB, 2 * MIB)),
    "64 TiB": memory((0, 640 * KIB), (MIB, 3 * GIB), (4 * GIB, 64 * TIB)),
    "one page": memory((MIB, MIB + PAGE)),
    "a page far up": memory((MIB, GIB), (60 * TIB, 60 * TIB + PAGE)),
    "a thousand pieces": memory(*((n * 2 * MIB, n * 2 * MIB + MIB) for n in range(1, 1000))),
    "overlaps": memory((0, GIB), (MIB, 2 * GIB), (MIB, 3 * MIB)) + memory((2 * MIB, 5 * MIB), (0, GIB), kind=2),
}


@pytest.mark.parametrize("profile", ["debian-5.10-cloud-amd64", "debian-6.12-cloud-amd64", "debian-6.1-686-pae"])
@pytest.mark.parametrize("name", WEIRD)
def test_weird_machines(name: str, profile: str) -> None:
    if booted := boot(replace(NO_MACHINE, e820=WEIRD[name]), profile):
        check(booted)


STRANGE = [
    ("generic-x86_64", "64 TiB", "nopse"),
    ("generic-x86_64", "64 TiB", "hugepagesz=1G hugepages=1T"),
    ("debian-7.3-cloud-amd64", "64 TiB", "nopse movable_node numa=fake=16"),
    ("generic-x86_64", "overlaps", "numa=fake=2:x"),
    ("generic-x86_64", "overlaps", "numa=fake=2:10,30,30"),
    ("debian-6.1-686-pae", "only above 4 GiB", "kernelcore=51%"),
]


@pytest.mark.parametrize(("profile", "name", "cmdline"), STRANGE)
def test_strange_command_lines(profile: str, name: str, cmdline: str) -> None:
    if booted := boot(replace(NO_MACHINE, e820=WEIRD[name]), profile, cmdline):
        check(booted)


def test_a_list_of_distances_counts_as_far_as_commas_go() -> None:
    booted = boot(replace(NO_MACHINE, e820=WEIRD["64 TiB"]), "generic-x86_64", "numa=fake=2:10,30,40")
    assert booted is not None
    distances = [[booted.numa.node_distance(a, b) for b in range(2)] for a in range(2)]
    assert distances == [[10, 30], [10, 10]]


def test_a_machine_without_memory_is_bad_input() -> None:
    for e820 in ((), memory((0, GIB), kind=2), memory((MIB + 1, MIB + PAGE)), memory((0, PAGE))):
        with pytest.raises(InputError, match=r"^map\.txt: this machine cannot boot, .*no whole page of RAM"):
            start_kernel(replace(NO_MACHINE, e820=e820), kernel(PROFILES[0]))


@relaxed
@given(machines, st.sampled_from(PROFILES))
def test_any_machine(machine: Machine, profile: str) -> None:
    if booted := boot(machine, profile):
        check(booted)


@relaxed
@given(machines, st.sampled_from(PROFILES), cmdlines, st.none() | addresses)
def test_any_command_line(machine: Machine, profile: str, cmdline: str, base: int | None) -> None:
    if booted := boot(machine, profile, cmdline, base):
        check(booted)
