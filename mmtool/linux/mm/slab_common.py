"""mm/slab_common.c: what every slab allocator has in common - alignment, creation, merging, kmalloc's caches.

A `SlabBuild` holds what build, machine and command line settle before the first cache; `SlabAllocator` is slab_caches,
the list of all caches, with the calls that create them. SLUB, SLAB and SLOB are kinds of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from mmtool.build.facts.slab import SlabFacts
from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.late import dataclass
from mmtool.linux.mm.slab_flags import DEBUG_FLAGS, MERGE_SAME, NEVER_MERGE, PERMITTED, Flags

CACHE_LINE = 64
"""cache_line_size() in bytes: x86's CLFLUSH line and arm64's write-back granule on every machine that was recorded."""
RANDOM_COPIES = 15
"""RANDOM_KMALLOC_CACHES_NR, later KMALLOC_PARTITION_CACHES_NR: copies beside the first cache."""

KMALLOC_SIZES = (0, 96, 192, *(1 << shift for shift in range(3, 26)))
"""kmalloc_info[]: bytes by index; 1 and 2 are the sizes between the powers of two."""


def align_up(value: int, alignment: int) -> int:
    """ALIGN() to a power of two."""
    return (value + alignment - 1) & -alignment


def size_name(size: int) -> str:
    """How kmalloc_info[] names a size: 512, 1k, 2M."""
    return f"{size >> 20}M" if size >= 1 << 20 else f"{size >> 10}k" if size >= 1024 else str(size)


@dataclass(frozen=True)
class CacheArgs:
    """What a caller of kmem_cache_create() gives: struct kmem_cache_args and its other arguments. Sizes in bytes."""

    name: str
    size: int
    align: int = 0
    flags: Flags = frozenset()
    ctor: bool = False
    useroffset: int = 0
    usersize: int = 0
    freeptr: int | None = None
    """freeptr_offset; None: the caller gives none."""
    sheaf: int = 0
    """sheaf_capacity, in objects."""


class CacheError(ValueError):
    """kmem_cache_create() fails: -EINVAL, and why."""


class Shape(NamedTuple):
    """How the slabs of a cache look; None for what an allocator does not have."""

    order: int | None
    """Of a slab's pages."""
    objects: int | None
    """Of a slab."""
    least_order: int | None
    """Of a slab when no block of `order` is free."""
    kept: int | None
    """Objects that a CPU keeps at hand at most, as the allocator limits them."""

    def left_over(self, size: int, page_size: int) -> int | None:
        """Bytes of a slab that are no object's, for objects of `size` bytes."""
        if self.order is None or self.objects is None:
            return None
        return (page_size << self.order) - self.objects * size


@dataclass(eq=False)
class KmemCache:
    """struct kmem_cache, under its own names. Sizes and offsets in bytes, counts in objects."""

    name: str
    object_size: int
    align: int
    flags: Flags
    ctor: bool
    useroffset: int
    usersize: int
    size: int = 0
    refcount: int = 1
    members: list[str] = field(default_factory=list)
    """Every name that was created and lives here, the cache's own first."""

    def shape(self) -> Shape:
        """How its slabs look."""
        return Shape(None, None, None, None)

    def fields(self, facts: SlabFacts) -> dict[str, int]:
        """The fields that tell how it is laid out, by the kernel's names, as far as the release has them."""
        return {"size": self.object_size, "align": self.align}


