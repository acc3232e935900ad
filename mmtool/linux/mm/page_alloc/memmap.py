"""Which memory gets its struct pages early, and the first types of pageblocks (memmap_init of mm/mm_init.c)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from mmtool.build.release import Release
from mmtool.linux.mm.memblock import (
    MEMBLOCK_DRIVER_MANAGED,
    MEMBLOCK_MIRROR,
    MEMBLOCK_NOMAP,
    MEMBLOCK_RSRV_NOINIT,
    MemblockRegion,
)
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType, PageblockTypes


def mem_pfn_ranges(memory: Iterable[MemblockRegion], page_shift: int = 12) -> Iterator[tuple[int, int, MemblockRegion]]:
    """The whole pages of each memory region as (start pfn, end pfn, region) (for_each_mem_pfn_range)."""
    for region in memory:
        start, end = _pfn_up(region.base, page_shift), (region.base + region.size) >> page_shift
        if start < end:
            yield start, end, region


def free_pfn_ranges(
    memory: Iterable[MemblockRegion], reserved: Iterable[MemblockRegion], page_shift: int = 12
) -> Iterator[tuple[int, int, MemblockRegion]]:
    """Memory that is not reserved, upwards, as (start pfn, end pfn, memory region).

    Models for_each_free_mem_range() with MEMBLOCK_NONE as memblock_free_all() uses it: NOMAP and
    DRIVER_MANAGED regions are left out, a range ends with its memory region even where the next one
    follows on, and pages that are reserved in part do not count. Both lists ascend without overlap.
    """
    taken = list(reserved)
    at = 0
    for region in memory:
        if region.flags & (MEMBLOCK_NOMAP | MEMBLOCK_DRIVER_MANAGED):
            continue
        base, end = region.base, region.base + region.size
        while at < len(taken) and taken[at].base + taken[at].size <= base:
            at += 1
        nxt = at
        while base < end:
            stop = min(taken[nxt].base, end) if nxt < len(taken) else end
            first, last = _pfn_up(base, page_shift), stop >> page_shift
            if first < last:
                yield first, last, region
            if nxt >= len(taken):
                break
            base = max(base, taken[nxt].base + taken[nxt].size)
            nxt += 1


def node_of(region: MemblockRegion, pgdats: dict[int, Pgdat]) -> Pgdat:
    """The node of a region; the first node where the region has none (early_pfn_to_nid)."""
    return pgdats[region.nid] if region.nid in pgdats else pgdats[min(pgdats)]


def memmap_init(
    memory: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    pageblocks: PageblockTypes,
    facts: Release,
    *,
    deferred: bool,
    pages_per_section: int | None,
    mirrored_kernelcore: bool = False,
    page_shift: int = 12,
) -> None:
    """Set up the memory map: which pageblocks are Movable, and where each node's deferred part begins.

    Models memmap_init() and memmap_init_range(): walking memory upwards, every pageblock whose first page
    is memory of a zone becomes Movable, all others keep the Unmovable of zeroed flags (the one with pfn 0,
    which x86 never counts as memory; one that begins in a hole; the deferred ones). With `deferred`
    (CONFIG_DEFERRED_STRUCT_PAGE_INIT) sets first_deferred_pfn of the nodes. `pages_per_section` None means
    FLATMEM: one map for everything. `memory` is memblock.memory, `pgdats` the nodes with their zones by nid.
    """
    _add_sections(memory, pgdats, pageblocks, pages_per_section, page_shift)
    defer = _DeferInit(pages_per_section, facts) if deferred and pages_per_section else None
    for start, end, region in mem_pfn_ranges(memory, page_shift):
        pgdat = node_of(region, pgdats)
        for zone in pgdat.populated_zones():
            first, last = max(start, zone.zone_start_pfn), min(end, zone.zone_end_pfn)
            if first >= last or (mirrored_kernelcore and zone.name == "Movable" and region.flags & MEMBLOCK_MIRROR):
                continue
            if defer is not None:
                last = defer.early_end(pgdat, zone, first, last)
            pageblocks.set_heads(first, last, MigrateType.MOVABLE)


class _DeferInit:
    """How far the early part of a node's last zone goes: one section of pages, then on to a section's start.

    Models defer_init() and its static counters.
    """

    def __init__(self, pages_per_section: int, facts: Release) -> None:
        self.section, self.facts = pages_per_section, facts
        self.prev_end_pfn = self.nr_initialised = 0

    def early_end(self, pgdat: Pgdat, zone: Zone, start: int, end: int) -> int:
        """The pfn in [start, end] at which early initialisation stops; sets first_deferred_pfn when it finds it."""
        if self.facts.defer_init_counts_every_zone:
            self._restart(zone)
        if zone.zone_end_pfn < pgdat.node_end_pfn:
            return end
        if pgdat.first_deferred_pfn is not None:
            return start
        self._restart(zone)
        earliest = max(start, start + self.section - self.nr_initialised)
        boundary = -(-earliest // self.section) * self.section
        if boundary < end:
            pgdat.first_deferred_pfn = boundary
            return boundary
        self.nr_initialised += end - start
        return end

    def _restart(self, zone: Zone) -> None:
        """The count starts anew with every zone end that differs from the last one seen."""
        if self.prev_end_pfn != zone.zone_end_pfn:
            self.prev_end_pfn, self.nr_initialised = zone.zone_end_pfn, 0


def memmap_init_reserved_pages(
    memory: Sequence[MemblockRegion],
    reserved: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    pageblocks: PageblockTypes,
    page_shift: int = 12,
) -> None:
    """Make deferred pageblocks Movable whose first page is reserved, from 6.13 on.

    Models memmap_init_reserved_pages() with init_deferred_page(): reserved pages in the deferred part get
    their struct pages at the hand-over, and with them their pageblock's type; so do NOMAP pages, but not
    reserved regions flagged RSRV_NOINIT. The pages keep the nodes of the memory that they lie in.
    """
    nomap = [region for region in memory if region.flags & MEMBLOCK_NOMAP]
    late = [
        (start, end, node_of(region, pgdats).first_deferred_pfn)
        for start, end, region in mem_pfn_ranges(memory, page_shift)
    ]
    ends = [end for _, end, _ in late]
    for region in (*nomap, *(r for r in reserved if not r.flags & MEMBLOCK_RSRV_NOINIT)):
        start, end = region.base >> page_shift, _pfn_up(region.base + region.size, page_shift)
        for first, last, deferred_pfn in late[bisect_right(ends, start) :]:
            if first >= end:
                break
            if deferred_pfn is not None:
                pageblocks.set_heads(max(start, first, deferred_pfn), min(end, last), MigrateType.MOVABLE)


def _add_sections(
    memory: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    pageblocks: PageblockTypes,
    pages_per_section: int | None,
    page_shift: int,
) -> None:
    """Pageblock flags exist where there is a section, that is some memory; with FLATMEM over each node's span."""
    if pages_per_section is None:
        for pgdat in pgdats.values():
            size = 1 << pageblocks.order
            start, end = pgdat.node_start_pfn // size * size, -(-pgdat.node_end_pfn // size) * size
            pageblocks.add_sections(start, end)
        return
    for start, end, _ in mem_pfn_ranges(memory, page_shift):
        first = start // pages_per_section * pages_per_section
        pageblocks.add_sections(first, -(-end // pages_per_section) * pages_per_section)


def _pfn_up(address: int, page_shift: int) -> int:
    return -(-address >> page_shift)
