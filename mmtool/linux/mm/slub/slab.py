"""struct slab, struct kmem_cache_node and the counters of a cache: what SLUB's paths have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Protocol

from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import SlabBuild
from mmtool.linux.mm.slub.layout import SlubCache

SHRINK_PROMOTE_MAX = 32
"""Slabs with fewer free objects than that are sorted by their number when a cache is shrunk."""


class Place:
    """A place of an object in a slab. Its offset is known only where the free list of a new slab is not shuffled."""

    __slots__ = ("index", "slab")

    def __init__(self, slab: Slab, index: int) -> None:
        self.slab, self.index = slab, index


class Slab:
    """struct slab: pages of one block, cut into objects. `freelist` is a stack: its head is the last element."""

    __slots__ = ("alive", "freelist", "frozen", "inuse", "nid", "objects", "order", "pfn", "pobjects")

    def __init__(self, nid: int, pfn: int, order: int, objects: int) -> None:
        self.nid, self.pfn, self.order, self.objects = nid, pfn, order, objects
        self.inuse, self.frozen, self.pobjects = 0, False, 0
        self.alive = True
        self.freelist = [Place(self, index) for index in range(objects - 1, -1, -1)]


class PageSource(Protocol):
    """Where slabs get their pages."""

    def alloc(self, order: int, nid: int, *, thisnode: bool = False, last: bool = True) -> tuple[int, int] | None:
        """2**order pages: (pfn, node), on `nid` if it can be (or must be: `thisnode`); None without such a block.

        `last`: no smaller block will be asked for instead.
        """

    def free(self, pfn: int, order: int, nid: int) -> None:
        """Give 2**order pages back."""


class Node:
    """struct kmem_cache_node: the slabs of a cache on a node, and the partial ones from head to tail."""

    __slots__ = ("nid", "nr_slabs", "partial", "total_objects")

    def __init__(self, nid: int) -> None:
        self.nid, self.nr_slabs, self.total_objects = nid, 0, 0
        self.partial: OrderedDict[Slab, None] = OrderedDict()

    def add_partial(self, slab: Slab, *, tail: bool) -> None:
        """add_partial()."""
        self.partial[slab] = None
        if not tail:
            self.partial.move_to_end(slab, last=False)

    def first(self) -> Slab | None:
        return next(iter(self.partial), None)


@dataclass(frozen=True)
class Topology:
    """CPUs and nodes: which node each CPU is on, and in which order a node looks at others."""

    cpu_nodes: Sequence[int]
    nodes: int

    def fallback(self, nid: int) -> Iterator[int]:
        """The other nodes in the order of node `nid`'s zonelist, all of them equally far."""
        return (other % self.nodes for other in range(nid + 1, nid + self.nodes))