@dataclass(frozen=True)
class SlabBuild:
    """What a kernel's build, its machine and its command line settle of slabs."""

    kernel: Kernel
    facts: SlabFacts
    present_cpus: int
    possible_cpus: int
    nodes: int
    nomerge: bool
    memcg: bool
    """Memory control groups keep account of kernel memory: !mem_cgroup_kmem_disabled()."""
    cmdline: Cmdline

    @cached_property
    def page_size(self) -> int:
        return self.kernel.page_size

    @cached_property
    def word(self) -> int:
        """sizeof(void *) in bytes."""
        return self.kernel.word_size

    @cached_property
    def slab_minalign(self) -> int:
        """arch_slab_minalign() in bytes: a long long's, also on i386."""
        return 8

    @cached_property
    def kmalloc_minalign(self) -> int:
        """ARCH_KMALLOC_MINALIGN in bytes."""
        return 8 if self.facts.kmalloc_minalign_decoupled else self.kernel.arch_dma_minalign or 8

    @cached_property
    def kmalloc_dma_align(self) -> int:
        """__kmalloc_minalign() in bytes: kmalloc's objects must not share a cache line of DMA.

        On arm64 a bounce buffer (CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC, which the architecture selects; swiotlb=noforce
        takes it away) allows less.
        """
        if self.kernel.arch_dma_minalign is None or not self.facts.kmalloc_minalign_decoupled:
            return self.kmalloc_minalign
        return CACHE_LINE if self._no_swiotlb else self.kmalloc_minalign

    @cached_property
    def _no_swiotlb(self) -> bool:
        return any("noforce" in (value or "").split(",") for value in self.cmdline.all("swiotlb"))

    @cached_property
    def max_order(self) -> int:
        return self.kernel.max_page_order

    @cached_property
    def kmalloc_max_size(self) -> int:
        """KMALLOC_MAX_SIZE in bytes."""
        return 1 << (self.max_order + self.kernel.page_shift)

    @cached_property
    def hardened_usercopy(self) -> bool:
        """Do useroffset and usersize count?"""
        return self.kernel.enabled("HARDENED_USERCOPY") or not self.facts.usercopy_needs_hardening

    def offset_of_nodes(self, name: str) -> int:
        """offsetof(struct kmem_cache, node) in bytes: the structure without its array of all possible nodes."""
        entry = self.word * (2 if self.facts.sheaves_everywhere else 1)
        return self.kernel.profile.sizes[name] - self.kernel.max_numnodes * entry


def slab_build(kernel: Kernel, cmdline: Cmdline, *, present: int, possible: int, nodes: int) -> SlabBuild:
    """The build's part of the slab allocator, on a machine of so many CPUs and nodes, under a command line.

    slab_nomerge and slab_merge (slub_... for short) and cgroup.memory=nokmem count here; cgroup_disable=memory does
    not: that is no question for mem_cgroup_kmem_disabled().
    """
    nomerge = not kernel.enabled("SLAB_MERGE_DEFAULT")
    for name, _ in cmdline.options:
        option = name.replace("-", "_")
        if option in ("slab_nomerge", "slub_nomerge"):
            nomerge = True
        elif option in ("slab_merge", "slub_merge"):
            nomerge = False
    nokmem = any("nokmem" in (value or "").split(",") for value in cmdline.all("cgroup.memory"))
    memcg = kernel.enabled("MEMCG") and not nokmem
    return SlabBuild(kernel, kernel.facts(SlabFacts), present, possible, nodes, nomerge, memcg, cmdline)


def calculate_alignment(build: SlabBuild, flags: Flags, align: int, size: int) -> int:
    """calculate_alignment(): the bytes to which objects of `size` are aligned."""
    if "HWCACHE_ALIGN" in flags:
        line = CACHE_LINE
        while size <= line // 2:
            line //= 2
        align = max(align, line)
    return align_up(max(align, build.slab_minalign), build.word)


Cache = TypeVar("Cache", bound=KmemCache)


