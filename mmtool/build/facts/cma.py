"""mm/cma.c, kernel/dma/contiguous.c, mm/hugetlb.c, mm/hugetlb_cma.c: areas and gigantic pages."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Member, between, since


class CmaFacts(Facts):
    """mm/cma.c, kernel/dma/contiguous.c, mm/hugetlb.c, mm/hugetlb_cma.c: areas and gigantic pages."""

    # mm/cma.c, kernel/dma/contiguous.c
    cma_aligns_to_pageblocks: bool = since(
        "5.19",
        "mm: cma: use pageblock_order as the single alignment",
        marks=Mark("include/linux/cma.h", "CMA_MIN_ALIGNMENT_PAGES pageblock_nr_pages"),
    )
    """An area is made of whole pageblocks; before, also of blocks of the largest order."""
    cma_tries_above_4g: bool = since(
        "5.12", "mm: cma: allocate cma areas bottom-up", marks=Mark("mm/cma.c", "memblock_set_bottom_up")
    )
    """An area is first looked for above 4 GiB, from below."""
    cma_says_node: bool = between(
        Change("6.6", not_in="6.5-rc3", seen_in="6.6-rc1"),
        Change("6.15", "mm, cma: support multiple contiguous ranges, if requested"),
        marks=Mark("mm/cma.c", "on node %d"),
    )
    """"Reserved ... on node N" is printed."""
    cma_says_no_base: bool = between(
        Change("6.15", "mm, cma: support multiple contiguous ranges, if requested"),
        Change("6.15-rc2", "mm/cma: report base address of single range correctly", not_in="6.15-rc1", seen_in="6.15"),
    )
    """The base of an area of one range is printed as 0."""
    cma_says_size_asked: bool = since(
        "6.15",
        "mm, cma: support multiple contiguous ranges, if requested",
        marks=Mark("mm/cma.c", "cma_declare_contiguous_multi"),
    )
    """The size printed is the one asked for, and every failure is; before, the aligned size."""
    cma_has_ranges: bool = since(
        "6.15",
        "mm, cma: support multiple contiguous ranges, if requested",
        marks=(Mark("mm/cma.c", "cma_declare_contiguous_multi"), Member("cma", "ranges")),
    )
    """An area may be made of several ranges."""
    cma_limit_is_users: bool = since(
        "6.17",
        "dma/contiguous: respect the cma address limit set up by user",
        marks=Mark(
            "kernel/dma/contiguous.c", "min_not_zero(limit_cmdline, limit)", gone=True, inside="dma_contiguous_reserve"
        ),
    )
    """A limit in cma= counts alone; before, the lower of it and the devices' limit."""
    numa_cma_with_default: bool = since(
        "6.6",
        "dma-contiguous: support numa CMA for specified node",
        marks=Mark("kernel/dma/contiguous.c", '"numa_cma"'),
    )
    """Nodes' areas are reserved together with the default one on every architecture, and numa_cma= is known."""
    numa_cma_after_default: bool = since(
        "7.2",
        marks=Mark(
            "kernel/dma/contiguous.c",
            "bool fixed = false; dma_numa_cma_reserve();",
            gone=True,
            inside="dma_contiguous_reserve",
            since="6.6",
        ),
    )
    """... after it, and one area a node."""

    # mm/hugetlb.c, mm/hugetlb_cma.c
    hugetlb_takes_nodes: bool = since(
        "5.16",
        "hugetlbfs: extend the definition of hugepages parameter to support node allocation",
        marks=Mark("mm/hugetlb.c", "default_hugepages_in_node"),
    )
    """hugepages= and hugetlb_cma= may give numbers for single nodes."""
    hugetlb_says_vmemmap: bool = since(
        "6.0",
        "mm: hugetlb_vmemmap: improve hugetlb_vmemmap code readability",
        marks=Mark("mm/hugetlb.c", "KiB vmemmap can be freed"),
    )
    """What struct pages a huge page would save is printed beside its size, and "HugeTLB" got a colon."""
    hugetlb_allocates_after_parsing: bool = since(
        "6.15",
        "mm/hugetlb: convert cmdline parameters from setup to early",
        marks=Mark("mm/hugetlb.c", "hugetlb_parse_params"),
    )
    """Gigantic pages are allocated by hugetlb_bootmem_alloc(); before, when hugepages= is parsed."""
    hugetlb_frees_cross_zone: bool = since("7.3", marks=Mark("mm/hugetlb.c", "free_cross_zone"))
    """A gigantic page that lies in two zones goes back to memblock at once."""
    hugetlb_cma_strict: bool = since("7.3", marks=Mark("mm/hugetlb_cma.c", "hugetlb_cma_percent"))
    """hugetlb_cma= takes percentages, must be a multiple of a gigantic page, and looks at memblock's nodes."""
    gigantic_pages_join_late_init: bool = since(
        "7.2",
        "mm/hugetlb: initialize gigantic bootmem hugepage struct pages earlier",
        stable="6.12.114",
        marks=Mark("mm/mm_init.c", "hugetlb", inside="page_alloc_init_late"),
    )
    """Gigantic huge pages count as managed at the end of page_alloc_init_late(), before "Memory: ..." is printed;
    before, from hugetlb_init() on."""
