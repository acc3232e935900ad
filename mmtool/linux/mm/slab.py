"""mm/slab.c: SLAB, up to 6.7 - slabs with colours, arrays of objects for each CPU, and a shared one for each node."""

from __future__ import annotations

from collections import OrderedDict

from mmtool.build.facts.slab import SlabFacts
from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import (
    CACHE_LINE,
    CacheArgs,
    CacheError,
    Kmalloc,
    KmemCache,
    Shape,
    SlabAllocator,
    SlabBuild,
    align_up,
)
from mmtool.linux.mm.slab_flags import Flags
from mmtool.linux.mm.slub.slab import PageSource, Place, Slab, Topology
from mmtool.units import memparse

BATCHREFILL_LIMIT = 16
"""Objects that an idle CPU's array is refilled with at most."""
SHARED_FACTOR = 8
"""The shared array holds that many batches."""
_MIB32 = 32 << 20


@dataclass(eq=False)
class SlabCache(KmemCache):
    """struct kmem_cache of SLAB. Sizes in bytes, counts in objects."""

    num: int = 0
    """Objects of a slab."""
    gfporder: int = 0
    colour: int = 0
    """How many offsets the first object of slabs may have, one after the other."""
    colour_off: int = 0
    """How far those offsets lie apart, in bytes."""
    on_slab: bool = False
    off_slab: bool = False
    """Where the free list lies: behind the objects, or in a kmalloc cache; else in a free object."""
    limit: int = 0
    batchcount: int = 0
    shared: int = 0

    def shape(self) -> Shape:
        return Shape(self.gfporder, self.num, self.gfporder, self.limit)

    def fields(self, facts: SlabFacts) -> dict[str, int]:
        """As /proc/slabinfo names them; its objsize is what an object takes."""
        return super().fields(facts) | {
            "objsize": self.size,
            "objperslab": self.num,
            "pagesperslab": 1 << self.gfporder,
            "limit": self.limit,
            "batchcount": self.batchcount,
            "shared": self.shared,
        }


class SlabCaches(SlabAllocator[SlabCache]):
    """SLAB: its caches, kmalloc's among them."""

    def __init__(self, build: SlabBuild, memory: int) -> None:
        """`memory`: the machine's, in bytes."""
        super().__init__(build)
        self.max_order = self._max_order(memory)
        high = build.kernel.page_shift + 1
        if not build.facts.slab_kmalloc_to_order_one:
            high = min(build.max_order + build.kernel.page_shift, 25)
        self.kmalloc: Kmalloc[SlabCache] = Kmalloc(self, shift_high=high, shift_low=5)
        self.index_size = 1 if build.page_size >> 8 <= min(self.kmalloc.min_size, 16) else 2

    def _max_order(self, memory: int) -> int:
        """slab_max_order: 1 on machines of more than 32 MiB, unless slab_max_order= says."""
        asked = self.build.cmdline.get("slab_max_order")
        if asked is not None:
            return min(memparse(asked)[0], self.build.max_order)
        return int(memory > _MIB32)

    def kmem_cache_init(self) -> None:
        """kmem_cache_init(): kmem_cache, and kmalloc's caches."""
        build = self.build
        size = build.offset_of_nodes("kmem_cache") + build.nodes * build.word
        self.create_boot_cache(CacheArgs("kmem_cache", size, flags=frozenset({"HWCACHE_ALIGN"})))
        self.kmalloc.create()

    def merges_into(self, cache: SlabCache, align: int) -> bool:
        return align <= cache.align and cache.align % align == 0

    def new_cache(self, args: CacheArgs, flags: Flags, align: int) -> SlabCache:
        build = self.build
        align = max(align, build.word)
        cache = SlabCache(
            args.name, args.size, align, flags, args.ctor, args.useroffset, args.usersize, members=[args.name]
        )
        size = align_up(align_up(args.size, build.word), align)
        least = min(self.kmalloc.min_size, 16)
        if self.index_size == 1 and size < least:
            size = align_up(least, align)
        cache.colour_off = max(CACHE_LINE, align)
        cache.size = args.size
        if not (self._in_object(cache, size) or self._off_slab(cache, size) or self._on_slab(cache, size)):
            raise CacheError(f"no block of pages holds an object of {size} bytes")
        cache.size = size
        self._enable_cpucache(cache)
        return cache

    def _in_object(self, cache: SlabCache, size: int) -> bool:
        """set_objfreelist_slab_cache(): the free list lies in a free object."""
        if cache.ctor or "TYPESAFE_BY_RCU" in cache.flags or self._init_on_free():
            return False
        left = self._order(cache, size, spare_index=False, off_slab=False)
        if left is None or cache.num * self.index_size > cache.object_size:
            return False
        cache.colour = left // cache.colour_off
        return True

    def _init_on_free(self) -> bool:
        asked = self.build.cmdline.get("init_on_free")
        if asked is not None:
            return asked[:1] in "1yYtT"
        return self.build.kernel.enabled("INIT_ON_FREE_DEFAULT_ON")

    def _off_slab(self, cache: SlabCache, size: int) -> bool:
        """set_off_slab_cache(): the free list lies in a kmalloc cache, unless it fits behind the objects."""
        if "NOLEAKTRACE" in cache.flags:
            return False
        left = self._order(cache, size, spare_index=False, off_slab=True)
        if left is None or left >= cache.num * self.index_size:
            return False
        cache.colour, cache.off_slab = left // cache.colour_off, True
        return True

    def _on_slab(self, cache: SlabCache, size: int) -> bool:
        """set_on_slab_cache(): the free list lies behind the objects."""
        left = self._order(cache, size, spare_index=True, off_slab=False)
        if left is None:
            return False
        cache.colour, cache.on_slab = left // cache.colour_off, True
        return True

    def _order(self, cache: SlabCache, size: int, *, spare_index: bool, off_slab: bool) -> int | None:
        """calculate_slab_order(): sets num and gfporder; returns the bytes left over, None if no order will do."""
        left = None
        each = size + (self.index_size if spare_index else 0)
        for order in range(self.build.max_order + 1):
            slab = self.build.page_size << order
            num, remainder = divmod(slab, each)
            if not num:
                continue
            if num > (1 << 8 * self.index_size) - 1:
                break
            if off_slab and not self._worth_it(cache, num):
                continue
            cache.num, cache.gfporder, left = num, order, remainder
            if "RECLAIM_ACCOUNT" in cache.flags or order >= self.max_order or remainder * 8 <= slab:
                break
        return left

    def _worth_it(self, cache: SlabCache, num: int) -> bool:
        """Is there a kmalloc cache for a free list of `num` objects, not off slab itself, and small enough?"""
        index = self.kmalloc.index(num * self.index_size)
        found = self.kmalloc.table.get(("kmalloc", index))
        return found is not None and not found.off_slab and found.size <= cache.size // 2

    def _enable_cpucache(self, cache: SlabCache) -> None:
        """enable_cpucache(): how many objects a CPU keeps, and the nodes for all CPUs."""
        size, page_size = cache.size, self.build.page_size
        rows = ((131072, 1), (page_size, 8), (1024, 24), (256, 54))
        cache.limit = next((limit for least, limit in rows if size > least), 120)
        cache.shared = SHARED_FACTOR if size <= page_size and self.build.possible_cpus > 1 else 0
        cache.batchcount = (cache.limit + 1) // 2


