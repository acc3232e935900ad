"""mm/cma.c, kernel/dma/contiguous.c, mm/hugetlb.c, mm/hugetlb_cma.c: areas and gigantic pages."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, between, since


class CmaFacts(Facts):
    """mm/cma.c, kernel/dma/contiguous.c, mm/hugetlb.c, mm/hugetlb_cma.c: areas and gigantic pages."""

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
    gigantic_pages_join_late_init: bool = since("7.0", stable="6.12.110")
    """Gigantic huge pages count as managed at the end of page_alloc_init_late(), before "Memory: ..." is printed;
    before, from hugetlb_init() on. In 7.3 and 6.12.117, not in 6.12.107 and 6.18.15."""
