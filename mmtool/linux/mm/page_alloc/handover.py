"""memblock's free memory becomes the buddy allocator's: memblock_free_all() and page_alloc_init_late().

Works range by range. Only the ragged ends of a range go through the buddy algorithm; the aligned middle,
whose blocks are of the largest order and merge with nothing, goes to its list as one run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmtool.linux.mm.memblock import MEMBLOCK_MIRROR, MemblockRegion
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.buddy import __free_one_page, account_freepages, free_one_page
from mmtool.linux.mm.page_alloc.memmap import free_pfn_ranges, memmap_init_reserved_pages, node_of
from mmtool.linux.mm.page_alloc.migratetype import MigrateType


def memblock_free_all(
    memory: Sequence[MemblockRegion],
    reserved: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    *,
    max_low_pfn: int | None = None,
    highmem: bool = False,
    mirrored_kernelcore: bool = False,
    page_shift: int = 12,
) -> int:
    """Hand all memory that memblock does not hold reserved to the free lists; the pages that count as RAM.

    Models memblock_free_all() of mm/memblock.c and, before 6.15 on a kernel with HIGHMEM,
    set_highmem_pages_init() of arch/x86. Every zone's managed_pages is set anew. Each free range is cut
    into the largest aligned blocks; each is merged and goes to its list's tail, so lists ascend. A node's
    deferred part counts as RAM but reaches no list. `memory` and `reserved` are memblock's region lists,
    `max_low_pfn` the end of directly mapped memory (None: all of it), `highmem` CONFIG_HIGHMEM.
    """
    zones = [zone for pgdat in pgdats.values() for zone in pgdat.zones]
    for zone in zones:
        zone.managed_pages = 0
    total = 0
    if not zones:
        return total
    facts, limit = zones[0].facts, max_low_pfn
    if highmem and facts.memblock_free_all_gives_highmem:
        limit = None
    elif highmem and limit is not None:
        total += _set_highmem_pages_init(memory, reserved, pgdats, limit)
    if facts.reserved_pageblocks_movable:
        memmap_init_reserved_pages(memory, reserved, pgdats, zones[0].pageblocks, page_shift)
    for start, end, region in free_pfn_ranges(memory, reserved, page_shift):
        end = end if limit is None else min(end, limit)
        if start < end:
            skip = ("Movable",) if mirrored_kernelcore and region.flags & MEMBLOCK_MIRROR else ()
            _free_pages_memory(node_of(region, pgdats), start, end, skip)
            total += end - start
    return total


def page_alloc_init_late(
    memory: Sequence[MemblockRegion],
    reserved: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    page_shift: int = 12,
) -> int:
    """Free the deferred part of every node; the number of pages.

    Models page_alloc_init_late() and deferred_init_memmap(), with memblock's lists as they are by then.
    Upwards within a node, as one CPU a node does it; with more CPUs a node the kernel's threads
    interleave, and only the content of the lists is certain, not their order.
    """
    pages = 0
    for zone, start, end in list(_deferred_ranges(memory, reserved, pgdats, page_shift)):
        pages += _free_deferred(zone, start, end)
    for pgdat in pgdats.values():
        pgdat.first_deferred_pfn = None
    return pages


def _deferred_ranges(
    memory: Sequence[MemblockRegion],
    reserved: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    page_shift: int,
) -> Iterator[tuple[Zone, int, int]]:
    """What is free of the nodes' deferred parts, upwards: (the node's last zone, start pfn, end pfn)."""
    late = {
        nid: (pgdat.populated_zones()[-1], pgdat.first_deferred_pfn)
        for nid, pgdat in pgdats.items()
        if pgdat.first_deferred_pfn is not None
    }
    for start, end, region in free_pfn_ranges(memory, reserved, page_shift) if late else ():
        nid = node_of(region, pgdats).nid
        if nid in late:
            zone, first = late[nid]
            start, end = max(start, first, zone.zone_start_pfn), min(end, zone.zone_end_pfn)
            if start < end:
                yield zone, start, end


def _free_deferred(zone: Zone, start: int, end: int) -> int:
    """Free [start, end) late: pageblocks whose first page is freed become Movable (deferred_free_pages)."""
    zone.pageblocks.set_heads(start, end, MigrateType.MOVABLE)
    _free_in_zone(zone, start, end)
    return end - start


def deferred_grow_zone(
    memory: Sequence[MemblockRegion],
    reserved: Sequence[MemblockRegion],
    pgdats: dict[int, Pgdat],
    zone: Zone,
    order: int,
    *,
    pages_per_section: int,
    page_shift: int = 12,
) -> bool:
    """Free some of a zone's deferred pages early, because an allocation of 2**order pages found too few.

    Models deferred_grow_zone(): whole sections until a section's worth of pages (or the allocation's size,
    rounded up to sections) came. Before 6.18 first_deferred_pfn then moves to the next free page; from
    6.18 on to the next section. Returns whether it is worth trying again.
    """
    pgdat = pgdats[zone.nid]
    if zone.zone_end_pfn != pgdat.node_end_pfn or pgdat.first_deferred_pfn is None:
        return False
    needed = -(-(1 << order) // pages_per_section) * pages_per_section
    deferred = _deferred_ranges(memory, reserved, pgdats, page_shift)
    ranges = [(start, end) for owner, start, end in deferred if owner is zone]
    stop = _grow_until(ranges, zone, needed, pages_per_section)
    pages = sum(_free_deferred(zone, start, min(end, stop)) for start, end in ranges if start < stop)
    pgdat.first_deferred_pfn = stop if stop < zone.zone_end_pfn else None
    # Before 6.18 a zone without any deferred page left is tried once more.
    return pages > 0 or not zone.facts.deferred_grow_by_sections


def _grow_until(ranges: Sequence[tuple[int, int]], zone: Zone, needed: int, section: int) -> int:
    """The pfn at which deferred_grow_zone() stops, the zone's end when it takes all that is left."""
    pages, current = 0, -1
    for start, end in ranges:
        while start < end:
            if start // section != current and pages >= needed:
                return (current + 1) * section if zone.facts.deferred_grow_by_sections else start
            current = start // section
            last = min(end, (current + 1) * section)
            pages += last - start
            start = last
    if zone.facts.deferred_grow_by_sections and pages >= needed:
        return min((current + 1) * section, zone.zone_end_pfn)
    return zone.zone_end_pfn