class ArrayCache:
    """struct array_cache: objects at hand, taken from the end."""

    __slots__ = ("entry", "touched")

    def __init__(self) -> None:
        self.entry: list[Place] = []
        self.touched = False


class CacheNode:
    """struct kmem_cache_node of SLAB: full, partial and free slabs from head to tail, and the shared array."""

    __slots__ = ("colour_next", "free", "free_objects", "full", "partial", "shared", "total_slabs")

    def __init__(self) -> None:
        self.full: OrderedDict[Slab, None] = OrderedDict()
        self.partial: OrderedDict[Slab, None] = OrderedDict()
        self.free: OrderedDict[Slab, None] = OrderedDict()
        self.shared: list[Place] = []
        self.total_slabs = self.free_objects = self.colour_next = 0


class ArraySlabs:
    """A cache of SLAB on a machine of one node: how objects come and go, CPU by CPU.

    A place's index tells its offset where the free lists of new slabs are not shuffled. cache_reap(), which every two
    seconds takes back what has not been touched since, does not run.
    """

    def __init__(self, cache: SlabCache, build: SlabBuild, topology: Topology, pages: PageSource) -> None:
        self.cache, self.build, self.pages = cache, build, pages
        self.cpus = [ArrayCache() for _ in topology.cpu_nodes]
        self.node = CacheNode()
        self.colours: dict[Slab, int] = {}
        self.free_limit = (1 + len(self.cpus)) * cache.batchcount + cache.num

    def offset(self, place: Place) -> int:
        """Where in its slab a place begins, in bytes: colour and objects before it."""
        return self.colours[place.slab] + place.index * self.cache.size

    def alloc(self, cpu: int, node: int | None = None) -> Place | None:
        """____cache_alloc(); there is one node."""
        ac = self.cpus[cpu]
        if ac.entry:
            ac.touched = True
            return ac.entry.pop()
        return self._refill(ac)

    def _refill(self, ac: ArrayCache) -> Place | None:
        """cache_alloc_refill(): from the shared array, from partial and free slabs, or from a new slab."""
        cache, node = self.cache, self.node
        batch = cache.batchcount
        if not ac.touched and batch > BATCHREFILL_LIMIT:
            batch = BATCHREFILL_LIMIT
        if node.shared:
            at = max(0, len(node.shared) - batch)
            ac.entry += node.shared[at:]
            del node.shared[at:]
        elif node.free_objects:
            while batch > 0:
                slab = next(iter(node.partial), None) or next(iter(node.free), None)
                if slab is None:
                    break
                batch = self._alloc_block(ac, slab, batch)
                self._fixup(slab)
            node.free_objects -= len(ac.entry)
        if not ac.entry:
            slab = self._grow()
            if slab is None:
                return None
            self._alloc_block(ac, slab, batch)
            node.total_slabs += 1
            self._fixup(slab)
            node.free_objects += cache.num - slab.inuse
        ac.touched = True
        return ac.entry.pop()

    def _alloc_block(self, ac: ArrayCache, slab: Slab, batch: int) -> int:
        """alloc_block(): objects for a CPU's array; returns how many of the batch are still wanted."""
        while slab.freelist:
            if not batch:
                return -1
            batch -= 1
            ac.entry.append(slab.freelist.pop())
            slab.inuse += 1
        return batch

    def _fixup(self, slab: Slab) -> None:
        """fixup_slab_list(): to the head of the list of full slabs, or of partial ones."""
        self._unlink(slab)
        target = self.node.full if slab.inuse == self.cache.num else self.node.partial
        target[slab] = None
        target.move_to_end(slab, last=False)

    def _unlink(self, slab: Slab) -> None:
        for slabs in (self.node.partial, self.node.full, self.node.free):
            slabs.pop(slab, None)

    def _grow(self) -> Slab | None:
        """cache_grow_begin(): a new slab, of the next colour."""
        cache, node = self.cache, self.node
        block = self.pages.alloc(cache.gfporder, 0)
        if block is None:
            return None
        node.colour_next += 1
        if node.colour_next >= cache.colour:
            node.colour_next = 0
        slab = Slab(0, block[0], cache.gfporder, cache.num)
        self.colours[slab] = node.colour_next * cache.colour_off
        return slab

    def free(self, place: Place, cpu: int) -> None:
        """___cache_free()."""
        ac = self.cpus[cpu]
        if len(ac.entry) >= self.cache.limit:
            self._flush(ac)
        ac.entry.append(place)

    def _flush(self, ac: ArrayCache) -> None:
        """cache_flusharray(): the oldest batch goes to the shared array, or to its slabs when that is full."""
        cache, node = self.cache, self.node
        batch = cache.batchcount
        room = cache.shared * cache.batchcount - len(node.shared)
        if cache.shared and room:
            batch = min(batch, room)
            node.shared += ac.entry[:batch]
        else:
            self._free_block(ac.entry[:batch])
        del ac.entry[:batch]

    def _free_block(self, places: list[Place]) -> None:
        """free_block(): objects go back to their slabs; free slabs beyond the limit go to the page allocator."""
        node, num = self.node, self.cache.num
        node.free_objects += len(places)
        for place in places:
            slab = place.slab
            self._unlink(slab)
            slab.freelist.append(place)
            slab.inuse -= 1
            if slab.inuse:
                node.partial[slab] = None
            else:
                node.free[slab] = None
                node.free.move_to_end(slab, last=False)
        while node.free_objects > self.free_limit and node.free:
            node.free_objects -= num
            self._destroy(node.free.popitem()[0])

    def _destroy(self, slab: Slab) -> None:
        self.node.total_slabs -= 1
        slab.alive = False
        del self.colours[slab]
        self.pages.free(slab.pfn, slab.order, 0)

    def alloc_bulk(self, count: int, cpu: int) -> list[Place]:
        """kmem_cache_alloc_bulk(): all of them or none."""
        places: list[Place] = []
        while len(places) < count:
            place = self.alloc(cpu)
            if place is None:
                for back in places:
                    self.free(back, cpu)
                return []
            places.append(place)
        return places

    def shrink(self) -> None:
        """__kmem_cache_shrink(): CPUs and the shared array give all back, the calling CPU 0 last; free slabs go."""
        for ac in (*self.cpus[1:], self.cpus[0]):
            entries, ac.entry = ac.entry, []
            self._free_block(entries)
        shared, self.node.shared = self.node.shared, []
        self._free_block(shared)
        while self.node.free:
            self.node.free_objects -= self.cache.num
            self._destroy(self.node.free.popitem()[0])

    def destroy(self) -> None:
        """__kmem_cache_shutdown()."""
        self.shrink()

    def counters(self) -> dict[str, int]:
        """get_slabinfo(): the counters of /proc/slabinfo."""
        node = self.node
        objects = node.total_slabs * self.cache.num
        return {
            "active_objs": objects - node.free_objects,
            "num_objs": objects,
            "active_slabs": node.total_slabs - len(node.free),
            "num_slabs": node.total_slabs,
            "sharedavail": len(node.shared),
        }
