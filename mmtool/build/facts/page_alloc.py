"""mm/page_alloc.c: free lists, per-CPU lists, watermarks, fallbacks; GFP flags."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since, until


class PageAllocFacts(Facts):
    """mm/page_alloc.c: free lists, per-CPU lists, watermarks, fallbacks; GFP flags."""

    # freeing and merging
    merge_needs_fallback_types: bool = since("5.18")
    """Whole pageblocks of different types merge only if both types have fallbacks; before, only Isolate stayed
    apart, and CMA merged with the others (1dd214b8f21c)."""
    merge_sets_buddy_type: bool = since("6.10")
    """A merge across pageblocks gives the buddy's pageblocks the type of the block that was freed."""
    merge_sets_all_pageblocks: bool = since(
        "6.19", "mm/page_alloc: change all pageblocks migrate type on coalescing", stable="6.12.65"
    )
    """... all of them; before, with `merge_sets_buddy_type`, the first one alone."""
    free_splits_at_pageblocks: bool = since("6.12")
    """A block larger than a pageblock is freed pageblock by pageblock, each under its own type (e98337d11bbd)."""

    # setup_per_zone_wmarks() and mm/khugepaged.c
    movable_min_watermark_capped: bool = since("6.6")
    """Movable is no part of the memory that min_free_kbytes is spread over, and keeps only a little; before, that was
    so of HighMem alone (mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE)."""
    lowmem_reserve_follows_managed: bool = since("6.16")
    """Giving pages back (adjust_managed_page_count()) sets every zone's lowmem_reserve anew; in 6.18, not in 6.12."""
    khugepaged_off_recalculates: bool = since("5.16")
    """With transparent huge pages off, min_free_kbytes is worked out once more when they are set up
    (mm: khugepaged: recalculate min_free_kbytes after stopping khugepaged)."""
    max_order_is_inclusive: bool = since("6.4")
    """ARCH_FORCE_MAX_ORDER is the largest order; before, one more (mm, treewide: redefine MAX_ORDER sanely)."""

    # per-CPU lists
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
    pcp_skipped_without_cma: bool = until("6.10")
    """A movable request that may not have CMA pages goes past the per-CPU lists, which may hold some."""

    # taking blocks
    free_pages_counted_by_lists: bool = since("6.10")
    """Free pages are counted where blocks join and leave lists; before, a refill counts once at its end
    (mm: page_alloc: consolidate free page accounting)."""
    fallback_splits_in_place: bool = since("6.10")
    """A single block taken from another type leaves its rest on that type's lists; before, the block moves first
    (mm: page_alloc: fix freelist movement during block conversion)."""
    fallback_claims: bool = since("6.15", stable="6.12.32")
    """Whole pageblocks are claimed, largest first, before any block is taken out of another type's, smallest first
    (mm: page_alloc: don't steal single pages from biggest buddy). In 6.12.107 too."""
    watermarks_are_boosted: bool = since("5.0")
    """Mixing types raises the watermarks for a while (mm: reclaim small amounts of memory when an external
    fragmentation event occurs)."""
    boost_not_in_kdump: bool = since(
        "7.4",
        "mm/page_alloc: do not boost watermarks in kdump capture kernels",
        stable="6.12.117 7.3.4",
        not_in="7.2.13",
        marks=Mark("mm/page_alloc.c", "is_kdump_kernel()"),
    )
    """... except in a kernel that was started to save a crashed one's memory."""
    boost_wakes_by_right: bool = since(
        "6.12", not_in="6.1.176", marks=Mark("mm/page_alloc.c", "if ((alloc_flags & ALLOC_KSWAPD) &&")
    )
    """Only a request that may wake kswapd does so for a boost; before, any."""
    nofragment: bool = since("5.0")
    """A first pass keeps types apart and goes to a lower zone rather (mm, page_alloc: spread allocations across zones
    before introducing fragmentation)."""

    # blocks kept for high-order atomic requests
    has_highatomic_reserve: bool = since("4.4")
    """Pageblocks are kept for atomic requests of higher orders (0aaa29a56e4f)."""
    highatomic_share_is_exact: bool = since("6.8")
    """At most a hundredth of a zone is kept for high-order atomic allocations, and nothing where that is less than a
    pageblock; before, a pageblock more (mm: page_alloc: correct high atomic reserve calculations)."""
    highatomic_reserved_below_low: bool = since("7.0")
    """Only an allocation that failed at the low watermark keeps a pageblock for its like; in 7.3, not in 6.12."""
    highatomic_helps_non_block: bool = since("6.12", stable="6.1.116 6.6.60 6.11.7")
    """A request that may not wait and finds nothing gets at the blocks kept for high-order atomic ones
    (mm/page_alloc: let GFP_ATOMIC order-0 allocs access highatomic reserves)."""
    highatomic_needs_high: bool = since(
        "6.18",
        "mm/page_alloc: only set ALLOC_HIGHATOMIC for __GPF_HIGH allocations",
        stable="6.1.157 6.12.54",
        marks=Mark("mm/page_alloc.c", "if (order > 0 && (alloc_flags & ALLOC_MIN_RESERVE))"),
    )
    """Of requests of higher orders that may not wait only those with __GFP_HIGH get at the blocks kept for their like;
    before, from the release on that has `watermark_min_reserve`, all do."""
    pcp_no_refill_for_highatomic: bool = since("7.2", not_in="6.12.117")
    """A high-order atomic request does not refill an empty per-CPU list but goes to the buddy lists."""
    fast_path_has_highatomic: bool = since("7.3", not_in="7.2.13")
    """A high-order atomic request gets at the blocks kept for its like at the first attempt; before, once it has failed
    at the low watermark."""
    highatomic_counts_free: bool = since("6.12")
    """Requests without right to the high-atomic reserve are denied its free pages; before, its whole size
    (mm/page_alloc: keep track of free highatomic). In 6.12.117, not in 6.1.176."""

    # who may go how far below the watermarks
    watermark_loops_over_orders: bool = until("4.4")
    """The check takes away smaller blocks and halves the mark order by order; later, one block that is large enough
    will do (mm, page_alloc: only enforce watermarks for order-0 allocations, 97a16fc82a7c)."""
    harder_takes_any_block: bool = between(Change("4.4"), Change("4.15"))
    """ALLOC_HARDER is content with any block of sufficient order, CMA and isolated ones too (685dbf6f5aa1)."""
    oom_victims_keep_watermarks: bool = since("4.14")
    """Victims of the OOM killer have a part of the reserves, ALLOC_OOM; before, all of them (cd04ae1e2dc8)."""
    watermark_min_reserve: bool = since("6.3", stable="6.1.116")
    """__GFP_HIGH gives half the mark and not blocking another quarter of the rest, only together; before, ALLOC_HARDER
    counts by itself (mm/page_alloc: explicitly define how __GFP_HIGH non-blocking allocations accesses reserves)."""
    atomic_ignores_boost: bool = since("5.9")
    """An order-0 request that may use reserves is not held to a boosted min watermark (f80b08fc4453)."""
    cma_counts_in_watermark: bool = since("3.7")
    """Free CMA pages are no use to requests that may not have them (cma: fix watermark checking)."""

    # include/linux/gfp_types.h, include/trace/events/mmflags.h
    gfp_optional_bits_packed: bool = since("6.9")
    """Flags that depend on options take the next free bits (mm: enumerate all gfp flags)."""
    gfp_prints_in_bit_order: bool = since("6.14")
    """Single flags are printed in the order of their bits, those of options too (tracing: gfp: Remove duplication of
    recording GFP flags)."""
