"""mm/slab_common.c, mm/slub.c, mm/slab.c, mm/slob.c: which allocators there are, and how caches are laid out."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since, until

_NO_CPU_SLABS = Change("7.0", "slab: remove cpu (partial) slabs usage from allocation paths", not_in="6.19")


class SlabFacts(Facts):
    """mm/slab_common.c, mm/slub.c, mm/slab.c, mm/slob.c: which allocators there are, and how caches are laid out."""

    # which allocators
    slob: bool = until("6.4", "mm/slob: remove CONFIG_SLOB", marks=Mark("mm/slob.c", "slob_alloc"))
    """SLOB, the allocator of tiny machines, can be built in."""
    slab: bool = until(
        "6.8", "mm/slab: remove CONFIG_SLAB from all Kconfig and Makefile", marks=Mark("mm/slab.c", "cache_estimate")
    )
    """SLAB can be built in."""

    # calculate_order()
    order_by_present_cpus: bool = since(
        "5.11",
        "mm, slub: better heuristic for number of cpus when calculating slab order",
        marks=Mark("mm/slub.c", "nr_cpus = num_present_cpus()"),
    )
    """A slab should hold the more objects the more CPUs are present; before, the more are possible."""
    order_accepts_half_waste: bool = since(
        "6.7",
        "mm/slub: attempt to find layouts up to 1/2 waste in calculate_order()",
        marks=Mark("mm/slub.c", "fraction > 1; fraction /= 2"),
    )
    """The least number of objects stays when no order wastes little enough, up to half of the slab; before, no more
    than a quarter was wasted and one object less was tried."""
    order_options_agree: bool = since(
        "6.7",
        "mm/slub: add sanity check for slub_min/max_order cmdline setup",
        marks=Mark("mm/slub.c", "slub_max_order = slub_min_order;"),
    )
    """slub_min_order= and slub_max_order= pull each other along; before, the least order could be above the largest."""
    slab_options: bool = since(
        "6.9", 'mm/slub: unify all sl[au]b parameters with "slab_$param"', marks=Mark("mm/slub.c", "slab_min_order")
    )
    """slab_debug, slab_min_order, ... are the names of the options that begin with slub_."""

    # calculate_sizes()
    track_keeps_addresses: bool = until(
        "5.19",
        "mm/slub: use stackdepot to save stack trace in objects",
        marks=Mark("mm/slub.c", "depot_stack_handle_t handle", gone=True),
    )
    """An owner's record (U) holds 16 return addresses; later, a handle of the stack depot."""
    keeps_orig_size: bool = since(
        "6.1",
        "mm/slub: enable debugging memory wasting of kmalloc",
        marks=Mark("mm/slub.c", "slub_debug_orig_size"),
    )
    """With U, kmalloc keeps the size asked for behind the records."""
    redzone_covers_kmalloc_waste: bool = since(
        "6.2",
        "mm/slub: extend redzone check to extra allocated kmalloc space than requested",
        marks=Mark("mm/slub.c", "slub_debug_orig_size", since="6.2"),
    )
    """With Z and U, kmalloc's free pointer lies behind the object, since the red zone may grow into it."""
    freeptr_offset: bool = since(
        "6.12",
        "mm: add kmem_cache_create_rcu()",
        marks=Mark("mm/slub.c", "freeptr_offset"),
    )
    """A cache under RCU may say where inside its objects the free pointer may lie."""
    freeptr_offset_with_ctor: bool = since(
        "7.0",
        "mm/slab: allow specifying free pointer offset when using constructor",
        not_in="6.19",
        marks=Mark("mm/slub.c", "(s->ctor && !args->use_freeptr_offset)"),
    )
    """... and so may a cache with a constructor."""
    debug_by_creation: bool = since(
        "5.13",
        "mm, slub: enable slub_debug static key when creating cache with explicit debug flags",
        marks=Mark("mm/slab_common.c", "if (flags & SLAB_DEBUG_FLAGS)"),
    )
    """Debug flags that a cache is created with take effect; before, only with slub_debug=."""
    ignores_user_flags: bool = since(
        "5.19", "mm/slub: add SLAB_NO_USER_FLAGS flag", marks=Mark("mm/slub.c", "SLAB_NO_USER_FLAGS")
    )
    """SLAB_NO_USER_FLAGS: slub_debug= does not reach such a cache."""
    leaktrace_not_tracked: bool = since(
        "5.12",
        "mm/slub: disable user tracing for kmemleak caches by default",
        marks=Mark("mm/slub.c", "slub_debug_local &= ~SLAB_STORE_USER"),
    )
    """U for every cache leaves out those of kmemleak (SLAB_NOLEAKTRACE)."""
    usercopy_needs_hardening: bool = since(
        "6.2",
        "mm, slab: ignore hardened usercopy parameters when disabled",
        marks=Mark("mm/slab_common.c", "IS_ENABLED(CONFIG_HARDENED_USERCOPY)"),
    )
    """useroffset and usersize count only with HARDENED_USERCOPY; before, always."""
    ext_in_object: bool = since(
        "7.0",
        "mm/slab: place slabobj_ext metadata in unused space within s->size",
        marks=Mark("mm/slab_common.c", "SLAB_OBJ_EXT_IN_OBJ"),
    )
    """What alignment leaves behind an object takes what memcg keeps of it; such caches do not merge."""
    never_merges_checked: bool = since(
        "7.0",
        marks=Mark("mm/slab_common.c", "SLAB_NEVER_MERGE (SLAB_DEBUG_FLAGS"),
    )
    """Consistency checks (F) alone keep a cache from merging, too."""
    may_account_flag: bool = since("7.3", not_in="7.2", marks=Mark("mm/slab_common.c", "SLAB_MAY_ACCOUNT"))
    """SLAB_MAY_ACCOUNT marks the caches whose objects may be accounted; merged caches agree in it."""
    no_merge_flag: bool = since(
        "6.5",
        "mm/slab: introduce kmem_cache flag SLAB_NO_MERGE",
        marks=Mark("mm/slab_common.c", "SLAB_NO_MERGE"),
    )
    """SLAB_NO_MERGE keeps a cache from merging."""

    # kmalloc()
    kmalloc_minalign_decoupled: bool = since(
        "6.5",
        "arm64: allow kmalloc() caches aligned to the smaller cache_line_size()",
        marks=Mark("arch/arm64/include/asm/cache.h", "ARCH_KMALLOC_MINALIGN\t(8)"),
    )
    """arm64's kmalloc caches are as small as DMA on the machine allows; before, 128 bytes was the least."""
    accounted_kmalloc: bool = since(
        "5.14",
        "mm: memcg/slab: create a new set of kmalloc-cg-<n> caches",
        marks=Mark("mm/slab_common.c", "kmalloc-cg-"),
    )
    """__GFP_ACCOUNT has caches of its own, kmalloc-cg-N."""
    kmalloc_never_merges: bool = since(
        "5.14",
        "mm: memcg/slab: disable cache merging for KMALLOC_NORMAL caches",
    )
    """With memcg, unaccounted kmalloc caches are kept apart from every other one."""
    random_kmalloc: bool = since("6.6", "Randomized slab caches for kmalloc()")
    """CONFIG_RANDOM_KMALLOC_CACHES: 15 copies of every unaccounted kmalloc cache."""
    kmalloc_partitions: bool = since("7.2", marks=Mark("mm/slab_common.c", "KMALLOC_PARTITION_CACHES"))
    """The copies are called partitions, CONFIG_KMALLOC_PARTITION_CACHES."""
    kmalloc_reclaimable_second: bool = since("6.2", "mm, slub: don't create kmalloc-rcl caches with CONFIG_SLUB_TINY")
    """Reclaimable kmalloc caches come before DMA's and the accounted ones; before, accounted ones came first."""
    kmalloc_odd_sizes_first: bool = since(
        "6.10",
        "mm/slub: create kmalloc 96 and 192 caches regardless cache size order",
        marks=Mark("mm/slab_common.c", "Caches that are NOT of the two-to-the-power-of size."),
    )
    """Of each kind kmalloc-96 and -192 are created first; before, after 64 and 128."""
    kmalloc_aligned_to_divisor: bool = since(
        "6.11",
        "slab, rust: extend kmalloc() alignment guarantees to remove Rust padding",
        marks=Mark("mm/slab_common.c", "ffs(size) - 1"),
    )
    """kmalloc-96 is aligned to 32 bytes and -192 to 64; before, only powers of two were aligned to their size."""
    kmalloc_without_ext: bool = since(
        "7.2",
        "mm/slab: prevent unbounded recursion in free path with new kmalloc type",
        stable="6.12.103",
        marks=Mark("mm/slab_common.c", "KMALLOC_NO_OBJ_EXT"),
    )
    """With allocation profiling, kmalloc-no-objext-N serves what the profiling itself needs."""
    buckets: bool = since(
        "6.11",
        "mm/slab: Introduce kmem_buckets_create() and family",
        marks=Mark("mm/slab_common.c", "kmem_buckets_create"),
    )
    """CONFIG_SLAB_BUCKETS: a cache of bucket sets, kmalloc_buckets."""
    slab_kmalloc_to_order_one: bool = since(
        "6.1", "mm/slab: kmalloc: pass requests larger than order-1 page to page allocator"
    )
    """SLAB, too, serves no more than two pages from its kmalloc caches; before, up to 4 MiB (or 32 MiB)."""

    oom_names_cpu: bool = since(
        "6.12",
        "mm, slub: print CPU id (and its node) on slab OOM",
        not_in="6.11",
        seen_in="6.12.117",
        marks=Mark("mm/slub.c", "on CPU %u (of node %d)"),
    )
    """"Unable to allocate memory" says which CPU asked."""

    # CPU partial lists and sheaves
    cpu_partial: bool = between(
        Change("3.2", "slub: per cpu cache for partial pages"),
        _NO_CPU_SLABS,
        marks=Mark("mm/slub.c", "set_cpu_partial", since="4.14"),
    )
    """A CPU has a slab of its own and a list of partial ones."""
    cpu_partial_counts_slabs: bool = between(
        Change("5.16", "mm, slub: change percpu partial accounting from objects to pages"),
        _NO_CPU_SLABS,
        marks=Mark("mm/slub.c", "cpu_partial_slabs", since="5.17"),
    )
    """A CPU's list of partial slabs is limited by the number of slabs; before, by the free objects in them."""
    deactivate_splices: bool = since(
        "5.12",
        "mm, slub: splice cpu and page freelists in deactivate_slab()",
        marks=Mark("mm/slub.c", "freelist_tail", until="7.0"),
    )
    """The free objects that a CPU gives back keep their order; before, they were turned round."""
    flushed_by_work: bool = since(
        "5.15",
        "mm: slub: Move flush_cpu_slab() invocations __free_slab() invocations out of IRQ context",
        marks=Mark("mm/slub.c", "slub_flush_work"),
    )
    """CPUs give back what they keep in work of their own; before, by interrupts, and the asking CPU last."""
    debug_takes_single_objects: bool = since(
        "6.1",
        "mm/slub: restrict sysfs validation to debug caches and make it safe",
        marks=Mark("mm/slub.c", "alloc_single_from_partial"),
    )
    """Debugged caches take one object at a time from the nodes' lists; before, a CPU's slab was given back at once."""
    sheaves: bool = since(
        "6.18", "slab: add opt-in caching layer of percpu sheaves", marks=Mark("mm/slub.c", "slub_percpu_sheaves")
    )
    """A cache that asks for it has arrays of objects for each CPU, sheaves."""
    sheaves_everywhere: bool = since(
        "7.0", _NO_CPU_SLABS.title, not_in="6.19", marks=Mark("mm/slub.c", "calculate_sheaf_capacity")
    )
    """Every cache has sheaves but those of boot and of debugging; there are no CPU slabs."""
