"""Zones, zonelists and the hand-over of memory on x86: arch/x86/mm/init.c, init_32.c, init_64.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.mm.init_32 import print_layout
from mmtool.linux.arch.x86.mm.numa import alloc_node_data
from mmtool.linux.arch.x86.mm.pgtable import preallocate_vmalloc_pages
from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.linux.init import late
from mmtool.linux.mm.memblock import MEMBLOCK_NONE, NUMA_NO_NODE
from mmtool.linux.mm.mm_init import MOVABLE, free_area_init, log_node, movable_wish
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.page_alloc.handover import memblock_free_all
from mmtool.units import div_round_up, round_down, round_up

MAX_DMA_PFN = (16 << 20) >> PAGE_SHIFT
MAX_DMA32_PFN = 1 << (32 - PAGE_SHIFT)


def memblock_find_dma_reserve(boot: X86Boot) -> None:
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


def arch_zone_limits_init(kernel: Kernel, max_pfn: int, max_low_pfn: int) -> list[tuple[str, int]]:
    """The limit of each zone type that is built in, lowest first, for memory up to `max_pfn`, low memory up to
    `max_low_pfn` (i386): zone_sizes_init(), from 7.0 on arch_zone_limits_init()."""
    low = max_pfn if kernel.is_64bit else max_low_pfn
    zones = []
    if kernel.enabled("ZONE_DMA"):
        zones.append(("DMA", min(MAX_DMA_PFN, low)))
    if kernel.enabled("ZONE_DMA32"):
        zones.append(("DMA32", MAX_DMA32_PFN if kernel.release.dma32_ends_at_4g else min(MAX_DMA32_PFN, low)))
    zones.append(("Normal", low))
    if kernel.enabled("HIGHMEM"):
        zones.append(("HighMem", max_pfn))
    zones.append((MOVABLE, 0))
    if kernel.enabled("ZONE_DEVICE") and kernel.release.has_zone_device:
        zones.append(("Device", 0))
    return zones


def zone_sizes_init(boot: X86Boot) -> None:
    """zone_sizes_init(): zones and memory map of every node."""
    mb, kernel = boot.memblock, boot.kernel
    boot.zone_limits = arch_zone_limits_init(kernel, mb.max_pfn, mb.max_low_pfn)
    boot.numa.pgdat = free_area_init(
        mb, kernel, boot.zone_limits, movable_wish(boot.cmdline, kernel), boot.log,
        possible_nodes=boot.numa.possible, online_nodes=boot.numa.online, dma_reserve=boot.dma_reserve,
    )  # fmt: skip


def alloc_flat_mem_map(boot: X86Boot) -> None:
    """alloc_node_mem_map() and setup_usemap(), with FLATMEM: struct pages of a node's span, pageblock flags."""
    k, mb = boot.kernel, boot.memblock
    unit = 1 << k.max_page_order
    for nid, node in sorted(boot.numa.pgdat.items()):
        pages = round_up(node.node_end_pfn, unit) - round_down(node.node_start_pfn, unit)
        size = pages * k.profile.sizes["struct_page"]
        mb.alloc_try_nid_raw(size, mb.smp_cache_bytes, 0, 0, nid, owner="struct pages")
        for zone in node.zones:
            if zone.spanned_pages:
                mb.alloc_node(usemap_size(k, zone.zone_start_pfn, zone.spanned_pages), mb.smp_cache_bytes, nid,
                              owner="pageblock flags")  # fmt: skip


def usemap_size(kernel: Kernel, start_pfn: int, pages: int) -> int:
    """usemap_size(): bytes for the flags of a zone's pageblocks, in whole words."""
    block, word = 1 << kernel.pageblock_order, kernel.bits_per_long
    blocks = div_round_up(pages + start_pfn % block, block)
    bits = blocks * (8 if kernel.release.pageblocks_have_eight_bits else 4)
    return round_up(bits, word) // 8


def init_cpu_to_node(boot: X86Boot) -> None:
    """init_cpu_to_node(): a node with CPUs but no memory comes online as well.

    Before 5.18 it gets its zones only now.
    """
    if boot.numa.info.emulated is not None:
        return
    nodes = set(list(boot.numa.info.cpu_nodes.values())[: boot.cpus]) & boot.numa.possible
    for nid in sorted(nodes - boot.numa.online):
        boot.numa.online.add(nid)
        if boot.kernel.release.numa_lets_offline_nodes_be:
            continue
        alloc_node_data(boot, nid)
        node = Pgdat(nid, 0, 0)
        log_node(node, (0, 0), True, boot.kernel, boot.log)
        boot.numa.pgdat[nid] = node


def alloc_offline_node_data(boot: X86Boot) -> None:
    """alloc_offline_node_data(): a pg_data_t for every possible node that has none, wherever there is room.

    generic_alloc_nodedata() before 6.12. Before 5.18 such a node has none until a CPU of it comes up.
    """
    if boot.kernel.release.numa_lets_offline_nodes_be:
        for nid in sorted(boot.numa.possible - set(boot.numa.pgdat_at)):
            size = boot.kernel.profile.sizes["pg_data_t"]
            boot.memblock.alloc(size, boot.kernel.smp_cache_bytes, owner=f"NODE_DATA({nid})")


def mem_init(boot: X86Boot) -> None:
    """mem_init(): memory goes to the buddy allocator, and the kernel says how much of it there is."""
    mb, kernel = boot.memblock, boot.kernel
    boot.totalram_pages = memblock_free_all(
        mb.memory.regions, mb.reserved.regions, boot.numa.pgdat,
        max_low_pfn=boot.memblock.max_pfn if kernel.is_64bit else boot.memblock.max_low_pfn,
        highmem=kernel.enabled("HIGHMEM"), mirrored_kernelcore=movable_wish(boot.cmdline, kernel).mirror,
    )  # fmt: skip
    random = kernel.enabled("RANDOMIZE_MEMORY") and boot.kaslr
    if not kernel.release.prints_memory_late:
        late.print_memory(boot, taken=preallocate_vmalloc_pages(kernel, boot.levels, random=random))
    print_layout(boot)
