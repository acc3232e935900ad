"""mm/mm_init.c, mm/sparse.c, mm/percpu.c, init/main.c and its callees: zones, struct pages, what boot allocates."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Symbol, between, since, until


class MmInitFacts(Facts):
    """mm/mm_init.c, mm/sparse.c, mm/percpu.c, init/main.c and its callees: zones, struct pages, what boot allocates."""

    # mm/mm_init.c: zones
    has_zone_device: bool = since(
        "4.3", 'mm: ZONE_DEVICE for "device memory"', marks=Mark("include/linux/mmzone.h", "ZONE_DEVICE")
    )
    """There is a zone type for device memory."""
    mirror_wants_mirrored_memory: bool = since(
        "6.6", not_in="6.4", seen_in="6.6.129", marks=Mark("mm/mm_init.c", "no mirror memory, ignore kernelcore=mirror")
    )
    """kernelcore=mirror does nothing on a machine that has no mirrored memory."""
    mirror_not_under_kdump: bool = since(
        "6.6", not_in="6.4", seen_in="6.6.129", marks=Mark("mm/mm_init.c", "under kdump, ignore kernelcore=mirror")
    )
    """kernelcore=mirror does nothing in a kernel that another one's crash started."""
    says_initializing_memoryless: bool = between(
        Change("5.18"),
        Change("6.7"),
        marks=(
            Mark("mm/page_alloc.c", "Initializing node %d as memoryless"),
            Mark("mm/mm_init.c", "Initializing node %d as memoryless"),
        ),
    )
    """"Initializing node N as memoryless" is printed for a possible node that is not online."""
    memmap_charged_to_zones: bool = until(
        "6.10", marks=(Mark("mm/page_alloc.c", "calc_memmap_size"), Mark("mm/mm_init.c", "calc_memmap_size"))
    )
    """Until memblock hands over, a zone counts its pages without memmap and DMA reserve; later, all present ones."""
    zone_counts_without_memmap: bool = until(
        "3.8", 'mm: introduce new field "managed_pages" to struct zone', not_in="3.7", seen_in="3.10"
    )
    """A zone's present pages are those without its struct pages, of which it has one for each page of its span."""
    prints_zone_sizes: bool = until(
        "5.14", not_in="5.13", marks=Mark("mm/page_alloc.c", "printk(KERN_DEBUG", inside="free_area_init_core")
    )
    """"On node N totalpages" and the lines below it are printed at debug level, not compiled out."""
    prints_wide_ranges: bool = since("4.0", "mm: extend printed address width", not_in="3.19")
    """Zone and node ranges are printed with 16 digits; before, with 8."""
    counts_unavailable: bool = since(
        "5.14-rc2",
        "mm/page_alloc: fix memory map initialization for descending nodes",
        stable="5.10.53 5.13.1-5-19",
        marks=(
            Mark("mm/page_alloc.c", "On node %d, zone %s: %lld pages in unavailable"),
            Mark("mm/mm_init.c", "On node %d, zone %s: %lld pages in unavailable"),
        ),
    )
    """Holes get struct pages of the zone above: "On node N, zone Z: P pages in unavailable ranges"."""
    counts_unavailable_by_zone: bool = since(
        "5.12-rc3",
        "mm/page_alloc.c: refactor initialization of struct page for holes in memory layout",
        stable="5.10.24 5.11.7",
        marks=(
            Mark("mm/page_alloc.c", "pages in unavailable ranges"),
            Mark("mm/mm_init.c", "pages in unavailable ranges"),
        ),
    )
    """Holes get struct pages zone by zone: " Z zone: P pages in unavailable ranges" (mm/page_alloc.c: refactor
    initialization of struct page for holes in memory layout); `counts_unavailable` goes before it."""
    defer_init_counts_every_zone: bool = until(
        "6.11", marks=Mark("mm/mm_init.c", "return false; /* Always", gone=True, inside="defer_init", since="6.4")
    )
    """The count of early pages of the deferred zone starts anew when memory of any other zone lies between."""
    deferred_grow_by_sections: bool = since(
        "6.18", marks=Mark("mm/mm_init.c", "SECTION_ALIGN_UP", inside="deferred_grow_zone")
    )
    """deferred_grow_zone() stops at a section's end; before, at the next free page."""
    reserved_pageblocks_movable: bool = since(
        "6.13",
        marks=(
            Mark("mm/mm_init.c", "MIGRATE_MOVABLE", inside="init_reserved_page"),
            Mark("mm/mm_init.c", "MIGRATE_MOVABLE", inside="__init_page_from_nid"),
            Mark("mm/mm_init.c", "MIGRATE_MOVABLE", inside="__init_deferred_page"),
        ),
    )
    """Deferred pageblocks whose first page is reserved become Movable at the hand-over; before, they stay Unmovable."""

    # mm/page_alloc.c: zonelists
    zonelists_in_mm_init: bool = since(
        "6.4",
        "init: fold build_all_zonelists() and page_alloc_init_cpuhp() to mm_init()",
        marks=(
            Mark("init/main.c", "build_all_zonelists", inside="mm_core_init"),
            Mark("mm/mm_init.c", "build_all_zonelists", inside="mm_core_init"),
        ),
    )
    """mm_init() builds the zonelists, when the early hash tables are there."""
    swiotlb_before_zonelists: bool = since(
        "6.15",
        not_in="6.14",
        seen_in="6.16",
        marks=(
            Mark("mm/mm_init.c", "arch_mm_preinit", inside="mm_core_init"),
            Symbol("arch_mm_preinit", beside="mm_core_init"),
        ),
    )
    """Bounce buffers come before the zonelists, in arch_mm_preinit()."""
    zonelist_load_counts_up: bool = since(
        "5.19",
        marks=Mark("mm/page_alloc.c", "node_load[node] += 1", inside="build_zonelists"),
    )
    """A node's load is how often it came first of its distance; before, the number of nodes left to place."""
    zonelist_prints_fallback: bool = since("5.16", marks=Mark("mm/page_alloc.c", "Fallback order for Node"))
    """"Fallback order for Node N" is printed."""
    zonelist_skips_memoryless: bool = since(
        "6.7",
        "mm: page_alloc: skip memoryless nodes entirely",
        marks=(
            Mark("mm/page_alloc.c", "node_state(node, N_MEMORY)", inside="find_next_best_node"),
            Mark("mm/page_alloc.c", "N_MEMORY", inside="find_next_best_node_in"),
        ),
    )
    """A node without memory is not in its own fallback order."""

    # mm/sparse.c, mm/sparse-vmemmap.c
    pageblocks_have_eight_bits: bool = since(
        "6.17",
        "mm/page_isolation: make page isolation a standalone bit",
        marks=(
            Mark("include/linux/pageblock-flags.h", "roundup_pow_of_two(__NR_PAGEBLOCK_BITS)"),
            Symbol("init_pageblock_migratetype", beside="memblock_free_all"),
        ),
    )
    """A pageblock's flags take eight bits, not four."""
    vmemmap_not_leak_traced: bool = since(
        "6.14", marks=Mark("mm/sparse-vmemmap.c", "memmap_alloc", inside="__earlyonly_bootmem_alloc")
    )
    """Struct pages are allocated without leak tracing (MEMBLOCK_ALLOC_NOLEAKTRACE)."""
    vmemmap_allocates_page_by_page: bool = since(
        "7.2", marks=Mark("mm/sparse.c", "sparse_buffer_init", gone=True, since="4.19")
    )
    """There is no buffer for all struct pages of a node: each 2 MiB page is allocated when it is mapped."""
    section_usage_anywhere: bool = since(
        "7.1", marks=Mark("mm/sparse.c", "sparse_early_usemaps_alloc_pgdat_section", gone=True)
    )
    """Usage maps need not lie in the section of the node's pgdat."""

    # mm/percpu.c, kernel/printk/printk.c
    percpu_depopulates: bool = since(
        "5.14", "percpu: implement partial chunk depopulation", marks=Mark("mm/percpu.c", "pcpu_reclaim_populated")
    )
    """Unused chunks have lists of their own, accounted ones do not."""
    log_buffer_has_descriptors: bool = since(
        "5.10", "printk: use the lockless ringbuffer", marks=Mark("kernel/printk/printk.c", "prb_init(")
    )
    """The ring buffer keeps a descriptor and an info record for every 32 bytes of text."""

    # kernel/dma/swiotlb.c
    swiotlb_prints_all_digits: bool = since(
        "5.10", not_in="5.9", marks=Mark("kernel/dma/swiotlb.c", "mapped [mem %pa-%pa]")
    )
    """The line that says where the buffer lies has 16 digits; before, 8 at least."""
    swiotlb_has_slots: bool = since(
        "5.13",
        not_in="5.12",
        seen_in="5.14",
        marks=(
            Mark("kernel/dma/swiotlb.c", "struct io_tlb_slot"),
            Mark("include/linux/swiotlb.h", "struct io_tlb_slot"),
        ),
    )
    """One table of slots keeps track of the buffer, not two."""
    swiotlb_has_areas: bool = since(
        "6.0", "swiotlb: split up the global swiotlb lock", marks=Mark("kernel/dma/swiotlb.c", "struct io_tlb_area")
    )
    """The buffer is split into areas, one a CPU."""
    swiotlb_retries_smaller: bool = since(
        "6.2",
        "swiotlb: reduce the swiotlb buffer size on allocation failure",
        stable="6.1.40",
        marks=Mark("kernel/dma/swiotlb.c", "swiotlb_memblock_alloc"),
    )
    """A buffer that does not fit is tried at half the size."""

    # mm/mm_init.c: hash tables, "Memory: ..."
    hash_tables_adapt: bool = since(
        "4.13",
        "mm: adaptive hash table scaling",
        marks=(Mark("mm/page_alloc.c", "ADAPT_SCALE_BASE"), Mark("mm/mm_init.c", "ADAPT_SCALE_BASE")),
    )
    """Beyond 64 GiB hash tables grow half as fast as memory."""
    hash_prints_place: bool = since(
        "5.3",
        marks=(
            Mark("mm/page_alloc.c", '"linear")'),
            Mark("mm/mm_init.c", '"linear")'),
            Mark("mm/page_alloc.c", ': "linear"'),
            Mark("mm/mm_init.c", ': "linear"'),
        ),
    )
    """The line of a hash table ends in "linear" or "vmalloc"."""
    hash_order_rounds_up: bool = since(
        "6.18",
        "mm/mm_init: fix hash table order logging in alloc_large_system_hash()",
        stable="6.1.159 6.6.1-129 6.12.59",
        marks=(
            Mark("mm/page_alloc.c", "get_order(size), size", inside="alloc_large_system_hash"),
            Mark("mm/mm_init.c", "get_order(size), size", inside="alloc_large_system_hash"),
        ),
    )
    """A hash table's order is get_order() of its size; before, the logarithm rounded down."""
    hash_in_huge_vmalloc: bool = since(
        "5.18",
        "page_alloc: use vmalloc_huge for large system hash",
        marks=(
            Mark("mm/page_alloc.c", "vmalloc_huge", inside="alloc_large_system_hash"),
            Mark("mm/mm_init.c", "vmalloc_huge", inside="alloc_large_system_hash"),
        ),
    )
    """Distributed hash tables ask vmalloc for huge pages."""
    prints_memory_late: bool = since(
        "6.11", marks=Mark("mm/mm_init.c", "mem_init_print_info", inside="page_alloc_init_late")
    )
    """"Memory: ..." is printed when the deferred memory has come, by page_alloc_init_late()."""
