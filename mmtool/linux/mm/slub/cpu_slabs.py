"""SLUB's CPU slabs and CPU partial lists, as they were until sheaves replaced them: ___slab_alloc(), __slab_free()."""

from __future__ import annotations

from mmtool.linux.mm.slab_common import SlabBuild
from mmtool.linux.mm.slub.layout import SlubCache
from mmtool.linux.mm.slub.slab import (
    Counters,
    PageSource,
    Place,
    Slab,
    Slabs,
    Topology,
    build_detached_freelist,
)


class Cpu:
    """struct kmem_cache_cpu: the slab that a CPU takes from, its free objects, and the CPU's partial slabs.

    Both lists are stacks: their heads are the last elements.
    """

    __slots__ = ("freelist", "partial", "slab")

    def __init__(self) -> None:
        self.slab: Slab | None = None
        self.freelist: list[Place] = []
        self.partial: list[Slab] = []


class CpuSlabs(Slabs):
    """A cache whose CPUs have slabs of their own: frozen slabs, which no other CPU takes objects from."""

    def __init__(self, cache: SlubCache, build: SlabBuild, topology: Topology, pages: PageSource) -> None:
        super().__init__(cache, build, topology, pages)
        self.cpus = [Cpu() for _ in topology.cpu_nodes]
        facts = build.facts
        self.by_slabs = facts.cpu_partial_counts_slabs
        self.keeps_order = facts.deactivate_splices
        self.single = cache.debugged and facts.debug_takes_single_objects
        self.has_cpu_partial = build.kernel.enabled("SLUB_CPU_PARTIAL") and not cache.debugged

    def alloc(self, cpu: int, node: int | None = None) -> Place | None:
        c = self.cpus[cpu]
        freelist = c.freelist
        if freelist and (node is None or freelist[-1].slab.nid == node):
            return freelist.pop()
        return self.slow_alloc(c, cpu, node)

    def slow_alloc(self, c: Cpu, cpu: int, node: int | None) -> Place | None:
        """___slab_alloc(): from the CPU's slab, its partial slabs, a node's partial slabs, or a new slab."""
        while True:
            slab = c.slab
            if slab is None:
                if not c.partial:
                    return self._new_objects(c, cpu, node)
                slab = c.slab = c.partial.pop()
            if node is not None and slab.nid != node:
                self._deactivate_cpu(c)
            elif c.freelist or self._get_freelist(c, slab):
                return c.freelist.pop()
            else:
                c.slab = None

    def _get_freelist(self, c: Cpu, slab: Slab) -> bool:
        """get_freelist(): objects that others have freed to the CPU's slab; without any it is no longer frozen."""
        c.freelist, slab.freelist = slab.freelist, []
        slab.inuse = slab.objects
        slab.frozen = bool(c.freelist)
        return slab.frozen

    def _new_objects(self, c: Cpu, cpu: int, node: int | None) -> Place | None:
        if self.single:
            return self._single(cpu, node)
        slab = self.get_partial(c, cpu, node)
        if slab is None:
            slab = self.new_slab(node, cpu)
            if slab is None:
                return None
            self.inc_slabs_node(slab)
        c.slab, c.freelist = slab, slab.freelist
        slab.freelist, slab.inuse, slab.frozen = [], slab.objects, True
        place = c.freelist.pop()
        if self.cache.debugged:
            self._deactivate_cpu(c)
        return place

    def _single(self, cpu: int, node: int | None) -> Place | None:
        nid = self.topology.cpu_nodes[cpu] if node is None else node
        place = self.alloc_single_from_partial(nid)
        if place is None and node is None:
            place = next((self.alloc_single_from_partial(other.nid) for other in self.nodes_with_spare(nid)), None)
        if place is not None:
            return place
        slab = self.new_slab(node, cpu)
        return None if slab is None else self.alloc_single_from_new_slab(slab)

    def get_partial(self, c: Cpu, cpu: int, node: int | None) -> Slab | None:
        """get_partial(): a partial slab of the node, and more of them for the CPU's own list."""
        nid = self.topology.cpu_nodes[cpu] if node is None else node
        slab = self._get_partial_node(c, nid)
        if slab is None and node is None:
            for other in self.nodes_with_spare(nid):
                return self._get_partial_node(c, other.nid)
        return slab

    def _get_partial_node(self, c: Cpu, nid: int) -> Slab | None:
        """get_partial_node(): the first slab of the list, and for the CPU's list up to half of what that may hold."""
        partial, taken = self.nodes[nid].partial, None
        available = slabs = 0
        while partial:
            slab = partial.popitem(last=False)[0]
            available += slab.objects - slab.inuse
            if taken is None:
                taken = slab
            else:
                slab.frozen = True
                self.put_cpu_partial(c, slab, drain=False)
                slabs += 1
            enough = (
                slabs > self.cache.cpu_partial_slabs // 2
                if self.by_slabs
                else (available > self.cache.cpu_partial // 2)
            )
            if enough or not self.has_cpu_partial:
                break
        return taken

    def put_cpu_partial(self, c: Cpu, slab: Slab, *, drain: bool) -> None:
        """put_cpu_partial(): a slab for the CPU's list; a full list goes to the nodes first, if it may (`drain`)."""
        head = c.partial[-1] if c.partial else None
        if head is not None and drain:
            full = (
                len(c.partial) >= self.cache.cpu_partial_slabs
                if self.by_slabs
                else head.pobjects > self.cache.cpu_partial
            )
            if full:
                self.unfreeze_partials(c)
                head = None
        slab.pobjects = slab.objects - slab.inuse + (head.pobjects if head is not None else 0)
        c.partial.append(slab)

    def unfreeze_partials(self, c: Cpu) -> None:
        """unfreeze_partials(): the CPU's partial slabs go to the tails of the nodes' lists; empty ones may go back."""
        slabs, c.partial = c.partial, []
        discarded = []
        for slab in reversed(slabs):
            node = self.nodes[slab.nid]
            slab.frozen = False
            if not slab.inuse and len(node.partial) >= self.cache.min_partial:
                discarded.append(slab)
            else:
                node.add_partial(slab, tail=True)
        for slab in reversed(discarded):
            self.discard_slab(slab)

    def _deactivate_cpu(self, c: Cpu) -> None:
        slab, freelist = c.slab, c.freelist
        c.slab, c.freelist = None, []
        assert slab is not None
        self.deactivate_slab(slab, freelist)

    def deactivate_slab(self, slab: Slab, freelist: list[Place]) -> None:
        """deactivate_slab(): the CPU's free objects go back to their slab, and the slab to its node."""
        tail = bool(slab.freelist)
        slab.inuse -= len(freelist)
        slab.freelist += freelist if self.keeps_order else reversed(freelist)
        slab.frozen = False
        node = self.nodes[slab.nid]
        if not slab.inuse and len(node.partial) >= self.cache.min_partial:
            self.discard_slab(slab)
        elif slab.freelist:
            node.add_partial(slab, tail=tail)

    def free(self, place: Place, cpu: int) -> None:
        c = self.cpus[cpu]
        slab = place.slab
        if slab is c.slab:
            c.freelist.append(place)
        else:
            self.slab_free(slab, [place], c)

    def slab_free(self, slab: Slab, places: list[Place], c: Cpu) -> None:
        """__slab_free(): objects go back to a slab that is not the CPU's own."""
        if self.single:
            self.free_to_partial_list(slab, places)
            return
        prior = bool(slab.freelist)
        slab.freelist += places
        slab.inuse -= len(places)
        if slab.frozen or (prior and slab.inuse):
            return
        if not prior and self.has_cpu_partial:
            slab.frozen = True
            self.put_cpu_partial(c, slab, drain=True)
            return
        self.back_to_node(slab, prior)

    def alloc_bulk(self, count: int, cpu: int) -> list[Place]:
        c = self.cpus[cpu]
        places: list[Place] = []
        while len(places) < count:
            freelist = c.freelist
            if freelist:
                places.append(freelist.pop())
                continue
            place = self.slow_alloc(c, cpu, None)
            if place is None:
                self.free_bulk(places, cpu)
                return []
            places.append(place)
        return places

    def free_bulk(self, places: list[Place], cpu: int) -> None:
        """__kmem_cache_free_bulk()."""
        c = self.cpus[cpu]
        for slab, chain in build_detached_freelist(places):
            if slab is c.slab:
                c.freelist += chain
            else:
                self.slab_free(slab, chain, c)

    def flush_all(self) -> None:
        """flush_all(): every CPU does its own part at the same time, so that the order is chance.

        Taken here is the order that most boots of 6.1 with four CPUs had: the slabs of all CPUs, the last CPU first,
        then their lists of partial slabs. Before 5.15 the CPU that asks, here the first, comes last.
        """
        if not self.build.facts.flushed_by_work:
            for c in (*self.cpus[1:], self.cpus[0]):
                if c.slab is not None:
                    self._deactivate_cpu(c)
                self.unfreeze_partials(c)
            return
        for c in reversed(self.cpus):
            if c.slab is not None:
                self._deactivate_cpu(c)
        for c in reversed(self.cpus):
            self.unfreeze_partials(c)

    def shrink_barns(self) -> None:
        """There are no sheaves."""

    def counters(self) -> Counters:
        found = super().counters()
        found.cpu_slabs = dict.fromkeys(range(self.topology.nodes), 0)
        slabs = objects = 0
        cpus = []
        for cpu, c in enumerate(self.cpus):
            if c.slab is not None:
                found.cpu_slabs[c.slab.nid] += 1
                if c.partial:
                    found.cpu_slabs[c.partial[-1].nid] += len(c.partial)
            if not c.partial:
                continue
            here = len(c.partial)
            free = here * self.cache.oo_objects // 2 if self.by_slabs else c.partial[-1].pobjects
            slabs, objects = slabs + here, objects + free
            cpus.append(f" C{cpu}={free}({here})")
        if self.by_slabs:
            objects = slabs * self.cache.oo_objects // 2
        found.slabs_cpu_partial = f"{objects}({slabs})" + "".join(cpus)
        return found
