"""From memory ranges to zones: mm/mm_init.c (mm/page_alloc.c before 6.4).

Everything is in page frame numbers and counts of pages; ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from mmtool.build.kernel import Kernel
from mmtool.build.release import Release
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import MEMBLOCK_HOTPLUG, MEMBLOCK_MIRROR, MEMBLOCK_NOMAP, Memblock, MemblockPanic
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.memmap import memmap_init
from mmtool.linux.mm.page_alloc.migratetype import PageblockTypes
from mmtool.linux.mm.page_alloc.pageset_limits import zone_batchsize
from mmtool.units import memparse

FOUR_GIB = 1 << 32
MOVABLE = "Movable"


@dataclass(frozen=True, slots=True)
class ZoneRange:
    """The pfns that a zone type may hold: arch_zone_{lowest,highest}_possible_pfn[]. Movable has none of its own."""

    name: str
    start_pfn: int
    end_pfn: int

    @property
    def empty(self) -> bool:
        return self.start_pfn == self.end_pfn


@dataclass(frozen=True, slots=True)
class MovableWish:
    """kernelcore= and movablecore= (pages or percent), kernelcore=mirror and movable_node of the command line."""

    kernelcore: int = 0
    kernelcore_percent: int = 0
    movablecore: int = 0
    movablecore_percent: int = 0
    mirror: bool = False
    movable_node: bool = False
    kdump: bool = False
    """elfcorehdr= tells the kernel of one that crashed (is_kdump_kernel())."""


def parse_core(value: str, page_shift: int) -> tuple[int, int]:
    """cmdline_parse_core(): a size in pages, or a percentage: (pages, percent), one of them 0."""
    number, at = memparse(value)
    if value[at : at + 1] == "%":
        return 0, number
    return number >> page_shift, 0


def movable_wish(cmdline: Cmdline, kernel: Kernel) -> MovableWish:
    """cmdline_parse_kernelcore(), cmdline_parse_movablecore() and movable_node; the last size of each option counts."""
    core = [v for v in cmdline.all("kernelcore") if v]
    sizes = [v for v in core if v != "mirror"]
    kernelcore, kernelcore_percent = parse_core(sizes[-1], kernel.page_shift) if sizes else (0, 0)
    movable = cmdline.get("movablecore")
    movablecore, movablecore_percent = parse_core(movable, kernel.page_shift) if movable else (0, 0)
    node = cmdline.has("movable_node") and kernel.enabled("MEMORY_HOTPLUG")
    kdump = cmdline.has("elfcorehdr") and kernel.enabled("CRASH_DUMP")
    return MovableWish(kernelcore, kernelcore_percent, movablecore, movablecore_percent, "mirror" in core, node, kdump)


def parse_movable(early: Early) -> MovableWish:
    """The early parameters among them: from here on memblock spares hot-pluggable memory, and knows mirrored one."""
    wish = movable_wish(early.cmdline, early.kernel)
    early.memblock.movable_node, early.memblock.mirrored_kernelcore = wish.movable_node, wish.mirror
    return wish


def free_area_init(
    mb: Memblock,
    kernel: Kernel,
    max_zone_pfns: Sequence[tuple[str, int]],
    wish: MovableWish,
    log: KernelLog,
    *,
    possible_nodes: Set[int],
    online_nodes: Set[int],
    dma_reserve: int = 0,
) -> dict[int, Pgdat]:
    """The nodes, by nid, with their zones, holes and first counts, and the memory map's pageblocks; nothing free yet.

    Models free_area_init(). Before 5.18 only online nodes get zones. `max_zone_pfns` is the architecture's (see
    zone_ranges), `dma_reserve` the pages of the lowest zone that memblock has already given away.
    """
    facts = kernel.release
    ranges = zone_ranges(max_zone_pfns, mb.start_of_DRAM() >> kernel.page_shift)
    movable = find_zone_movable_pfns(mb, ranges, wish, 1 << kernel.max_page_order, log)
    log_zone_ranges(mb, ranges, movable, log)
    cutter = NodeZones(mb, kernel, ranges, movable, wish.mirror)
    flat_end = None if kernel.enabled("SPARSEMEM") else max(limit for _, limit in max_zone_pfns)
    by_zone = facts.counts_unavailable_by_zone and not facts.counts_unavailable
    holes = _ZoneHoles(mb, kernel, flat_end, log) if by_zone else None
    nodes = {}
    for nid in sorted(possible_nodes if facts.numa_lets_offline_nodes_be else online_nodes):
        nodes[nid] = cutter.node(nid)
        log_node(nodes[nid], cutter.spans.get(nid, (0, 0)), nid in online_nodes, kernel, log)
        free_area_init_core(nodes[nid], kernel, dma_reserve, holes, log)
    memmap_init(
        mb.memory.regions, nodes, cutter.pageblocks, facts,
        deferred=kernel.enabled("DEFERRED_STRUCT_PAGE_INIT"),
        pages_per_section=None if flat_end else 1 << (kernel.section_size_bits - kernel.page_shift),
        mirrored_kernelcore=wish.mirror, page_shift=kernel.page_shift,
    )  # fmt: skip
    if facts.counts_unavailable:
        memmap_init_holes(mb, nodes, kernel, flat_end, log)
    return nodes


def zone_ranges(max_zone_pfns: Sequence[tuple[str, int]], start_pfn: int) -> list[ZoneRange]:
    """Where each zone type lies: from the end of the one below (`start_pfn` for the first) to its limit.

    Models the head of free_area_init(). `max_zone_pfns` is the architecture's limit for each zone type, lowest
    first, 0 for one that it does not use; Movable is in its place with any limit and gets an empty range.
    """
    start = start_pfn
    out = []
    for name, limit in max_zone_pfns:
        if name == MOVABLE:
            out.append(ZoneRange(name, 0, 0))
            continue
        end = max(limit, start)
        out.append(ZoneRange(name, start, end))
        start = end
    return out


def node_spans(mb: Memblock) -> dict[int, tuple[int, int]]:
    """get_pfn_range_for_nid() of every node with memory: first and one past the last pfn."""
    spans: dict[int, tuple[int, int]] = {}
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        low, high = spans.get(nid, (start, end))
        spans[nid] = (min(low, start), max(high, end))
    return spans


def movable_zone(ranges: Sequence[ZoneRange]) -> ZoneRange:
    """find_usable_zone_for_movable(): the highest zone type that is not empty; Movable is cut out of it."""
    usable = [r for r in ranges if r.name != MOVABLE and not r.empty]
    if not usable:
        raise MemblockPanic("no memory lies where a zone could be")
    return usable[-1]


def find_zone_movable_pfns(
    mb: Memblock, ranges: Sequence[ZoneRange], wish: MovableWish, max_order_pages: int, log: KernelLog
) -> dict[int, int]:
    """Where the Movable zone begins on each node: {nid: pfn}, without nodes that have none.

    Models find_zone_movable_pfns_for_nodes(): hot-pluggable memory with movable_node, unmirrored memory
    above 4 GiB with kernelcore=mirror, else what kernelcore= leaves, spread evenly over the nodes.
    """
    if wish.movable_node:
        starts = _lowest_region_starts(mb, MEMBLOCK_HOTPLUG, True)
    elif wish.mirror:
        if mb.release.mirror_wants_mirrored_memory and not mb.has_mirror:
            log.warn("The system has no mirror memory, ignore kernelcore=mirror.")
            return {}
        if mb.release.mirror_not_under_kdump and wish.kdump:
            log.warn("The system is under kdump, ignore kernelcore=mirror.")
            return {}
        starts = _lowest_region_starts(mb, MEMBLOCK_MIRROR, False, 0)
        low = {nid for nid, pfn in starts.items() if pfn * mb.page_size < FOUR_GIB}
        if low:
            log.warn("This configuration results in unmirrored kernel memory.")
            starts = _lowest_region_starts(mb, MEMBLOCK_MIRROR, False, FOUR_GIB // mb.page_size)
    else:
        needed = _required_kernelcore(mb, wish, max_order_pages)
        if needed is None:
            return {}
        starts = _spread_kernelcore(mb, movable_zone(ranges).start_pfn, needed)
    spans = node_spans(mb)
    rounded = {nid: -(-pfn // max_order_pages) * max_order_pages for nid, pfn in starts.items()}
    return {nid: pfn for nid, pfn in rounded.items() if pfn and pfn < spans.get(nid, (0, 0))[1]}


def _lowest_region_starts(mb: Memblock, flag: int, wanted: bool, at_least: int = 1) -> dict[int, int]:
    """Per node, the first pfn of the lowest memory region with (or without) a flag.

    A region at pfn 0 decides nothing: zone_movable_pfn[] of 0 means that none was found yet.
    """
    starts: dict[int, int] = {}
    for r in mb.memory.regions:
        pfn = -(-r.base // mb.page_size)
        if bool(r.flags & flag) == wanted and pfn >= at_least:
            starts[r.nid] = min(pfn, starts.get(r.nid, pfn))
    return starts


def _required_kernelcore(mb: Memblock, wish: MovableWish, max_order_pages: int) -> int | None:
    """Pages that must stay usable for any allocation, from both options; None when there is no Movable zone."""
    total = sum(end - start for start, end, _ in mb.for_each_mem_pfn_range(mb.max_numnodes))
    core = total * 100 * wish.kernelcore_percent // 10000 if wish.kernelcore_percent else wish.kernelcore
    movable = total * 100 * wish.movablecore_percent // 10000 if wish.movablecore_percent else wish.movablecore
    if movable:
        movable = min(-(-movable // max_order_pages) * max_order_pages, total)
        core = max(core, total - movable)
    return core if 0 < core < total else None


class _KernelcoreNode:
    """A node while kernelcore is spread: its memory, and the pfn up to which it is the kernel's."""

    def __init__(self, usable_start: int) -> None:
        self.usable_start = usable_start
        self.ranges: list[tuple[int, int]] = []
        self.movable_pfn = 0

    def take(self, wanted: int) -> int:
        """Give the kernel `wanted` pages more, from below; how many of what is required that meets.

        What lies below `usable_start` can never be Movable: it is given as a whole, and counts as far as wanted.
        """
        given, left = 0, wanted
        for start, end in self.ranges:
            start = max(start, self.movable_pfn)
            if start >= end:
                continue
            if start < self.usable_start:
                below = min(end, self.usable_start) - start
                given, left = given + below, left - min(below, left)
                if end <= self.usable_start:
                    self.movable_pfn = end
                    continue
                start = self.usable_start
            size = min(end - start, left)
            self.movable_pfn = start + size
            given, left = given + size, left - size
            if not left:
                break
        return given


