"""Nodes and zones from memory alone: the seam to mm/mm_init.c, which knows command line and architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmtool.kernel.release import Release
from mmtool.mm.page_alloc.memmap import Region, mem_pfn_ranges, memmap_init
from mmtool.mm.page_alloc.migratetype import PageblockTypes
from mmtool.mm.page_alloc.zone import Pgdat, Zone

X86_64_ZONE_ENDS = (("DMA", 1 << 12), ("DMA32", 1 << 20), ("Normal", 1 << 52))
"""Where zones end at most on x86-64, lowest first, in pfns: 16 MiB, 4 GiB, the end of memory."""
X86_64_PAGES_PER_SECTION = 1 << 15


@dataclass(frozen=True, slots=True)
class ZoneSpan:
    """A zone of a node: pfns [start_pfn, end_pfn), `present_pages` of them memory."""

    nid: int
    name: str
    start_pfn: int
    end_pfn: int
    present_pages: int


def zone_spans(
    memory: Sequence[Region],
    zone_ends: Sequence[tuple[str, int]] = X86_64_ZONE_ENDS,
    zone_movable_pfn: Mapping[int, int] | None = None,
) -> list[ZoneSpan]:
    """The zones of every node that has memory, empty ones too, in zone order.

    Models free_area_init() and zone_spanned_pages_in_node(): a zone spans what the node's span (first to
    last page of its memory) and the zone's limits have in common, holes included. `zone_ends` gives name
    and end pfn of the architecture's zones, `zone_movable_pfn` by nid where ZONE_MOVABLE begins. The
    region's nid None counts as 0.
    """
    ranges = [(start, end, region.nid or 0) for start, end, region in mem_pfn_ranges(memory)]
    if not ranges:
        return []
    movable = zone_movable_pfn or {}
    low, last_pfn = ranges[0][0], max(end for _, end, _ in ranges)
    spans = []
    for nid in sorted({nid for _, _, nid in ranges}):
        mine = [(start, end) for start, end, owner in ranges if owner == nid]
        node_start, node_end = mine[0][0], max(end for _, end in mine)
        zone_start, split = low, movable.get(nid, 0) or node_end
        limits = []
        for name, zone_end in zone_ends:
            zone_end = max(zone_start, min(zone_end, last_pfn))
            limits.append((name, zone_start, min(zone_end, max(split, zone_start))))
            zone_start = zone_end
        limits.append(("Movable", split, zone_start))
        for name, start, end in limits:
            start, end = max(start, node_start), min(end, node_end)
            present = sum(max(0, min(end, e) - max(start, s)) for s, e in mine)
            spans.append(ZoneSpan(nid, name, start, end, present) if start < end else ZoneSpan(nid, name, 0, 0, 0))
    return spans


def make_nodes(
    memory: Sequence[Region],
    spans: Sequence[ZoneSpan],
    facts: Release,
    *,
    top_order: int = 10,
    pageblock_order: int = 9,
    deferred: bool = True,
    pages_per_section: int | None = X86_64_PAGES_PER_SECTION,
    mirrored_kernelcore: bool = False,
) -> dict[int, Pgdat]:
    """The nodes with their zones, by nid, memory map set up (see memmap_init), nothing free yet.

    `spans` in zone order within a node. `top_order`, `pageblock_order`, `deferred`
    (CONFIG_DEFERRED_STRUCT_PAGE_INIT) and `pages_per_section` (None: FLATMEM) are facts of the build.
    """
    pageblocks = PageblockTypes(min(pageblock_order, top_order))
    pgdats: dict[int, Pgdat] = {}
    for nid in sorted({span.nid for span in spans}):
        mine = [(start, end) for start, end, region in mem_pfn_ranges(memory) if (region.nid or 0) == nid]
        node_start = mine[0][0] if mine else 0
        node_end = max((end for _, end in mine), default=0)
        pgdats[nid] = Pgdat(nid, node_start, node_end - node_start)
    for span in spans:
        zones = pgdats[span.nid].zones
        zones.append(
            Zone(
                span.name,
                span.nid,
                span.start_pfn,
                span.end_pfn - span.start_pfn,
                span.present_pages,
                facts,
                pageblocks,
                top_order,
                zone_idx=len(zones),
            )
        )
    memmap_init(
        memory,
        pgdats,
        pageblocks,
        facts,
        deferred=deferred,
        pages_per_section=pages_per_section,
        mirrored_kernelcore=mirrored_kernelcore,
    )
    return pgdats
