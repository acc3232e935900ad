"""Reclaim: mm/swap.c, vmscan.c, workingset.c, memcontrol.c, swapfile.c and what fills the LRU lists."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since, until


class ReclaimFacts(Facts):
    """What differs in the LRU lists, in what reclaim decides from, and in swap."""

    # batches
    folio_batch_31: bool = since(
        "6.9", "mm: increase folio batch size",
        marks=Mark("include/linux/pagevec.h", "define PAGEVEC_SIZE	31", until="7.1"),
    )  # fmt: skip
    """A CPU's batch on the way to the lists holds 31 pages; before, 15."""
    charge_batch_64: bool = since(
        "6.1", "memcg: increase MEMCG_CHARGE_BATCH to 64",
        marks=Mark("include/linux/memcontrol.h", "define MEMCG_CHARGE_BATCH 64U"),
    )  # fmt: skip
    """A cgroup is charged 64 pages at a time; before, 32."""

    # statistics of a cgroup
    memcg_stats_flushed: bool = since(
        "5.15", "memcg: flush stats only if updated",
        marks=Mark("mm/memcontrol.c", "void mem_cgroup_flush_stats("),
    )  # fmt: skip
    """lruvec_page_state() says what the last flush left; before, each item goes over batch by batch."""
    memcg_stats_flushed_by_cgroup: bool = since(
        "6.8", "mm: memcg: make stats flushing threshold per-memcg", stable="6.6.1-129",
        marks=Mark("mm/memcontrol.c", "memcg_vmstats_needs_flush("),
    )  # fmt: skip
    """Each cgroup counts the updates that call for a flush; before, one count is kept for all."""
    memcg_stats_stop_counting: bool = since(
        "6.17", not_in="6.14", marks=Mark("mm/memcontrol.c", "ancestors are\n\t\t * flushable as well")
    )
    """A cgroup that may be flushed counts no further updates."""
    scan_reads_stale_stats: bool = since(
        "6.12", "memcg: use ratelimited stats flush in the reclaim", not_in="6.11", seen_in="6.12.117",
        marks=Mark("mm/vmscan.c", "mem_cgroup_flush_stats_ratelimited(sc->target_mem_cgroup)"),
    )  # fmt: skip
    """A round of reclaim flushes only if the periodic flush is overdue; before, whenever there were updates enough."""
    memcg_counts_pgpgin: bool = until(
        "6.12",
        not_in="6.11",
        seen_in="6.12.117",
        marks=Mark("mm/memcontrol.c", "#ifdef CONFIG_MEMCG_V1\n\tPGPGIN,", gone=True),
    )
    """Pages that come and go are events of a cgroup; later only with CONFIG_MEMCG_V1, which Debian leaves out."""
    memcg_counts_scan_by_kind: bool = since("7.1", marks=Mark("mm/memcontrol.c", "PGSCAN_ANON,"))
    """pgscan_anon and its like are statistics of a cgroup."""

    pgfault_counts_retries: bool = until(
        "6.12", "mm: do not increment pgfault stats when page fault handler retries", not_in="6.1",
    )  # fmt: skip
    """A fault that waited for a page's reading is served, and counted, twice."""

    # scanning
    recency_of_mappings: bool = since(
        "6.3", "mm: add vma_has_recency()", marks=Mark("mm/rmap.c", "if (!vma_has_recency(vma))")
    )
    """A use through a mapping that is read at random says nothing about a page."""
    cost_of_rotations: bool = since(
        "6.2", "mm: vmscan: make rotations a secondary factor in balancing anon vs file",
        marks=Mark("mm/vmscan.c", "nr_scanned - nr_reclaimed"),
    )  # fmt: skip
    """What reclaim looked at and kept is a cost, a page's writing 32 times as much; before, writing alone."""
    nothing_spent_decays_no_cost: bool = since(
        "6.17", not_in="6.16", marks=Mark("mm/swap.c", "if (!cost)", inside="lru_note_cost_unlock_irq", until="7.3")
    )
    """Reclaim that cost nothing leaves the older costs as they are; before, it may halve them."""
    costs_are_counters: bool = since("7.3", not_in="7.2", marks=Mark("mm/vmscan.c", "PGROTATE_ANON + f"))
    """Costs are worked out from the cgroup's statistics when reclaim starts; before, added up as they arise."""
    eviction_counts_itself: bool = until("6.1", not_in="5.10")
    """The age that an evicted page leaves behind counts its own eviction."""
    reclaim_retries_full_walk: bool = since(
        "6.11", "mm: vmscan: restore incremental cgroup iteration",
        marks=Mark("mm/vmscan.c", "memcg_full_walk"),
    )  # fmt: skip
    """Reclaim that freed nothing starts again with a walk of all cgroups."""
    anon_only_bails_out: bool = since("7.3", not_in="7.2", marks=Mark("mm/vmscan.c", "would violate the anon-only"))
    """memory.reclaim with swappiness=max and nothing to swap to reclaims nothing; before, files."""

    mlock_in_batches: bool = since(
        "5.18",
        "mm/munlock: mlock_page() munlock_page() batch by pagevec",
        marks=Mark("mm/mlock.c", "void mlock_folio("),
    )  # fmt: skip
    """Pages are locked through a batch of their own; before, one by one."""
    cold_remembers_working_set: bool = since(
        "6.6", not_in="6.4", seen_in="6.6.129", marks=Mark("mm/madvise.c", "folio_set_workingset(")
    )
    """MADV_COLD and MADV_PAGEOUT remember that an active page was part of the working set."""
    pageout_ignores_references: bool = since("6.12", not_in="6.1")
    """MADV_PAGEOUT reclaims pages however lately they were used."""
    memory_reclaim: bool = since("5.19", "memcg: introduce per-memcg reclaim interface")
    """There is memory.reclaim."""
    memory_reclaim_in_quarters: bool = since("6.9", marks=Mark("mm/memcontrol.c", "nr_reclaimed) / 4", until="6.15"))
    """memory.reclaim asks for a quarter of what is left each time."""
    memory_reclaim_swappiness: bool = since("6.9", "mm: add swapiness= arg to memory.reclaim", not_in="6.1")
    """memory.reclaim takes a swappiness."""
    memory_reclaim_swappiness_max: bool = since(
        "6.16", not_in="6.14", seen_in="6.16.12", marks=Mark("mm/vmscan.c", "SWAPPINESS_ANON_ONLY")
    )
    """... also `max`, for anonymous pages alone."""

    vmpressure_counts_trees: bool = until(
        "7.3", not_in="7.2",
        marks=Mark("mm/vmpressure.c", "schedule_work(&vmpr->work)", inside="vmpressure", since="3.10"),
    )  # fmt: skip
    """Reclaim of a cgroup wakes a worker to tell of pressure, though with cgroups of version 2 nobody can listen."""
    preempt_lazy: bool = since(
        "6.13", "sched: Add Lazy preemption model", marks=Mark("kernel/Kconfig.preempt", "config PREEMPT_LAZY")
    )
    """A thread that is woken has to wait until the task goes back to user space (CONFIG_PREEMPT_LAZY, as Debian
    builds kernels from 6.13.2 on); before, until it next offers the CPU, as reclaim does."""
    drop_caches_drops_all: bool = since(
        "6.6", not_in="6.5", seen_in="6.6.129", marks=Mark("fs/drop_caches.c", "lru_add_drain_all()")
    )
    """vm.drop_caches=1 drops the file system's own pages too; before, those that were used last stay."""

    # the multi-generational LRU
    lru_gen: bool = since("6.1", "mm: multi-gen LRU: groundwork", marks=Mark("mm/vmscan.c", "lru_gen_shrink_lruvec("))
    """There is a multi-generational LRU."""
    lru_gen_ages_before_evicting: bool = until("6.3", marks=Mark("mm/vmscan.c", "bool *need_aging", since="6.1"))
    """Reclaim that found it worthwhile to age goes on to evict; later it leaves that to the next priority."""
    lru_gen_activation_clears_refs: bool = between(
        Change("6.12", not_in="6.11"), Change("6.14"),
        marks=Mark("include/linux/mm_inline.h", "mask |= LRU_REFS_MASK | BIT(PG_referenced) | BIT(PG_active)"),
    )  # fmt: skip
    """A page that goes to the youngest generation as active has its count of uses cleared."""
    lru_gen_counts_all_refaults: bool = since(
        "6.6", not_in="6.4", seen_in="6.6.129", marks=Mark("mm/workingset.c", "lru_gen_test_recent(")
    )
    """Refaults of pages evicted long ago are counted too, recent ones also as activations."""
    lru_gen_sorts_dirty: bool = until(
        "7.2", "mm/mglru: use the common routine for dirty/writeback reactivation", stable="6.12.114",
        marks=Mark("mm/vmscan.c", "/* waiting for writeback */", since="6.1"),
    )  # fmt: skip
    """Dirty pages of files are set aside before they are isolated."""
    lru_gen_sorts_dirty_lazyfree: bool = until(
        "6.11", not_in="6.10", seen_in="6.11.11", marks=Mark("mm/vmscan.c", "/* dirty lazyfree */", since="6.1")
    )
    """... and lazily freed ones that were written to are anonymous again."""
    lru_gen_looks_around_itself: bool = until(
        "6.3", marks=Mark("mm/vmscan.c", "bitmap_weight(bitmap, MIN_LRU_BATCH)", since="6.1")
    )
    """The look at a page's neighbours includes the page itself."""
    lru_gen_refs_start_with_referenced: bool = since(
        "6.14", "mm/mglru: rework refault detection",
        marks=Mark("mm/vmscan.c", "lru_gen_set_refs("),
    )  # fmt: skip
    """PG_referenced is the first use that is counted, and new pages go to the oldest generations by their flags."""

    lru_gen_wakes_flusher: bool = since(
        "6.13", "mm/vmscan: wake up flushers conditionally to avoid cgroup OOM", stable="6.12.104",
        marks=Mark(
            "mm/vmscan.c", "sc->nr.unqueued_dirty == sc->nr.file_taken", inside="try_to_shrink_lruvec", until="7.2",
        ),
    )  # fmt: skip
    """Reclaim that finds nothing but dirty pages of files wakes the flusher."""
    lru_gen_reclaims_in_batches: bool = since(
        "7.2", not_in="7.1", marks=Mark("mm/vmscan.c", "nr_batch = min(nr_to_scan, MIN_LRU_BATCH)")
    )
    """Reclaim goes 64 pages at a time, ages between and stops when it has enough; before, all of a priority's pages."""
    lru_gen_referenced_is_younger: bool = since(
        "7.2", not_in="7.1",
        marks=Mark("include/linux/mm_inline.h", "folio_test_workingset(folio) || folio_test_referenced(folio)"),
    )  # fmt: skip
    """A page that was used once before it went to a generation does not go to the oldest."""
    lru_gen_faults_are_active: bool = until(
        "7.2", not_in="7.1",
        marks=Mark(
            "mm/swap.c", "lru_gen_in_fault() && !(current->flags & PF_MEMALLOC)) folio_set_active",
            since="6.1", until="7.3",
        ),
    )  # fmt: skip
    """Pages that a fault brings in go to the youngest generations; later only those of the working set do."""
    lru_gen_promotes_second_use: bool = since(
        "7.2", not_in="7.1", marks=Mark("mm/vmscan.c", "folio_lru_refs(folio) > 1", inside="lru_gen_set_refs")
    )
    """A page that is found used through a page table is promoted by the second such use after PG_referenced."""
    lru_gen_scans_no_more: bool = since(
        "6.17", not_in="6.14", marks=Mark("mm/vmscan.c", "min(nr_to_scan, MAX_LRU_BATCH)", until="7.2")
    )
    """A scan looks at no more pages than the priority asks for; before, at up to 4096."""

    # swap
    swap_slots_cache: bool = until(
        "6.16", not_in="6.14", seen_in="6.16.12", marks=Mark("mm/swap_slots.c", "SWAP_SLOTS_CACHE_SIZE", since="4.14")
    )
    """A CPU takes slots of swap, and gives them back, 64 at a time."""
    swap_cluster_lists: bool = since(
        "6.12", not_in="6.11", seen_in="6.12.117", marks=Mark("mm/swapfile.c", "cluster_alloc_swap_entry(")
    )
    """Clusters of a device that is not rotational are kept on lists by how full they are."""
    swap_cluster_tables: bool = since(
        "6.16", not_in="6.14", seen_in="6.16.12", marks=Mark("mm/swapfile.c", "percpu_swap_cluster")
    )
    """... of any device; the CPU has one cluster for all areas."""
    swap_prefers_nonfull: bool = since("6.18", not_in="6.17", marks=Mark("mm/swapfile.c", "alloc_swap_scan_list("))
    """Partly used clusters are filled before free ones."""
    swap_tables: bool = since("6.18", not_in="6.17", marks=Mark("mm/swapfile.c", "cluster_table_is_alloced("))
    """Each cluster has a table of what its slots hold, which is freed with the last of them."""
    swap_priority_is_minus_1: bool = since("6.19", marks=Mark("mm/swapfile.c", "prio = DEF_SWAP_PRIO"))
    """Areas without a priority have -1, all of them; before, -2 and each the next lower one."""
    swap_entries_freed_together: bool = since(
        "6.12", not_in="6.11", seen_in="6.12.117", marks=Mark("mm/swapfile.c", "swap_is_last_map(", until="7.0")
    )
    """Neighbouring entries of a page table are freed together."""
    zap_drains_lru: bool = until(
        "6.14", not_in="6.13",
        marks=Mark("mm/memory.c", "lru_add_drain();", inside="zap_page_range_single", since="6.1"),
    )  # fmt: skip
    """Unmapping pages empties the CPU's batches first."""
    swapin_store_drains_lru: bool = until("7.3", not_in="7.2")
    """A store to a page that is read back from swap, and still in a batch, empties the CPU's batches."""
    swapin_through_cache: bool = since(
        "7.0", not_in="6.19",
        marks=(
            Mark("mm/swap_state.c", "swapin_folio(", until="7.2"),
            Mark("mm/swap_state.c", "swapin_sync(", since="7.2"),
        ),
    )  # fmt: skip
    """Every page comes back through the swap cache; before, not from a device that reads without waiting."""
    swapin_store_keeps_slot: bool = between(
        Change("7.0", not_in="6.19"), Change("7.3", not_in="7.2"),
        marks=Mark("mm/memory.c", "should_try_to_free_swap(si, folio, vma, nr_pages, vmf->flags)"),
    )  # fmt: skip
    """A store to a page that is read back leaves its slot as a load does: it is forgotten too early that it was one."""
    swapin_maps_writable: bool = since("6.11", marks=Mark("mm/memory.c", "pte_needs_soft_dirty_wp"))
    """A page that is read back from swap is mapped writable at once; before, only by a store."""
    anon_reuse_needs_one_reference: bool = until(
        "5.18",
        marks=Mark("mm/memory.c", "page_count(page) > 3", gone=True, since="5.9", until="6.1"),
    )
    """A store to a page that is mapped read-only copies it where anything else holds it, as the swap cache does."""
    memcg_counts_swap_io: bool = since("6.13", marks=Mark("mm/page_io.c", "count_memcg_folio_events(folio, PSWPOUT"))
    """Pages swapped in and out are events of a cgroup."""