def _spread_kernelcore(mb: Memblock, usable_start: int, required: int) -> dict[int, int]:
    """Spread `required` pages evenly over the nodes, pass by pass: where each node's Movable zone may begin.

    A node that has too little passes the rest on to the others, until less than a page a node is left.
    """
    nodes: dict[int, _KernelcoreNode] = {}
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        nodes.setdefault(nid, _KernelcoreNode(usable_start)).ranges.append((start, end))
    usable_nodes = len(nodes)
    while True:
        per_node = required // usable_nodes
        for _, node in sorted(nodes.items()):
            if required < per_node:
                per_node = required // usable_nodes
            required -= min(node.take(per_node), required)
        usable_nodes -= 1
        if not usable_nodes or required <= usable_nodes:
            return {nid: node.movable_pfn for nid, node in sorted(nodes.items())}


def mem_range(start_pfn: int, end_pfn: int, page_shift: int, facts: Release) -> str:
    """Pages as the kernel prints a range of memory, its last byte included."""
    width = 18 if facts.prints_wide_ranges else 10
    return f"[mem {start_pfn << page_shift:#0{width}x}-{max((end_pfn << page_shift) - 1, 0):#0{width}x}]"


def log_zone_ranges(mb: Memblock, ranges: Sequence[ZoneRange], movable: dict[int, int], log: KernelLog) -> None:
    """The lines of free_area_init(): zone ranges, starts of the Movable zones, early node ranges."""
    facts, shift = mb.release, mb.page_size.bit_length() - 1
    log.info("Zone ranges:")
    for r in ranges:
        if r.name == MOVABLE:
            continue
        log.info(f"  {r.name:<8} {'empty' if r.empty else mem_range(r.start_pfn, r.end_pfn, shift, facts)}")
    log.info("Movable zone start for each node")
    for nid, pfn in sorted(movable.items()):
        log.info(f"  Node {nid}: {pfn << shift:#018x}")
    log.info("Early memory node ranges")
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        log.info(f"  node {nid:3d}: {mem_range(start, end, shift, facts)}")


