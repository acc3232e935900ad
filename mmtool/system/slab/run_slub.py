"""A script of calls, run on SLUB: what each line answers, object by object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mmtool.errors import InputError
from mmtool.linux.mm.slab_common import CacheError
from mmtool.linux.mm.slub.caches import Slub
from mmtool.linux.mm.slub.layout import SlubCache
from mmtool.linux.mm.slub.sheaves import slabs_of
from mmtool.linux.mm.slub.slab import Place, Slab, Slabs, evenly
from mmtool.system.slab.kmalloc import FAILS, PAGES, kinds, slab_gfp
from mmtool.system.slab.machine import slub_kmalloc
from mmtool.system.slab.pages import PlainPages
from mmtool.system.slab.script import (
    Alloc,
    Create,
    Fragment,
    Free,
    Kmalloc,
    Line,
    OnCache,
    chosen,
    number_runs,
    slab_runs,
)


@dataclass(frozen=True)
class LineResult:
    """What a line of a script answered, in the words of the document; `failed`: an allocation did."""

    line: int
    answer: dict[str, Any]
    failed: bool = False
    cache: SlubCache | None = None
    """The cache that a `cache` line made or was given."""


@dataclass
class Owner:
    """What a script holds of a cache that it has created: its live objects, and numbers for slabs and allocations."""

    cache: SlubCache
    slabs: Slabs
    live: list[Place] = field(default_factory=list)
    numbers: dict[Slab, int] = field(default_factory=dict)
    last: dict[Place, int] = field(default_factory=dict)
    """The allocation that had a place last."""
    next_slab: int = 0
    allocations: int = 0

    def number(self, slab: Slab) -> int:
        """The slab's number: they are numbered as they first give an object."""
        found = self.numbers.get(slab)
        if found is None:
            found = self.numbers[slab] = self.next_slab
            self.next_slab += 1
        return found

    def retire(self) -> None:
        """Forget slabs that went back to the page allocator."""
        if all(slab.alive for slab in self.numbers):
            return
        self.numbers = {slab: number for slab, number in self.numbers.items() if slab.alive}
        self.last = {place: number for place, number in self.last.items() if place.slab.alive}


class SlubRun:
    """A script's state on a machine whose memory is free but for the script's slabs."""

    def __init__(self, slub: Slub, memory: int, source: str) -> None:
        """`memory` in bytes; `source` names the script in messages."""
        self.slub, self.build, self.source = slub, slub.build, source
        self.topology = evenly(self.build.present_cpus, self.build.nodes)
        self.pages = PlainPages(memory, self.build.nodes, self.build.kernel.page_shift)
        self.owners: dict[str, Owner] = {}
        self.slabs: dict[SlubCache, Slabs] = {}
        self.gfp = slab_gfp(self.build)

    def run(self, lines: Iterable[Line]) -> list[LineResult]:
        """Do every line. InputError where a cache is destroyed that has objects."""
        return [self._line(line) for line in lines]

    def _line(self, line: Line) -> LineResult:
        op = line.operation
        if isinstance(op, Create):
            return self._create(line.number, op)
        if isinstance(op, Alloc):
            return self._alloc(line.number, op)
        if isinstance(op, Free):
            return self._free(line.number, op)
        if isinstance(op, OnCache):
            return self._on_cache(line.number, op)
        if isinstance(op, Kmalloc):
            return self._kmalloc(line.number, op)
        assert isinstance(op, Fragment)
        self.pages.fragmented = op.on
        return LineResult(line.number, {})

    def _create(self, number: int, op: Create) -> LineResult:
        try:
            cache = self.slub.kmem_cache_create(op.args)
        except CacheError as e:
            return LineResult(number, {"ok": False, "why": str(e)}, failed=True)
        slabs = self.slabs.get(cache)
        if slabs is None:
            slabs = self.slabs[cache] = slabs_of(cache, self.build, self.topology, self.pages)
        self.owners[op.args.name] = Owner(cache, slabs)
        return LineResult(number, {"ok": True, "cache": cache.name, "counters": self.counters(slabs)}, cache=cache)

    def _owner(self, name: str, number: int) -> Owner:
        owner = self.owners.get(name)
        if owner is None:
            raise InputError(self.source, number, f"cache {name!r} could not be created")
        return owner

    def _alloc(self, number: int, op: Alloc) -> LineResult:
        owner = self._owner(op.name, number)
        places = self._objects(owner.slabs, op)
        before = [owner.last.get(place) for place in places]
        slabs = [owner.number(place.slab) for place in places]
        for place in places:
            owner.last[place] = owner.allocations
            owner.allocations += 1
        owner.live += places
        answer = {
            "got": len(places),
            "live": len(owner.live),
            "slabs": slab_runs(slabs),
            "objects": number_runs(before),
            "counters": self.counters(owner.slabs),
        }
        return LineResult(number, answer, failed=len(places) < op.count)

    def _objects(self, slabs: Slabs, op: Alloc) -> list[Place]:
        places: list[Place] = []
        while len(places) < op.count:
            if op.bulk:
                more = slabs.alloc_bulk(min(op.bulk, op.count - len(places)), op.cpu)
                if not more:
                    break
                places += more
                continue
            place = slabs.alloc(op.cpu, op.node)
            if place is None:
                break
            places.append(place)
        return places

    def _free(self, number: int, op: Free) -> LineResult:
        owner = self._owner(op.name, number)
        freed, owner.live = chosen(op, owner.live)
        for place in freed:
            owner.slabs.free(place, op.cpu)
        owner.retire()
        answer = {"freed": len(freed), "live": len(owner.live), "counters": self.counters(owner.slabs)}
        return LineResult(number, answer)

    def _on_cache(self, number: int, op: OnCache) -> LineResult:
        owner = self._owner(op.name, number)
        if op.what == "shrink":
            owner.slabs.shrink()
            owner.retire()
            return LineResult(number, {"live": len(owner.live), "counters": self.counters(owner.slabs)})
        if owner.live:
            raise InputError(self.source, number, f"cache {op.name!r} has {len(owner.live)} objects; free them before")
        if self.slub.kmem_cache_destroy(owner.cache):
            owner.slabs.destroy()
            self.slabs.pop(owner.cache, None)
        del self.owners[op.name]
        return LineResult(number, {})

    def _kmalloc(self, number: int, op: Kmalloc) -> LineResult:
        run = slub_kmalloc(self.slub, op.size, kinds(op.gfp, self.gfp))
        fails = run.served == FAILS or (
            run.served == PAGES and run.ksize > self.build.page_size and self.pages.fragmented
        )
        if fails:
            return LineResult(number, {"got": 0, "ksize": 0, "cache": ""}, failed=True)
        return LineResult(number, {"got": op.count, "ksize": run.ksize, "cache": run.served})

    def counters(self, slabs: Slabs) -> dict[str, Any]:
        """The counters of /sys/kernel/slab: a number, on several nodes {"all": n, "0": a, ...}, or text."""
        found = slabs.counters()
        names = ("slabs", "objects", "total_objects", "partial", "objects_partial", "cpu_slabs")
        return {name: self._by_node(getattr(found, name)) for name in names} | {
            "slabs_cpu_partial": found.slabs_cpu_partial
        }

    def _by_node(self, counts: dict[int, int]) -> Any:
        if self.build.nodes == 1:
            return counts[0]
        return {"all": sum(counts.values()), **{str(nid): n for nid, n in counts.items() if n}}
