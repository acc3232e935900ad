"""vmalloc() and its relatives: what real kernels did, what they say when it fails, and that no page is lost.

The page allocator is a small stand-in here; tests/test_vmalloc_pages.py has the real one.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.vmalloc import FIXTURES, booted, read_areas

from mmtool.linux.arch.x86.mm.pgtable import maxmem_32, vmalloc_reserve_32
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.vmalloc.area import VmStruct
from mmtool.linux.mm.vmalloc.vmalloc import Vmalloc

EXHAUSTED = FIXTURES / "i386-6.1-exhausted"
PAGE = 4096


class FewPages:
    """A page allocator with the pages from 0 to `count`; blocks of them too, unless `blocks` is off."""

    def __init__(self, count: int, *, blocks: bool = True) -> None:
        self.free = list(range(count))
        self.blocks = blocks
        self.asked: list[tuple[int, int]] = []
        self.asked_in_bulk: list[tuple[int, int]] = []

    def alloc_pfn(self, gfp: int, order: int = 0, nid: int | None = None) -> int | None:
        self.asked.append((gfp, order))
        if not order:
            return self.free.pop() if self.free else None
        there, size = set(self.free), 1 << order
        for first in range(0, max(there, default=0) + 1, size) if self.blocks else ():
            if there.issuperset(range(first, first + size)):
                self.free = sorted(there.difference(range(first, first + size)))
                return first
        return None

    def alloc_pages_bulk(self, gfp: int, nid: int | None, count: int) -> list[int]:
        self.asked_in_bulk.append((gfp, count))
        found = (self.alloc_pfn(gfp) for _ in range(count))
        return [pfn for pfn in found if pfn is not None]

    def free_pages_bulk(self, pfns: Iterable[int]) -> None:
        self.free += pfns


def vmalloc_of(boot: Boot, pages: FewPages | None = None, *, cpus: int = 1, nodes: int = 1) -> Vmalloc:
    pages = pages or FewPages(1 << 16)
    layout = boot.address_space
    return Vmalloc(
        boot.kernel, layout.vmalloc.start, layout.vmalloc_end, pages, ioremap_max_order=layout.ioremap_max_order,
        totalram_pages=len(pages.free), cpus=cpus, online_nodes=nodes,
    )  # fmt: skip


def i386(option: str) -> Boot:
    boot = booted("debian-6.1-686")
    top = maxmem_32(boot.kernel, vmalloc_reserve_32(option))
    return booted("debian-6.1-686", max_low_pfn=top // PAGE)


# A kernel whose vmalloc area is used up

TERMINALS, N_TTY_DATA = 8, 8836
"""What a process opens, and the bytes of each of a terminal's ends."""


class Processes:
    """Processes that open terminals, as the recorded kernel's did; each has the areas that it holds."""

    def __init__(self, v: Vmalloc) -> None:
        self.v = v
        self.areas: list[list[VmStruct]] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            mine: list[VmStruct] = []
            for _ in range(2 * TERMINALS):
                area = self.v.vzalloc(N_TTY_DATA, caller="n_tty_open")
                if area is None:
                    self.end(mine)
                    break
                mine.append(area)
            else:
                self.areas.append(mine)

    def kill(self, *which: int) -> None:
        for i in which:
            self.end(self.areas[i])

    def end(self, areas: list[VmStruct]) -> None:
        for area in areas:
            assert self.v.vfree(area.addr)


def recorded(n: int) -> tuple[set[tuple[int, int]], list[tuple[int, int]]]:
    """Busy and unpurged areas of the recorded kernel at a moment."""
    areas = read_areas(gzip.decompress((EXHAUSTED / f"vmallocinfo-{n}.gz").read_bytes()).decode())
    unpurged = [(a.start, a.end) for a in areas if a.text == "unpurged vm_area"]
    return {(a.start, a.end) for a in areas if a.text != "unpurged vm_area"}, unpurged


