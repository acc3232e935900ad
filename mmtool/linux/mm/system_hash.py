"""The large hash tables: alloc_large_system_hash() of mm/mm_init.c and who asks for them early (fs/dcache.c, inode.c).

Tables that are asked for before the page allocator starts come from memblock and stay reserved.
"""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import MEMBLOCK_NONE, NUMA_NO_NODE, Memblock, MemblockPanic
from mmtool.linux.mm.mm_init import calc_memmap_pages
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.numa import Nodes
from mmtool.linux.mm.vmalloc.huge import huge_vmap_shift
from mmtool.units import div_round_up, memparse, round_up

SZ_1M = 1 << 20
ADAPT_SCALE_BASE, ADAPT_SCALE_SHIFT = 64 << 30, 2
MOST_ENTRIES = 0x80000000


@dataclass(frozen=True, slots=True)
class KernelPages:
    """How much memory the kernel reckons with: nr_kernel_pages (without high memory) and nr_all_pages, in pages."""

    kernel: int
    all: int


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
        first, last = div_round_up(start, 1 << page_shift), end >> page_shift
        if first < last:
            total += last - first
            limit = last if highmem_start_pfn is None else highmem_start_pfn
            low += min(last, limit) - min(first, limit)
    return KernelPages(low, total)


def calc_nr_kernel_pages(early: Early, nodes: Nodes) -> KernelPages:
    """What hash tables are measured by, counted at the end of free_area_init()."""
    kernel, mb = early.kernel, early.memblock
    if kernel.release.memmap_charged_to_zones:
        return count_zone_pages([zone for _, node in sorted(nodes.pgdat.items()) for zone in node.zones], kernel)
    return count_free_pages(mb, kernel.page_shift, mb.max_low_pfn if kernel.enabled("HIGHMEM") else None)


def hash_entries(wanted: int, scale: int, bucket: int, pages: KernelPages, kernel: Kernel) -> int:
    """How many buckets of `bucket` bytes a table gets, a power of two, when it may have at most 1/16 of memory.

    `wanted` (from the command line) or, when that is 0, one bucket for 2**scale bytes of low memory.
    """
    shift = kernel.page_shift
    if not wanted:
        unit = max(SZ_1M >> shift, 1)
        count = round_up(pages.kernel, unit)
        if kernel.bits_per_long > 32 and kernel.release.hash_tables_adapt:
            adapt = ADAPT_SCALE_BASE >> shift
            while adapt < count:
                scale, adapt = scale + 1, adapt << ADAPT_SCALE_SHIFT
        count = count >> scale - shift if scale > shift else count << shift - scale
        wanted = count if count * bucket >= 1 << shift else (1 << shift) // bucket
    rounded = 1 << (wanted - 1).bit_length()
    most = min((pages.all << shift >> 4) // bucket, MOST_ENTRIES)
    return 1 << (max(min(rounded, most), 1).bit_length() - 1)


def hashdist(early: Early, nodes: Nodes) -> bool:
    """Are hash tables spread over the nodes: by default on 64 bits with NUMA; never if one node has all memory."""
    with_memory = sum(1 for node in nodes.pgdat.values() if any(z.populated for z in node.zones))
    option = early.cmdline.get("hashdist")
    wanted = memparse(option)[0] != 0 if option else early.kernel.bits_per_long == 64
    return wanted and early.kernel.enabled("NUMA") and with_memory != 1


def vfs_caches_init_early(early: Early, nodes: Nodes, pages: KernelPages) -> None:
    """vfs_caches_init_early(): tables of dentries and inodes from memblock, unless they are to be spread over nodes."""
    if not hashdist(early, nodes):
        for wish in (DENTRY, INODE):
            alloc_large_system_hash(early, nodes, pages, wish, from_memblock=True)


def vfs_caches_init(early: Early, nodes: Nodes, pages: KernelPages) -> None:
    """vfs_caches_init(): the tables that are left, from the page allocator or spread over nodes by vmalloc."""
    for wish in (*((DENTRY, INODE) if hashdist(early, nodes) else ()), MOUNT, MOUNTPOINT):
        alloc_large_system_hash(early, nodes, pages, wish, from_memblock=False)


def alloc_large_system_hash(early: Early, nodes: Nodes, pages: KernelPages, wish: Wish, *, from_memblock: bool) -> None:
    """alloc_large_system_hash(): the table, half the size as long as memblock has no room, and its line in the log."""
    kernel, mb, shift = early.kernel, early.memblock, early.kernel.page_shift
    option = early.cmdline.get(wish.option)
    bucket = kernel.word_size
    entries = hash_entries(memparse(option)[0] if option else 0, wish.scale, bucket, pages, kernel)
    while from_memblock and mb.alloc(entries * bucket, mb.smp_cache_bytes, owner=f"{wish.table} hash table") is None:
        if entries * bucket <= 1 << shift:
            raise MemblockPanic(f"Failed to allocate {wish.table} hash table")
        entries >>= 1
    size = entries * bucket
    order = size.bit_length() - 1 - shift
    order = max(order, 0) if kernel.release.hash_order_rounds_up else order
    virtual = not from_memblock and (order > kernel.max_page_order or hashdist(early, nodes))
    place = vmalloc_kind(size, len(nodes.online), kernel) if virtual else "linear"
    tail = f", {place}" if kernel.release.hash_prints_place else ""
    early.log.info(f"{wish.table} hash table entries: {entries} (order: {order}, {size} bytes{tail})")


def vmalloc_kind(size: int, online_nodes: int, kernel: Kernel) -> str:
    """Whether vmalloc maps an area of `size` bytes with huge pages, in the words of alloc_large_system_hash()."""
    return "vmalloc hugepage" if huge_vmap_shift(kernel, size, online_nodes) > kernel.page_shift else "vmalloc"