def evenly(cpus: int, nodes: int) -> Topology:
    """CPUs shared out evenly to the nodes, in order."""
    return Topology([cpu * nodes // cpus for cpu in range(cpus)], nodes)


@dataclass
class Counters:
    """The counters of a cache in /sys/kernel/slab, by node where they are."""

    slabs: dict[int, int] = field(default_factory=dict)
    objects: dict[int, int] = field(default_factory=dict)
    total_objects: dict[int, int] = field(default_factory=dict)
    partial: dict[int, int] = field(default_factory=dict)
    objects_partial: dict[int, int] = field(default_factory=dict)
    cpu_slabs: dict[int, int] = field(default_factory=dict)
    slabs_cpu_partial: str = "0(0)"


class Slabs(ABC):
    """A cache's slabs: how objects come and go, CPU by CPU. CPUs and nodes by number.

    An allocation without a node (None) is for whoever asks (NUMA_NO_NODE).
    """

    def __init__(self, cache: SlubCache, build: SlabBuild, topology: Topology, pages: PageSource) -> None:
        self.cache, self.build, self.topology, self.pages = cache, build, topology, pages
        self.nodes = [Node(nid) for nid in range(topology.nodes)]

    @abstractmethod
    def alloc(self, cpu: int, node: int | None = None) -> Place | None:
        """kmem_cache_alloc_node(); None when there is no memory."""

    @abstractmethod
    def free(self, place: Place, cpu: int) -> None:
        """kmem_cache_free()."""

    @abstractmethod
    def alloc_bulk(self, count: int, cpu: int) -> list[Place]:
        """kmem_cache_alloc_bulk(): all of them or none."""

    @abstractmethod
    def flush_all(self) -> None:
        """flush_all(): every CPU gives back what it keeps."""

    def new_slab(self, node: int | None, cpu: int, *, thisnode: bool = False) -> Slab | None:
        """allocate_slab(): a slab of the preferred order, else of the least one; None without a block of pages."""
        cache = self.cache
        nid = self.topology.cpu_nodes[cpu] if node is None else node
        order, objects = cache.oo_order, cache.oo_objects
        smaller = cache.min_order < order
        block = self.pages.alloc(order, nid, thisnode=thisnode, last=not smaller)
        if block is None and smaller:
            order, objects = cache.min_order, cache.min_objects
            block = self.pages.alloc(order, nid, thisnode=thisnode)
        if block is None:
            return None
        return Slab(block[1], block[0], order, objects)

    def inc_slabs_node(self, slab: Slab) -> None:
        node = self.nodes[slab.nid]
        node.nr_slabs += 1
        node.total_objects += slab.objects

    def discard_slab(self, slab: Slab) -> None:
        """discard_slab(): the pages go back."""
        node = self.nodes[slab.nid]
        node.nr_slabs -= 1
        node.total_objects -= slab.objects
        slab.alive = False
        self.pages.free(slab.pfn, slab.order, slab.nid)

    # one object at a time, under the list's lock: caches that are debugged

    def alloc_single_from_partial(self, nid: int) -> Place | None:
        """alloc_single_from_partial(): an object of the first partial slab."""
        node = self.nodes[nid]
        slab = node.first()
        if slab is None:
            return None
        slab.inuse += 1
        if slab.inuse == slab.objects:
            del node.partial[slab]
        return slab.freelist.pop()

    def alloc_single_from_new_slab(self, slab: Slab) -> Place:
        """alloc_single_from_new_slab(): its first object; the rest is at the head of the node's list."""
        place = slab.freelist.pop()
        slab.inuse = 1
        if slab.objects > 1:
            self.nodes[slab.nid].add_partial(slab, tail=False)
        self.inc_slabs_node(slab)
        return place

    def free_to_partial_list(self, slab: Slab, places: Sequence[Place]) -> None:
        """free_to_partial_list(): `places` go back to one slab, the last of them first in line.

        So does __slab_free() of a cache without CPU slabs.
        """
        prior = bool(slab.freelist)
        slab.inuse -= len(places)
        slab.freelist += places
        self.back_to_node(slab, prior)

    def back_to_node(self, slab: Slab, prior: bool) -> None:
        """The end of __slab_free(): an empty slab goes where its node has enough, and one that had no free object
        before (not `prior`) is listed."""
        node = self.nodes[slab.nid]
        if not slab.inuse and len(node.partial) >= self.cache.min_partial:
            if prior:
                del node.partial[slab]
            self.discard_slab(slab)
        elif not prior:
            node.add_partial(slab, tail=True)

    def nodes_with_spare(self, nid: int) -> Iterator[Node]:
        """get_any_partial(): the nodes that have more partial slabs than they have to keep, `nid` first.

        The kernel leaves it out at random, once in 42 times (remote_node_defrag_ratio); the model never does.
        """
        for other in (nid, *self.topology.fallback(nid)):
            if len(self.nodes[other].partial) > self.cache.min_partial:
                yield self.nodes[other]

    def shrink(self) -> None:
        """__kmem_cache_shrink(): CPUs give back theirs, empty slabs go, the fullest ones come first."""
        self.flush_all()
        self.shrink_barns()
        for node in self.nodes:
            promoted: list[list[Slab]] = [[] for _ in range(SHRINK_PROMOTE_MAX)]
            rest: list[Slab] = []
            for slab in list(node.partial):
                free = slab.objects - slab.inuse
                if free == slab.objects:
                    self.discard_slab(slab)
                elif free <= SHRINK_PROMOTE_MAX:
                    promoted[free - 1].append(slab)
                else:
                    rest.append(slab)
            first = (slab for row in promoted for slab in reversed(row))
            node.partial = OrderedDict((slab, None) for slab in (*first, *rest))

    @abstractmethod
    def shrink_barns(self) -> None:
        """barn_shrink(): what lies in sheaves of the nodes goes back to its slabs."""

    def destroy(self) -> None:
        """__kmem_cache_shutdown(): every empty slab goes back."""
        self.flush_all()
        self.shrink_barns()
        self.flush_all()
        for node in self.nodes:
            for slab in [slab for slab in node.partial if not slab.inuse]:
                del node.partial[slab]
                self.discard_slab(slab)

    def counters(self) -> Counters:
        """show_slab_objects(): the counters as /sys/kernel/slab has them."""
        found = Counters()
        for node in self.nodes:
            free = sum(slab.objects - slab.inuse for slab in node.partial)
            found.slabs[node.nid] = node.nr_slabs
            found.total_objects[node.nid] = node.total_objects
            found.objects[node.nid] = node.total_objects - free
            found.partial[node.nid] = len(node.partial)
            found.objects_partial[node.nid] = sum(slab.inuse for slab in node.partial)
        return found


def build_detached_freelist(places: list[Place]) -> Iterator[tuple[Slab, list[Place]]]:
    """build_detached_freelist(): objects to free, from the last on, gathered slab by slab as a bulk free does.

    Each slab comes with its objects as a stack to put on its free list. The search for more objects of a slab looks
    past no more than two of other slabs.
    """
    size = len(places)
    while size:
        size -= 1
        slab = places[size].slab
        chain, same, lookahead = [places[size]], size, 3
        at = size
        while at:
            at -= 1
            if places[at].slab is slab:
                chain.append(places[at])
                same -= 1
                if at != same:
                    places[at], places[same] = places[same], places[at]
                continue
            lookahead -= 1
            if not lookahead:
                break
        size = same
        yield slab, chain