def _free_pages_memory(pgdat: Pgdat, start: int, end: int, skip: tuple[str, ...]) -> None:
    """Free the early part of [start, end) of a node, each block to the zone of its first page (__free_pages_memory)."""
    if pgdat.first_deferred_pfn is not None:
        end = min(end, max(start, pgdat.first_deferred_pfn))
    for zone, first, last in _zone_parts(pgdat, start, end, skip):
        _free_in_zone(zone, first, last)


def _zone_parts(pgdat: Pgdat, start: int, end: int, skip: tuple[str, ...]) -> Iterator[tuple[Zone, int, int]]:
    """[start, end) by the zone that each largest aligned block begins in.

    A block that crosses from one zone into the next belongs whole to the first: the kernel looks at its
    first page only. Of zones that overlap (kernelcore=mirror) the higher one has the page.
    """
    zones = [
        zone for zone in pgdat.populated_zones()
        if zone.zone_start_pfn < end and start < zone.zone_end_pfn and zone.name not in skip
    ]  # fmt: skip
    if len(zones) == 1 and zones[0].zone_start_pfn <= start and end <= zones[0].zone_end_pfn:
        yield zones[0], start, end
        return
    edges = sorted({edge for zone in zones for edge in (zone.zone_start_pfn, zone.zone_end_pfn)})
    while zones and start < end:
        edge = min((e for e in edges if e > start), default=end)
        last = start
        while last < min(edge, end):
            last += _largest_run(last, end, min(edge, end), zones[0].top_order)
        owner = [zone for zone in zones if zone.spans(start)]
        if owner:
            yield owner[-1], start, last
        start = last


