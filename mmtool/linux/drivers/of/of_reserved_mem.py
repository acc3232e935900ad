"""/reserved-memory of a device tree: drivers/of/of_reserved_mem.c and fdt.c.

Nodes with an address come first; then the others are placed, in the tree's order. Bytes, ranges half-open.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.cma import CmaArea, min_alignment

if TYPE_CHECKING:
    from mmtool.firmware.fdt import DeviceTree, ReservedNode

SMP_CACHE_BYTES, WORD = 64, 8
ANYWHERE = 1 << 64


Region = tuple["ReservedNode", int, int]
"""A node and where it lies, [start, end)."""


def early_init_fdt_scan_reserved_mem(boot: Boot) -> None:
    """early_init_fdt_scan_reserved_mem(): /memreserve/, nodes with an address, then nodes that want a place."""
    tree = boot.machine.fdt
    assert tree is not None
    nodes = [node for node in tree.reserved if node.status_ok]
    facts = boot.kernel.release
    last = facts.memreserve_comes_last
    if not last:
        _memreserve(boot, tree)
    fixed = [node for node in nodes if node.ranges]
    for node in fixed:
        _reserve_reg(boot, node)
    saved: list[Region] = [(node, *node.ranges[0]) for node in fixed]
    if not facts.reserved_mem_array_is_sized:
        _check_for_overlap(boot, saved)
    known = [r for node in fixed for r in node.ranges]
    for node in nodes:
        if not node.ranges and node.size and (found := _place(boot, node, known)):
            boot.reserved_mem.append((node, *found))
            if facts.reserved_mem_array_is_sized:
                _init_node(boot, node, *found)
    if tree.chosen.elfcorehdr is not None:
        start, end = tree.chosen.elfcorehdr
        boot.memblock.reserve(start, end - start, owner="elfcorehdr of the crashed kernel")
    if last:
        _memreserve(boot, tree)
    boot.reserved_mem += saved
    if not facts.reserved_mem_array_is_sized:
        for node, start, end in sorted(boot.reserved_mem, key=lambda region: region[1]):
            if start < end:
                _init_node(boot, node, start, end)


def fdt_scan_reserved_mem_reg_nodes(boot: Boot) -> None:
    """fdt_scan_reserved_mem_reg_nodes(): room for a list of all regions (from 6.13), then those with an address."""
    tree, facts = boot.machine.fdt, boot.kernel.release
    assert tree is not None
    if not tree.has_reserved_memory:
        boot.log.info("OF: reserved mem: Reserved memory: No reserved-memory node in the DT")
        return
    if boot.reserved_mem:
        words = 6 if facts.reserved_mem_keeps_its_node else 5
        size = len(boot.reserved_mem) * words * WORD
        boot.memblock.alloc(size, SMP_CACHE_BYTES, owner="list of /reserved-memory")
    regions = []
    for node, start, end in boot.reserved_mem:
        if len(node.ranges) > 1 and facts.reserved_mem_knows_one_range:
            continue
        if len(node.ranges) > 1 and not facts.reserved_mem_takes_first_range:
            more = f"ignores {len(node.ranges) - 1} regions in node '{node.name}'"
            boot.log.warn(f"OF: reserved mem: fdt_scan_reserved_mem_reg_nodes() {more}")
        if start < end:
            regions.append((node, start, end))
            if node.ranges:
                _init_node(boot, node, start, end)
    _check_for_overlap(boot, regions)


def _check_for_overlap(boot: Boot, regions: list[Region]) -> None:
    """__rmem_check_for_overlap(): neighbours by address that share bytes."""
    by_address = sorted(regions, key=lambda region: (region[1], region[2] - region[1]))
    for (node, start, end), (other, begin, stop) in itertools.pairwise(by_address):
        if start and begin and end > begin:
            boot.log.err("OF: reserved mem: OVERLAP DETECTED!")
            both = f"{node.name} ({start:#018x}--{end:#018x}) overlaps with {other.name} ({begin:#018x}--{stop:#018x})"
            boot.log.err(both)


def _init_node(boot: Boot, node: ReservedNode, start: int, end: int) -> None:
    """fdt_init_reserved_mem_node(): whoever knows the node's compatible takes it, such as CMA, and its lines.

    A region that is refused is memory like any other again.
    """
    size, facts = end - start, boot.kernel.release
    if "shared-dma-pool" in node.compatible and not _shared_dma_pool(boot, node, start, size):
        boot.log.info(f"OF: reserved mem: node {node.name} compatible matching fail")
        if node.no_map:
            boot.memblock.clear_nomap(start, size)
            boot.memblock.ledger.give_back(start, end)
        else:
            boot.memblock.phys_free(start, size)
    elif facts.reserved_mem_prints_ranges:
        words = f"{'nomap' if node.no_map else 'map'} {'reusable' if node.reusable else 'non-reusable'} {node.name}"
        boot.log.info(f"OF: reserved mem: {start:#018x}..{end - 1:#018x} ({size >> 10} KiB) {words}")


def _shared_dma_pool(boot: Boot, node: ReservedNode, start: int, size: int) -> bool:
    """rmem_cma_setup() and rmem_dma_setup(); False where both refuse the region."""
    facts = boot.kernel.release
    if node.reusable and node.no_map:
        return not facts.reserved_mem_frees_unmapped_pools
    if node.reusable:
        if not (boot.kernel.enabled("DMA_CMA") and _rmem_cma_setup(boot, node, start, size)):
            return False
    else:
        amount = f"{size >> 10} KiB" if facts.dma_pool_says_kib else f"{size >> 20} MiB"
        boot.log.info(f"Reserved memory: created DMA memory pool at {start:#018x}, size {amount}")
    boot.log.info(f"OF: reserved mem: initialized node {node.name}, compatible id shared-dma-pool")
    return True


def _rmem_cma_setup(boot: Boot, node: ReservedNode, start: int, size: int) -> bool:
    """rmem_cma_setup(): the region is a CMA area, unless cma= is to make the default one or it is not aligned."""
    if boot.cmdline.has("cma") and node.cma_default:
        boot.log.info(f"Reserved memory: bypass {node.name} node, using cmdline CMA params instead")
        return False
    align = min_alignment(boot.kernel, boot.memblock.page_size)
    if start % align or size % align:
        boot.log.err("Reserved memory: incorrect alignment of CMA region")
        return False
    boot.cma_areas.append(CmaArea(node.name, ((start, size),), default=node.cma_default))
    boot.log.info(f"Reserved memory: created CMA memory pool at {start:#018x}, size {size >> 20} MiB")
    return True


def _memreserve(boot: Boot, tree: DeviceTree) -> None:
    for start, end in tree.memreserve:
        boot.memblock.reserve(start, end - start, owner="/memreserve/")


def _reserve_reg(boot: Boot, node: ReservedNode) -> None:
    """__reserved_mem_reserve_reg(): the ranges of a node, each in turn; before 7.2 all of them."""
    facts = boot.kernel.release
    prefix = "OF: reserved mem: " if facts.reserved_mem_array_is_sized else "OF: fdt: "
    for start, end in node.ranges[:1] if facts.reserved_mem_takes_first_range else node.ranges:
        if start == end or not _keep(boot, node, start, end):
            what = f"node '{node.name}': base {start:#018x}, size {end - start >> 20} MiB"
            boot.log.info(f"{prefix}Reserved memory: failed to reserve memory for {what}")
    if len(node.ranges) > 1 and facts.reserved_mem_takes_first_range:
        many = f"node '{node.name}' has {len(node.ranges)} <base size> entries, only the first is used"
        boot.log.warn(f"{prefix}Reserved memory: {many}")


def _keep(boot: Boot, node: ReservedNode, start: int, end: int) -> bool:
    """early_init_dt_reserve_memory(): no-map memory leaves the direct map, unless it is reserved; other is reserved."""
    mb, size, owner = boot.memblock, end - start, f"reserved-memory {node.name}"
    if not node.no_map:
        return mb.reserve(start, size, owner=owner) == 0
    if mb.overlaps_region(mb.memory, start, size) and mb.is_region_reserved(start, size):
        return False
    mb.mark_nomap(start, size)
    mb.ledger.take(start, end, owner)
    return True


def _place(boot: Boot, node: ReservedNode, known: list[tuple[int, int]]) -> tuple[int, int] | None:
    """__reserved_mem_alloc_size(): [start, end) in the first of alloc-ranges that has room; the message without any."""
    mb, kernel = boot.memblock, boot.kernel
    size, align = node.size or 0, node.alignment or SMP_CACHE_BYTES
    pool = "shared-dma-pool" in node.compatible and node.reusable and not node.no_map and kernel.enabled("CMA")
    if pool:
        align = max(align, min_alignment(kernel, mb.page_size))
    base = None
    for start, end in ((0, ANYWHERE),) if node.alloc_ranges is None else node.alloc_ranges:
        base = _find(boot, node, size, align, start, end, known)
        if base:
            break
    if not base:
        amount = f": size {size >> 20} MiB" if kernel.release.reserved_mem_says_size else ""
        boot.log.info(f"OF: reserved mem: failed to allocate memory for node '{node.name}'{amount}")
        return None
    known.append((base, base + size))
    return base, base + size


def _find(
    boot: Boot, node: ReservedNode, size: int, align: int, start: int, end: int, known: list[tuple[int, int]]
) -> int | None:
    """__reserved_mem_alloc_in_range(): next to a region that is there already, to leave no gap between them."""
    mb, facts = boot.memblock, boot.kernel.release
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
