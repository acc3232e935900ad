"""The memory map of sections: mm/sparse.c. Bytes; section and page frame numbers say so."""

from __future__ import annotations

from functools import partial

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.numa import Nodes
from mmtool.linux.mm.sparse_vmemmap import VMEMMAP, Vmemmap, VmemmapLayout
from mmtool.units import div_round_up, round_down, round_up


def sections_of(early: Early, physmem_bits: int) -> list[tuple[int, int, int]]:
    """Runs of present sections as (first section, one past the last, nid), as memory_present() marks them.

    A section belongs to the first node that has memory in it. Memory that needs more than `physmem_bits` has none
    (mminit_validate_memmodel_limits()).
    """
    shift = early.kernel.section_size_bits - early.kernel.page_shift
    sections = 1 << (physmem_bits - early.kernel.section_size_bits)
    mb = early.memblock
    runs: list[tuple[int, int, int]] = []
    covered = 0
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        first, last = max(start >> shift, covered), min(((end - 1) >> shift) + 1, sections)
        if first >= last:
            continue
        if runs and runs[-1][1] == first and runs[-1][2] == nid:
            runs[-1] = (runs[-1][0], last, nid)
        else:
            runs.append((first, last, nid))
        covered = last
    return runs


def section_roots(kernel: Kernel, physmem_bits: int) -> tuple[int, int]:
    """(sections a root, roots) of the two-level table of SPARSEMEM_EXTREME; one root fills a page."""
    per_root = kernel.page_size // kernel.profile.sizes["mem_section"]
    sections = 1 << (physmem_bits - kernel.section_size_bits)
    return per_root, div_round_up(sections, per_root)


def memblocks_present(early: Early, physmem_bits: int) -> None:
    """memory_present(): the table of section roots, then a root for every stretch of sections that holds memory."""
    mb = early.memblock
    page = mb.page_size
    per_root, roots = section_roots(early.kernel, physmem_bits)
    mb.alloc(roots * early.kernel.word_size, mb.smp_cache_bytes, owner="section roots")
    made = 0
    for first, last, nid in sections_of(early, physmem_bits):
        after = (last - 1) // per_root + 1
        count = after - max(first // per_root, made)
        mb.repeat(
            count, page, partial(mb.alloc_node, page, mb.smp_cache_bytes, nid, owner="section table"),
            0, mb.current_limit, owner="section table",
        )  # fmt: skip
        made = max(made, after)


def _map_bytes(kernel: Kernel) -> int:
    """section_map_size(): the struct pages of a section, in whole blocks that a PMD maps."""
    pmd_size = 1 << kernel.page_shift + kernel.page_shift - 3
    size = kernel.profile.sizes["struct_page"] << (kernel.section_size_bits - kernel.page_shift)
    return round_up(size, pmd_size)


def mem_section_usage_size(kernel: Kernel) -> int:
    """mem_section_usage_size(): the record and the flags of a section's pageblocks, in whole words."""
    blocks = 1 << (kernel.section_size_bits - kernel.page_shift - kernel.pageblock_order)
    flags = blocks * (8 if kernel.release.pageblocks_have_eight_bits else 4)
    return kernel.profile.sizes["mem_section_usage"] + round_up(flags, kernel.bits_per_long) // 8


def sparse_init(early: Early, nodes: Nodes, layout: VmemmapLayout, physmem_bits: int) -> None:
    """sparse_init(): node by node, the usage maps and the struct pages of its sections.

    `physmem_bits` is MAX_PHYSMEM_BITS, the bits of the addresses that sections are numbered for.
    """
    memblocks_present(early, physmem_bits)
    vmemmap = Vmemmap(early, layout)
    node: list[tuple[int, int]] = []
    current = None
    for first, last, nid in [*sections_of(early, physmem_bits), (0, 0, None)]:
        if nid != current:
            if node and current is not None:
                _sparse_init_nid(early, nodes, vmemmap, current, node)
            node, current = [], nid
        if nid is not None:
            node.append((first, last))


def _sparse_init_nid(early: Early, nodes: Nodes, vmemmap: Vmemmap, nid: int, runs: list[tuple[int, int]]) -> None:
    """sparse_init_nid(): the sections of one stretch of a node, `runs` of (first, one past the last)."""
    count = sum(last - first for first, last in runs)
    _alloc_usage(early, nodes, nid, count * mem_section_usage_size(early.kernel))
    mb, size = early.memblock, _map_bytes(early.kernel)
    buffer = None
    if not early.kernel.release.vmemmap_allocates_page_by_page:
        buffer = mb.alloc_exact_nid_raw(count * size, size, vmemmap.goal, vmemmap.limit, nid, owner=VMEMMAP)
    used = 0
    for first, last in runs:
        if buffer is None:
            vmemmap.populate(first, last, nid)
        else:
            vmemmap.map_tables(*vmemmap.bytes_of(first, last), nid)
            used += (last - first) * vmemmap.per_section
    if buffer is not None and used < count * size:
        # sparse_buffer_fini(): with pages of 16 KiB a PMD maps more than the struct pages of a section.
        mb.phys_free(buffer + used, count * size - used)


def _alloc_usage(early: Early, nodes: Nodes, nid: int, size: int) -> None:
    """sparse_early_usemaps_alloc_pgdat_section(): in the section of the node's pgdat, so that neither pins the other's.

    From 7.1 on anywhere on the node.
    """
    mb = early.memblock
    pgdat = nodes.pgdat_at.get(nid)
    if early.kernel.release.section_usage_anywhere or pgdat is None or not early.kernel.enabled("MEMORY_HOTREMOVE"):
        mb.alloc_node(size, mb.smp_cache_bytes, nid, owner="section usage maps")
        return
    section = 1 << early.kernel.section_size_bits
    goal = round_down(pgdat, section)
    if mb.alloc_try_nid(size, mb.smp_cache_bytes, goal, goal + section, nid, owner="section usage maps") is None:
        mb.alloc_try_nid(size, mb.smp_cache_bytes, goal, 0, nid, owner="section usage maps")
