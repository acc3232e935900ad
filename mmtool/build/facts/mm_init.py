"""mm/mm_init.c, mm/sparse.c, mm/percpu.c, init/main.c and its callees: zones, struct pages, what boot allocates."""

from __future__ import annotations

from mmtool.build.fact import Facts, since, until


class MmInitFacts(Facts):
    """mm/mm_init.c, mm/sparse.c, mm/percpu.c, init/main.c and its callees: zones, struct pages, what boot allocates."""

    # mm/mm_init.c: zones
    has_zone_device: bool = since("4.3")
    """There is a zone type for device memory."""
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
    defer_init_counts_every_zone: bool = until("6.11")
    """The count of early pages of the deferred zone starts anew when memory of any other zone lies between."""
    deferred_grow_by_sections: bool = since("6.18")
    """deferred_grow_zone() stops at a section's end; before, at the next free page."""
    reserved_pageblocks_movable: bool = since("6.13")
    """Deferred pageblocks whose first page is reserved become Movable at the hand-over; before, they stay Unmovable."""

    # mm/page_alloc.c: zonelists
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

    # mm/sparse.c, mm/sparse-vmemmap.c
    pageblocks_have_eight_bits: bool = since("6.17")
    """A pageblock's flags take eight bits, not four (mm/page_isolation: make page isolation a standalone bit)."""
    vmemmap_not_leak_traced: bool = since("6.13")
    """Struct pages are allocated without leak tracing (MEMBLOCK_ALLOC_NOLEAKTRACE)."""
    vmemmap_allocates_page_by_page: bool = since("7.0")
    """There is no buffer for all struct pages of a node: each 2 MiB page is allocated when it is mapped."""
    section_usage_anywhere: bool = since("7.0")
    """Usage maps need not lie in the section of the node's pgdat."""

    # mm/percpu.c, kernel/printk/printk.c
    percpu_depopulates: bool = since("5.14")
    """Unused chunks have lists of their own, accounted ones do not (percpu: implement partial chunk depopulation)."""
    log_buffer_has_descriptors: bool = since("5.10")
    """The ring buffer keeps a descriptor and an info record for every 32 bytes of text."""

    # kernel/dma/swiotlb.c
    swiotlb_has_slots: bool = since("5.12")
    """One table of slots keeps track of the buffer, not two."""
    swiotlb_has_areas: bool = since("6.0")
    """The buffer is split into areas, one a CPU."""
    swiotlb_retries_smaller: bool = since("6.0")
    """A buffer that does not fit is tried at half the size."""

    # mm/mm_init.c: hash tables, "Memory: ..."
    hash_tables_adapt: bool = since("4.13")
    """Beyond 64 GiB hash tables grow half as fast as memory (mm: adaptive hash table scaling)."""
    hash_prints_place: bool = since("5.3")
    """The line of a hash table ends in "linear" or "vmalloc"."""
    hash_order_rounds_up: bool = since("5.17")
    """A hash table's order is get_order() of its size; before, the logarithm rounded down. In 6.1, not in 5.10."""
    hash_in_huge_vmalloc: bool = since("5.18")
    """Distributed hash tables ask vmalloc for huge pages (mm/vmalloc: Use huge pages for the large system hash)."""
    prints_memory_late: bool = since("6.11")
    """"Memory: ..." is printed when the deferred memory has come, by page_alloc_init_late()."""