def _largest_run(pfn: int, end: int, edge: int, top_order: int) -> int:
    """Pages of the block that begins at `pfn` in a range up to `end`; of all blocks that begin below `edge` once the
    largest order is reached."""
    order = _block_order(pfn, end, top_order)
    if order < top_order:
        return 1 << order
    return min((end - pfn) >> order, -((pfn - edge) >> order)) << order


def _block_order(pfn: int, end: int, top_order: int) -> int:
    """The order of the largest aligned block at `pfn` that ends by `end`. Pfn 0 is aligned to everything."""
    order = (end - pfn).bit_length() - 1
    if order > top_order:
        order = top_order
    return order if not pfn & ((1 << order) - 1) else (pfn & -pfn).bit_length() - 1


def _free_in_zone(zone: Zone, start: int, end: int) -> None:
    """Free [start, end) to the tails of a zone's lists (__free_pages_core with each block)."""
    zone.managed_pages += end - start
    top_order = zone.top_order
    while start < end:
        order = _block_order(start, end, top_order)
        if order < top_order:
            free_one_page(zone, start, order, to_tail=True)
            start += 1 << order
        else:
            middle = end >> order << order
            _free_largest(zone, start, middle)
            start = middle


def free_range(zone: Zone, start: int, end: int) -> None:
    """Free pages [start, end), which the zone did not manage so far, in the largest aligned blocks.

    Models free_reserved_area() and the like, for which managed_pages is the caller's. The kernel frees page by page
    through per-CPU lists, so that the content of the free lists is the kernel's but not their order.
    """
    while start < end:
        order = _block_order(start, end, zone.top_order)
        free_one_page(zone, start, order)
        start += 1 << order


def _free_largest(zone: Zone, start: int, end: int) -> None:
    """Free the blocks of the largest order from start to end, as runs where the pageblock type is one.

    Blocks of the largest order merge with nothing, and the tail is where each goes: a run can go at once.
    Only a block of pageblocks of different types takes the long way, where releases differ.
    """
    order, size = zone.top_order, 1 << zone.top_order
    # All spans at once: freeing a block of two types may change the types of its pageblocks.
    for first, last, migratetype in list(zone.pageblocks.spans(start, end)):
        first, whole = max(start, first), last >> order << order
        if first < whole:
            zone.free_area.add_run_to_tail(first, (whole - first) >> order, order, migratetype)
            account_freepages(zone, whole - first, migratetype)
            start = whole
        if start < last:
            free_one_page(zone, start, order, to_tail=True)
            start += size


def _set_highmem_pages_init(
    memory: Sequence[MemblockRegion], reserved: Sequence[MemblockRegion], pgdats: dict[int, Pgdat], max_low_pfn: int
) -> int:
    """Free high memory page by page, before memblock_free_all() frees the rest; the number of pages.

    Models set_highmem_pages_init() and add_highpages_with_active_regions() of arch/x86 (until 6.14). Each
    page passes the per-CPU list of boot, which holds none back, into __free_one_page() without
    FPI_TO_TAIL; freeing it in the largest aligned blocks whose pageblocks are of one type leaves the same lists.
    """
    pages = 0
    for start, end, region in free_pfn_ranges(memory, reserved):
        pgdat = node_of(region, pgdats)
        for zone in pgdat.populated_zones():
            pfn, last = max(start, zone.zone_start_pfn), min(end, zone.zone_end_pfn)
            if zone.zone_start_pfn < max_low_pfn or pfn >= last:
                continue
            zone.managed_pages += last - pfn
            pages += last - pfn
            while pfn < last:
                order, kind = _block_order(pfn, last, zone.top_order), zone.pageblocks.get(pfn)
                others = range(pfn + (1 << zone.pageblock_order), pfn + (1 << order), 1 << zone.pageblock_order)
                if any(zone.pageblocks.get(head) != kind for head in others):
                    order = zone.pageblock_order
                __free_one_page(zone, pfn, order, kind)
                pfn += 1 << order
    return pages
