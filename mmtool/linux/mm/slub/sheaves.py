"""SLUB's sheaves: arrays of objects for each CPU, the barns of the nodes, and the slab lists below them."""

from __future__ import annotations

from mmtool.linux.mm.slab_common import SlabBuild
from mmtool.linux.mm.slub.cpu_slabs import CpuSlabs
from mmtool.linux.mm.slub.layout import SlubCache
from mmtool.linux.mm.slub.slab import (
    Counters,
    Node,
    PageSource,
    Place,
    Slab,
    Slabs,
    Topology,
    build_detached_freelist,
)

MAX_FULL_SHEAVES = 10
"""Full sheaves that a node's barn takes."""
PCS_BATCH_MAX = 32
"""Objects that leave a CPU's main sheaf at once when it is flushed."""

Sheaf = list[Place]
"""struct slab_sheaf: objects are added to and taken from the end."""


class NodeSlabs(Slabs):
    """A cache without CPU slabs: objects come from and go to the lists of the nodes."""

    def alloc(self, cpu: int, node: int | None = None) -> Place | None:
        """___slab_alloc(): one object, from a partial slab of the node, of others, or from a new slab."""
        nid = self.topology.cpu_nodes[cpu] if node is None else node
        for thisnode in (True, False) if node is not None else (False,):
            place = self._get_from_partial(nid, anywhere=not thisnode)
            if place is not None:
                return place
            slab = self.new_slab(node, cpu, thisnode=thisnode)
            if slab is not None:
                if self.cache.debugged:
                    return self.alloc_single_from_new_slab(slab)
                return self._alloc_from_new_slab(slab, 1)[0]
        return None

    def _get_from_partial(self, nid: int, *, anywhere: bool) -> Place | None:
        place = self._get_from_partial_node(self.nodes[nid])
        if place is None and anywhere:
            return next((self._get_from_partial_node(node) for node in self.nodes_with_spare(nid)), None)
        return place

    def _get_from_partial_node(self, node: Node) -> Place | None:
        """get_from_partial_node(): an object of the first partial slab."""
        if self.cache.debugged:
            return self.alloc_single_from_partial(node.nid)
        slab = node.first()
        if slab is None:
            return None
        slab.inuse += 1
        place = slab.freelist.pop()
        if not slab.freelist:
            del node.partial[slab]
        return place

    def _alloc_from_new_slab(self, slab: Slab, count: int) -> list[Place]:
        """alloc_from_new_slab(): up to `count` objects; a slab that has more goes to the head of the list."""
        freelist = slab.freelist
        places = [freelist.pop() for _ in range(min(count, slab.objects))]
        slab.inuse = len(places)
        if freelist:
            self.nodes[slab.nid].add_partial(slab, tail=False)
        self.inc_slabs_node(slab)
        return places

    def refill(self, count: int, cpu: int) -> list[Place]:
        """refill_objects(): `count` objects from partial slabs and new ones; fewer when there is no memory."""
        nid = self.topology.cpu_nodes[cpu]
        places = self._refill_node(self.nodes[nid], count)
        if len(places) < count:
            for other in self.nodes_with_spare(nid):
                places += self._refill_node(other, count - len(places))
                if len(places) >= count:
                    break
        while len(places) < count:
            slab = self.new_slab(None, cpu)
            if slab is None:
                break
            places += self._alloc_from_new_slab(slab, count - len(places))
        return places

    def _refill_node(self, node: Node, count: int) -> list[Place]:
        """__refill_objects_node(): whole free lists of partial slabs; what is too much goes to the list's tail."""
        taken: list[Slab] = []
        free = 0
        for slab in node.partial:
            here = slab.objects - slab.inuse
            if free >= count:
                break
            taken.append(slab)
            free += here
        for slab in taken:
            del node.partial[slab]
        places: list[Place] = []
        for slab in taken:
            freelist, slab.freelist, slab.inuse = slab.freelist, [], slab.objects
            while freelist and len(places) < count:
                places.append(freelist.pop())
            if freelist:
                slab.freelist = freelist
                slab.inuse -= len(freelist)
                node.add_partial(slab, tail=True)
        return places

    def free(self, place: Place, cpu: int) -> None:
        self.free_to_partial_list(place.slab, [place])

    def alloc_bulk(self, count: int, cpu: int) -> list[Place]:
        if not self.cache.debugged:
            places = self.refill(count, cpu)
        else:
            places = []
            while len(places) < count and (place := self.alloc(cpu)) is not None:
                places.append(place)
        if len(places) == count:
            return places
        self.free_bulk(places, cpu)
        return []

    def free_bulk(self, places: list[Place], cpu: int) -> None:
        """__kmem_cache_free_bulk()."""
        for slab, chain in build_detached_freelist(places):
            self.free_to_partial_list(slab, chain)

    def flush_all(self) -> None:
        """There is nothing that CPUs keep."""

    def shrink_barns(self) -> None:
        """There are no sheaves."""

    def counters(self) -> Counters:
        found = super().counters()
        found.cpu_slabs = dict.fromkeys(range(self.topology.nodes), 0)
        return found


class Barn:
    """struct node_barn: a node's full and empty sheaves, stacks."""

    __slots__ = ("empty", "full")

    def __init__(self) -> None:
        self.full: list[Sheaf] = []
        self.empty: list[Sheaf] = []


class CpuSheaves:
    """struct slub_percpu_sheaves: the sheaf in use and a spare one, full or empty."""

    __slots__ = ("main", "spare")

    def __init__(self) -> None:
        self.main: Sheaf = []
        self.spare: Sheaf | None = None