class NodeZones:
    """calculate_node_totalpages() for one machine: cuts each node into zones."""

    def __init__(
        self, mb: Memblock, kernel: Kernel, ranges: Sequence[ZoneRange], movable: dict[int, int], mirror: bool
    ) -> None:
        self.mb, self.kernel, self.ranges, self.movable = mb, kernel, ranges, movable
        self.mirror = mirror
        self.pageblocks = PageblockTypes(kernel.pageblock_order)
        self.spans = node_spans(mb)
        self.memory = list(mb.for_each_mem_pfn_range(mb.max_numnodes))

    def node(self, nid: int) -> Pgdat:
        """One node with all its zones, those without pages included, lowest type first."""
        start, end = self.spans.get(nid, (0, 0))
        zones = []
        for index, r in enumerate(self.ranges):
            low, high = self._zone_span(nid, r, start, end) if end else (0, 0)
            spanned = high - low
            present = spanned - self._absent(nid, r, low, high) if spanned else 0
            zones.append(
                Zone(
                    r.name, nid, low, spanned, present, self.kernel.release, self.pageblocks,
                    self.kernel.max_page_order, index, present,
                )
            )  # fmt: skip
        return Pgdat(nid, start, sum(z.spanned_pages for z in zones), zones)

    def _zone_span(self, nid: int, r: ZoneRange, node_start: int, node_end: int) -> tuple[int, int]:
        """zone_spanned_pages_in_node(): what of the node lies in a zone, Movable cut out of the others."""
        low = min(max(node_start, r.start_pfn), r.end_pfn)
        high = min(max(node_end, r.start_pfn), r.end_pfn)
        cut = self.movable.get(nid)
        if cut:
            if r.name == MOVABLE:
                low, high = cut, min(node_end, movable_zone(self.ranges).end_pfn)
            elif not self.mirror and low < cut < high:
                high = cut
            elif low >= cut:
                low = high
        return (low, high) if low < high else (0, 0)

    def _absent(self, nid: int, r: ZoneRange, low: int, high: int) -> int:
        """zone_absent_pages_in_node(): pages of the span that are no memory, or another zone's under mirror."""
        absent = high - low
        for start, end, owner in self.memory:
            if owner == nid:
                absent -= max(0, min(end, high) - max(start, low))
        if self.mirror and nid in self.movable and r.name in (MOVABLE, "Normal"):
            for region in self.mb.memory.regions:
                start, end = -(-region.base // self.mb.page_size), region.end // self.mb.page_size
                if bool(region.flags & MEMBLOCK_MIRROR) == (r.name == MOVABLE):
                    absent += max(0, min(end, high) - max(start, low))
        return absent


def calc_memmap_pages(spanned: int, present: int, kernel: Kernel) -> int:
    """calc_memmap_size(): pages that a zone's struct pages take, by a rule of thumb."""
    pages = spanned
    by_span = kernel.release.zone_counts_without_memmap
    if spanned > present + (present >> 4) and kernel.enabled("SPARSEMEM") and not by_span:
        pages = present
    return -(-pages * kernel.profile.sizes["struct_page"] >> kernel.page_shift)


def free_area_init_core(
    node: Pgdat, kernel: Kernel, dma_reserve: int, holes: _ZoneHoles | None, log: KernelLog
) -> None:
    """free_area_init_core(): what each zone counts as its own until memblock hands its memory over.

    Until 6.9 that is what is present without the memory map and, in the first zone, what memblock had taken
    (`dma_reserve` pages); from then on all that is present. `holes` counts those of each zone, in 5.12 and its time.
    """
    facts = kernel.release
    if not facts.memmap_charged_to_zones:
        return
    for zone in node.zones:
        freesize = zone.present_pages
        memmap = calc_memmap_pages(zone.spanned_pages, freesize, kernel)
        if zone.name != "HighMem":
            if freesize >= memmap:
                freesize -= memmap
                if memmap and facts.prints_zone_sizes:
                    log.debug(f"  {zone.name} zone: {memmap} pages used for memmap")
            else:
                log.warn(f"  {zone.name} zone: {memmap} pages exceeds freesize {freesize}")
        if zone.zone_idx == 0 and freesize > dma_reserve:
            freesize -= dma_reserve
            if facts.prints_zone_sizes:
                log.debug(f"  {zone.name} zone: {dma_reserve} pages reserved")
        zone.managed_pages = freesize
        if zone.populated and facts.prints_zone_sizes:
            batch = zone_batchsize(freesize, kernel.page_shift, facts)
            counted = freesize if facts.zone_counts_without_memmap else zone.present_pages
            log.debug(f"  {zone.name} zone: {counted} pages, LIFO batch:{batch}")
        if holes is not None and zone.spanned_pages:
            holes.zone(zone)


def log_node(node: Pgdat, pfns: tuple[int, int], online: bool, kernel: Kernel, log: KernelLog) -> None:
    """The lines with which free_area_init_node() begins a node, whose memory reaches over `pfns`, no matter how much of
    that zones take in."""
    facts = kernel.release
    if node.node_spanned_pages or not facts.numa_lets_offline_nodes_be:
        if not facts.numa_prints_initmem:
            span = mem_range(*pfns, kernel.page_shift, facts)
            log.info(f"Initmem setup node {node.nid} {span}")
    else:
        if facts.says_initializing_memoryless and not online:
            log.info(f"Initializing node {node.nid} as memoryless")
        log.info(f"Initmem setup node {node.nid} as memoryless")
    if facts.prints_zone_sizes:
        log.debug(f"On node {node.nid} totalpages: {sum(z.present_pages for z in node.zones)}")


def memmap_init_holes(
    mb: Memblock, nodes: dict[int, Pgdat], kernel: Kernel, flat_end: int | None, log: KernelLog
) -> None:
    """Struct pages of holes go to the zone above them: "On node N, zone Z: P pages in unavailable ranges".

    Models the walk of memmap_init() (from 5.13 on; earlier ones in the releases' stable branches). With
    SPARSEMEM only pages of a section that holds memory have a struct page, and the hole after the last
    memory reaches to its section's end; with FLATMEM all pages below pfn `flat_end` have one, and memory that no zone
    takes in is a hole.
    """
    section = 1 << (kernel.section_size_bits - kernel.page_shift)
    ranges = list(mb.for_each_mem_pfn_range(mb.max_numnodes))
    valid = _ValidPfns(mb, kernel, flat_end)
    hole = 0
    last_zone: Zone | None = None
    for start, end, nid in ranges:
        for zone in nodes[nid].populated_zones() if nid in nodes else ():
            low = min(max(start, zone.zone_start_pfn), zone.zone_end_pfn)
            high = min(max(end, zone.zone_start_pfn), zone.zone_end_pfn)
            if low < high:
                _say_unavailable(valid.count(hole, low), zone.nid, zone.name, log)
                hole = high
            last_zone = zone
    if last_zone is not None:
        last_end = -(-ranges[-1][1] // section) * section if flat_end is None else ranges[-1][1]
        _say_unavailable(valid.count(hole, last_end), ranges[-1][2], last_zone.name, log)


class _ZoneHoles:
    """The holes of each zone, in 5.12 and its time: "  Z zone: P pages in unavailable ranges".

    Models memmap_init_zone() of mm/page_alloc.c as it was then: in each zone a walk over all memory of its node, cut to
    the zone, that counts what lies below each range from where the one before ended, be that in another zone or node.
    With SPARSEMEM the rest of the zone's last section counts too, even where the next zone begins in it.
    """

    def __init__(self, mb: Memblock, kernel: Kernel, flat_end: int | None, log: KernelLog) -> None:
        self.memory, self.valid, self.log = list(mb.for_each_mem_pfn_range()), _ValidPfns(mb, kernel, flat_end), log
        self.section = None if flat_end else 1 << (kernel.section_size_bits - kernel.page_shift)
        self.hole = 0

    def zone(self, zone: Zone) -> None:
        """Count and print those of one zone."""
        pages = 0
        for start, end, nid in self.memory:
            if nid == zone.nid:
                low, high = (min(max(pfn, zone.zone_start_pfn), zone.zone_end_pfn) for pfn in (start, end))
                pages += self.valid.count(self.hole, low)
                self.hole = high
        if self.section:
            pages += self.valid.count(self.hole, -(-zone.zone_end_pfn // self.section) * self.section)
        if pages:
            self.log.info(f"  {zone.name} zone: {pages} pages in unavailable ranges")


def _say_unavailable(pages: int, nid: int, zone: str, log: KernelLog) -> None:
    if pages:
        log.info(f"On node {nid}, zone {zone}: {pages} pages in unavailable ranges")


class _ValidPfns:
    """Which pages have a struct page: pfn_valid() of the pageblock that they lie in.

    Where sections that hold memory have them for all their pages, where there are none (FLATMEM) all below
    `flat_end`, and where the architecture tells by itself (arm64) memory alone.
    """

    def __init__(self, mb: Memblock, kernel: Kernel, flat_end: int | None) -> None:
        self.block = 1 << kernel.pageblock_order
        if flat_end is not None:
            self.sections = [(0, flat_end)]
            return
        own = kernel.has_arch_pfn_valid
        unit = self.block if own else 1 << (kernel.section_size_bits - kernel.page_shift)
        self.sections = []
        for region in mb.memory.regions:
            start, end = -(-region.base // mb.page_size), region.end // mb.page_size
            if start >= end or (own and kernel.release.arm64_valid_is_mapped and region.flags & MEMBLOCK_NOMAP):
                continue
            # a block is valid if its first page is
            low, high = (-(-start // unit) if own else start // unit) * unit, -(-end // unit) * unit
            if self.sections and low <= self.sections[-1][1]:
                self.sections[-1] = (self.sections[-1][0], high)
            else:
                self.sections.append((low, high))

    def count(self, start: int, end: int) -> int:
        """Pages of [start, end) whose pageblock begins where there is a struct page."""
        total = 0
        for low, high in self.sections:
            high = -(-high // self.block) * self.block
            total += max(0, min(end, high) - max(start, low))
        return total
