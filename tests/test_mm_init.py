"""Nodes, zones and holes against a walk over every page, on small machines of every shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import MEMBLOCK_MIRROR, MEMBLOCK_NOMAP, Memblock, MemblockPanic
from mmtool.linux.mm.mm_init import (
    MovableWish,
    ZoneRange,
    calc_memmap_pages,
    find_zone_movable_pfns,
    free_area_init,
    free_area_init_core,
    movable_wish,
    movable_zone,
    zone_ranges,
)
from mmtool.linux.mm.mmzone import PageblockTypes, Pgdat, Zone

PAGE, BLOCK, SECTION, TOP = 4096, 8, 32, 256
"""Pageblocks of 8 pages and sections of 32, so that a few hundred pages hold every situation."""
NAMES = ("DMA", "Normal", "Movable")


class SmallKernel(Kernel):
    """A kernel of small orders and sections."""

    max_page_order, pageblock_order, section_size_bits = 4, 3, (SECTION * PAGE).bit_length() - 1


def kernel_of(release: tuple[int, int, int], arch: str = "x86_64", **options: bool) -> Kernel:
    profile = Profile("small", arch, "6.1", {"SPARSEMEM": True, "NUMA": True, **options}, {"struct_page": 64})
    return SmallKernel(".".join(map(str, release)), release_facts(release), profile)


@dataclass(frozen=True)
class Small:
    """Memory (first page, one past the last, node, flags), where zones end, what is asked of Movable."""

    memory: tuple[tuple[int, int, int, int], ...]
    limits: tuple[int, int]
    wish: MovableWish

    def memblock(self, kernel: Kernel) -> Memblock:
        mb = Memblock(kernel.release, numa=True, max_numnodes=4, page_size=PAGE, smp_cache_bytes=64)
        for start, end, nid, flags in self.memory:
            mb.add_node(start * PAGE, (end - start) * PAGE, nid)
            for flag, mark in ((MEMBLOCK_NOMAP, mb.mark_nomap), (MEMBLOCK_MIRROR, mb.mark_mirror)):
                if flags & flag:
                    mark(start * PAGE, (end - start) * PAGE)
        return mb

    def boot(self, kernel: Kernel, online: frozenset[int] = frozenset()) -> tuple[dict[int, Pgdat], list[str]]:
        """Nodes with memory are online, and those of `online`; node 3 is possible."""
        mb, log = self.memblock(kernel), KernelLog()
        nids = {nid for _, _, nid, _ in self.memory} | online
        limits = (*zip(NAMES, self.limits, strict=False), ("Movable", 0))
        nodes = free_area_init(mb, kernel, limits, self.wish, log, possible_nodes=nids | {3}, online_nodes=nids)
        return nodes, [line.text for line in log.lines]

    def pages(self, nid: int) -> list[int]:
        return [pfn for start, end, owner, _ in self.memory if owner == nid for pfn in range(start, end)]


@st.composite
def machines(draw: st.DrawFn, flags: tuple[int, ...] = (0,)) -> Small:
    """Up to five ranges of up to three nodes, in any order of nodes, touching or not."""
    edges = sorted(draw(st.sets(st.integers(0, TOP), min_size=2, max_size=10)))
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    marks = st.tuples(st.integers(0, 2), st.sampled_from(flags))
    limit = st.integers(0, TOP) | st.sampled_from(edges)
    highest = draw(st.just(TOP) | limit.filter(lambda n: n > edges[0]))
    total = sum(b - a for a, b in pairs)
    core = MovableWish(kernelcore=draw(st.integers(0, TOP) | st.sampled_from([1, total - 1, total, total + 1])))
    return Small(tuple((a, b, *draw(marks)) for a, b in pairs), (draw(limit), highest), core)


def movable_starts(said: list[str]) -> dict[int, int]:
    """Where the Movable zone of a node begins, as it was said."""
    lines = said[said.index("Movable zone start for each node") + 1 : said.index("Early memory node ranges")]
    return {int(line[7]): int(line.split(": ")[1], 16) // PAGE for line in lines}


def zone_by_zone(small: Small, nid: int, cut: int | None) -> dict[str, tuple[int, int, int]]:
    """(start, spanned, present) of each zone that a node has pages of, from its first page to its last."""
    memory = set(small.pages(nid))
    first = min(start for start, _, _, _ in small.memory)
    edge, top = max(small.limits[0], first), max(small.limits)
    highest = "Normal" if edge < top else "DMA"
    zones: dict[str, list[int]] = {}
    for pfn in range(min(memory), max(memory) + 1):
        name = "DMA" if pfn < edge else "Normal" if pfn < top else "none"
        if cut is not None and pfn >= cut:
            name = "Movable" if name == highest else "none"
        zones.setdefault(name, []).append(pfn)
    return {name: (held[0], len(held), len(memory & set(held))) for name, held in zones.items() if name != "none"}


@settings(max_examples=150, deadline=None)
@given(machines(), st.sampled_from([(5, 10, 0), (6, 1, 0), (6, 12, 0)]))
def test_zones_hold_the_pages_that_lie_in_them(small, release):
    nodes, said = small.boot(kernel_of(release))
    starts = movable_starts(said)
    for nid in {nid for _, _, nid, _ in small.memory}:
        zones = nodes[nid].zones
        held = {z.name: (z.zone_start_pfn, z.spanned_pages, z.present_pages) for z in zones if z.spanned_pages}
        assert all(z.zone_start_pfn == 0 for z in zones if not z.spanned_pages)
        assert held == zone_by_zone(small, nid, starts.get(nid))
        assert nodes[nid].node_start_pfn == min(small.pages(nid))
        assert nodes[nid].node_spanned_pages == sum(spanned for _, spanned, _ in held.values())
        assert [(z.name, z.zone_idx) for z in nodes[nid].zones] == list(zip(NAMES, range(3), strict=True))
    assert (3 in nodes) is (release > (5, 18, 0))
    if 3 in nodes:
        assert nodes[3].node_start_pfn == nodes[3].node_spanned_pages == 0
        assert all(z.spanned_pages == z.zone_start_pfn == 0 for z in nodes[3].zones)


def valid_pages(small: Small, kernel: Kernel) -> Callable[[int], bool]:
    """Which pages have a struct page: pfn_valid() of the first of their pageblock."""
    memory = {p for start, end, _, _ in small.memory for p in range(start, end)}
    if not kernel.enabled("SPARSEMEM"):
        return lambda pfn: pfn // BLOCK * BLOCK < max(small.limits)
    if kernel.has_arch_pfn_valid:
        unmapped = {p for start, end, _, flags in small.memory if flags & MEMBLOCK_NOMAP for p in range(start, end)}
        mapped = memory - unmapped if kernel.release.arm64_valid_is_mapped else memory
        return lambda pfn: pfn // BLOCK * BLOCK in mapped
    sections = {p // SECTION for p in memory}
    return lambda pfn: pfn // BLOCK * BLOCK // SECTION in sections


def holes(small: Small, nodes: dict[int, Pgdat], kernel: Kernel) -> list[str]:
    """memmap_init(): what no zone has as memory goes to the zone of the next page that one has, else to the last."""
    owner = {}
    for start, end, nid, _ in small.memory:
        for zone in nodes[nid].zones:
            if zone.present_pages:
                for pfn in range(max(start, zone.zone_start_pfn), min(end, zone.zone_end_pfn)):
                    owner[pfn] = f"node {nid}, zone {zone.name}"
    valid = valid_pages(small, kernel)
    last = max(end for _, end, _, _ in small.memory)
    end = -(-last // SECTION) * SECTION if kernel.enabled("SPARSEMEM") else last
    counts: list[tuple[str, int]] = []
    lost = 0
    for pfn in range(end):
        if pfn not in owner:
            lost += valid(pfn)
        elif lost:
            counts, lost = [*counts, (owner[pfn], lost)], 0
    if lost:
        names = [z.name for _, _, nid, _ in small.memory for z in nodes[nid].zones if z.present_pages]
        counts.append((f"node {small.memory[-1][2]}, zone {names[-1]}", lost))
    return [f"On {where}: {pages} pages in unavailable ranges" for where, pages in counts]


@settings(max_examples=150, deadline=None)
@given(
    machines((0, MEMBLOCK_NOMAP)),
    st.sampled_from([
        ((6, 1, 0), "x86_64", True), ((6, 12, 0), "x86_64", False), ((5, 10, 60), "arm64", True),
        ((5, 13, 10), "arm64", True), ((6, 12, 0), "arm64", True),
    ]),
)  # fmt: skip
def test_holes_go_to_the_zone_above_them(small, build):
    release, arch, sparse = build
    kernel = kernel_of(release, arch, SPARSEMEM=sparse)
    nodes, said = small.boot(kernel)
    assert [line for line in said if "unavailable" in line] == holes(small, nodes, kernel)


def zone_holes(small: Small, nodes: dict[int, Pgdat], kernel: Kernel) -> list[str]:
    """memmap_init_zone() of 5.12: each zone walks its node's memory, from where the last walk ended."""
    valid, said, hole = valid_pages(small, kernel), [], 0
    for nid, node in sorted(nodes.items()):
        for zone in node.zones:
            first, last = zone.zone_start_pfn, zone.zone_end_pfn
            if first == last:
                continue
            lost = 0
            for start, end, owner, _ in small.memory:
                if owner == nid:
                    lost += sum(map(valid, range(hole, min(max(start, first), last))))
                    hole = min(max(end, first), last)
            if kernel.enabled("SPARSEMEM"):
                lost += sum(map(valid, range(hole, -(-last // SECTION) * SECTION)))
            said += [f"  {zone.name} zone: {lost} pages in unavailable ranges"] * (lost > 0)
    return said


@settings(max_examples=100, deadline=None)
@given(machines(), st.booleans())
def test_in_5_12_each_zone_counts_its_holes(small, sparse):
    kernel = kernel_of((5, 12, 0), SPARSEMEM=sparse)
    nodes, said = small.boot(kernel)
    assert [line for line in said if "unavailable" in line] == zone_holes(small, nodes, kernel)


@pytest.mark.parametrize("size", [1024, PAGE])
def test_memory_without_a_whole_page_makes_no_section(size):
    """Of a section with parts of pages alone nothing has a struct page, so that nothing of it is a hole."""
    small = Small(((0, 40, 0, 0), (100, 110, 0, 0)), (20, TOP), MovableWish())
    kernel, log = kernel_of((6, 1, 0)), KernelLog()
    mb = small.memblock(kernel)
    mb.add_node(68 * PAGE + 512, size, 0)
    limits = (("DMA", 20), ("Normal", TOP), ("Movable", 0))
    free_area_init(mb, kernel, limits, MovableWish(), log, possible_nodes={0}, online_nodes={0})
    assert [line.text for line in log.lines if "unavailable" in line.text] == [
        "On node 0, zone Normal: 28 pages in unavailable ranges",
        "On node 0, zone Normal: 18 pages in unavailable ranges",
    ]  # fmt: skip


@settings(deadline=None)
@given(
    st.integers(0, 4000).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, 400) | st.integers(n // 16, n // 16 + 1))
    ),
    st.booleans(), st.sampled_from(["DMA", "HighMem"]), st.integers(0, 40),
    st.sampled_from([(5, 10, 0), (6, 1, 0), (6, 10, 0)]), st.integers(0, 1),
)  # fmt: skip
def test_until_6_9_a_zone_counts_neither_its_memory_map_nor_what_was_reserved_in_the_first(
    sizes, sparse, name, reserve, release, index
):
    """The map is that of the span, but of present pages where they are less by more than a sixteenth (SPARSEMEM)."""
    memory, hole = sizes
    kernel, log = kernel_of(release, SPARSEMEM=sparse), KernelLog()
    zone = Zone(name, 0, 0, memory + hole, memory, kernel.release, PageblockTypes(3), 4, index)
    free_area_init_core(Pgdat(0, 0, memory + hole, [zone]), kernel, reserve, None, log)
    counted = memory if sparse and memory + hole > memory + memory // 16 else memory + hole
    memmap, left = -(-counted * 64 // PAGE), memory
    lines = []
    if name != "HighMem" and memmap > memory:
        lines.append(f"  {name} zone: {memmap} pages exceeds freesize {memory}")
    elif name != "HighMem" and memmap:
        left -= memmap
        lines.append(f"  {name} zone: {memmap} pages used for memmap")
    if index == 0 and left > reserve:
        left -= reserve
        lines.append(f"  {name} zone: {reserve} pages reserved")
    if memory:
        lines.append(f"  {name} zone: {memory} pages, LIFO batch:0")
    if release == (6, 10, 0):
        left, lines = zone.managed_pages, []
    if release == (6, 1, 0):
        lines = [line for line in lines if "exceeds" in line]
    assert zone.managed_pages == left
    assert [line.text for line in log.lines] == lines


@pytest.mark.parametrize(
    ("present", "hole", "pages"), [(1600, 0, 25), (1600, 51, 26), (1600, 100, 27), (1600, 101, 25), (1600, 6400, 25)]
)
def test_the_memory_map_is_that_of_the_span_where_a_sixteenth_of_it_is_hole(present, hole, pages):
    """64 bytes a page; calc_memmap_size() takes what is present where the hole is larger."""
    assert calc_memmap_pages(present + hole, present, kernel_of((6, 1, 0))) == pages
    flat = kernel_of((6, 1, 0), SPARSEMEM=False)
    assert calc_memmap_pages(present + hole, present, flat) == -(-(present + hole) // 64)


@pytest.mark.parametrize(("core", "starts"), [(4, {0: 1}), (5, {0: 1}), (6, {}), (7, {})])
def test_all_memory_for_the_kernel_leaves_no_movable_zone(core, starts):
    """Though two pages would be left over: fewer than one for each node that is still to be served."""
    small = Small(((0, 4, 0, 0), (10, 11, 1, 0), (20, 21, 2, 0)), (2, TOP), MovableWish(kernelcore=core))
    ranges = [ZoneRange("DMA", 0, TOP), ZoneRange("Movable", 0, 0)]
    found = find_zone_movable_pfns(small.memblock(kernel_of((6, 1, 0))), ranges, small.wish, 1, KernelLog())
    assert found == starts


def spread(memory: list[tuple[int, int, int]], usable_start: int, required: int) -> dict[int, int]:
    """find_zone_movable_pfns_for_nodes(): pass by pass an even part for each node, page by page from below."""
    nodes = sorted({nid for _, _, nid in memory})
    pages = {nid: [p for start, end, n in memory if n == nid for p in range(start, end)] for nid in nodes}
    reached, usable = dict.fromkeys(nodes, 0), len(nodes)
    while True:
        part = required // usable
        for nid in nodes:
            part = min(part, required // usable) if required < part else part
            wanted = part
            for start, end, n in memory:
                mine = [p for p in range(start, end) if n == nid and p >= reached[nid]]
                if not mine:
                    continue
                low = [p for p in mine if p < usable_start]
                high = [p for p in mine if p >= usable_start][: max(wanted - len(low), 0)]
                required = max(required - len(low) - len(high), 0)
                wanted = max(wanted - len(low) - len(high), 0)
                reached[nid] = high[-1] + 1 if high else min(end, max(usable_start, mine[0]))
                if not wanted and end > usable_start:
                    break
        usable -= 1
        if not usable or required <= usable:
            return {nid: at for nid, at in reached.items() if 0 < at < pages[nid][-1] + 1}


@settings(max_examples=150, deadline=None)
@given(machines(), st.sampled_from([(6, 1, 0)]))
def test_kernelcore_is_spread_page_by_page(small, release):
    mb = small.memblock(kernel_of(release))
    ranges = zone_ranges((*zip(NAMES, small.limits, strict=False), ("Movable", 0)), min(m[0] for m in small.memory))
    memory, total = [m[:3] for m in small.memory], sum(end - start for start, end, _, _ in small.memory)
    found = find_zone_movable_pfns(mb, ranges, small.wish, 1, KernelLog())
    core = small.wish.kernelcore
    joined = [(start, end, nid) for start, end, nid in mb.for_each_mem_pfn_range()]
    assert sum(end - start for start, end, _ in joined) == total == sum(end - start for start, end, _ in memory)
    assert found == (spread(joined, movable_zone(ranges).start_pfn, core) if 0 < core < total else {})


def test_zone_types_lie_one_above_the_other():
    """From the end of the one below, or where memory begins, to the architecture's limit; Movable has no place."""
    limits = (("DMA", 10), ("DMA32", 0), ("Normal", 50), ("Movable", 0), ("Device", 60))
    assert zone_ranges(limits, 3) == [
        ZoneRange("DMA", 3, 10), ZoneRange("DMA32", 10, 10), ZoneRange("Normal", 10, 50), ZoneRange("Movable", 0, 0),
        ZoneRange("Device", 50, 60),
    ]  # fmt: skip
    above = zone_ranges((("DMA", 10), ("Normal", 50), ("Movable", 0)), 20)
    assert [(r.start_pfn, r.end_pfn, r.empty) for r in above] == [(20, 20, True), (20, 50, False), (0, 0, True)]
    assert movable_zone(above) == ZoneRange("Normal", 20, 50)
    assert movable_zone([ZoneRange("DMA", 0, 9), ZoneRange("Normal", 9, 9), ZoneRange("Movable", 0, 0)]).name == "DMA"
    with pytest.raises(MemblockPanic, match="no memory lies where a zone could be"):
        movable_zone([ZoneRange("DMA", 9, 9), ZoneRange("Movable", 0, 0)])


@pytest.mark.parametrize(
    ("cmdline", "wish"),
    [
        ("", MovableWish()),
        ("kernelcore=1M", MovableWish(kernelcore=256)),
        ("kernelcore=30%", MovableWish(kernelcore_percent=30)),
        ("kernelcore=30%x", MovableWish(kernelcore_percent=30)),
        ("kernelcore=1M kernelcore=8191", MovableWish(kernelcore=1)),
        ("kernelcore=mirror kernelcore=1M", MovableWish(kernelcore=256, mirror=True)),
        ("kernelcore=mirror", MovableWish(mirror=True)),
        ("kernelcore= movablecore=", MovableWish()),
        ("movablecore=2M", MovableWish(movablecore=512)),
        ("movablecore=5% kernelcore=9%", MovableWish(movablecore_percent=5, kernelcore_percent=9)),
        ("movable_node", MovableWish(movable_node=True)),
        ("elfcorehdr=1M", MovableWish(kdump=True)),
    ],
)
def test_what_the_command_line_asks_of_movable_zones(cmdline, wish):
    kernel = kernel_of((6, 12, 0), MEMORY_HOTPLUG=True, CRASH_DUMP=True)
    assert movable_wish(parse_cmdline(cmdline), kernel) == wish
    without = kernel_of((6, 12, 0))
    assert movable_wish(parse_cmdline(cmdline), without) == replace(wish, movable_node=False, kdump=False)


@pytest.mark.parametrize(
    ("release", "online", "memoryless"),
    [
        ((5, 10, 0), (), []),
        ((5, 10, 0), (3,), ["Initmem setup node 3 [mem 0x0000000000000000-0x0000000000000000]"]),
        ((6, 1, 0), (), ["Initializing node 3 as memoryless", "Initmem setup node 3 as memoryless"]),
        ((6, 1, 0), (3,), ["Initmem setup node 3 as memoryless"]),
        ((6, 12, 0), (), ["Initmem setup node 3 as memoryless"]),
    ],
)
def test_what_is_said_of_nodes_and_zones(release, online, memoryless):
    small = Small(((1, 16, 0, 0), (32, 256, 0, 0), (512, 1024, 1, 0)), (64, 1024), MovableWish(kernelcore=600))
    _, said = small.boot(kernel_of(release), frozenset(online))
    assert [line for line in said if " zone: " not in line and "On node" not in line] == [
        "Zone ranges:",
        "  DMA      [mem 0x0000000000001000-0x000000000003ffff]",
        "  Normal   [mem 0x0000000000040000-0x00000000003fffff]",
        "Movable zone start for each node",
        "  Node 1: 0x0000000000370000",
        "Early memory node ranges",
        "  node   0: [mem 0x0000000000001000-0x000000000000ffff]",
        "  node   0: [mem 0x0000000000020000-0x00000000000fffff]",
        "  node   1: [mem 0x0000000000200000-0x00000000003fffff]",
        "Initmem setup node 0 [mem 0x0000000000001000-0x00000000000fffff]",
        "Initmem setup node 1 [mem 0x0000000000200000-0x00000000003fffff]",
        *memoryless,
    ]
    if release == (5, 10, 0):
        totals = ["On node 0 totalpages: 239", "On node 1 totalpages: 512", *["On node 3 totalpages: 0"] * len(online)]
        assert [line for line in said if "totalpages" in line] == totals


def test_with_a_mirror_normal_and_movable_share_their_span():
    """What is not mirrored is Movable's from its start above 4 GiB on; below, and on a node without it, nothing is."""
    mirror, gib = MEMBLOCK_MIRROR, 1 << 18
    memory = [(1, 3, 0, mirror), (3, 4, 0, 0), (4, 5, 0, mirror), (5, 6, 0, 0), (6, 7, 0, mirror), (8, 9, 1, mirror)]
    pages = tuple((start * gib, end * gib, nid, flags) for start, end, nid, flags in memory)
    small = Small(pages, (4 * gib, 16 * gib), MovableWish(mirror=True))
    nodes, _ = small.boot(kernel_of((5, 10, 0)))
    held = {
        (z.nid, z.name): (z.zone_start_pfn // gib, z.spanned_pages / gib, z.present_pages / gib)
        for node in nodes.values() for z in node.zones if z.spanned_pages
    }  # fmt: skip
    assert held == {
        (0, "DMA"): (1, 3, 3), (0, "Normal"): (4, 3, 2), (0, "Movable"): (5, 2, 1), (1, "Normal"): (8, 1, 1),
    }  # fmt: skip


@pytest.mark.parametrize("deferred", [True, False])
def test_struct_pages_of_the_last_zone_wait_behind_its_first_section(deferred):
    """defer_init(): of the zone that ends the node, a section of 32 pages and what is left of the next come early."""
    small = Small(((16, 256, 0, 0),), (40, 256), MovableWish())
    nodes, _ = small.boot(kernel_of((6, 12, 0), DEFERRED_STRUCT_PAGE_INIT=deferred))
    assert nodes[0].first_deferred_pfn == (96 if deferred else None)