class Sheaves(Slabs):
    """A cache with sheaves over the lists of the nodes, or over CPU slabs (6.18, where a cache asks for it)."""

    def __init__(self, cache: SlubCache, build: SlabBuild, topology: Topology, pages: PageSource) -> None:
        super().__init__(cache, build, topology, pages)
        below = NodeSlabs if build.facts.sheaves_everywhere else CpuSlabs
        self.below: NodeSlabs | CpuSlabs = below(cache, build, topology, pages)
        self.nodes = self.below.nodes
        self.cpus = [CpuSheaves() for _ in topology.cpu_nodes]
        self.barns = [Barn() for _ in range(topology.nodes)]

    def alloc(self, cpu: int, node: int | None = None) -> Place | None:
        if node is None:
            pcs = self.cpus[cpu]
            if pcs.main or self._replace_empty_main(pcs, cpu):
                return pcs.main.pop()
        elif node == self.topology.cpu_nodes[cpu]:
            pcs = self.cpus[cpu]
            if (pcs.main or self._replace_empty_main(pcs, cpu)) and pcs.main[-1].slab.nid == node:
                return pcs.main.pop()
        return self.below.alloc(cpu, node)

    def _full_sheaf(self, pcs: CpuSheaves, barn: Barn) -> bool:
        """A full sheaf in place of an empty main one: the spare, or one of the barn."""
        if pcs.spare:
            pcs.main, pcs.spare = pcs.spare, pcs.main
        elif barn.full:
            barn.empty.append(pcs.main)
            pcs.main = barn.full.pop()
        else:
            return False
        return True

    def _replace_empty_main(self, pcs: CpuSheaves, cpu: int) -> bool:
        """__pcs_replace_empty_main(): a sheaf with objects; False when there is no memory to fill one."""
        barn = self.barns[self.topology.cpu_nodes[cpu]]
        if self._full_sheaf(pcs, barn):
            return True
        if pcs.spare is not None:
            sheaf, pcs.spare = pcs.spare, None
        else:
            sheaf = barn.empty.pop() if barn.empty else []
        wanted = self.cache.sheaf_capacity
        sheaf += self._refill(wanted, cpu)
        if len(sheaf) < wanted:
            self.below.free_bulk(sheaf, cpu)
            return False
        if pcs.spare is None:
            pcs.spare = pcs.main
        else:
            barn.empty.append(pcs.main)
        pcs.main = sheaf
        return True

    def _refill(self, count: int, cpu: int) -> list[Place]:
        if isinstance(self.below, NodeSlabs):
            return self.below.refill(count, cpu)
        return self.below.alloc_bulk(count, cpu)

    def free(self, place: Place, cpu: int) -> None:
        if place.slab.nid != self.topology.cpu_nodes[cpu]:
            self.below.free(place, cpu)
            return
        pcs = self.cpus[cpu]
        if len(pcs.main) == self.cache.sheaf_capacity:
            self._replace_full_main(pcs, cpu)
        pcs.main.append(place)

    def _replace_full_main(self, pcs: CpuSheaves, cpu: int) -> None:
        """__pcs_replace_full_main(): a sheaf with room; a barn that is full makes the spare one go to its slabs."""
        barn = self.barns[self.topology.cpu_nodes[cpu]]
        if pcs.spare is None:
            pcs.spare, pcs.main = pcs.main, barn.empty.pop() if barn.empty else []
        elif len(pcs.spare) < self.cache.sheaf_capacity:
            pcs.main, pcs.spare = pcs.spare, pcs.main
        elif len(barn.full) >= MAX_FULL_SHEAVES:
            self.below.free_bulk(pcs.spare, cpu)
            pcs.spare, pcs.main = pcs.main, []
        else:
            barn.full.append(pcs.main)
            pcs.main = barn.empty.pop() if barn.empty else []

    def alloc_bulk(self, count: int, cpu: int) -> list[Place]:
        """alloc_from_pcs_bulk() and what it leaves to the slabs below: sheaves are not filled for it."""
        pcs = self.cpus[cpu]
        barn = self.barns[self.topology.cpu_nodes[cpu]]
        places: list[Place] = []
        while len(places) < count and (pcs.main or self._full_sheaf(pcs, barn)):
            batch = min(count - len(places), len(pcs.main))
            places += pcs.main[-batch:]
            del pcs.main[-batch:]
        if len(places) < count:
            more = self.below.alloc_bulk(count - len(places), cpu)
            if not more:
                self.below.free_bulk(places, cpu)
                return []
            places += more
        return places

    def flush_all(self) -> None:
        """pcs_flush_all() on every CPU: first the spare sheaf, then the main one in batches from its end.

        CPUs do it at the same time, so that their order is chance; here they come one after the other.
        """
        for cpu, pcs in enumerate(self.cpus):
            if pcs.spare is not None:
                self.below.free_bulk(pcs.spare, cpu)
                pcs.spare = None
            while pcs.main:
                batch = pcs.main[-PCS_BATCH_MAX:]
                del pcs.main[-PCS_BATCH_MAX:]
                self.below.free_bulk(batch, cpu)
        self.below.flush_all()

    def shrink_barns(self) -> None:
        for barn in self.barns:
            for sheaf in reversed(barn.full):
                self.below.free_bulk(sheaf, 0)
            barn.full, barn.empty = [], []

    def counters(self) -> Counters:
        return self.below.counters()


def slabs_of(cache: SlubCache, build: SlabBuild, topology: Topology, pages: PageSource) -> Slabs:
    """The slabs of a cache, by what the release and the cache have for CPUs."""
    if cache.sheaf_capacity:
        return Sheaves(cache, build, topology, pages)
    return (NodeSlabs if build.facts.sheaves_everywhere else CpuSlabs)(cache, build, topology, pages)
