"""mm/page_alloc.c: free lists, per-CPU lists, watermarks, fallbacks; GFP flags."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Member, between, since, until


class PageAllocFacts(Facts):
    """mm/page_alloc.c: free lists, per-CPU lists, watermarks, fallbacks; GFP flags."""

    # freeing and merging
    merge_needs_fallback_types: bool = since(
        "5.18",
        "mm: page_alloc: avoid merging non-fallbackable pageblocks with others",
        marks=(
            Mark("mm/page_alloc.c", "migratetype_is_mergeable"),
            Mark("mm/internal.h", "migratetype_is_mergeable"),
            Mark("include/linux/mmzone.h", "migratetype_is_mergeable"),
        ),
    )
    """Whole pageblocks of different types merge only if both types have fallbacks; before, only Isolate stayed apart,
    and CMA merged with the others."""
    merge_sets_buddy_type: bool = since(
        "6.10",
        "mm: page_alloc: fix up block types when merging compatible blocks",
        marks=(
            Mark("mm/page_alloc.c", "set_pageblock_migratetype(buddy", inside="__free_one_page"),
            Mark("mm/page_alloc.c", "change_pageblock_range(buddy", inside="__free_one_page"),
        ),
    )
    """A merge across pageblocks gives the buddy's pageblocks the type of the block that was freed."""
    merge_sets_all_pageblocks: bool = since(
        "6.19",
        "mm/page_alloc: change all pageblocks migrate type on coalescing",
        stable="6.12.65 6.18.4-5-15",
        marks=Mark("mm/page_alloc.c", "change_pageblock_range(buddy", inside="__free_one_page"),
    )
    """... all of them; before, with `merge_sets_buddy_type`, the first one alone."""
    free_splits_at_pageblocks: bool = since(
        "6.12",
        "mm/contig_alloc: support __GFP_COMP",
        marks=Mark("mm/page_alloc.c", "split_large_buddy", inside="free_one_page"),
    )
    """A block larger than a pageblock is freed pageblock by pageblock, each under its own type."""

    # setup_per_zone_wmarks() and mm/khugepaged.c
    movable_min_watermark_capped: bool = since(
        "6.6",
        "mm/page_alloc: fix min_free_kbytes calculation regarding ZONE_MOVABLE",
        marks=Mark("mm/page_alloc.c", "ZONE_MOVABLE", inside="__setup_per_zone_wmarks"),
    )
    """Movable is no part of the memory that min_free_kbytes is spread over, and keeps only a little; before, that was
    so of HighMem alone."""
    lowmem_reserve_follows_managed: bool = since(
        "6.13", marks=Mark("mm/page_alloc.c", "setup_per_zone_lowmem_reserve", inside="adjust_managed_page_count")
    )
    """Giving pages back (adjust_managed_page_count()) sets every zone's lowmem_reserve anew."""
    khugepaged_off_recalculates: bool = since(
        "5.16",
        "mm: khugepaged: recalculate min_free_kbytes after stopping khugepaged",
        marks=Mark("mm/khugepaged.c", "calculate_min_free_kbytes", inside="set_recommended_min_free_kbytes"),
    )
    """With transparent huge pages off, min_free_kbytes is worked out once more when they are set up."""
    max_order_is_inclusive: bool = since(
        "6.4",
        "mm, treewide: redefine MAX_ORDER sanely",
        marks=(
            Mark("include/linux/mmzone.h", "MAX_ORDER_NR_PAGES (1 << MAX_ORDER)"),
            Mark("include/linux/mmzone.h", "MAX_PAGE_ORDER"),
        ),
    )
    """ARCH_FORCE_MAX_ORDER is the largest order; before, one more."""

    # per-CPU lists
    pcp_batch_up_to_mib: bool = since(
        "4.19",
        "mm, page_alloc: double zone's batchsize",
        marks=(
            Mark("mm/page_alloc.c", "1024 * 1024", inside="zone_batchsize"),
            Mark("mm/page_alloc.c", "SZ_1M", inside="zone_batchsize"),
            Mark("mm/page_alloc.c", "SZ_256K", inside="zone_batchsize"),
        ),
    )
    """A per-CPU list's batch is cut from at most 1 MiB; before, from 512 KiB."""
    pcp_high_from_watermark: bool = since(
        "5.14",
        "mm/page_alloc: adjust pcp->high after CPU hotplug events",
        marks=Mark("mm/page_alloc.c", "low_wmark_pages", inside="zone_highsize"),
    )
    """A per-CPU list holds a zone's low watermark, split between the node's CPUs; before, six batches."""
    pcp_high_is_tuned: bool = since(
        "6.7",
        "mm: add framework for PCP high auto-tuning",
        marks=(Mark("include/linux/mmzone.h", "high_min"), Member("per_cpu_pages", "high_min")),
    )
    """A per-CPU list's high moves between two limits."""
    pcp_holds_orders: bool = since(
        "5.14",
        "mm/page_alloc: allow high-order pages to be stored on the per-cpu lists",
        marks=Mark("include/linux/mmzone.h", "NR_PCP_LISTS"),
    )
    """A CPU keeps blocks up to the costly order and huge pages; before, single pages only."""
    pcp_splits_huge_pages: bool = since(
        "6.10",
        "mm/page_alloc: Separate THP PCP into movable and non-movable categories",
        stable="6.1.97 6.6.1-37-129 6.9.8",
        marks=Mark("mm/page_alloc.c", "movable = migratetype == MIGRATE_MOVABLE", inside="order_to_pindex"),
    )
    """Movable huge pages have a list of their own."""
    pcp_scales_free_batch: bool = since(
        "5.14",
        "mm/page_alloc: scale the number of pages that are batch freed",
        marks=(
            Mark("include/linux/mmzone.h", "free_factor", until="6.7"),
            Mark("include/linux/mmzone.h", "free_count;", since="6.7"),
        ),
    )
    """The batch that a full list loses doubles while only frees come."""
    pcp_frees_high_orders: bool = since(
        "5.18",
        "mm/page_alloc: limit number of high-order pages on PCP during bulk free",
        marks=Mark("mm/page_alloc.c", "bool free_high"),
    )
    """Blocks above single pages make a list go back whole while only frees come."""
    pcp_frees_high_orders_late: bool = since(
        "6.17", not_in="6.14", marks=(Mark("mm/page_alloc.c", "high_min / 2"), Mark("mm/page_alloc.c", "high_min/2"))
    )
    """... only after more than half of the list's least high."""
    pcp_frees_by_batches: bool = since("6.19", marks=Mark("mm/page_alloc.c", "to_free_batched"))
    """What a full list loses leaves it batch by batch, each from the list that was freed to."""
    pcp_drains_whole_lists: bool = since(
        "5.18",
        "mm/page_alloc: drain the requested list first during bulk free",
        marks=Mark("mm/page_alloc.c", "pindex - 1", inside="free_pcppages_bulk"),
    )
    """A drain begins with the list that was freed to and empties lists one by one; before, they take turns."""
    pcp_stores_type: bool = until(
        "6.10",
        "mm: page_alloc: remove pcppage migratetype caching",
        marks=Mark("mm/page_alloc.c", "get_pcppage_migratetype"),
    )
    """A page on a per-CPU list carries the type that it drains to."""
    pcp_lock_may_fail: bool = since(
        "6.0",
        "mm/page_alloc: replace local_lock with normal spinlock",
        marks=Mark("mm/page_alloc.c", "pcp_spin_trylock"),
    )
    """A CPU that is interrupted while it is at its lists goes to the buddy lists meanwhile, and so does an allocation
    that no per-CPU list can serve."""
    pcp_skipped_without_cma: bool = between(
        Change("5.9"),
        Change("6.6", not_in="6.5", seen_in="6.6.129"),
        marks=Mark("mm/page_alloc.c", "MIGRATE_MOVABLE", inside="rmqueue"),
    )
    """A movable request that may not have CMA pages goes past the per-CPU lists, which may hold some."""

    # taking blocks
    free_pages_counted_by_lists: bool = since(
        "6.10", "mm: page_alloc: consolidate free page accounting", marks=Mark("mm/page_alloc.c", "account_freepages")
    )
    """Free pages are counted where blocks join and leave lists; before, a refill counts once at its end."""
    fallback_splits_in_place: bool = since(
        "6.10",
        "mm: page_alloc: fix freelist movement during block conversion",
        marks=(
            Mark("mm/page_alloc.c", "expand(zone", inside="steal_suitable_fallback"),
            Mark("mm/page_alloc.c", "page_del_and_expand", inside="steal_suitable_fallback"),
            Mark("mm/page_alloc.c", "__rmqueue_steal"),
        ),
    )
    """A single block taken from another type leaves its rest on that type's lists; before, the block moves first."""
    fallback_claims: bool = since(
        "6.15",
        "mm: page_alloc: don't steal single pages from biggest buddy",
        stable="6.12.29",
        marks=Mark("mm/page_alloc.c", "__rmqueue_claim"),
    )
    """Whole pageblocks are claimed, largest first, before any block is taken out of another type's, smallest first."""
    watermarks_are_boosted: bool = since(
        "5.0",
        "mm: reclaim small amounts of memory when an external fragmentation event occurs",
        marks=Mark("mm/page_alloc.c", "watermark_boost_factor"),
    )
    """Mixing types raises the watermarks for a while."""
    boost_not_in_kdump: bool = since(
        "7.4",
        "mm/page_alloc: do not boost watermarks in kdump capture kernels",
        stable="6.12.117 7.3.4",
        marks=Mark("mm/page_alloc.c", "is_kdump_kernel()", inside="boost_watermark"),
    )
    """... except in a kernel that was started to save a crashed one's memory."""
    boost_wakes_by_right: bool = since(
        "6.5", not_in="6.4", marks=Mark("mm/page_alloc.c", "if ((alloc_flags & ALLOC_KSWAPD) &&")
    )
    """Only a request that may wake kswapd does so for a boost; before, any."""
    nofragment: bool = since(
        "5.0",
        "mm, page_alloc: spread allocations across zones before introducing fragmentation",
        marks=Mark("mm/page_alloc.c", "ALLOC_NOFRAGMENT"),
    )
    """A first pass keeps types apart and goes to a lower zone rather."""

    slowpath_tries_once_a_round: bool = since("7.0", marks=Mark("mm/page_alloc.c", "compact_first"))
    """The slow path tries the free lists once before it reclaims; before, once with the rights of the slow path and
    once more where each round begins. A request that compacts first does so in the first round, in place of reclaim."""

    skips_nodes_with_kswapd: bool = since("6.18", marks=Mark("mm/page_alloc.c", "skip_kswapd_nodes"))
    """With several nodes a request passes over those whose kswapd is at work, and comes back to them only where no
    other has a page."""

    # blocks kept for high-order atomic requests
    has_highatomic_reserve: bool = since(
        "4.4",
        "mm, page_alloc: reserve pageblocks for high-order atomic allocations on demand",
        marks=Mark("mm/page_alloc.c", "reserve_highatomic_pageblock"),
    )
    """Pageblocks are kept for atomic requests of higher orders."""
    highatomic_share_is_exact: bool = since(
        "6.8",
        "mm: page_alloc: correct high atomic reserve calculations",
        marks=Mark(
            "mm/page_alloc.c",
            "zone_managed_pages(zone) / 100) < pageblock_nr_pages",
            inside="reserve_highatomic_pageblock",
        ),
    )
    """At most a hundredth of a zone is kept for high-order atomic allocations, and nothing where that is less than a
    pageblock; before, a pageblock more."""
    highatomic_reserved_below_low: bool = since(
        "7.3", marks=Mark("mm/page_alloc.c", "ALLOC_WMARK_MASK) == ALLOC_WMARK_MIN", inside="rmqueue_buddy")
    )
    """Only an allocation that failed at the low watermark keeps a pageblock for its like."""
    highatomic_helps_non_block: bool = since(
        "6.12",
        "mm/page_alloc: let GFP_ATOMIC order-0 allocs access highatomic reserves",
        stable="6.1.116 6.6.1-60-129 6.11.1-7-11",
        marks=Mark("mm/page_alloc.c", "ALLOC_OOM|ALLOC_NON_BLOCK", inside="rmqueue_buddy"),
    )
    """A request that may not wait and finds nothing gets at the blocks kept for high-order atomic ones."""
    highatomic_needs_high: bool = since(
        "6.18",
        "mm/page_alloc: only set ALLOC_HIGHATOMIC for __GPF_HIGH allocations",
        stable="6.1.157 6.6.1-113-129 6.12.54",
        marks=(
            Mark("mm/page_alloc.c", "order > 0 && (alloc_flags & ALLOC_MIN_RESERVE)", inside="gfp_to_alloc_flags"),
            Mark("mm/page_alloc.c", "order > 0 && (gfp_mask & __GFP_HIGH)", inside="alloc_flags_nonblocking"),
        ),
    )
    """Of requests of higher orders that may not wait only those with __GFP_HIGH get at the blocks kept for their like;
    before, from the release on that has `watermark_min_reserve`, all do."""
    pcp_no_refill_for_highatomic: bool = since(
        "7.1", marks=Mark("mm/page_alloc.c", "ALLOC_HIGHATOMIC", inside="__rmqueue_pcplist")
    )
    """A high-order atomic request does not refill an empty per-CPU list but goes to the buddy lists."""
    fast_path_has_highatomic: bool = since(
        "7.3", marks=Mark("mm/page_alloc.c", "fastpath_alloc_flags |= alloc_flags_nonblocking")
    )
    """A high-order atomic request gets at the blocks kept for its like at the first attempt; before, once it has failed
    at the low watermark."""
    highatomic_counts_free: bool = since(
        "6.12",
        "mm/page_alloc: keep track of free highatomic",
        marks=(Mark("include/linux/mmzone.h", "nr_free_highatomic"), Member("zone", "nr_free_highatomic")),
    )
    """Requests without right to the high-atomic reserve are denied its free pages; before, its whole size."""

    # who may go how far below the watermarks
    watermark_loops_over_orders: bool = until(
        "4.4",
        "mm, page_alloc: only enforce watermarks for order-0 allocations",
        marks=Mark("mm/page_alloc.c", "min >>= 1", inside="__zone_watermark_ok"),
    )
    """The check takes away smaller blocks and halves the mark order by order; later, one block that is large enough
    will do."""
    harder_takes_any_block: bool = between(
        Change("4.4", "mm, page_alloc: only enforce watermarks for order-0 allocations"),
        Change("4.15", stable="4.14.1-177", not_in="4.4"),
        marks=Mark("mm/page_alloc.c", "if (alloc_harder) return true", inside="__zone_watermark_ok"),
    )
    """ALLOC_HARDER is content with any block of sufficient order, CMA and isolated ones too."""
    watermark_min_reserve: bool = since(
        "6.3",
        "mm/page_alloc: explicitly define how __GFP_HIGH non-blocking allocations accesses reserves",
        stable="6.1.116",
        marks=(Mark("mm/internal.h", "ALLOC_MIN_RESERVE"), Mark("mm/page_alloc.c", "ALLOC_MIN_RESERVE")),
    )
    """__GFP_HIGH gives half the mark and not blocking another quarter of the rest, only together; before, ALLOC_HARDER
    counts by itself."""
    atomic_ignores_boost: bool = since(
        "5.9",
        "mm, page_alloc: skip ->waternark_boost for atomic order-0 allocations",
        marks=Mark("mm/page_alloc.c", "watermark_boost", inside="zone_watermark_fast"),
    )
    """An order-0 request that may use reserves is not held to a boosted min watermark."""
    cma_counts_in_watermark: bool = since(
        "3.7", "cma: fix watermark checking", marks=Mark("mm/page_alloc.c", "NR_FREE_CMA_PAGES")
    )
    """Free CMA pages are no use to requests that may not have them."""
    memory_is_compacted: bool = since(
        "2.6.35", "mm: compaction: memory compaction core",
        marks=Mark("mm/page_alloc.c", "__alloc_pages_direct_compact", since="4.4"),
    )  # fmt: skip
    """There is compaction (CONFIG_COMPACTION)."""

    # include/linux/gfp_types.h, include/trace/events/mmflags.h
    gfp_optional_bits_packed: bool = since(
        "6.9", "mm: enumerate all gfp flags", marks=Mark("include/linux/gfp_types.h", "___GFP_LAST_BIT")
    )
    """Flags that depend on options take the next free bits."""
    gfp_prints_in_bit_order: bool = since(
        "6.15",
        "tracing: gfp: Remove duplication of recording GFP flags",
        not_in="6.14",
        seen_in="6.17",
        marks=Mark("include/trace/events/mmflags.h", "gfpflag_string(__GFP_COMP)", gone=True, since="5.19"),
    )
    """Single flags are printed in the order of their bits, those of options too."""
