"""The large hash tables: alloc_large_system_hash() of mm/mm_init.c and who asks for them early (fs/dcache.c, inode.c).

Tables that are asked for before the page allocator starts come from memblock and stay reserved.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmtool.build.kernel import Kernel
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.kernel_pages import KernelPages
from mmtool.linux.mm.memblock import MEMBLOCK_NONE, NUMA_NO_NODE, Memblock, MemblockPanic
from mmtool.linux.mm.mm_init import calc_memmap_pages
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.vmalloc.huge import huge_vmap_shift
from mmtool.units import memparse

SMP_CACHE_BYTES = 64
SZ_1M = 1 << 20
ADAPT_SCALE_BASE, ADAPT_SCALE_SHIFT = 64 << 30, 2
MOST_ENTRIES = 0x80000000


@dataclass(frozen=True, slots=True)
class Wish:
    """A call of alloc_large_system_hash(): one bucket for 2**scale bytes of memory, or as many as `option` says."""

    table: str
    option: str
    scale: int


DENTRY = Wish("Dentry cache", "dhash_entries", 13)
INODE = Wish("Inode-cache", "ihash_entries", 14)
MOUNT = Wish("Mount-cache", "mhash_entries", 19)
MOUNTPOINT = Wish("Mountpoint-cache", "mphash_entries", 19)


def count_zone_pages(zones: list[Zone], kernel: Kernel) -> KernelPages:
    """nr_kernel_pages and nr_all_pages from the zones' first counts, as free_area_init_core() sums them up before 6.10.

    High memory's memory map is charged to low memory where there is enough of it. `zones` in the order of set-up.
    """
    low = total = 0
    for zone in zones:
        total += zone.managed_pages
        if zone.name != "HighMem":
            low += zone.managed_pages
            continue
        memmap = calc_memmap_pages(zone.spanned_pages, zone.present_pages, kernel)
        low -= memmap if low > memmap * 2 else 0
    return KernelPages(low, total)


def count_free_pages(mb: Memblock, page_shift: int, highmem_start_pfn: int | None) -> KernelPages:
    """calc_nr_kernel_pages() from 6.10 on: whole pages that memblock has not given away; None: no high memory."""
    low = total = 0
    for start, end, _ in mb.for_each_free_mem_range(NUMA_NO_NODE, MEMBLOCK_NONE):
        first, last = -(-start >> page_shift), end >> page_shift
        if first < last:
            total += last - first
            limit = last if highmem_start_pfn is None else highmem_start_pfn
            low += min(last, limit) - min(first, limit)
    return KernelPages(low, total)


def calc_nr_kernel_pages(boot: Boot) -> None:
    """The step that ends free_area_init(): counts what hash tables are measured by."""
    kernel = boot.kernel
    if kernel.release.memmap_charged_to_zones:
        zones = [zone for _, node in sorted(boot.nodes.items()) for zone in node.zones]
        boot.kernel_pages = count_zone_pages(zones, kernel)
    else:
        limit = boot.max_low_pfn if kernel.enabled("HIGHMEM") else None
        boot.kernel_pages = count_free_pages(boot.memblock, kernel.page_shift, limit)


def hash_entries(wanted: int, scale: int, bucket: int, pages: KernelPages, kernel: Kernel) -> int:
    """How many buckets of `bucket` bytes a table gets, a power of two, when it may have at most 1/16 of memory.

    `wanted` (from the command line) or, when that is 0, one bucket for 2**scale bytes of low memory.
    """
    shift = kernel.page_shift
    if not wanted:
        unit = max(SZ_1M >> shift, 1)
        count = -(-pages.kernel // unit) * unit
        if kernel.is_64bit and kernel.release.hash_tables_adapt:
            adapt = ADAPT_SCALE_BASE >> shift
            while adapt < count:
                scale, adapt = scale + 1, adapt << ADAPT_SCALE_SHIFT
        count = count >> scale - shift if scale > shift else count << shift - scale
        wanted = count if count * bucket >= 1 << shift else (1 << shift) // bucket
    rounded = 1 << (wanted - 1).bit_length()
    most = min((pages.all << shift >> 4) // bucket, MOST_ENTRIES)
    return 1 << (max(min(rounded, most), 1).bit_length() - 1)


def hashdist(boot: Boot) -> bool:
    """Are hash tables spread over the nodes: by default on 64 bits with NUMA; never if one node has all memory."""
    nodes = sum(1 for node in boot.nodes.values() if any(z.populated for z in node.zones))
    option = boot.cmdline.get("hashdist")
    wanted = memparse(option)[0] != 0 if option else boot.kernel.is_64bit
    return wanted and boot.kernel.enabled("NUMA") and nodes != 1


def vfs_caches_init_early(boot: Boot) -> None:
    """vfs_caches_init_early(): tables of dentries and inodes from memblock, unless they are to be spread over nodes."""
    if not hashdist(boot):
        for wish in (DENTRY, INODE):
            alloc_large_system_hash(boot, wish, early=True)


def vfs_caches_init(boot: Boot) -> None:
    """vfs_caches_init(): the tables that are left, from the page allocator or spread over nodes by vmalloc."""
    for wish in (*((DENTRY, INODE) if hashdist(boot) else ()), MOUNT, MOUNTPOINT):
        alloc_large_system_hash(boot, wish, early=False)


def alloc_large_system_hash(boot: Boot, wish: Wish, *, early: bool) -> None:
    """alloc_large_system_hash(): the table, half the size as long as memblock has no room, and its line in the log."""
    kernel, shift = boot.kernel, boot.kernel.page_shift
    option = boot.cmdline.get(wish.option)
    bucket = 8 if kernel.is_64bit else 4
    entries = hash_entries(memparse(option)[0] if option else 0, wish.scale, bucket, boot.kernel_pages, kernel)
    while early and boot.memblock.alloc(entries * bucket, SMP_CACHE_BYTES, owner=f"{wish.table} hash table") is None:
        if entries * bucket <= 1 << shift:
            raise MemblockPanic(f"Failed to allocate {wish.table} hash table")
        entries >>= 1
    size = entries * bucket
    order = size.bit_length() - 1 - shift
    order = max(order, 0) if kernel.release.hash_order_rounds_up else order
    virtual = not early and (order > kernel.max_page_order or hashdist(boot))
    place = vmalloc_kind(size, len(boot.online_nodes), kernel) if virtual else "linear"
    tail = f", {place}" if kernel.release.hash_prints_place else ""
    boot.log.info(f"{wish.table} hash table entries: {entries} (order: {order}, {size} bytes{tail})")


def vmalloc_kind(size: int, online_nodes: int, kernel: Kernel) -> str:
    """Whether vmalloc maps an area of `size` bytes with huge pages, in the words of alloc_large_system_hash()."""
    return "vmalloc hugepage" if huge_vmap_shift(kernel, size, online_nodes) > kernel.page_shift else "vmalloc"
