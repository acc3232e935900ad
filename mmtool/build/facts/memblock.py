"""mm/memblock.c: lists, allocation, the hand-over to the buddy allocator, reserve_mem=."""

from __future__ import annotations

from mmtool.build.fact import Facts, Mark, Symbol, since, until


class MemblockFacts(Facts):
    """mm/memblock.c: lists, allocation, the hand-over to the buddy allocator, reserve_mem=."""

    memblock_merges_around_change: bool = since(
        "6.3",
        "memblock: Avoid useless checks in memblock_merge_regions().",
        marks=Mark("mm/memblock.c", "start_rgn", inside="memblock_merge_regions"),
    )
    """memblock_merge_regions() looks only at the indices that changed, not at the whole list."""
    memblock_empty_list_has_a_region: bool = until(
        "6.11",
        "memblock: remove empty dummy entry",
        marks=Mark("mm/memblock.c", "type->cnt = 1", inside="memblock_remove_region"),
    )
    """An empty list counts one region of size 0."""
    memblock_add_skips_counting: bool = since(
        "6.0",
        "memblock: avoid some repeat when add new range",
        marks=(
            Mark("mm/memblock.c", "type->cnt * 2 + 1 < type->max", inside="memblock_add_range"),
            Mark("mm/memblock.c", "type->cnt * 2 + 1 <= type->max", inside="memblock_add_range"),
        ),
    )
    """memblock_add_range() does not count first when there is room for the worst case, so it warns once only."""
    memblock_add_fills_last_slot: bool = since(
        "6.3",
        "memblock: Make a boundary tighter in memblock_add_range().",
        marks=Mark("mm/memblock.c", "type->cnt * 2 + 1 <= type->max", inside="memblock_add_range"),
    )
    """The worst case may fill the list to the last place."""
    memblock_add_without_flags_never_warns: bool = since(
        "6.16",
        "memblock: add MEMBLOCK_RSRV_KERN flag",
        marks=Mark("mm/memblock.c", "flags != MEMBLOCK_NONE", inside="memblock_add_range"),
    )
    """Adding a range without flags over one with flags is nothing to warn of."""
    memblock_overlap_caps_size: bool = since(
        "5.14",
        "memblock: ensure there is no overflow in memblock_overlaps_region()",
        stable="5.10.87",
        marks=Mark("mm/memblock.c", "memblock_cap_size", inside="memblock_overlaps_region"),
    )
    """memblock_overlaps_region() does not wrap round."""
    memblock_growing_too_early_panics: bool = since(
        "6.7",
        "memblock: report failures when memblock_can_resize is not set",
        marks=Mark("mm/memblock.c", "panic(", inside="memblock_double_array"),
    )
    """A full list panics while growing is not allowed, where the range was refused before."""
    memblock_any_invalid_node_means_any: bool = since(
        "6.10",
        "memblock: use numa_valid_node() helper to check for invalid node ID",
        stable="6.6.1-129",
        marks=Mark("mm/memblock.c", "numa_valid_node"),
    )
    """Any invalid node id means any node; before only -1 does, and MAX_NUMNODES with a warning."""
    memblock_add_node_takes_flags: bool = since(
        "5.16",
        "memblock: allow to specify flags with memblock_add_node()",
        marks=Mark("include/linux/memblock.h", "MEMBLOCK_DRIVER_MANAGED"),
    )
    """memblock_add_node() takes flags, of which MEMBLOCK_DRIVER_MANAGED is one; memblock_free() becomes
    memblock_phys_free()."""
    memblock_phys_alloc_range_says: bool = since(
        "5.11", marks=Mark("mm/memblock.c", "memblock_dbg(", inside="memblock_phys_alloc_range")
    )
    """With memblock=debug memblock_phys_alloc_range() prints what it is asked for."""
    memblock_mirror_wants_kernelcore: bool = since(
        "6.0",
        "memblock: Disable mirror feature if kernelcore is not specified",
        marks=Mark("mm/memblock.c", "mirrored_kernelcore", inside="memblock_mark_mirror"),
    )
    """memblock_mark_mirror() does nothing without kernelcore=mirror."""
    memblock_reservations_keep_their_request: bool = since(
        "6.16", "memblock: add MEMBLOCK_RSRV_KERN flag", marks=Mark("include/linux/memblock.h", "MEMBLOCK_RSRV_KERN")
    )
    """Reservations carry the node that was asked for (-1 if none), and allocations MEMBLOCK_RSRV_KERN; before all have
    MAX_NUMNODES and no flags."""
    memblock_has_rsrv_noinit: bool = since(
        "6.7",
        "memblock: introduce MEMBLOCK_RSRV_NOINIT flag",
        marks=Mark("include/linux/memblock.h", "MEMBLOCK_RSRV_NOINIT"),
    )
    """memblock_reserved_mark_noinit()."""
    memblock_has_kho_scratch: bool = since(
        "6.16",
        "memblock: Add support for scratch memory",
        marks=Mark("include/linux/memblock.h", "MEMBLOCK_KHO_SCRATCH"),
    )
    """Scratch memory of a kexec handover, and allocations from nothing else."""
    memblock_has_alloc_hugetlb: bool = since("7.3", marks=Mark("include/linux/memblock.h", "MEMBLOCK_RSRV_HUGETLB"))
    """memblock_alloc_hugetlb() and MEMBLOCK_RSRV_HUGETLB."""
    memblock_has_reserved_mark_kern: bool = since(
        "7.1",
        marks=(
            Mark("include/linux/memblock.h", "memblock_reserved_mark_kern"),
            Symbol("memblock_reserved_mark_kern", beside="memblock_free_all"),
        ),
    )
    """memblock_reserved_mark_kern()."""
    memblock_has_numa_coverage: bool = since(
        "6.8",
        "mm/memblock: introduce a new helper memblock_validate_numa_coverage()",
        stable="6.6.1-129",
        marks=Mark("include/linux/memblock.h", "memblock_validate_numa_coverage"),
    )
    """memblock_validate_numa_coverage()."""
    memblock_has_estimated_free: bool = since(
        "6.12",
        "mm/memblock: introduce a new helper memblock_estimated_nr_free_pages()",
        marks=Mark("include/linux/memblock.h", "memblock_estimated_nr_free_pages"),
    )
    """memblock_estimated_nr_free_pages()."""
    memblock_cap_wants_memory: bool = since(
        "5.15",
        "memblock: check memory total_size",
        marks=Mark("mm/memblock.c", "memblock_memory->total_size", inside="memblock_cap_memory_range"),
    )
    """memblock_cap_memory_range() does nothing while there is no memory."""
    memblock_bottom_up_starts_above_kernel: bool = until(
        "5.11",
        "memblock: do not start bottom-up allocations with kernel_end",
        stable="5.10.15",
        marks=Mark("mm/memblock.c", "kernel_end", since="4.20"),
    )
    """A bottom-up search begins behind the kernel image, and goes on top-down when it fails."""
    memblock_alloc_range_nid_falls_back: bool = since(
        "5.1",
        "memblock: refactor internal allocation functions",
        marks=Mark("mm/memblock.c", "NUMA_NO_NODE", inside="memblock_alloc_range_nid"),
    )
    """memblock_alloc_range_nid() tries other nodes and unmirrored memory itself, and a wanted minimum address is given
    up last."""
    memblock_free_all_sets_nodes: bool = since(
        "6.5",
        "mm: pass nid to reserve_bootmem_region()",
        marks=Mark("mm/memblock.c", "memblock_set_node", inside="memmap_init_reserved_pages"),
    )
    """The hand-over copies the nodes of memory onto the reservations."""
    memblock_free_all_takes_size: bool = since(
        "6.15",
        "mm/memblock: pass size instead of end to memblock_set_node()",
        stable="6.6.1-90-129 6.12.28",
        marks=(
            Mark("mm/memblock.c", "memblock_set_node(start, region->size", inside="memmap_init_reserved_pages"),
            Mark("mm/memblock.c", "memblock_set_node(start, size", inside="memmap_init_reserved_pages"),
        ),
    )
    """... from each region's size; before, its end is taken for its size, and a list that grew is not done again."""
    memblock_free_all_gives_highmem: bool = since(
        "6.15",
        "arch, mm: streamline HIGHMEM freeing",
        marks=Mark("mm/memblock.c", "min_t(unsigned long, PFN_DOWN(end), max_low_pfn)", gone=True, since="4.20"),
    )
    """The hand-over includes high memory."""

    # reserve_mem=
    has_reserve_mem: bool = since(
        "6.11",
        'mm/memblock: Add "reserve_mem" to reserved named memory at boot up',
        marks=Mark("mm/memblock.c", '"reserve_mem="'),
    )
    """reserve_mem=SIZE:ALIGN:NAME."""
    reserve_mem_says_why: bool = since("7.1", marks=Mark("mm/memblock.c", "pr_err", inside="reserve_mem"))
    """... and says what is wrong with one."""
