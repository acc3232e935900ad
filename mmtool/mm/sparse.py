"""The memory map of sections: mm/sparse.c and mm/sparse-vmemmap.c. Bytes; section and page frame numbers say so."""

from __future__ import annotations

from functools import partial

from mmtool.init.boot import Boot
from mmtool.kernel.kernel import Kernel
from mmtool.mm.memblock import MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_NOLEAKTRACE

PAGE_SHIFT, PAGE_SIZE = 12, 4096
SMP_CACHE_BYTES = 64
MAX_DMA_ADDRESS = 16 << 20
PMD_SIZE = 2 << 20
PMD_SHIFT, PUD_SHIFT, P4D_SHIFT = 21, 30, 39
VMEMMAP = "struct pages"


def sections_of(boot: Boot) -> list[tuple[int, int, int]]:
    """Runs of present sections as (first section, one past the last, nid), as memory_present() marks them.

    A section belongs to the first node that has memory in it.
    """
    shift = boot.kernel.section_size_bits - PAGE_SHIFT
    mb = boot.memblock
    runs: list[tuple[int, int, int]] = []
    covered = 0
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        first, last = max(start >> shift, covered), ((end - 1) >> shift) + 1
        if first >= last:
            continue
        if runs and runs[-1][1] == first and runs[-1][2] == nid:
            runs[-1] = (runs[-1][0], last, nid)
        else:
            runs.append((first, last, nid))
        covered = last
    return runs


