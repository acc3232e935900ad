"""/reserved-memory of a device tree: drivers/of/of_reserved_mem.c and fdt.c.

Nodes with an address come first; then the others are placed, in the tree's order. Bytes, ranges half-open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmtool.init.boot import Boot
from mmtool.mm.cma import CmaArea, min_alignment

if TYPE_CHECKING:
    from mmtool.firmware.fdt import DeviceTree, ReservedNode

SMP_CACHE_BYTES = 64
ANYWHERE = 1 << 64


def early_init_fdt_scan_reserved_mem(boot: Boot) -> None:
    """early_init_fdt_scan_reserved_mem(): /memreserve/, nodes with an address, then nodes that want a place."""
    tree = boot.machine.fdt
    assert tree is not None
    nodes = [node for node in tree.reserved if node.status_ok]
    last = boot.kernel.release.memreserve_comes_last
    if not last:
        _memreserve(boot, tree)
    fixed = [node for node in nodes if node.ranges]
    for node in fixed:
        for start, end in node.ranges:
            _keep(boot, node, start, end)
    known = [r for node in fixed for r in node.ranges]
    for node in nodes:
        if not node.ranges and node.size:
            _place(boot, node, known)
    boot.reserved_mem += len(fixed)
    if last:
        _memreserve(boot, tree)


def _memreserve(boot: Boot, tree: DeviceTree) -> None:
    for start, end in tree.memreserve:
        boot.memblock.reserve(start, end - start, owner="/memreserve/")


def _keep(boot: Boot, node: ReservedNode, start: int, end: int) -> None:
    """early_init_dt_reserve_memory_arch(): no-map memory leaves the direct map, other memory is reserved."""
    mb = boot.memblock
    if node.no_map:
        mb.mark_nomap(start, end - start)
    else:
        mb.reserve(start, end - start, owner=f"reserved-memory {node.name}")


def _place(boot: Boot, node: ReservedNode, known: list[tuple[int, int]]) -> None:
    """__reserved_mem_alloc_size(): the first of alloc-ranges that has room; the message if there is none."""
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
        boot.log.info(f"OF: reserved mem: failed to allocate memory for node '{node.name}'")
        return
    known.append((base, base + size))
    boot.reserved_mem += 1
    if pool and node.cma_default:
        boot.cma_areas.append(CmaArea(node.name, ((base, size),), default=True))


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
    return base or None
