"""/reserved-memory of a device tree: drivers/of/of_reserved_mem.c and fdt.c.

Nodes with an address come first; then the others are placed, in the tree's order. Bytes, ranges half-open.
"""

from __future__ import annotations

import itertools
from dataclasses import field

from mmtool.firmware.devicetree import DeviceTree, ReservedNode
from mmtool.late import dataclass
from mmtool.linux.lib.sort import sort
from mmtool.linux.mm.cma import Cma, CmaArea, min_alignment
from mmtool.linux.mm.early import Early

ANYWHERE = 1 << 64

Region = tuple[ReservedNode, int, int]
"""A node and where it lies, [start, end)."""


@dataclass(repr=False)
class ReservedMem:
    """reserved_mem[]: the regions that have their place, placed ones first."""

    regions: list[Region] = field(default_factory=list)


def early_init_fdt_scan_reserved_mem(early: Early, tree: DeviceTree, state: ReservedMem, cma: Cma) -> None:
    """early_init_fdt_scan_reserved_mem(): /memreserve/, nodes with an address, then nodes that want a place.

    Up to 6.12.12 whoever knows the nodes takes them at the end, by address; later each when it has its place, those
    with an address in fdt_scan_reserved_mem_reg_nodes().
    """
    facts = early.kernel.release
    nodes = [node for node in tree.reserved if node.status_ok]
    if not facts.memreserve_comes_last:
        _memreserve(early, tree)
        _reserve_fixed(early, nodes)
        if facts.elfcorehdr_by_of:
            fdt_reserve_elfcorehdr(early, tree)
        fdt_init_reserved_mem(early, state, cma, nodes)
        if not facts.elfcorehdr_by_of:
            fdt_reserve_elfcorehdr(early, tree)
        return
    fixed = _reserve_fixed(early, nodes)
    state.regions = [*_place_all(early, cma, nodes), *fixed]
    fdt_reserve_elfcorehdr(early, tree)
    _memreserve(early, tree)
    if not facts.reserved_mem_array_is_sized:
        for node, start, end in sorted(state.regions, key=lambda region: region[1]):
            if start < end:
                _init_node(early, cma, node, start, end)


def _reserve_fixed(early: Early, nodes: list[ReservedNode]) -> list[Region]:
    """Reserve the nodes that have an address; those, each with its first range."""
    fixed: list[Region] = [(node, *node.ranges[0]) for node in nodes if node.ranges]
    for node, _, _ in fixed:
        _reserve_reg(early, node)
    if not early.kernel.release.reserved_mem_array_is_sized:
        _check_for_overlap(early, fixed)
    return fixed


def fdt_reserve_elfcorehdr(early: Early, tree: DeviceTree) -> None:
    """fdt_reserve_elfcorehdr(): what a crashed kernel left for this one; up to 5.14 arm64's reserve_elfcorehdr()."""
    if tree.chosen.elfcorehdr is None:
        return
    start, end = tree.chosen.elfcorehdr
    by_of = early.kernel.release.elfcorehdr_by_of
    prefix, unit = ("OF: fdt: ", " KiB") if by_of else ("", "KB")
    if early.memblock.is_region_reserved(start, end - start):
        early.log.warn(f"{prefix}elfcorehdr is overlapped")
        return
    early.memblock.reserve(start, end - start, owner="elfcorehdr of the crashed kernel")
    early.log.info(f"{prefix}Reserving {(end - start) >> 10}{unit} of memory at {start:#x} for elfcorehdr")


def fdt_init_reserved_mem(early: Early, state: ReservedMem, cma: Cma, nodes: list[ReservedNode]) -> None:
    """fdt_init_reserved_mem() up to 6.12.12: regions by address, what wants a place first, placed when its turn comes.

    The kernel's sort does not keep the order of what compares as equal, as all that has no place yet does.
    """
    known = [r for node in nodes for r in node.ranges]
    first = [(node, node.ranges[0] if node.ranges else (0, 0)) for node in nodes if node.ranges or node.size]
    for node, (start, end) in sort(first, lambda entry: (entry[1][0], entry[1][1] - entry[1][0])):
        place = (start, end) if node.ranges else _place(early, node, known)
        if place is None:
            continue
        state.regions.append((node, *place))
        if place[0] < place[1]:
            _init_node(early, cma, node, *place)


