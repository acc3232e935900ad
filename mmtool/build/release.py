"""What differs between kernel releases: one named fact a difference.

The model asks for a fact by its name and never compares versions (`mmtool.build.fact`). Distribution kernels are taken
as the mainline release that they are built from.
"""

from __future__ import annotations

from functools import lru_cache

from mmtool.build.fact import Change, Facts, Version, between, since, until


class Release(Facts):
    """What differs between kernel releases, one named fact a difference."""

    # arch/x86/kernel/e820.c
    e820_prints_gaps: bool = since("7.0")
    """The map is printed with its gaps and in new words: "System RAM", "device reserved"."""
    e820_gap_search_ascends: bool = since("7.0")
    """The search for the PCI gap goes upwards from address 0; before, downwards from 4 GiB to the first entry."""
    e820_end_counts_acpi: bool = since("6.10")
    """ACPI tables count as RAM when the last page frame is looked for."""
    e820_log_prefix: bool = until("4.15")
    """"e820: " stands before the lines that announce a map, and before the last_pfn and PCI gap lines."""

    # arch/x86/kernel/setup.c
    reserves_first_mib: bool = since("5.13")
    """All of the first MiB is reserved once the real-mode trampoline has its place; before, the first 64 KiB only."""
    crashkernel_reserves_first_mib: bool = since("5.5")
    """crashkernel= reserves the first MiB (x86/kdump: Always reserve the low 1M)."""
    trims_reserve_low: bool = until("3.10")
    """X86_RESERVE_LOW leaves the E820 map, not just page 0."""
    low_memory_is_scratch: bool = since("6.16")
    """The first MiB is kexec handover's scratch memory until the real-mode trampoline has its place."""
    reserves_early: bool = since("5.13")
    """Low memory, initrd and BIOS regions are reserved before the map is set up (early_reserve_memory())."""
    zones_after_setup_arch: bool = since("7.0")
    """free_area_init() runs from mm_core_init(), after setup_arch() has printed its last line."""

    early_page_tables_for_five_levels: bool = since("5.15")
    """The brk area keeps four pages a mapping for early page tables, not three."""
    cpu_entry_areas_random: bool = since("6.2")
    """KASLR scatters the CPU entry areas over 512 GiB (x86/mm: Randomize per-cpu entry area)."""
    nosave_lists_entries: bool = until("5.12")
    """Hibernation's nosave regions are the map's other entries one by one; later, what lies between RAM entries."""
    mpc_reserved_early: bool = until("6.9")
    """The MP table is looked for before the map goes to memblock."""

    # mm/sparse.c, mm/sparse-vmemmap.c
    pageblocks_have_eight_bits: bool = since("6.17")
    """A pageblock's flags take eight bits, not four (mm/page_isolation: make page isolation a standalone bit)."""
    vmemmap_not_leak_traced: bool = since("6.13")
    """Struct pages are allocated without leak tracing (MEMBLOCK_ALLOC_NOLEAKTRACE)."""
    vmemmap_allocates_page_by_page: bool = since("7.0")
    """There is no buffer for all struct pages of a node: each 2 MiB page is allocated when it is mapped."""
    section_usage_anywhere: bool = since("7.0")
    """Usage maps need not lie in the section of the node's pgdat."""

    # mm/percpu.c, arch/x86/kernel/setup_percpu.c
    percpu_depopulates: bool = since("5.14")
    """Unused chunks have lists of their own, accounted ones do not (percpu: implement partial chunk depopulation)."""
    cpu_local_masks_are_four: bool = until("6.5")
    """setup_cpu_local_masks() allocates masks of initialised, calling-in, called-out and sibling CPUs; then one."""

    # kernel/dma/swiotlb.c
    swiotlb_has_slots: bool = since("5.12")
    """One table of slots keeps track of the buffer, not two."""
    swiotlb_has_areas: bool = since("6.0")
    """The buffer is split into areas, one a CPU."""
    swiotlb_retries_smaller: bool = since("6.0")
    """A buffer that does not fit is tried at half the size."""

    # kernel/printk/printk.c
    log_buffer_has_descriptors: bool = since("5.10")
    """The ring buffer keeps a descriptor and an info record for every 32 bytes of text."""

    # mm/memblock.c: boot options
    has_reserve_mem: bool = since("6.12")
    """reserve_mem=SIZE:ALIGN:NAME (mm/memblock: Add "reserve_mem" to reserved named memory at boot up)."""
    reserve_mem_says_why: bool = since("7.0")
    """... and says what is wrong with one."""

    # kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), arch/arm64/mm/init.c
    crashkernel_is_generic: bool = since("6.7")
    """x86 and arm64 share one reservation, which tries high memory after low or low after high
    (crash_core: add generic function to do reservation)."""
    crashkernel_rounds_memory: bool = since("5.19")
    """Ranges are compared with the size of memory rounded up to 128 MiB."""
    crashkernel_must_fit: bool = since("6.12")
    """Nothing is tried when all memory is asked for (crash: fix crash memory reserve exceed system memory bug)."""
    crashkernel_from_cma: bool = since("6.17")
    """crashkernel=SIZE,cma (kdump: implement reserve_crashkernel_cma)."""
    crashkernel_warnings_have_prefix: bool = since("6.9")
    """All warnings about crashkernel= begin with its name."""
    crashkernel_warning_misspelt: bool = between(Change("6.9"), Change("6.13"))
    """... of which one as "crahskernel"."""
    crashkernel_arm64_knows_high: bool = since("5.19")
    """arm64 takes ,high and ,low (arm64: kdump: Reimplement crashkernel=X)."""
    crashkernel_arm64_falls_back: bool = since("6.2")
    """arm64 tries the other side of the DMA limit too, and a high crash kernel gets 128 MiB below by default."""

    # mm/cma.c, kernel/dma/contiguous.c
    cma_aligns_to_pageblocks: bool = since("5.18")
    """An area is made of whole pageblocks; before, also of blocks of the largest order
    (cma: factor out minimum alignment requirement)."""
    cma_tries_above_4g: bool = since("5.12")
    """An area is first looked for above 4 GiB, from below (mm: cma: allocate cma areas bottom-up)."""
    cma_says_node: bool = between(Change("6.6"), Change("6.15"))
    """"Reserved ... on node N" is printed."""
    cma_says_size_asked: bool = since("6.15")
    """The size printed is the one asked for, and every failure is; before, the aligned size
    (mm, cma: support multiple contiguous ranges, if requested)."""
    cma_has_ranges: bool = since("6.15")
    """An area may be made of several ranges (mm, cma: support multiple contiguous ranges, if requested)."""
    cma_limit_is_users: bool = since("6.17")
    """A limit in cma= counts alone; before, the lower of it and the devices' limit
    (dma/contiguous: honor the cma address limit set up by user)."""
    numa_cma_with_default: bool = since("6.6")
    """Nodes' areas are reserved together with the default one on every architecture, and numa_cma= is known
    (dma-contiguous: support numa CMA for specified node)."""
    numa_cma_after_default: bool = since("7.0")
    """... after it, and one area a node."""

    # mm/hugetlb.c, mm/hugetlb_cma.c
    hugetlb_takes_nodes: bool = since("5.16")
    """hugepages= and hugetlb_cma= may give numbers for single nodes
    (hugetlbfs: extend the definition of hugepages parameter to support node allocation)."""
    hugetlb_says_vmemmap: bool = since("6.0")
    """What struct pages a huge page would save is printed beside its size, and "HugeTLB" got a colon
    (mm: hugetlb_vmemmap: improve hugetlb_vmemmap code readability)."""
    hugetlb_allocates_after_parsing: bool = since("6.15")
    """Gigantic pages are allocated by hugetlb_bootmem_alloc(); before, when hugepages= is parsed
    (mm/hugetlb: convert cmdline parameters from setup to early)."""
    hugetlb_frees_cross_zone: bool = since("7.2")
    """A gigantic page that lies in two zones goes back to memblock at once."""
    hugetlb_cma_strict: bool = since("7.2")
    """hugetlb_cma= takes percentages, must be a multiple of a gigantic page, and looks at memblock's nodes."""

    # arch/x86/include/asm: the layout of i386
    tss_has_second_bitmap: bool = since("5.5")
    """struct tss_struct has a bitmap of all ports beside the task's own (x86/ioperm)."""
    doublefault_stack_in_entry_area: bool = since("5.5")
    """The double fault stack of i386 lies in the CPU entry area, with guard pages below both stacks."""
    kmap_local_in_fixmap: bool = since("5.11")
    """kmap_local() takes KM_MAX_IDX slots a CPU; before, kmap_atomic() took KM_TYPE_NR."""

    i386_has_cpu_entry_areas: bool = since("4.15")
    """The layout that i386 prints has a line for them; they lie in the fixmap before."""
    i386_prints_layout: bool = until("5.7")
    """"virtual kernel memory layout:" is printed (x86/mm/init_32: Stop printing the virtual memory layout)."""

    # arch/x86: what processors and builds bring
    five_levels_always: bool = since("6.17")
    """Five levels of page tables are no option any more (x86/mm/64: Always enable 5-level paging)."""
    has_zone_device: bool = since("4.3")
    """There is a zone type for device memory."""
    highmem64g_removed: bool = since("6.15")
    """i386 knows no more than 4 GiB (x86/cpu: Remove CONFIG_HIGHMEM64G)."""
    setup_data_only_in_memblock: bool = since("7.0")
    """setup_data is reserved in memblock alone; the E820 map is left as it is."""
    i386_forgets_high_memory: bool = since("6.15")
    """i386 removes memory above max_pfn from memblock."""

    # mm/numa_memblks.c, arch/x86/mm/numa.c
    numa_unassigned_is_no_node: bool = since("6.10")
    """Memory without a node has nid -1 while NUMA is set up; before, MAX_NUMNODES."""
    srat_prints_cpus: bool = until("6.12")
    """"SRAT: PXM P -> APIC A -> Node N" is printed for every CPU entry, not compiled out."""
    numa_clips_to_dram: bool = since("6.12")
    """Node blocks are clipped to memblock's first and last byte; before, to 0 and max_pfn."""
    numa_distance_anywhere: bool = since("6.12")
    """The table of distances is a plain memblock allocation."""
    node_data_in_pages: bool = until("6.12")
    """A pg_data_t takes whole pages."""
    numa_coverage_by_memblock: bool = since("6.8")
    """Memory without a node is counted from memblock (memblock_validate_numa_coverage())."""
    numa_prints_initmem: bool = until("3.17")
    """"Initmem setup node N" is printed when the node gets its NODE_DATA, not when its zones are set up."""
    numa_lets_offline_nodes_be: bool = since("5.18")
    """Every possible node gets a pgdat; before, only those online (mm: handle uninitialized numa nodes gracefully)."""

    # mm/mm_init.c, mm/page_alloc.c: zones
    says_initializing_memoryless: bool = until("6.10")
    """"Initializing node N as memoryless" is printed for a possible node that is not online."""
    memmap_charged_to_zones: bool = until("6.10")
    """Until memblock hands over, a zone counts its pages without memmap and DMA reserve; later, all present ones."""
    prints_zone_sizes: bool = until("5.14")
    """"On node N totalpages" and the lines below it are printed at debug level, not compiled out."""
    prints_wide_ranges: bool = since("4.0")
    """Zone and node ranges are printed with 16 digits; before, with 8 (mm: extend printed address width)."""
    counts_unavailable: bool = since("5.14", stable="5.10.50 5.13.5")
    """Holes get struct pages of the zone above: "On node N, zone Z: P pages in unavailable ranges" (mm/page_alloc: fix
    memory map initialization for descending nodes)."""
    counts_unavailable_by_zone: bool = since("5.12", stable="5.11.7")
    """Holes get struct pages zone by zone: "  Z zone: P pages in unavailable ranges" (mm/page_alloc.c: refactor
    initialization of struct page for holes in memory layout); `counts_unavailable` goes before it."""
    zonelists_in_mm_init: bool = since("6.4")
    """mm_init() builds the zonelists, when the early hash tables are there (init: fold build_all_zonelists() and
    page_alloc_init_cpuhp() to mm_init())."""
    swiotlb_before_zonelists: bool = since("6.15")
    """Bounce buffers come before the zonelists, in arch_mm_preinit(). In 6.18, not in 6.12."""
    zonelist_load_counts_up: bool = since("5.17")
    """A node's load is how often it came first of its distance; before, the number of nodes left to place."""
    zonelist_prints_fallback: bool = since("5.17")
    """"Fallback order for Node N" is printed."""
    zonelist_skips_memoryless: bool = since("6.7")
    """A node without memory is not in its own fallback order (mm: page_alloc: skip memoryless nodes entirely)."""

    # mm/memblock.c
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

    # mm/page_alloc.c, mm/mm_init.c: hand-over
    merge_needs_fallback_types: bool = since("5.18")
    """Whole pageblocks of different types merge only if both types have fallbacks; before, only Isolate stayed
    apart, and CMA merged with the others (1dd214b8f21c)."""
    merge_sets_buddy_type: bool = since("6.10")
    """A merge across pageblocks gives the buddy's pageblocks the type of the block that was freed."""
    free_splits_at_pageblocks: bool = since("6.12")
    """A block larger than a pageblock is freed pageblock by pageblock, each under its own type (e98337d11bbd)."""
    defer_init_counts_every_zone: bool = until("6.11")
    """The count of early pages of the deferred zone starts anew when memory of any other zone lies between."""
    reserved_pageblocks_movable: bool = since("6.13")
    """Deferred pageblocks whose first page is reserved become Movable at the hand-over; before, they stay Unmovable."""
    deferred_grow_by_sections: bool = since("6.18")
    """deferred_grow_zone() stops at a section's end; before, at the next free page."""

    # mm/page_alloc.c, mm/khugepaged.c: watermarks and per-CPU lists
    movable_min_watermark_capped: bool = since("6.6")
    """Movable is no part of the memory that min_free_kbytes is spread over, and keeps only a little; before, that was
    so of HighMem alone (mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE)."""
    lowmem_reserve_follows_managed: bool = since("6.16")
    """Giving pages back (adjust_managed_page_count()) sets every zone's lowmem_reserve anew; in 6.18, not in 6.12."""
    pcp_batch_up_to_mib: bool = since("4.20")
    """A per-CPU list's batch is cut from at most 1 MiB; before, from 512 KiB."""
    pcp_high_from_watermark: bool = since("5.14")
    """A per-CPU list holds a zone's low watermark, split between the node's CPUs; before, six batches
    (mm/page_alloc: adjust pcp->high after CPU hotplug events)."""
    pcp_high_is_tuned: bool = since("6.7")
    """A per-CPU list's high moves between two limits (mm: add framework for PCP high auto-tuning)."""
    pcp_holds_orders: bool = since("5.14")
    """A CPU keeps blocks up to the costly order and huge pages; before, single pages only
    (mm/page_alloc: allow high-order pages to be stored on the per-cpu lists)."""
    pcp_splits_huge_pages: bool = since("6.10", stable="6.1.96 6.6.36")
    """Movable huge pages have a list of their own (mm/page_alloc: Separate THP PCP into movable and non-movable
    categories)."""
    pcp_scales_free_batch: bool = since("5.14")
    """The batch that a full list loses doubles while only frees come (mm/page_alloc: scale the number of pages that
    are batch freed)."""
    pcp_frees_high_orders: bool = since("5.18")
    """Blocks above single pages make a list go back whole while only frees come (mm/page_alloc: limit number of
    high-order pages on PCP during bulk free)."""
    pcp_frees_high_orders_late: bool = since("6.18")
    """... only after more than half of the list's least high; in 7.3, not in 6.12."""
    pcp_frees_by_batches: bool = since("6.18")
    """What a full list loses leaves it batch by batch, each from the list that was freed to; in 7.3, not in 6.12."""
    pcp_drains_whole_lists: bool = since("5.18")
    """A drain begins with the list that was freed to and empties lists one by one; before, they take turns
    (mm/page_alloc: drain the requested list first during bulk free)."""
    pcp_stores_type: bool = until("6.7")
    """A page on a per-CPU list carries the type that it drains to (until mm: page_alloc: remove pcppage migratetype
    caching)."""
    pcp_lock_may_fail: bool = since("6.0")
    """A CPU that is interrupted while it is at its lists goes to the buddy lists meanwhile, and so does an allocation
    that no per-CPU list can serve (mm/page_alloc: replace local_lock with normal spinlock)."""

    # mm/page_alloc.c: taking blocks
    free_pages_counted_by_lists: bool = since("6.10")
    """Free pages are counted where blocks join and leave lists; before, a refill counts once at its end
    (mm: page_alloc: consolidate free page accounting)."""
    fallback_splits_in_place: bool = since("6.10")
    """A single block taken from another type leaves its rest on that type's lists; before, the block moves first
    (mm: page_alloc: fix freelist movement during block conversion)."""
    fallback_claims: bool = since("6.15", stable="6.12.32")
    """Whole pageblocks are claimed, largest first, before any block is taken out of another type's, smallest first
    (mm: page_alloc: don't steal single pages from biggest buddy). In 6.12.107 too."""
    highatomic_share_is_exact: bool = since("6.8")
    """At most a hundredth of a zone is kept for high-order atomic allocations, and nothing where that is less than a
    pageblock; before, a pageblock more (mm: page_alloc: correct high atomic reserve calculations)."""
    highatomic_reserved_below_low: bool = since("7.0")
    """Only an allocation that failed at the low watermark keeps a pageblock for its like; in 7.3, not in 6.12."""
    highatomic_helps_non_block: bool = since("6.12", stable="6.1.116 6.6.60 6.11.7")
    """A request that may not wait and finds nothing gets at the blocks kept for high-order atomic ones
    (mm/page_alloc: let GFP_ATOMIC order-0 allocs access highatomic reserves)."""
    pcp_skipped_without_cma: bool = until("6.10")
    """A movable request that may not have CMA pages goes past the per-CPU lists, which may hold some."""
    watermarks_are_boosted: bool = since("5.0")
    """Mixing types raises the watermarks for a while (mm: reclaim small amounts of memory when an external
    fragmentation event occurs)."""
    nofragment: bool = since("5.0")
    """A first pass keeps types apart and goes to a lower zone rather (mm, page_alloc: spread allocations across zones
    before introducing fragmentation)."""

    khugepaged_off_recalculates: bool = since("5.16")
    """With transparent huge pages off, min_free_kbytes is worked out once more when they are set up
    (mm: khugepaged: recalculate min_free_kbytes after stopping khugepaged)."""

    # include/linux/gfp_types.h, include/trace/events/mmflags.h
    gfp_optional_bits_packed: bool = since("6.9")
    """Flags that depend on options take the next free bits (mm: enumerate all gfp flags)."""
    gfp_prints_in_bit_order: bool = since("6.14")
    """Single flags are printed in the order of their bits, those of options too (tracing: gfp: Remove duplication of
    recording GFP flags)."""

    # mm/page_alloc.c: who may go how far below the watermarks
    watermark_loops_over_orders: bool = until("4.4")
    """The check takes away smaller blocks and halves the mark order by order; later, one block that is large enough
    will do (mm, page_alloc: only enforce watermarks for order-0 allocations, 97a16fc82a7c)."""
    has_highatomic_reserve: bool = since("4.4")
    """Pageblocks are kept for atomic requests of higher orders (0aaa29a56e4f)."""
    harder_takes_any_block: bool = between(Change("4.4"), Change("4.15"))
    """ALLOC_HARDER is content with any block of sufficient order, CMA and isolated ones too (685dbf6f5aa1)."""
    oom_victims_keep_watermarks: bool = since("4.14")
    """Victims of the OOM killer have a part of the reserves, ALLOC_OOM; before, all of them (cd04ae1e2dc8)."""
    watermark_min_reserve: bool = since("6.3", stable="6.1.116")
    """__GFP_HIGH gives half the mark and not blocking another quarter of the rest, only together; before, ALLOC_HARDER
    counts by itself (mm/page_alloc: explicitly define how __GFP_HIGH non-blocking allocations accesses reserves)."""
    highatomic_counts_free: bool = since("6.12")
    """Requests without right to the high-atomic reserve are denied its free pages; before, its whole size
    (mm/page_alloc: keep track of free highatomic). In 6.12.117, not in 6.1.176."""
    atomic_ignores_boost: bool = since("5.9")
    """An order-0 request that may use reserves is not held to a boosted min watermark (f80b08fc4453)."""
    cma_counts_in_watermark: bool = since("3.7")
    """Free CMA pages are no use to requests that may not have them (cma: fix watermark checking)."""

    max_order_is_inclusive: bool = since("6.4")
    """ARCH_FORCE_MAX_ORDER is the largest order; before, one more (mm, treewide: redefine MAX_ORDER sanely)."""

    # arch/arm64/mm, drivers/base/arch_numa.c
    arm64_dma_zone_by_limit: bool = since("6.12")
    """ZONE_DMA ends at the limit of the buses, not at the next power of two (arm64: support DMA zone above 4GB)."""
    arch_numa_has_memblks: bool = since("6.12")
    """arm64 finds its nodes with the code of x86 (arch_numa: switch over to numa_memblks)."""
    arm64_head_is_not_text: bool = between(Change("5.11"), Change("6.9"))
    """The image's first 64 KiB, from _text to _stext, are not kept once the kernel runs (arm64: omit [_text, _stext)
    from permanent kernel mapping). In 6.1, not in 5.10 and 6.12."""
    arm64_maps_itself_early: bool = since("6.9")
    """The image has its final page tables, static ones, before setup_arch() (arm64: mm: create initial fixmap and image
    mappings from C code). In 6.12, not in 6.1."""
    arm64_idmap_is_allocated: bool = between(Change("6.0"), Change("6.9"))
    """paging_init() allocates the identity map's tables (arm64: mm: provide idmap pointer to cpu_replace_ttbr1()). In
    6.1, not in 5.10 and 6.12."""
    arm64_text_alias_has_pages: bool = since("7.0")
    """The linear map of the image is as fine as the rest of it; before, blocks where they fit. In 7.3, not in 6.18."""
    rodata_on_is_full: bool = since("6.18")
    """Read-only data is so in the linear map too unless rodata=noalias says not; RODATA_FULL_DEFAULT_ENABLED is no
    option any more. In 6.18, not in 6.12."""
    arm64_swiotlb_always: bool = since("6.5")
    """arm64 has bounce buffers even if devices reach all memory, for small kmalloc() blocks, then 1/1024 of memory
    (arm64: enable ARCH_WANT_KMALLOC_DMA_BOUNCE). In 6.12, not in 6.1."""
    numa_distances_before_nodes: bool = until("6.12")
    """arm64 allocates a table of distances for all nodes that may be before it looks for any (arch_numa: switch over to
    numa_memblks). In 6.1, not in 6.12."""
    arm64_sections_are_1g: bool = until("5.12")
    """A section is 1 GiB on arm64; later 128 MiB, and 512 MiB with pages of 64 KiB (arm64/sparsemem: reduce
    SECTION_SIZE_BITS)."""
    arm64_has_own_pfn_valid: bool = until("5.14")
    """arm64 holds a page valid only if it is memory, so that no hole has one (arm64: drop pfn_valid_within)."""
    arm64_has_bpf_region: bool = until("5.17")
    """BPF programs have 128 MiB of their own before the modules (arm64/bpf: Remove 128MB limit for BPF JIT programs).
    In 5.10, not in 6.1."""
    arm64_vmemmap_projects: bool = since("5.11")
    """The vmemmap begins where the linear map's first page is, scaled down, and what is above it keeps its distance
    (arm64: mm: make vmemmap region a projection of the linear region). In 6.1, not in 5.10."""
    arm64_modules_have_2g: bool = since("6.5")
    """2 GiB for modules, not 128 MiB (arm64: module: rework module VA range selection). In 6.12, not in 6.1."""
    arm64_top_is_fixed: bool = since("6.9")
    """The vmemmap ends 1 GiB below the top, PCI I/O and fixmap lie above it, and vmalloc gets what shorter addresses
    leave of it (arm64: mm: Reclaim unused vmemmap region for vmalloc use). In 6.12, not in 6.1."""
    arm64_has_lpa2: bool = since("6.9")
    """Addresses of 52 bits with small pages too (arm64: mm: add LPA2 and 5 level paging support). In 6.12, not in
    6.1."""
    arm64_fixmap_in_pages: bool = since("6.4")
    """The device tree's window is a page larger than a tree can be, not 2 MiB (arm64: mm: always map fixmap at page
    granularity). In 6.12, not in 6.1."""
    arm64_fixmap_has_vncr: bool = since("6.16")
    """A page for every CPU's nested guest (KVM: arm64: nv: Handle mapping of VNCR_EL2 at EL2). In 7.3, not in 6.12."""
    arm64_trampoline_data_always: bool = until("6.0")
    """The data page of the way into the kernel has a place whatever the build (arm64: entry: simplify trampoline data
    page). In 5.10, not in 6.1."""
    arm64_btmaps_have_spare_page: bool = since("7.0")
    """An early mapping may begin inside a page and still be 256 KiB; in 7.3, not in 6.12."""
    reserved_mem_keeps_nomap: bool = since("5.13")
    """A placed region with no-map is marked so; before, it leaves memblock's memory. In 6.1, not in 5.10."""
    reserved_mem_packs_regions: bool = since("6.4")
    """A placed region goes next to one that is there. In 6.12, not in 6.1."""
    usable_memory_ranges_are_many: bool = since("5.17")
    """All of linux,usable-memory-range counts, not the first range alone (of: fdt: Add memory for devices by DT
    property "linux,usable-memory-range")."""
    reserved_mem_prints_ranges: bool = since("6.4")
    """Every region of /reserved-memory gets a line (of: reserved-mem: print out reserved-mem details during boot). In
    6.12, not in 6.1."""
    reserved_mem_array_is_sized: bool = since("6.12")
    """The kernel's array of reserved regions is allocated, for as many as there are, before the tree is unflattened
    (of: reserved_mem: Add code to dynamically allocate reserved_mem array). In 6.12, not in 6.1."""
    reserved_mem_keeps_its_node: bool = until("7.0")
    """An entry of that array has six words, not five: where its node is too. In 6.18, not in 7.3."""
    reserved_mem_says_size: bool = since("5.11")
    """A region that has no room is told with its size. In 6.1, not in 5.10."""
    reserved_mem_knows_one_range: bool = between(Change("6.15"), Change("7.0"))
    """A node with several ranges is not in the list of regions. In 6.18, not in 6.12 and 7.3."""
    dma_pool_says_kib: bool = since("7.0")
    """The size of a DMA pool is told in KiB, not in MiB. In 7.3, not in 6.18."""
    reserved_mem_takes_first_range: bool = since("7.0")
    """Of a region's reg the first range is reserved; before, all. In 7.3, not in 6.18."""
    reserved_mem_frees_unmapped_pools: bool = until("7.0")
    """A shared-dma-pool that is reusable and no-map is given back; later it is kept, without a pool. In 6.18, not in
    7.3."""
    memreserve_comes_last: bool = since("6.12")
    """/memreserve/ is reserved after the nodes of /reserved-memory, not before (of: reserved_mem: Restructure)."""

    # mm/mm_init.c, mm/vmalloc.c, arch: hash tables, what is printed of memory and what is given back
    hash_tables_adapt: bool = since("4.13")
    """Beyond 64 GiB hash tables grow half as fast as memory (mm: adaptive hash table scaling)."""
    hash_prints_place: bool = since("5.3")
    """The line of a hash table ends in "linear" or "vmalloc"."""
    hash_order_rounds_up: bool = since("5.17")
    """A hash table's order is get_order() of its size; before, the logarithm rounded down. In 6.1, not in 5.10."""
    hash_in_huge_vmalloc: bool = since("5.18")
    """Distributed hash tables ask vmalloc for huge pages (mm/vmalloc: Use huge pages for the large system hash)."""
    vmalloc_huge_by_node: bool = until("6.13")
    """Huge pages only if each online node's share of an area is one; in 6.12, not in 6.18."""
    arm64_vmalloc_contiguous: bool = since("6.16")
    """arm64 maps vmalloc areas with contiguous entries (arm64/mm: Support huge pte-mapped pages in vmap)."""
    vmap_search_counts_alignment: bool = until("5.16")
    """The search for a free area counts the alignment to the size whatever it is; later only above a page, and not
    where the range is as long as the request (mm/vmalloc: do not adjust the search size for alignment overhead). In
    5.10, not in 6.1."""
    vmap_purge_merges: bool = since("5.11")
    """Lazily freed areas are kept by address and merged; before, in a list, the last one first
    (mm/vmalloc: rework the drain logic). In 6.1, not in 5.10."""
    vmap_has_nodes: bool = since("6.9")
    """Lazily freed areas go to nodes, one a CPU, that keep some by size for the next request (mm: vmalloc: support
    multiple nodes in vmallocinfo and its series). In 6.12, not in 6.1."""
    vmap_small_pools_decay_whole: bool = until("6.18")
    """Of fewer than four areas that a node keeps of one size all are given back, where a quarter is meant. In 6.12,
    not in 7.3."""
    vmap_spares_usable_blocks: bool = since("6.5")
    """vm_unmap_aliases() leaves blocks with much room (mm/vmalloc: Don't purge usable blocks unnecessarily). In 6.12,
    not in 6.1."""
    vmalloc_errors_have_reason: bool = since("5.14")
    """A failed vmalloc() says "vmalloc error: size N," and why; before, "vmalloc: allocation failure: N bytes"."""
    vmalloc_error_has_order: bool = until("6.5")
    """A shortage of pages is told with their order, and also when single pages are tried next
    (mm/vmalloc: do not output a spurious warning when huge vmalloc() fails). In 6.1, not in 6.12."""
    vmalloc_shortage_is_silent: bool = between(Change("5.10"), Change("6.2"))
    """A shortage of pages is not told: the mask has __GFP_NOWARN by then (mm: cleanup the gfp_mask handling in
    __vmalloc_area_node). In 5.10 and 6.1, not in 6.12."""
    vmalloc_error_tells_whole_size: bool = since("7.0")
    """The size in it is that of the area, not of the pages that were there; in 7.3, not in 6.12."""
    vmalloc_error_has_align: bool = since("7.0")
    """"vm_struct allocation failed" is told with the alignment; in 7.3, not in 6.12."""
    vmalloc_takes_pages_in_bulk: bool = since("5.14")
    """Single pages come from the bulk allocator, a hundred at most at once since 5.15
    (mm/vmalloc: switch to bulk allocator in __vmalloc_area_node())."""
    vmalloc_tries_large_blocks: bool = since("6.19")
    """Pages are asked for in blocks as large as they come, without reclaim (mm/vmalloc: request large order pages from
    buddy allocator). In 7.3, not in 6.18."""
    vmap_failure_names_range: bool = since("6.11")
    """A failure names the range that was searched, and not vmalloc= (vmalloc: modify the alloc_vmap_area() error
    message for better diagnostics). In 6.12, not in 6.1."""
    prints_memory_late: bool = since("6.11")
    """"Memory: ..." is printed when the deferred memory has come, by page_alloc_init_late()."""
    preallocates_vmalloc_tables: bool = since("5.9")
    """x86-64 allocates the top-level page tables of the vmalloc area before "Memory: ..." is printed
    (x86/mm: Pre-allocate P4D/PUD pages for vmalloc area)."""
    frees_smp_alternatives: bool = until("7.0")
    """The list of lock prefixes is given back once it is known that there are several CPUs; in 6.18, not in 7.3."""
    bss_decrypted_serves_hyperv: bool = since("6.6")
    """Hyper-V's start of secondary CPUs keeps a page in .bss..decrypted; in 6.12, not in 6.1."""
    boot_services_freed_by_initcall: bool = since("7.0", stable="6.1.170 6.12.90")
    """EFI boot services' memory is freed by an arch_initcall; before, by efi_enter_virtual_mode(). In 7.3, 6.1.176 and
    6.12.107."""
    gigantic_pages_join_late_init: bool = since("7.0", stable="6.12.110")
    """Gigantic huge pages count as managed at the end of page_alloc_init_late(), before "Memory: ..." is printed;
    before, from hugetlb_init() on. In 7.3 and 6.12.117, not in 6.12.107 and 6.18.15."""


@lru_cache(maxsize=64)
def release_facts(version: Version) -> Release:
    """The facts of a kernel release (major, minor, patch)."""
    return Release(version)
