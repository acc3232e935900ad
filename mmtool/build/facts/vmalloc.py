"""mm/vmalloc.c: the search for a place, lazy frees, the pages behind it, what is printed."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, between, since, until


class VmallocFacts(Facts):
    """mm/vmalloc.c: the search for a place, lazy frees, the pages behind it, what is printed."""

    vmalloc_huge_by_node: bool = until("6.13")
    """Huge pages only if each online node's share of an area is one; in 6.12, not in 6.18."""
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