def merged(areas: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges with those that touch joined, as 6.1 shows what is not purged."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(areas):
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def state(v: Vmalloc) -> tuple[set[tuple[int, int]], list[tuple[int, int]]]:
    busy = {(a.start, a.end) for a in v.space.busy.values()}
    return busy, merged([(a.start, a.end) for a in v.space.lazy_areas()])


def test_exhaustion_is_the_kernels_area_by_area() -> None:
    """Places, failures and messages; what was freed is not used again until there is nothing else."""
    v = vmalloc_of(i386("16M"))
    for start, end in sorted(recorded(0)[0]):
        assert v.space.alloc_vmap_area(end - start, 1, start, end) is not None
    processes = Processes(v)
    processes.start(40)
    assert state(v) == recorded(1)
    processes.kill(4, 5)
    assert state(v) == recorded(2)
    processes.start(1)
    assert state(v) == recorded(3)
    assert not v.log.lines
    processes.start(40)
    assert state(v) == recorded(4)
    theirs = [line.partition("] ")[2] for line in (EXHAUSTED / "dmesg.txt").read_text().splitlines()]
    assert v.log.lines[0].text == theirs[0]
    assert v.log.lines[1].text == theirs[1].partition(": ")[2].partition(",cpuset")[0]
    processes.kill(6)
    assert state(v) == recorded(5)
    processes.start(2)
    assert state(v) == recorded(6)


# What the kernel says

FAILURES = [
    # release, what fails, the lines
    ("debian-5.10-cloud-amd64", "total", ["vmalloc: allocation failure: 4294967296 bytes"]),
    ("debian-6.1-cloud-amd64", "total", ["vmalloc error: size 4294967296, exceeds total pages"]),
    ("debian-5.10-cloud-amd64", "pages", []),
    ("debian-6.1-cloud-amd64", "pages", []),
    ("debian-6.12-cloud-amd64", "pages", ["vmalloc error: size 262144, failed to allocate pages"]),
    ("debian-7.3-cloud-amd64", "pages", ["vmalloc error: size 1048576, failed to allocate pages"]),
    ("debian-6.1-cloud-amd64", "room", [
        "vmap allocation for size 1052672 failed: use vmalloc=<size> to increase size",
        "vmalloc error: size 1048576, vm_struct allocation failed"]),
    ("debian-6.12-cloud-amd64", "room", [
        "vmalloc_node_range for size 1052672 failed: Address range restricted to 0xffa0000000000000 - "
        "0xffa0000000080000",
        "vmalloc error: size 1048576, vm_struct allocation failed"]),
    ("debian-7.3-cloud-amd64", "room", [
        "vmalloc_node_range for size 1052672 failed: Address range restricted to 0xffa0000000000000 - "
        "0xffa0000000080000",
        "vmalloc error: size 1048576, align 0x1, vm_struct allocation failed"]),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "what", "lines"), FAILURES)
def test_failures_in_the_releases_words(profile: str, what: str, lines: list[str]) -> None:
    v = vmalloc_of(booted(profile), FewPages(64 if what == "pages" else 1024))
    v.totalram_pages = 1024
    start = v.space.start
    if what == "total":
        assert v.vmalloc(4 << 30) is None
    elif what == "pages":
        assert v.vmalloc(1 << 20) is None
    else:
        assert v.vmalloc_node_range(1 << 20, v.gfp.mask("GFP_KERNEL"), start=start, end=start + (512 << 10)) is None
    said = [line.text.partition(", mode:")[0] for line in v.log.lines]
    assert said == lines
    assert sorted(v.pages.free) == list(range(64 if what == "pages" else 1024))  # type: ignore[attr-defined]


def test_more_than_there_is_as_a_6_12_of_512_mib_said_it() -> None:
    """Who asked stands before it in the log, and the cpuset behind it. Nothing at all is asked for in silence."""
    v = vmalloc_of(booted("debian-6.12-cloud-amd64"), FewPages(1))
    v.totalram_pages = 120000
    assert v.vmalloc(0) is None and not v.log.lines
    assert v.vmalloc(1073741824) is None
    assert [line.text for line in v.log.lines] == [
        "vmalloc error: size 1073741824, exceeds total pages, mode:0xcc0(GFP_KERNEL), nodemask=(null)"
    ]


