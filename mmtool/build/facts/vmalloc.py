"""mm/vmalloc.c: the search for a place, lazy frees, the pages behind it, what is printed."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Symbol, between, since, until


class VmallocFacts(Facts):
    """mm/vmalloc.c: the search for a place, lazy frees, the pages behind it, what is printed."""

    vmalloc_huge_by_node: bool = between(
        Change("5.14", not_in="5.12"), Change("6.13"), marks=Mark("mm/vmalloc.c", "size_per_node")
    )
    """Huge pages only if each online node's share of an area is one."""
    vmap_search_counts_alignment: bool = until(
        "5.16",
        "mm/vmalloc: do not adjust the search size for alignment overhead",
        marks=Mark("mm/vmalloc.c", "length = size + align - 1", inside="find_vmap_lowest_match", since="5.2"),
    )
    """The search for a free area counts the alignment to the size, whatever it is."""
    vmap_search_counts_large_alignment: bool = since(
        "5.18", marks=Mark("mm/vmalloc.c", "adjust_search_size")
    )
    """... an alignment above a page, and not where the range is as long as the request; for two releases, none."""
    vmap_purge_merges: bool = since(
        "5.11",
        "mm/vmalloc: rework the drain logic",
        marks=(
            Mark("mm/vmalloc.c", "purge_vmap_area_root", until="6.9"),
            Mark("mm/vmalloc.c", "struct vmap_node", since="6.9"),
        ),
    )
    """Lazily freed areas are kept by address and merged; before, in a list, the last one first."""
    vmap_has_nodes: bool = since(
        "6.9",
        "mm: vmalloc: support multiple nodes in vmallocinfo",
        marks=(Mark("mm/vmalloc.c", "struct vmap_node"), Symbol("decay_va_pool_node")),
    )
    """Lazily freed areas go to nodes, one a CPU, that keep some by size for the next request."""
    vmap_small_pools_decay_whole: bool = until(
        "6.16",
        not_in="6.14",
        seen_in="6.17",
        marks=Mark("mm/vmalloc.c", "pool_len", gone=True, inside="decay_va_pool_node"),
    )
    """Of fewer than four areas that a node keeps of one size all are given back, where a quarter is meant."""
    vmap_spares_usable_blocks: bool = since(
        "6.5", "mm/vmalloc: Don't purge usable blocks unnecessarily", marks=Mark("mm/vmalloc.c", "VMAP_PURGE_THRESHOLD")
    )
    """vm_unmap_aliases() leaves blocks with much room."""
    vmalloc_errors_have_reason: bool = since(
        "5.14", not_in="5.12", marks=Mark("mm/vmalloc.c", "vmalloc error: size %lu")
    )
    """A failed vmalloc() says "vmalloc error: size N," and why; before, "vmalloc: allocation failure: N bytes"."""
    vmalloc_error_has_order: bool = until(
        "6.4",
        "mm/vmalloc: do not output a spurious warning when huge vmalloc() fails",
        stable="6.3.10",
        marks=Mark("mm/vmalloc.c", "page order %u", since="5.14"),
    )
    """A shortage of pages is told with their order, and also when single pages are tried next."""
    vmalloc_shortage_is_silent: bool = between(
        Change("5.10", "mm: cleanup the gfp_mask handling in __vmalloc_area_node"),
        Change("6.3"),
        marks=Mark("mm/vmalloc.c", "gfp_mask |= __GFP_NOWARN", inside="__vmalloc_area_node"),
    )
    """A shortage of pages is not told: the mask has __GFP_NOWARN by then."""
    vmalloc_error_tells_whole_size: bool = since(
        "7.1", marks=Mark("mm/vmalloc.c", 'failed to allocate pages", nr_small_pages * PAGE_SIZE')
    )
    """The size in it is that of the area, not of the pages that were there."""
    vmalloc_error_has_align: bool = since("7.3", marks=Mark("mm/vmalloc.c", "align 0x%lx, vm_struct"))
    """"vm_struct allocation failed" is told with the alignment."""
    vmalloc_takes_pages_in_bulk: bool = since(
        "5.14",
        "mm/vmalloc: switch to bulk allocator in __vmalloc_area_node()",
        marks=Mark("mm/vmalloc.c", "alloc_pages_bulk"),
    )
    """Single pages come from the bulk allocator, a hundred at most at once since 5.15."""
    vmalloc_tries_large_blocks: bool = since(
        "6.19",
        "mm/vmalloc: request large order pages from buddy allocator",
        marks=(Mark("mm/vmalloc.c", "large_gfp"), Mark("mm/vmalloc.c", "large_order")),
    )
    """Pages are asked for in blocks as large as they come, without reclaim."""
    vmap_failure_names_range: bool = since(
        "6.11",
        "vmalloc: modify the alloc_vmap_area() error message for better diagnostics",
        marks=Mark("mm/vmalloc.c", "vmalloc_node_range for size"),
    )
    """A failure names the range that was searched, and not vmalloc=."""