class SlabAllocator(ABC, Generic[Cache]):
    """slab_caches, every cache, the oldest first; and the calls that create them. Each allocator fills in its own."""

    def __init__(self, build: SlabBuild) -> None:
        self.build = build
        self.caches: list[Cache] = []
        self.by_name: dict[str, Cache] = {}

    @abstractmethod
    def new_cache(self, args: CacheArgs, flags: Flags, align: int) -> Cache:
        """do_kmem_cache_create(): lay a cache out. Raises CacheError."""

    def kmem_cache_flags(self, flags: Flags, name: str) -> Flags:
        """kmem_cache_flags(): what options on the command line add to a cache's flags."""
        return flags

    def merges_into(self, cache: Cache, align: int) -> bool:
        """May what needs this alignment share the cache, as far as only this allocator is concerned?"""
        return True

    def alias(self, cache: Cache, args: CacheArgs) -> None:
        """__kmem_cache_alias(): what changes in a cache that another one is merged into."""
        cache.refcount += 1
        cache.object_size = max(cache.object_size, args.size)
        cache.members.append(args.name)

    def __iter__(self) -> Iterator[Cache]:
        return iter(self.caches)

    def unmergeable(self, cache: Cache) -> bool:
        """slab_unmergeable()."""
        return (
            self.build.nomerge
            or not cache.flags.isdisjoint(NEVER_MERGE)
            or (self.build.facts.never_merges_checked and "CONSISTENCY_CHECKS" in cache.flags)
            or cache.ctor
            or (cache.usersize > 0 and self.build.hardened_usercopy)
            or cache.refcount < 0
        )

    def args_unmergeable(self, args: CacheArgs, flags: Flags) -> bool:
        """slab_args_unmergeable(): what is asked for keeps the cache apart."""
        return (
            self.build.nomerge
            or args.ctor
            or (args.usersize > 0 and self.build.hardened_usercopy)
            or not flags.isdisjoint(NEVER_MERGE)
            or (self.build.facts.never_merges_checked and "CONSISTENCY_CHECKS" in flags)
        )

    def find_mergeable(self, args: CacheArgs, flags: Flags) -> Cache | None:
        """find_mergeable(): the oldest cache whose objects are at most a word larger, with the same kind of pages."""
        flags = self.kmem_cache_flags(flags, args.name)
        if self.args_unmergeable(args, flags):
            return None
        word = self.build.word
        align = calculate_alignment(self.build, flags, args.align, align_up(args.size, word))
        size = align_up(align_up(args.size, word), align)
        same = flags & MERGE_SAME
        for cache in self.caches:
            if size > cache.size or cache.size - size >= word or cache.size & (align - 1):
                continue
            if cache.flags & MERGE_SAME != same or self.unmergeable(cache):
                continue
            if self.merges_into(cache, align):
                return cache
        return None

    def kmem_cache_create(self, args: CacheArgs) -> Cache:
        """kmem_cache_create(): a new cache, or the one that it is merged into. CacheError when the kernel refuses."""
        build, flags = self.build, args.flags
        if args.size > build.kmalloc_max_size:
            raise CacheError(f"objects of {args.size} bytes are larger than KMALLOC_MAX_SIZE, {build.kmalloc_max_size}")
        if unknown := flags - PERMITTED:
            raise CacheError(f"{'|'.join(sorted(unknown))}: no flags that kmem_cache_create() takes")
        if args.sheaf and build.facts.sheaves:
            flags |= {"NO_MERGE"}
        if build.facts.may_account_flag and build.memcg:
            flags |= {"MAY_ACCOUNT"}
        if not build.kernel.enabled("SLUB_DEBUG") and build.facts.debug_by_creation:
            flags -= DEBUG_FLAGS
        useroffset, usersize = args.useroffset, args.usersize
        if not build.hardened_usercopy or not usersize or usersize + useroffset > args.size:
            useroffset = usersize = 0
        args = CacheArgs(
            args.name, args.size, args.align, flags, args.ctor, useroffset, usersize, args.freeptr, args.sheaf
        )
        merged = self.find_mergeable(args, flags)
        if merged is not None:
            self.alias(merged, args)
            self.by_name[args.name] = merged
            return merged
        self._check_freeptr(args, flags)
        return self._create(args, flags, calculate_alignment(build, flags, args.align, args.size))

    def _check_freeptr(self, args: CacheArgs, flags: Flags) -> None:
        if args.freeptr is None or not self.build.facts.freeptr_offset:
            return
        ctor = args.ctor and self.build.facts.freeptr_offset_with_ctor
        if args.freeptr >= args.size or args.freeptr % self.build.word or not ("TYPESAFE_BY_RCU" in flags or ctor):
            raise CacheError(f"a free pointer at {args.freeptr} is none that kmem_cache_create() takes")

    def _create(self, args: CacheArgs, flags: Flags, align: int) -> Cache:
        cache = self.new_cache(args, flags, align)
        self.caches.append(cache)
        self.by_name[args.name] = cache
        return cache

    def create_boot_cache(self, args: CacheArgs) -> Cache:
        """create_boot_cache() and create_kmalloc_cache(): a cache that is made before there is kmem_cache_create().

        One that is no kmalloc cache is never merged with (refcount -1).
        """
        build, align = self.build, self.build.kmalloc_minalign
        kmalloc = "KMALLOC" in args.flags
        if build.facts.kmalloc_aligned_to_divisor:
            if kmalloc:
                align = max(align, args.size & -args.size)
        elif args.size & (args.size - 1) == 0:
            align = max(align, args.size)
        cache = self._create(args, args.flags, calculate_alignment(build, args.flags, align, args.size))
        if not kmalloc:
            cache.refcount = -1
        return cache

    def resize_boot_cache(self, args: CacheArgs) -> None:
        """Lay out a cache of boot again where it has another size on the machine at hand."""
        old = self.by_name[args.name]
        if old.object_size == args.size:
            return
        at, refcount = self.caches.index(old), old.refcount
        self.caches.pop(at)
        new = self.create_boot_cache(CacheArgs(args.name, args.size, flags=old.flags, usersize=args.usersize))
        new.refcount = refcount
        self.caches.insert(at, self.caches.pop())

    def kmem_cache_destroy(self, cache: Cache) -> bool:
        """kmem_cache_destroy(): one user less; True when it was the last one, and the cache is gone."""
        cache.refcount -= 1
        if cache.refcount:
            return False
        self.caches.remove(cache)
        for name in cache.members:
            self.by_name.pop(name, None)
        return True