def _place_all(early: Early, cma: Cma, nodes: list[ReservedNode]) -> list[Region]:
    """The nodes that have a size and no address, each with the place that it gets."""
    placed: list[Region] = []
    # regions with an address are not in the list yet when the others are placed
    known: list[tuple[int, int]] = []
    for node in nodes:
        if not node.ranges and node.size and (found := _place(early, node, known)):
            placed.append((node, *found))
            if early.kernel.release.reserved_mem_array_is_sized:
                _init_node(early, cma, node, *found)
    return placed


def fdt_scan_reserved_mem_reg_nodes(early: Early, tree: DeviceTree, state: ReservedMem, cma: Cma) -> None:
    """fdt_scan_reserved_mem_reg_nodes(): room for a list of all regions (from 6.13), then those with an address."""
    facts = early.kernel.release
    if not tree.has_reserved_memory:
        early.log.info("OF: reserved mem: Reserved memory: No reserved-memory node in the DT")
        return
    if state.regions:
        words = 6 if facts.reserved_mem_keeps_its_node else 5
        size = len(state.regions) * words * early.kernel.word_size
        early.memblock.alloc(size, early.kernel.smp_cache_bytes, owner="list of /reserved-memory")
    regions = []
    for node, start, end in state.regions:
        if len(node.ranges) > 1 and facts.reserved_mem_knows_one_range:
            continue
        if len(node.ranges) > 1 and not facts.reserved_mem_takes_first_range:
            more = f"ignores {len(node.ranges) - 1} regions in node '{node.name}'"
            early.log.warn(f"OF: reserved mem: fdt_scan_reserved_mem_reg_nodes() {more}")
        if start < end:
            regions.append((node, start, end))
            if node.ranges:
                _init_node(early, cma, node, start, end)
    _check_for_overlap(early, regions)


def _check_for_overlap(early: Early, regions: list[Region]) -> None:
    """__rmem_check_for_overlap(): neighbours by address that share bytes."""
    by_address = sorted(regions, key=lambda region: (region[1], region[2] - region[1]))
    for (node, start, end), (other, begin, stop) in itertools.pairwise(by_address):
        if start and begin and end > begin:
            early.log.err("OF: reserved mem: OVERLAP DETECTED!")
            both = f"{node.name} ({start:#018x}--{end:#018x}) overlaps with {other.name} ({begin:#018x}--{stop:#018x})"
            early.log.err(both)


def _init_node(early: Early, cma: Cma, node: ReservedNode, start: int, end: int) -> None:
    """fdt_init_reserved_mem_node(): whoever knows the node's compatible takes it, such as CMA, and its lines.

    A region that is refused is memory like any other again.
    """
    size, facts = end - start, early.kernel.release
    if "shared-dma-pool" in node.compatible and not _shared_dma_pool(early, cma, node, start, size):
        early.log.info(f"OF: reserved mem: node {node.name} compatible matching fail")
        if node.no_map:
            early.memblock.clear_nomap(start, size)
            early.memblock.ledger.give_back(start, end)
        else:
            early.memblock.phys_free(start, size)
    elif facts.reserved_mem_prints_ranges:
        words = f"{'nomap' if node.no_map else 'map'} {'reusable' if node.reusable else 'non-reusable'} {node.name}"
        early.log.info(f"OF: reserved mem: {start:#018x}..{end - 1:#018x} ({size >> 10} KiB) {words}")


def _shared_dma_pool(early: Early, cma: Cma, node: ReservedNode, start: int, size: int) -> bool:
    """rmem_cma_setup() and rmem_dma_setup(); False where both refuse the region."""
    facts = early.kernel.release
    if node.reusable and node.no_map:
        return not facts.reserved_mem_frees_unmapped_pools
    if node.reusable:
        if not (early.kernel.enabled("DMA_CMA") and _rmem_cma_setup(early, cma, node, start, size)):
            return False
    else:
        amount = f"{size >> 10} KiB" if facts.dma_pool_says_kib else f"{size >> 20} MiB"
        early.log.info(f"Reserved memory: created DMA memory pool at {start:#018x}, size {amount}")
    early.log.info(f"OF: reserved mem: initialized node {node.name}, compatible id shared-dma-pool")
    return True


