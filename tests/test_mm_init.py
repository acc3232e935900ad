"""Nodes, zones and holes against a walk over every page, on small machines of every shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.build.release import release_facts
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import MEMBLOCK_MIRROR, MEMBLOCK_NOMAP, Memblock
from mmtool.linux.mm.mm_init import MovableWish, free_area_init
from mmtool.linux.mm.mmzone import Pgdat

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

    def boot(self, kernel: Kernel, dma_reserve: int = 0) -> tuple[dict[int, Pgdat], list[str]]:
        mb, log = Memblock(kernel.release, numa=True, max_numnodes=4, page_size=PAGE), KernelLog()
        for start, end, nid, flags in self.memory:
            mb.add_node(start * PAGE, (end - start) * PAGE, nid)
            for flag, mark in ((MEMBLOCK_NOMAP, mb.mark_nomap), (MEMBLOCK_MIRROR, mb.mark_mirror)):
                if flags & flag:
                    mark(start * PAGE, (end - start) * PAGE)
        nids = {nid for _, _, nid, _ in self.memory}
        limits = (*zip(NAMES, self.limits, strict=False), ("Movable", 0))
        nodes = free_area_init(
            mb, kernel, limits, self.wish, log, possible_nodes=nids | {3}, online_nodes=nids, dma_reserve=dma_reserve
        )
        return nodes, [line.text for line in log.lines]

    def pages(self, nid: int) -> list[int]:
        return [pfn for start, end, owner, _ in self.memory if owner == nid for pfn in range(start, end)]


@st.composite
def machines(draw: st.DrawFn, flags: tuple[int, ...] = (0,)) -> Small:
    """Up to five ranges of up to three nodes, in any order of nodes, touching or not."""
    edges = sorted(draw(st.sets(st.integers(0, TOP), min_size=2, max_size=10)))
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    marks = st.tuples(st.integers(0, 2), st.sampled_from(flags))
    limits = sorted((draw(st.integers(0, TOP)), TOP))
    core = MovableWish(kernelcore=draw(st.integers(0, TOP)))
    return Small(tuple((a, b, *draw(marks)) for a, b in pairs), (limits[0], limits[1]), core)


def movable_starts(said: list[str]) -> dict[int, int]:
    """Where the Movable zone of a node begins, as it was said."""
    lines = said[said.index("Movable zone start for each node") + 1 : said.index("Early memory node ranges")]
    return {int(line[7]): int(line.split(": ")[1], 16) // PAGE for line in lines}


def zone_by_zone(small: Small, nid: int, cut: int | None) -> dict[str, tuple[int, int, int]]:
    """(start, spanned, present) of each zone that a node has pages of, from its first page to its last."""
    memory = set(small.pages(nid))
    first = min(start for start, _, _, _ in small.memory)
    edge = max(small.limits[0], first)
    highest = "Normal" if edge < max(small.limits[1], edge) else "DMA"
    zones: dict[str, list[int]] = {}
    for pfn in range(min(memory), max(memory) + 1):
        name = "DMA" if pfn < edge else "Normal"
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
        held = {
            z.name: (z.zone_start_pfn, z.spanned_pages, z.present_pages) for z in nodes[nid].zones if z.spanned_pages
        }
        assert held == zone_by_zone(small, nid, starts.get(nid))
        assert nodes[nid].node_start_pfn == min(small.pages(nid))
        assert nodes[nid].node_spanned_pages == sum(spanned for _, spanned, _ in held.values())
        assert [(z.name, z.zone_idx) for z in nodes[nid].zones] == list(zip(NAMES, range(3), strict=True))
    assert (3 in nodes) is (release > (5, 18, 0))
    assert all(z.spanned_pages == z.zone_start_pfn == 0 for z in nodes[3].zones) if 3 in nodes else True


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
        nid = next(nid for _, end, nid, _ in small.memory if end == last)
        name = [z.name for z in nodes[nid].zones if z.present_pages][-1]
        counts.append((f"node {nid}, zone {name}", lost))
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