def test_a_mask_without_warnings_fails_in_silence() -> None:
    v = vmalloc_of(booted("debian-6.12-cloud-amd64"), FewPages(16))
    v.totalram_pages = 1024
    assert v.vmalloc_node_range(1 << 20, v.gfp.parse("GFP_KERNEL|__GFP_NOWARN")) is None
    assert not v.log.lines


# Where things lie, and of what


def test_areas_have_a_guard_page_and_follow_each_other() -> None:
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"))
    first, second = v.vmalloc(16384), v.vzalloc(1)
    assert first is not None and second is not None
    assert (first.addr, first.size, len(first.pages)) == (v.space.start, 5 * PAGE, 4)
    assert (second.addr, second.size, len(second.pages)) == (v.space.start + 5 * PAGE, 2 * PAGE, 1)


def test_a_long_list_of_pages_has_an_area_behind_its_own() -> None:
    """Above a page of pointers: 512 pages on 64 bits, 1024 on 32."""
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"))
    large, larger = v.vmalloc(512 * PAGE), v.vmalloc(513 * PAGE)
    assert large is not None and large.array is None
    assert larger is not None and larger.array is not None
    assert larger.array.addr == larger.addr + larger.size
    assert len(larger.array.pages) == 2
    assert v.nr_vmalloc_pages == 512 + 513 + 2
    assert v.vfree(larger.addr)
    assert v.nr_vmalloc_pages == 512
    short = vmalloc_of(i386("128M"))
    area = short.vmalloc(1024 * PAGE)
    assert area is not None and area.array is None


@pytest.mark.parametrize(("profile", "order"), [
    ("debian-5.10-cloud-amd64", 0), ("debian-6.1-cloud-amd64", 9), ("debian-7.3-cloud-amd64", 9),
    ("debian-6.18-arm64-16k", 11), ("debian-6.1-686-pae", 0),
])  # fmt: skip
def test_huge_areas_are_of_huge_pages(profile: str, order: int) -> None:
    boot = booted(profile, max_low_pfn=0x30000)
    v = vmalloc_of(boot)
    page = 1 << boot.kernel.page_shift
    v.vmalloc(page)
    area = v.vmalloc_huge(page << order)
    assert area is not None
    assert area.page_order == order
    assert area.addr % (page << order) == 0
    assert len(area.pages) == 1 << order


def test_contiguous_entries_of_arm64_are_huge_enough() -> None:
    v = vmalloc_of(booted("debian-7.3-cloud-arm64"))
    area = v.vmalloc_huge(128 << 10)
    assert area is not None and area.page_order == 4 and area.addr % (64 << 10) == 0


def test_huge_pages_are_wanted_for_each_node_until_6_13() -> None:
    shared = {
        profile: vmalloc_of(booted(profile), nodes=2)
        for profile in ("debian-6.12-cloud-amd64", "debian-6.18-cloud-amd64")
    }
    orders = []
    for v in shared.values():
        area, local = v.vmalloc_huge(2 << 20), v.vmalloc_huge(2 << 20, node=0)
        assert area is not None and local is not None
        orders.append((area.page_order, local.page_order))
    assert orders == [(0, 9), (9, 9)]


def test_without_huge_pages_single_ones_do() -> None:
    v = vmalloc_of(booted("debian-6.12-cloud-amd64"), FewPages(1 << 12, blocks=False))
    area = v.vmalloc_huge(2 << 20)
    assert area is not None and area.page_order == 0 and len(area.pages) == 512
    assert not v.log.lines


def test_7_3_takes_blocks_as_large_as_they_come() -> None:
    pages = FewPages(1 << 14)
    v = vmalloc_of(booted("debian-7.3-cloud-amd64"), pages)
    assert v.vmalloc(7 * PAGE) is not None
    assert [order for _, order in pages.asked] == [2, 1, 0]
    reclaim = v.gfp.mask("__GFP_DIRECT_RECLAIM")
    assert [bool(gfp & reclaim) for gfp, _ in pages.asked] == [False, False, True]