@dataclass(frozen=True)
class KmallocType:
    """A kind of kmalloc caches: how it begins its names and the flags of its caches."""

    prefix: str
    flags: Flags


NORMAL = KmallocType("kmalloc", frozenset())
RECLAIM = KmallocType("kmalloc-rcl", frozenset({"RECLAIM_ACCOUNT"}))
DMA = KmallocType("dma-kmalloc", frozenset({"CACHE_DMA"}))
CGROUP = KmallocType("kmalloc-cg", frozenset({"ACCOUNT"}))
NO_OBJ_EXT = KmallocType("kmalloc-no-objext", frozenset({"NO_OBJ_EXT", "NO_MERGE"}))


class Kmalloc(Generic[Cache]):
    """kmalloc_caches[]: which cache serves which size of which kind."""

    def __init__(self, caches: SlabAllocator[Cache], *, shift_high: int, shift_low: int = 3) -> None:
        """`shift_high` and `shift_low`: KMALLOC_SHIFT_HIGH and _LOW, log2 of the largest and the smallest size."""
        self.caches, self.build = caches, caches.build
        self.min_size = max(1 << shift_low, self.build.kmalloc_minalign)
        self.shift_low, self.shift_high = self.min_size.bit_length() - 1, shift_high
        self.table: dict[tuple[str, int], Cache] = {}

    @property
    def types(self) -> list[KmallocType]:
        """The kinds that this build has, in the order in which they are created."""
        build, facts = self.build, self.build.facts
        reclaim = [] if build.kernel.enabled("SLUB_TINY") else [RECLAIM]
        dma = [DMA] if build.kernel.enabled("ZONE_DMA") else []
        cgroup = [CGROUP] if facts.accounted_kmalloc and build.kernel.enabled("MEMCG") else []
        if not facts.kmalloc_reclaimable_second:
            return [NORMAL, *cgroup, *reclaim, *dma]
        profiling = build.kernel.enabled("MEM_ALLOC_PROFILING") and facts.kmalloc_without_ext
        return [NORMAL, *self._copies(), *reclaim, *dma, *cgroup, *([NO_OBJ_EXT] if profiling else [])]

    def _copies(self) -> list[KmallocType]:
        facts, enabled = self.build.facts, self.build.kernel.enabled
        word = "part" if facts.kmalloc_partitions else "rnd"
        option = "KMALLOC_PARTITION_CACHES" if facts.kmalloc_partitions else "RANDOM_KMALLOC_CACHES"
        if not facts.random_kmalloc or not enabled(option):
            return []
        never = frozenset({"NO_MERGE"})
        return [KmallocType(f"kmalloc-{word}-{n:02}", never) for n in range(1, RANDOM_COPIES + 1)]

    @property
    def indices(self) -> list[int]:
        """The indices of a kind in the order of creation."""
        powers = list(range(self.shift_low, self.shift_high + 1))
        odd = [index for index, least in ((1, 32), (2, 64)) if self.min_size <= least]
        if self.build.facts.kmalloc_odd_sizes_first:
            return [*odd, *powers]
        for index, after in ((1, 6), (2, 7)):
            if index in odd and after in powers:
                powers.insert(powers.index(after) + 1, index)
        return powers

    def create(self) -> None:
        """create_kmalloc_caches()."""
        for kind in self.types:
            for index in self.indices:
                self.new_kmalloc_cache(index, kind)
        build = self.build
        if build.facts.buckets and build.kernel.enabled("SLAB_BUCKETS"):
            size = (self.shift_high + 1) * build.word
            self.caches.kmem_cache_create(CacheArgs("kmalloc_buckets", size, flags=frozenset({"NO_MERGE"})))

    def new_kmalloc_cache(self, index: int, kind: KmallocType) -> None:
        """new_kmalloc_cache(): the cache of an index, unless a kind shares another one's."""
        build = self.build
        if kind is CGROUP and not build.memcg:
            self.table[kind.prefix, index] = self.table[NORMAL.prefix, index]
            return
        size = KMALLOC_SIZES[index]
        at = index
        if build.kmalloc_dma_align > build.kmalloc_minalign:
            size = align_up(size, build.kmalloc_dma_align)
            at = self.index(size)
        if (kind.prefix, at) not in self.table:
            self.table[kind.prefix, at] = self._new(at, size, kind)
        self.table[kind.prefix, index] = self.table[kind.prefix, at]

    def _new(self, index: int, size: int, kind: KmallocType) -> Cache:
        facts, flags = self.build.facts, kind.flags | {"KMALLOC"}
        alone = kind is NORMAL and facts.kmalloc_never_merges and self.build.kernel.enabled("MEMCG")
        if facts.may_account_flag:
            alone = alone and self.build.memcg
            if self.build.memcg and not alone and kind is not NO_OBJ_EXT:
                flags |= {"MAY_ACCOUNT"}
        if alone and facts.no_merge_flag:
            flags |= {"NO_MERGE"}
        name = f"{kind.prefix}-{size_name(KMALLOC_SIZES[index])}"
        cache = self.caches.create_boot_cache(CacheArgs(name, size, flags=flags, usersize=self._usersize(size)))
        if alone and not facts.no_merge_flag:
            cache.refcount = -1
        return cache

    def _usersize(self, size: int) -> int:
        return size if self.build.hardened_usercopy else 0

    def index(self, size: int) -> int:
        """kmalloc_index(): where in the table a size of bytes (from 1 on) is."""
        if size <= self.min_size:
            return self.shift_low
        if self.min_size <= 32 and 64 < size <= 96:
            return 1
        if self.min_size <= 64 and 128 < size <= 192:
            return 2
        return (size - 1).bit_length()

    def last_size(self, size: int) -> int:
        """The last size in bytes that has the index of `size`."""
        return max(KMALLOC_SIZES[self.index(size)], self.min_size if size <= self.min_size else 0)

    def kind(self, gfp: frozenset[str]) -> KmallocType:
        """kmalloc_type(): the kind that a mask asks for, by the names DMA, RECLAIMABLE and ACCOUNT of its flags.

        The copies of the unaccounted kind are chosen by the caller's address: this is the first of them.
        """
        build = self.build
        if "DMA" in gfp and build.kernel.enabled("ZONE_DMA"):
            return DMA
        reclaim = NORMAL if build.kernel.enabled("SLUB_TINY") else RECLAIM
        if "RECLAIMABLE" in gfp:
            return reclaim
        if "ACCOUNT" in gfp and build.facts.accounted_kmalloc and build.kernel.enabled("MEMCG"):
            return CGROUP
        return NORMAL

    def slab(self, size: int, gfp: frozenset[str]) -> Cache | None:
        """kmalloc_slab(): the cache of a size in bytes; None when the page allocator serves it."""
        if size > 1 << self.shift_high:
            return None
        return self.table[self.kind(gfp).prefix, self.index(size)]

    def roundup(self, size: int) -> int:
        """kmalloc_size_roundup() in bytes, for sizes from 1 to KMALLOC_MAX_SIZE."""
        if size > 1 << self.shift_high:
            return max(1 << (size - 1).bit_length(), self.build.page_size)
        return max(align_up(KMALLOC_SIZES[self.index(size)], self.build.kmalloc_dma_align), 1)
