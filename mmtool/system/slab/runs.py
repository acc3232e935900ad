"""Scripts of calls on SLUB, on SLAB and on SLOB."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from mmtool.linux.mm.slab import ArraySlabs, SlabCache, SlabCaches
from mmtool.linux.mm.slab_common import CacheArgs, KmemCache
from mmtool.linux.mm.slob import Slob, SlobCaches, SlobObjects
from mmtool.linux.mm.slub.caches import Slub
from mmtool.linux.mm.slub.layout import SlubCache
from mmtool.linux.mm.slub.report import slab_out_of_memory
from mmtool.linux.mm.slub.sheaves import slabs_of
from mmtool.linux.mm.slub.slab import Slabs, Topology, evenly
from mmtool.system.slab.allocators import array_kmalloc, boot_allocator, slob_kmalloc, slub_kmalloc
from mmtool.system.slab.run import Objects, Owner, Pages, ScriptRun
from mmtool.system.slab.script import Alloc

SLOB_TAKEN = 160
"""Bytes that two struct kmem_cache of SLOB take on a 64-bit machine."""


class SlubRun(ScriptRun):
    """A script on SLUB."""

    def __init__(self, slub: Slub, pages: Pages, source: str, topology: Topology) -> None:
        super().__init__(slub.build, pages, source, lambda size, kind: slub_kmalloc(slub, size, kind))
        self.slub, self.topology = slub, topology
        self.slabs: dict[KmemCache, Slabs] = {}

    def create(self, args: CacheArgs) -> tuple[SlubCache, Slabs]:
        cache = self.slub.kmem_cache_create(args)
        slabs = self.slabs.get(cache)
        if slabs is None:
            slabs = self.slabs[cache] = slabs_of(cache, self.build, self.topology, self.pages.of(cache))
        return cache, slabs

    def unused(self, cache: KmemCache) -> bool:
        assert isinstance(cache, SlubCache)
        if not self.slub.kmem_cache_destroy(cache):
            return False
        del self.slabs[cache]
        return True

    def counters(self, objects: Objects) -> dict[str, Any]:
        """The counters of /sys/kernel/slab: a number, on several nodes {"all": n, "0": a, ...}, or text."""
        assert isinstance(objects, Slabs)
        found = objects.counters()
        names = ("slabs", "objects", "total_objects", "partial", "objects_partial", "cpu_slabs")
        return {name: self._by_node(getattr(found, name)) for name in names} | {
            "slabs_cpu_partial": found.slabs_cpu_partial
        }

    def out_of_memory(self, owner: Owner, op: Alloc) -> list[str]:
        if self.gfp.has(op.gfp, "__GFP_NOWARN"):
            return []
        assert isinstance(owner.cache, SlubCache) and isinstance(owner.objects, Slabs)
        return slab_out_of_memory(
            owner.cache,
            owner.objects.nodes,
            node=op.node,
            cpu=op.cpu,
            cpu_node=self.topology.cpu_nodes[op.cpu],
            gfp=(op.gfp, self.gfp.format(op.gfp)),
            facts=self.build.facts,
            page_size=self.build.page_size,
        )

    def _by_node(self, counts: dict[int, int]) -> Any:
        if self.build.nodes == 1:
            return counts[0]
        return {"all": sum(counts.values()), **{str(nid): n for nid, n in counts.items() if n}}


class SlabRun(ScriptRun):
    """A script on SLAB, on one node."""

    def __init__(self, slab: SlabCaches, pages: Pages, source: str) -> None:
        super().__init__(slab.build, pages, source, lambda size, kind: array_kmalloc(slab, size, kind))
        self.slab = slab
        self.objects: dict[KmemCache, ArraySlabs] = {}
        self.shuffled = slab.build.kernel.enabled("SLAB_FREELIST_RANDOM")

    def create(self, args: CacheArgs) -> tuple[SlabCache, ArraySlabs]:
        cache = self.slab.kmem_cache_create(args)
        objects = self.objects.get(cache)
        if objects is None:
            topology = evenly(self.build.present_cpus, self.build.nodes)
            objects = self.objects[cache] = ArraySlabs(cache, self.build, topology, self.pages.of(cache))
        return cache, objects

    def unused(self, cache: KmemCache) -> bool:
        assert isinstance(cache, SlabCache)
        if not self.slab.kmem_cache_destroy(cache):
            return False
        del self.objects[cache]
        return True

    def counters(self, objects: Objects) -> dict[str, Any]:
        assert isinstance(objects, ArraySlabs)
        return objects.counters()

    def offset(self, owner: Owner, place: Any) -> int | None:
        assert isinstance(owner.objects, ArraySlabs)
        return None if self.shuffled else owner.objects.offset(place)


class SlobRun(ScriptRun):
    """A script on SLOB, on one node. A `cache` line also fills what is free on the lists, but for one page."""

    def __init__(self, slob: SlobCaches, pages: Pages, source: str) -> None:
        super().__init__(slob.build, pages, source, lambda size, kind: slob_kmalloc(slob.build, size, kind))
        self.slob = slob
        self.blocks = pages.of(None)
        self.lists = Slob(slob.build, self._new_page, lambda pfn, order: self.blocks.free(pfn, order, 0))

    def _new_page(self, order: int) -> int | None:
        block = self.blocks.alloc(order, 0)
        return None if block is None else block[0]

    def create(self, args: CacheArgs) -> tuple[KmemCache, SlobObjects]:
        cache = self.slob.kmem_cache_create(args)
        self.lists.fill(SLOB_TAKEN)
        return cache, SlobObjects(cache, self.lists)

    def unused(self, cache: KmemCache) -> bool:
        return self.slob.kmem_cache_destroy(cache)

    def key(self, owner: Owner, place: Any) -> Hashable:
        """Places are told apart by how often the object's size goes into what lies before them."""
        offset: int = place.offset
        return offset // owner.cache.object_size

    def offset(self, owner: Owner, place: Any) -> int | None:
        offset: int = place.offset
        return offset


def script_run(allocator: str, slub: Slub, memory: int, source: str, pages: Pages, topology: Topology) -> ScriptRun:
    """A run on an allocator that has just booted on a machine of so much memory (bytes); `slub` where it is SLUB."""
    build = slub.build
    if allocator == "slub":
        return SlubRun(slub, pages, source, topology)
    if allocator == "slob":
        return SlobRun(SlobCaches(build), pages, source)
    slab = boot_allocator(allocator, build, memory)
    assert isinstance(slab, SlabCaches)
    return SlabRun(slab, pages, source)
