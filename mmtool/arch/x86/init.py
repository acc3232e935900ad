"""Zones, zonelists and the hand-over of memory on x86: arch/x86/mm/init.c, init_32.c, init_64.c."""

from __future__ import annotations

from mmtool.init.boot import Boot
from mmtool.mm.memblock import MEMBLOCK_NONE, NUMA_NO_NODE
from mmtool.mm.mm_init import (
    MOVABLE,
    MovableWish,
    NodeZones,
    find_zone_movable_pfns,
    free_area_init_core,
    log_node,
    log_zone_ranges,
    memmap_init_holes,
    parse_core,
    zone_ranges,
)
from mmtool.mm.page_alloc.handover import memblock_free_all, page_alloc_init_late
from mmtool.mm.page_alloc.memmap import memmap_init
from mmtool.mm.page_alloc.zone import Pgdat
from mmtool.mm.zonelist import build_all_zonelists

PAGE_SHIFT = 12
MAX_DMA_PFN = (16 << 20) >> PAGE_SHIFT
MAX_DMA32_PFN = 1 << (32 - PAGE_SHIFT)


def memblock_find_dma_reserve(boot: Boot) -> None:
    """memblock_find_dma_reserve(): pages below 16 MiB that are memory and already taken; x86-64 only."""
    if not boot.kernel.is_64bit:
        return
    mb = boot.memblock
    pages = sum(
        max(0, min(end, MAX_DMA_PFN) - min(start, MAX_DMA_PFN))
        for start, end, _ in mb.for_each_mem_pfn_range(mb.max_numnodes)
    )
    free = 0
    for start, end, _ in mb.for_each_free_mem_range(NUMA_NO_NODE, MEMBLOCK_NONE):
        first, last = min(-(-start >> PAGE_SHIFT), MAX_DMA_PFN), min(end >> PAGE_SHIFT, MAX_DMA_PFN)
        free += max(0, last - first)
    boot.dma_reserve = pages - free


def movable_wish(boot: Boot) -> MovableWish:
    """kernelcore=, movablecore= and movable_node of the command line; the last of each counts."""
    core = [v for v in boot.cmdline.all("kernelcore") if v]
    mirror = "mirror" in core
    sizes = [v for v in core if v != "mirror"]
    kernelcore, kernelcore_percent = parse_core(sizes[-1]) if sizes else (0, 0)
    movable = boot.cmdline.get("movablecore")
    movablecore, movablecore_percent = parse_core(movable) if movable else (0, 0)
    node = boot.cmdline.has("movable_node") and boot.kernel.enabled("MEMORY_HOTPLUG")
    return MovableWish(kernelcore, kernelcore_percent, movablecore, movablecore_percent, mirror, node)


def max_zone_pfns(boot: Boot) -> list[tuple[str, int]]:
    """zone_sizes_init() and arch_zone_limits_init(): the limit of each zone type that is built in, lowest first."""
    k = boot.kernel
    low = boot.max_pfn if k.is_64bit else boot.max_low_pfn
    zones = []
    if k.enabled("ZONE_DMA"):
        zones.append(("DMA", min(MAX_DMA_PFN, low)))
    if k.enabled("ZONE_DMA32"):
        zones.append(("DMA32", min(MAX_DMA32_PFN, low)))
    zones.append(("Normal", low))
    if k.enabled("HIGHMEM"):
        zones.append(("HighMem", boot.max_pfn))
    zones.append((MOVABLE, 0))
    if k.enabled("ZONE_DEVICE") and k.release.has_zone_device:
        zones.append(("Device", 0))
    return zones


def zone_sizes_init(boot: Boot) -> None:
    """free_area_init(): zones of every node, their holes and first counts, the memory map's pageblocks."""
    mb, kernel, log = boot.memblock, boot.kernel, boot.log
    wish = movable_wish(boot)
    boot.zone_ranges = zone_ranges(max_zone_pfns(boot), mb.start_of_DRAM())
    order_pages = 1 << kernel.max_page_order
    movable = find_zone_movable_pfns(mb, boot.zone_ranges, wish, order_pages, log)
    log_zone_ranges(mb, boot.zone_ranges, movable, log)
    cutter = NodeZones(mb, kernel, boot.zone_ranges, movable, wish.mirror)
    present = boot.possible_nodes if kernel.release.numa_lets_offline_nodes_be else boot.online_nodes
    flat_end = None if kernel.enabled("SPARSEMEM") else max(boot.max_pfn, boot.max_low_pfn)
    for nid in sorted(present):
        boot.nodes[nid] = _init_node(boot, cutter, nid, flat_end)
    memmap_init(
        mb.memory.regions, boot.nodes, cutter.pageblocks, kernel.release,
        deferred=kernel.enabled("DEFERRED_STRUCT_PAGE_INIT"),
        pages_per_section=None if flat_end else 1 << (kernel.section_size_bits - PAGE_SHIFT),
        mirrored_kernelcore=wish.mirror,
    )  # fmt: skip
    if kernel.release.counts_unavailable:
        memmap_init_holes(mb, boot.nodes, kernel, flat_end, log)


def _init_node(boot: Boot, cutter: NodeZones, nid: int, flat_end: int | None) -> Pgdat:
    """free_area_init_node(): one node's zones and the kernel's lines about it."""
    node = cutter.node(nid)
    log, facts = boot.log, boot.kernel.release
    if facts.numa_prints_initmem:
        pass
    elif node.node_spanned_pages or not facts.numa_lets_offline_nodes_be:
        log_node(node, facts, log)
    else:
        if facts.says_initializing_memoryless and nid not in boot.online_nodes:
            log.info(f"Initializing node {nid} as memoryless")
        log.info(f"Initmem setup node {nid} as memoryless")
    if facts.prints_zone_sizes:
        log.debug(f"On node {nid} totalpages: {sum(z.present_pages for z in node.zones)}")
    free_area_init_core(node, boot.memblock, boot.kernel, boot.dma_reserve, flat_end, log)
    return node


def init_cpu_to_node(boot: Boot) -> None:
    """init_cpu_to_node(): a node with CPUs but no memory comes online as well; before 5.18 it gets its zones only now."""
    if boot.numa.emulated is not None:
        return
    nodes = set(list(boot.numa.cpu_nodes.values())[: boot.cpus]) & boot.possible_nodes
    for nid in sorted(nodes - boot.online_nodes):
        boot.online_nodes.add(nid)
        if boot.kernel.release.numa_lets_offline_nodes_be:
            continue
        node = Pgdat(nid, 0, 0)
        log_node(node, boot.kernel.release, boot.log)
        if boot.kernel.release.prints_zone_sizes:
            boot.log.debug(f"On node {nid} totalpages: 0")
        boot.nodes[nid] = node


def zonelists(boot: Boot) -> None:
    """build_all_zonelists() at boot."""
    boot.zonelists = build_all_zonelists(
        boot.nodes, boot.numa.node_distance, boot.online_nodes, boot.kernel, boot.log
    )


def mem_init(boot: Boot) -> None:
    """memblock_free_all() and page_alloc_init_late(): memory goes to the buddy allocator."""
    mb, kernel = boot.memblock, boot.kernel
    memblock_free_all(
        mb.memory.regions, mb.reserved.regions, boot.nodes,
        max_low_pfn=boot.max_pfn if kernel.is_64bit else boot.max_low_pfn,
        highmem=kernel.enabled("HIGHMEM"), mirrored_kernelcore=movable_wish(boot).mirror,
    )  # fmt: skip
    page_alloc_init_late(mb.memory.regions, mb.reserved.regions, boot.nodes)
