"""mm/memblock.c: lists, allocation, the hand-over to the buddy allocator, reserve_mem=."""

from __future__ import annotations

from mmtool.build.fact import Facts, since, until


class MemblockFacts(Facts):
    """mm/memblock.c: lists, allocation, the hand-over to the buddy allocator, reserve_mem=."""

    memblock_merges_around_change: bool = since("6.3")
    """memblock_merge_regions() looks only at the indices that changed, not at the whole list.
    "memblock: Avoid useless checks in memblock_merge_regions()"."""
    memblock_empty_list_has_a_region: bool = until("6.10")
    """An empty list counts one region of size 0. Until "memblock: remove empty dummy entry"."""
    memblock_add_skips_counting: bool = since("6.0")
    """memblock_add_range() does not count first when there is room for the worst case, so it warns once only.
    "memblock: avoid some repeat when add new range"."""
    memblock_add_fills_last_slot: bool = since("6.3")
    """The worst case may fill the list to the last place.
    "memblock: Make a boundary tighter in memblock_add_range()"."""
    memblock_add_without_flags_never_warns: bool = since("6.16")
    """Adding a range without flags over one with flags is nothing to warn of.
    "memblock: add MEMBLOCK_RSRV_KERN flag"."""
    memblock_overlap_caps_size: bool = since("5.10")
    """memblock_overlaps_region() does not wrap round; 5.16 brought it, and 5.10 has it from stable.
    "memblock: ensure there is no overflow in memblock_overlaps_region()"."""
    memblock_growing_too_early_panics: bool = since("6.8")
    """A full list panics while growing is not allowed, where the range was refused before.
    "memblock: report failures when memblock_can_resize is not set"."""
    memblock_any_invalid_node_means_any: bool = since("6.10")
    """Any invalid node id means any node; before only -1 does, and MAX_NUMNODES with a warning.
    "memblock: use numa_valid_node() helper to check for invalid node ID"."""
    memblock_add_node_takes_flags: bool = since("5.16")
    """"memblock: allow to specify flags with memblock_add_node()", with MEMBLOCK_DRIVER_MANAGED, and
    memblock_free() becomes memblock_phys_free()."""
    memblock_mirror_wants_kernelcore: bool = since("6.0")
    """memblock_mark_mirror() does nothing without kernelcore=mirror.
    "memblock: Disable mirror feature if kernelcore is not specified"."""
    memblock_reservations_keep_their_request: bool = since("6.16")
    """Reservations carry the node that was asked for (-1 if none), and allocations MEMBLOCK_RSRV_KERN; before
    all have MAX_NUMNODES and no flags. "memblock: add MEMBLOCK_RSRV_KERN flag"."""
    memblock_has_rsrv_noinit: bool = since("6.7")
    """memblock_reserved_mark_noinit(). "memblock: introduce MEMBLOCK_RSRV_NOINIT flag"."""
    memblock_has_kho_scratch: bool = since("6.16")
    """Scratch memory of a kexec handover, and allocations from nothing else.
    "memblock: Add support for scratch memory"."""
    memblock_has_alloc_hugetlb: bool = since("7.2")
    """memblock_alloc_hugetlb() and MEMBLOCK_RSRV_HUGETLB; in 7.3, not in 6.18."""
    memblock_has_reserved_mark_kern: bool = since("7.1")
    """memblock_reserved_mark_kern(); in 7.3, not in 6.18."""
    memblock_has_numa_coverage: bool = since("6.8")
    """memblock_validate_numa_coverage(). "mm/memblock: introduce a new helper memblock_validate_numa_coverage()"."""
    memblock_has_estimated_free: bool = since("6.11")
    """memblock_estimated_nr_free_pages(). "mm/memblock: introduce a new helper memblock_estimated_nr_free_pages()"."""
    memblock_cap_wants_memory: bool = since("5.13")
    """memblock_cap_memory_range() does nothing while there is no memory. "memblock: check memory total_size"."""
    memblock_bottom_up_starts_above_kernel: bool = until("5.10")
    """A bottom-up search begins behind the kernel image, and goes on top-down when it fails; removed in 5.11 and
    5.10 stable. "mm/memblock: do not start bottom-up allocations with kernel_end"."""
    memblock_alloc_range_nid_falls_back: bool = since("5.1")
    """memblock_alloc_range_nid() tries other nodes and unmirrored memory itself, and a wanted minimum address is
    given up last. "memblock: refactor internal allocation functions"."""
    memblock_free_all_sets_nodes: bool = since("6.5")
    """The hand-over copies the nodes of memory onto the reservations. "mm: pass nid to reserve_bootmem_region()"."""
    memblock_free_all_takes_size: bool = since("6.15", stable="6.6.88 6.12.25")
    """... from each region's size; before, its end is taken for its size, and a list that grew is not done again.
    "mm/memblock: pass size instead of end to memblock_set_node()"."""
    memblock_free_all_gives_highmem: bool = since("6.15")
    """The hand-over includes high memory. "arch, mm: streamline HIGHMEM freeing"."""

    # reserve_mem=
    has_reserve_mem: bool = since("6.12")
    """reserve_mem=SIZE:ALIGN:NAME (mm/memblock: Add "reserve_mem" to reserved named memory at boot up)."""
    reserve_mem_says_why: bool = since("7.0")
    """... and says what is wrong with one."""