def test_device_memory_is_aligned_to_its_size() -> None:
    v = vmalloc_of(booted("debian-6.12-cloud-arm64"))
    small, large = v.ioremap(0x9000000, 0x1000), v.ioremap(0x80A0000, 0xF60000)
    assert small is not None and large is not None
    assert (small.addr, small.size, small.phys_addr) == (v.space.start, 2 * PAGE, 0x9000000)
    assert (large.addr, large.size) == (v.space.start + (16 << 20), 0xF61000)
    odd = v.ioremap(0xFED00400, 0x800)
    assert odd is not None and (odd.phys_addr, odd.size) == (0xFED00000, 2 * PAGE)


def test_pages_of_others_are_mapped_and_left_alone() -> None:
    pages = FewPages(64)
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"), pages)
    area = v.vmap([1, 5, 9])
    assert area is not None and area.size == 4 * PAGE
    assert v.vfree(area.addr) and not v.vfree(area.addr)
    assert len(pages.free) == 64


def test_the_pages_of_a_stack_are_asked_for_as_the_kernel_does() -> None:
    """As a trace of 6.1.176 shows it: __alloc_pages_bulk(gfp=0x2dc2, n=4) for GFP_KERNEL|__GFP_ZERO."""
    pages = FewPages(256)
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"), pages)
    assert v.vmalloc_node_range(16384, 0xDC0, align=16384) is not None
    assert v.vmalloc(250 * PAGE) is not None
    assert pages.asked_in_bulk == [(0x2DC2, 4), (0x2CC2, 100), (0x2CC2, 100), (0x2CC2, 50)]


def test_32_bit_pages_come_from_dma32() -> None:
    pages = FewPages(64)
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"), pages)
    assert v.vmalloc_32(PAGE) is not None
    assert v.gfp.names(pages.asked[0][0]) == ["GFP_KERNEL", "GFP_DMA32", "__GFP_NOWARN"]


def test_high_memory_is_preferred() -> None:
    pages = FewPages(64)
    v = vmalloc_of(i386("128M"), pages)
    assert v.vmalloc(PAGE) is not None
    assert v.gfp.has(pages.asked[0][0], "__GFP_HIGHMEM")


