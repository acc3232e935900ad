"""do_kmem_cache_create() and kmem_cache_init() of mm/slub.c: SLUB's caches, and those that it starts with."""

from __future__ import annotations

from mmtool.linux.mm.slab_common import CacheArgs, Kmalloc, SlabAllocator, SlabBuild, align_up
from mmtool.linux.mm.slab_flags import DEBUG_FLAGS, NO_CMPXCHG, Flags
from mmtool.linux.mm.slub.debug import slub_debug
from mmtool.linux.mm.slub.layout import (
    Orders,
    SlubCache,
    calculate_sizes,
    cpu_partial,
    ext_fits,
    get_order,
    is_debugged,
    min_partial,
    without_metadata,
)

_SHEAF_TAIL = 8
"""Bytes of struct slab_sheaf behind its pointers: size and node."""


class Slub(SlabAllocator[SlubCache]):
    """SLUB: its caches, kmalloc's among them."""

    def __init__(self, build: SlabBuild) -> None:
        super().__init__(build)
        self.orders = Orders(build)
        enabled = build.kernel.enabled
        self.debug = slub_debug(build.cmdline, build.facts, on=enabled("SLUB_DEBUG_ON"))
        self.debugging = enabled("SLUB_DEBUG") and self.debug.enabled
        self.kmalloc: Kmalloc[SlubCache] = Kmalloc(self, shift_high=build.kernel.page_shift + 1)

    def kmem_cache_init(self) -> None:
        """kmem_cache_init(): kmem_cache_node, kmem_cache and kmalloc's caches."""
        for args in self.boot_caches():
            self.create_boot_cache(args)
        self.kmalloc.create()

    def boot_caches(self) -> tuple[CacheArgs, CacheArgs]:
        """The caches of the allocator's own structures, kmem_cache first as /proc/slabinfo has them."""
        build = self.build
        flags: Flags = frozenset({"HWCACHE_ALIGN"})
        if build.facts.sheaves_everywhere:
            flags |= {"NO_OBJ_EXT", "NO_SHEAVES"}
        entry = build.word * (2 if build.facts.sheaves_everywhere else 1)
        size = build.offset_of_nodes("kmem_cache") + build.nodes * entry
        node = build.kernel.profile.sizes["kmem_cache_node"]
        return CacheArgs("kmem_cache", size, flags=flags), CacheArgs("kmem_cache_node", node, flags=flags)

    def kmem_cache_flags(self, flags: Flags, name: str) -> Flags:
        if not self.build.kernel.enabled("SLUB_DEBUG"):
            return flags
        return self.debug.kmem_cache_flags(flags, name, self.build.facts)

    def new_cache(self, args: CacheArgs, flags: Flags, align: int) -> SlubCache:
        build = self.build
        if build.facts.debug_by_creation and not args.flags.isdisjoint(DEBUG_FLAGS):
            self.debugging = True
        flags = self.kmem_cache_flags(flags, args.name)
        cache = SlubCache(
            args.name, args.size, align, flags, args.ctor, args.useroffset, args.usersize, members=[args.name]
        )
        left = calculate_sizes(cache, args, build, self.orders, self.debugging)
        page_size = build.page_size
        if self.debug.keeps_order and get_order(cache.size, page_size) > get_order(cache.object_size, page_size):
            cache.flags = without_metadata(cache.flags)
            left = calculate_sizes(cache, args, build, self.orders, self.debugging)
        if build.facts.ext_in_object and self.args_unmergeable(args, cache.flags) and ext_fits(cache, left, build):
            cache.flags |= {"OBJ_EXT_IN_OBJ"}
        if cache.flags.isdisjoint(NO_CMPXCHG):
            cache.flags |= {"CMPXCHG_DOUBLE"}
        cache.min_partial = min_partial(cache.size)
        cache.debugged = is_debugged(cache.flags, self.debugging)
        self._set_cpu_partial(cache)
        cache.sheaf_capacity = self.sheaf_capacity(cache, args)
        return cache

    def alias(self, cache: SlubCache, args: CacheArgs) -> None:
        super().alias(cache, args)
        cache.inuse = max(cache.inuse, align_up(args.size, self.build.word))

    def _set_cpu_partial(self, cache: SlubCache) -> None:
        """set_cpu_partial() and slub_set_cpu_partial()."""
        facts, kernel = self.build.facts, self.build.kernel
        if not facts.cpu_partial or not kernel.enabled("SLUB_CPU_PARTIAL") or cache.debugged:
            return
        slabs = facts.cpu_partial_counts_slabs
        cache.cpu_partial = cpu_partial(cache.size, self.build.page_size, slabs=slabs)
        if slabs:
            cache.cpu_partial_slabs = -(-cache.cpu_partial * 2 // cache.oo_objects)

    def sheaf_capacity(self, cache: SlubCache, args: CacheArgs) -> int:
        """calculate_sheaf_capacity(): objects of a sheaf; in 6.18 and 6.19 what the caller asked for."""
        facts, build = self.build.facts, self.build
        if not facts.sheaves or build.kernel.enabled("SLUB_TINY") or not cache.flags.isdisjoint(DEBUG_FLAGS):
            return 0
        if not facts.sheaves_everywhere:
            return args.sheaf
        if cache.flags & {"NO_SHEAVES", "NOLEAKTRACE"}:
            return 0
        size = cache.size
        wanted = 4 if size >= build.page_size else 12 if size >= 1024 else 26 if size >= 256 else 60
        word = build.word
        head = align_up(3 * word + _SHEAF_TAIL, word)
        return max((self.kmalloc.roundup(head + wanted * word) - head) // word, args.sheaf)

    def ksize(self, cache: SlubCache) -> int:
        """slab_ksize(): the bytes of an object that its owner may use."""
        if cache.flags & {"RED_ZONE", "POISON"} and self.build.kernel.enabled("SLUB_DEBUG"):
            return cache.object_size
        return cache.inuse if cache.flags & {"TYPESAFE_BY_RCU", "STORE_USER"} else cache.size