def _rmem_cma_setup(early: Early, cma: Cma, node: ReservedNode, start: int, size: int) -> bool:
    """rmem_cma_setup(): the region is a CMA area, unless cma= is to make the default one or it is not aligned."""
    if early.cmdline.has("cma") and node.cma_default:
        early.log.info(f"Reserved memory: bypass {node.name} node, using cmdline CMA params instead")
        return False
    align = min_alignment(early.kernel, early.memblock.page_size)
    if start % align or size % align:
        early.log.err("Reserved memory: incorrect alignment of CMA region")
        return False
    cma.areas.append(CmaArea(node.name, ((start, size),), default=node.cma_default))
    early.log.info(f"Reserved memory: created CMA memory pool at {start:#018x}, size {size >> 20} MiB")
    return True


def _memreserve(early: Early, tree: DeviceTree) -> None:
    for start, end in tree.memreserve:
        early.memblock.reserve(start, end - start, owner="/memreserve/")


def _reserve_reg(early: Early, node: ReservedNode) -> None:
    """__reserved_mem_reserve_reg(): the ranges of a node, each in turn; before 7.2 all of them."""
    facts = early.kernel.release
    prefix = "OF: reserved mem: " if facts.reserved_mem_array_is_sized else "OF: fdt: "
    for start, end in node.ranges[:1] if facts.reserved_mem_takes_first_range else node.ranges:
        if start == end or not _keep(early, node, start, end):
            what = f"node '{node.name}': base {start:#018x}, size {end - start >> 20} MiB"
            early.log.info(f"{prefix}Reserved memory: failed to reserve memory for {what}")
    if len(node.ranges) > 1 and facts.reserved_mem_takes_first_range:
        many = f"node '{node.name}' has {len(node.ranges)} <base size> entries, only the first is used"
        early.log.warn(f"{prefix}Reserved memory: {many}")


def _keep(early: Early, node: ReservedNode, start: int, end: int) -> bool:
    """early_init_dt_reserve_memory(): no-map memory leaves the direct map, unless it is reserved; other is reserved."""
    mb, size, owner = early.memblock, end - start, f"reserved-memory {node.name}"
    if not node.no_map:
        return mb.reserve(start, size, owner=owner) == 0
    if early.kernel.release.reserved_mem_removes_nomap:
        mb.remove(start, size)
        mb.ledger.take(start, end, owner)
        return True
    if mb.overlaps_region(mb.memory, start, size) and mb.is_region_reserved(start, size):
        return False
    mb.mark_nomap(start, size)
    mb.ledger.take(start, end, owner)
    return True


def _place(early: Early, node: ReservedNode, known: list[tuple[int, int]]) -> tuple[int, int] | None:
    """__reserved_mem_alloc_size(): [start, end) in the first of alloc-ranges that has room; the message without any."""
    mb, kernel = early.memblock, early.kernel
    size, align = node.size or 0, node.alignment or kernel.smp_cache_bytes
    pool = "shared-dma-pool" in node.compatible and node.reusable and not node.no_map and kernel.enabled("CMA")
    if pool:
        align = max(align, min_alignment(kernel, mb.page_size))
    base = None
    for start, end in ((0, ANYWHERE),) if node.alloc_ranges is None else node.alloc_ranges:
        base = _find(early, node, size, align, start, end, known)
        if base:
            break
    if not base:
        amount = f": size {size >> 20} MiB" if kernel.release.reserved_mem_says_size else ""
        early.log.info(f"OF: reserved mem: failed to allocate memory for node '{node.name}'{amount}")
        return None
    known.append((base, base + size))
    return base, base + size


def _find(
    early: Early, node: ReservedNode, size: int, align: int, start: int, end: int, known: list[tuple[int, int]]
) -> int | None:
    """__reserved_mem_alloc_in_range(): next to a region that is there already, to leave no gap between them."""
    mb, facts = early.memblock, early.kernel.release
    before = mb.bottom_up
    if facts.reserved_mem_packs_regions and end != ANYWHERE:
        at_start = any(low <= start <= high for low, high in known)
        at_end = any(low <= end <= high for low, high in known)
        if at_start != at_end:
            mb.bottom_up = at_start
    base = mb.phys_alloc_range(size, align, start, min(end, ANYWHERE - 1), owner=f"reserved-memory {node.name}")
    mb.bottom_up = before
    if base and node.no_map:
        if facts.reserved_mem_keeps_nomap:
            mb.mark_nomap(base, size)
        else:
            mb.phys_free(base, size)
            mb.remove(base, size)
            mb.ledger.take(base, base + size, f"reserved-memory {node.name}")
    return base or None