def section_roots(kernel: Kernel, levels: int) -> tuple[int, int]:
    """(sections a root, roots) of the two-level table of SPARSEMEM_EXTREME; one root fills a page."""
    per_root = PAGE_SIZE // kernel.profile.sizes["mem_section"]
    physmem_bits = 52 if kernel.enabled("X86_5LEVEL") or kernel.release.five_levels_always else 46
    sections = 1 << (physmem_bits - kernel.section_size_bits)
    return per_root, -(-sections // per_root)


def memblocks_present(boot: Boot) -> None:
    """memory_present(): the table of section roots, then a root for every stretch of sections that holds memory."""
    mb = boot.memblock
    per_root, roots = section_roots(boot.kernel, boot.levels)
    mb.alloc(roots * 8, SMP_CACHE_BYTES, owner="section roots")
    made = 0
    for first, last, nid in sections_of(boot):
        after = (last - 1) // per_root + 1
        count = after - max(first // per_root, made)
        mb.repeat(
            count, PAGE_SIZE, partial(mb.alloc_node, PAGE_SIZE, SMP_CACHE_BYTES, nid, owner="section table"),
            0, mb.current_limit, owner="section table",
        )  # fmt: skip
        made = max(made, after)


class _Vmemmap:
    """vmemmap_populate_hugepages(): struct pages in 2 MiB pages, and the page tables that map them, of one boot."""

    def __init__(self, boot: Boot) -> None:
        self.boot, self.mb = boot, boot.memblock
        self.limit = (
            MEMBLOCK_ALLOC_NOLEAKTRACE if boot.kernel.release.vmemmap_not_leak_traced else MEMBLOCK_ALLOC_ACCESSIBLE
        )
        self.struct_page = boot.kernel.profile.sizes["struct_page"]
        self.mapped = {48: 0, P4D_SHIFT: 0, PUD_SHIFT: 0}
        """How many tables there are of each kind, by the power of two of bytes that one covers, up to the last made."""

    def blocks(self, count: int, size: int, nid: int, owner: str) -> None:
        """vmemmap_alloc_block(), so many times: from the node where possible, never below 16 MiB."""
        take = partial(self.mb.alloc_try_nid_raw, size, size, MAX_DMA_ADDRESS, self.limit, nid, owner=owner)
        self.mb.repeat(count, size, take, MAX_DMA_ADDRESS, self.mb.current_limit, owner=owner)

    def map_tables(self, start: int, end: int, nid: int) -> None:
        """Page tables for bytes [start, end) of the map, as far as they are not there; asked for in ascending order."""
        shifts = (48, P4D_SHIFT, PUD_SHIFT) if self.boot.levels == 5 else (P4D_SHIFT, PUD_SHIFT)
        for shift in shifts:
            after = ((end - 1) >> shift) + 1
            self.blocks(after - max(start >> shift, self.mapped[shift]), PAGE_SIZE, nid, "page tables of struct pages")
            self.mapped[shift] = max(after, self.mapped[shift])

    def bytes_of(self, first: int, last: int) -> tuple[int, int]:
        """Where the struct pages of sections [first, last) lie in the map, in whole 2 MiB pages: [start, end)."""
        per_section = self.struct_page << (self.boot.kernel.section_size_bits - PAGE_SHIFT)
        return first * per_section // PMD_SIZE * PMD_SIZE, -(-last * per_section // PMD_SIZE) * PMD_SIZE

    def populate(self, first: int, last: int, nid: int) -> None:
        """vmemmap_populate_hugepages() of sections [first, last): each 2 MiB by itself, when its tables are there."""
        at, end = self.bytes_of(first, last)
        while at < end:
            stop = min(((at >> PUD_SHIFT) + 1) << PUD_SHIFT, end)
            self.map_tables(at, stop, nid)
            self.blocks((stop - at) // PMD_SIZE, PMD_SIZE, nid, VMEMMAP)
            at = stop


def _map_bytes(kernel: Kernel) -> int:
    """section_map_size(): the struct pages of a section, in whole 2 MiB pages."""
    size = kernel.profile.sizes["struct_page"] << (kernel.section_size_bits - PAGE_SHIFT)
    return -(-size // PMD_SIZE) * PMD_SIZE


def mem_section_usage_size(kernel: Kernel) -> int:
    """mem_section_usage_size(): the record and the flags of a section's pageblocks, in whole words."""
    blocks = 1 << (kernel.section_size_bits - PAGE_SHIFT - kernel.pageblock_order)
    flags = blocks * (8 if kernel.release.pageblocks_have_eight_bits else 4)
    return kernel.profile.sizes["mem_section_usage"] + -(-flags // 64) * 8


def sparse_init(boot: Boot) -> None:
    """sparse_init(): node by node, the usage maps and the struct pages of its sections."""
    memblocks_present(boot)
    vmemmap = _Vmemmap(boot)
    node: list[tuple[int, int]] = []
    current = None
    for first, last, nid in [*sections_of(boot), (0, 0, None)]:
        if nid != current:
            if node and current is not None:
                _sparse_init_nid(boot, vmemmap, current, node)
            node, current = [], nid
        if nid is not None:
            node.append((first, last))


def _sparse_init_nid(boot: Boot, vmemmap: _Vmemmap, nid: int, runs: list[tuple[int, int]]) -> None:
    """sparse_init_nid(): the sections of one stretch of a node, `runs` of (first, one past the last)."""
    count = sum(last - first for first, last in runs)
    _alloc_usage(boot, nid, count * mem_section_usage_size(boot.kernel))
    mb, size = boot.memblock, _map_bytes(boot.kernel)
    buffer = None
    if not boot.kernel.release.vmemmap_allocates_page_by_page:
        buffer = mb.alloc_exact_nid_raw(count * size, size, MAX_DMA_ADDRESS, vmemmap.limit, nid, owner=VMEMMAP)
    for first, last in runs:
        if buffer is None:
            vmemmap.populate(first, last, nid)
        else:
            vmemmap.map_tables(*vmemmap.bytes_of(first, last), nid)


def _alloc_usage(boot: Boot, nid: int, size: int) -> None:
    """sparse_early_usemaps_alloc_pgdat_section(): in the section of the node's pgdat, so that neither pins the other's.

    From 7.0 on anywhere on the node.
    """
    mb = boot.memblock
    pgdat = boot.node_data.get(nid)
    if boot.kernel.release.section_usage_anywhere or pgdat is None or not boot.kernel.enabled("MEMORY_HOTREMOVE"):
        mb.alloc_node(size, SMP_CACHE_BYTES, nid, owner="section usage maps")
        return
    section = 1 << boot.kernel.section_size_bits
    goal = pgdat // section * section
    if mb.alloc_try_nid(size, SMP_CACHE_BYTES, goal, goal + section, nid, owner="section usage maps") is None:
        mb.alloc_try_nid(size, SMP_CACHE_BYTES, goal, 0, nid, owner="section usage maps")