# Freed lazily


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8])
def test_so_many_pages_wait_before_they_are_given_back(cpus: int) -> None:
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"), cpus=cpus)
    limit = cpus.bit_length() * (32 << 20) // PAGE
    for n in range(1, limit // 2 + 2):
        area = v.vmalloc(PAGE)
        assert area is not None
        assert area.addr == v.space.start + (n - 1) * 2 * PAGE
        v.vfree(area.addr)
    assert v.space.lazy_pages == 0
    again = v.vmalloc(PAGE)
    assert again is not None and again.addr == v.space.start


def test_a_node_keeps_what_it_freed_by_size() -> None:
    """6.9 on: after a purge the next request of the same size on that CPU gets the area that was kept last."""
    v = vmalloc_of(booted("debian-7.3-cloud-amd64"), cpus=2)
    areas = [v.vmalloc(4 * PAGE) for _ in range(3)]
    for area in areas:
        assert area is not None and v.vfree(area.addr)
    v.space.purge()
    assert sum(1 for _ in v.space.kept_areas()) == 3
    other = v.vmalloc(PAGE)
    assert other is not None and other.addr == v.space.start + 15 * PAGE
    kept = v.vmalloc(4 * PAGE)
    assert kept is not None and areas[2] is not None and kept.addr == v.space.start + 10 * PAGE
    v.space.cpu = 1
    far = v.vmalloc(4 * PAGE)
    assert far is not None and far.addr > other.addr


# vm_map_ram()


def test_small_mappings_share_a_block_and_it_goes_when_all_were_used() -> None:
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"))
    blocks = v.blocks
    first, second = blocks.vm_map_ram(3), blocks.vm_map_ram(1)
    assert first is not None and second == first + 4 * PAGE
    assert first % blocks.size == 0
    rest = [blocks.vm_map_ram(1) for _ in range(blocks.pages - 5)]
    assert all(address is not None and address < first + blocks.size for address in rest)
    blocks.vm_unmap_ram(first, 3)
    for address in [second, *rest]:
        assert address is not None
        blocks.vm_unmap_ram(address, 1)
    assert first not in v.space.busy
    assert [area.start for area in v.space.lazy_areas()] == [first]
    with pytest.raises(KeyError):
        blocks.vm_unmap_ram(first, 3)


def test_large_mappings_have_areas_without_guard() -> None:
    v = vmalloc_of(booted("debian-6.1-cloud-amd64"))
    first, second = v.blocks.vm_map_ram(65), v.blocks.vm_map_ram(100)
    assert first is not None and second == first + 65 * PAGE
    v.blocks.vm_unmap_ram(first, 65)
    assert first not in v.space.busy


@pytest.mark.parametrize(("profile", "left"), [("debian-6.1-cloud-amd64", 0), ("debian-6.12-cloud-amd64", 1)])
def test_unused_blocks_with_room_are_spared_from_6_5_on(profile: str, left: int) -> None:
    v = vmalloc_of(booted(profile))
    address = v.blocks.vm_map_ram(1)
    assert address is not None
    v.blocks.vm_unmap_ram(address, 1)
    v.blocks.vm_unmap_aliases()
    assert len(v.space.busy) == left


# Properties

SIZES = st.integers(1, 3 << 20)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["vmalloc", "huge", "ioremap", "ram", "free", "purge"]), SIZES, st.integers(0, 7)),
    max_size=60,
)  # fmt: skip
PROFILES = st.sampled_from(["debian-5.10-cloud-amd64", "debian-6.1-cloud-amd64", "debian-6.12-cloud-amd64",
                            "debian-7.3-cloud-amd64", "debian-6.18-arm64-16k", "debian-6.1-686"])  # fmt: skip


def check_whole(v: Vmalloc, total: int) -> None:
    """Every address is free, busy, waiting or kept, once; every page is free or mapped, once."""
    space = v.space
    parts = [(a.start, a.end) for a in space.free]
    parts += [(a.start, a.end) for a in (*space.busy.values(), *space.lazy_areas(), *space.kept_areas())]
    parts.sort()
    assert parts[0][0] == 1 and parts[-1][1] == space.last
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    mapped = [pfn for area in space.busy.values() if area.vm is not None for pfn in area.vm.pages]
    assert len(mapped) == v.nr_vmalloc_pages
    assert sorted([*mapped, *v.pages.free]) == list(range(total))  # type: ignore[attr-defined]


@given(PROFILES, st.integers(1, 4), OPERATIONS)
def test_no_address_and_no_page_is_lost_or_given_twice(
    profile: str, cpus: int, operations: list[tuple[str, int, int]]
) -> None:
    total = 3000
    pages = FewPages(total, blocks=False)
    v = vmalloc_of(booted(profile, max_low_pfn=0x30000), pages, cpus=cpus)
    held: list[tuple[str, int, int]] = []
    for name, size, which in operations:
        v.space.cpu = which % cpus
        if name == "free" and held:
            kind, address, count = held.pop(which % len(held))
            if kind == "ram":
                v.blocks.vm_unmap_ram(address, count)
            else:
                assert v.vfree(address)
        elif name == "ram":
            count = size % 130 + 1
            address_or_none = v.blocks.vm_map_ram(count)
            held += [("ram", address_or_none, count)] if address_or_none is not None else []
        elif name == "purge":
            v.blocks.vm_unmap_aliases()
        elif name != "free":
            make = {"vmalloc": v.vmalloc, "huge": v.vmalloc_huge, "ioremap": lambda n: v.ioremap(0xF0000000, n)}[name]
            area = make(size)
            held += [("area", area.addr, 0)] if area is not None else []
        check_whole(v, total)
