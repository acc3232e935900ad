"""A script of calls on slab caches, done line by line: what each answers, object by object.

What a script asks of an allocator is the same for all: `Objects` for a cache, `ScriptRun` for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import field
from typing import Any, Protocol

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import CacheArgs, CacheError, KmemCache, SlabBuild
from mmtool.system.slab.kmalloc import FAILS, PAGES, KmallocOf, kinds, slab_gfp
from mmtool.system.slab.pages import PlainPages
from mmtool.system.slab.script import (
    Alloc,
    Create,
    Fragment,
    Free,
    Kmalloc,
    Line,
    OnCache,
    Operation,
    chosen,
    number_runs,
    slab_runs,
)
from mmtool.system.slab.system_pages import SystemPages

Pages = PlainPages | SystemPages
"""Where a script's slabs get their pages: plain memory, or a booted machine's."""
PLACES = 200
"""Of how many objects of a line the places are told."""


MOST_WORK, LINE = 200_000, 15
"""Objects that the lines of a script may ask for and give back, all in all, and how many of them a line counts for."""
LOOKED_AT = 16
"""Live objects that are gone through in the time that one takes to be allocated."""


class Objects(Protocol):
    """The objects of a cache."""

    def alloc(self, cpu: int, node: int | None = None) -> Any:
        """An object, None when there is no memory."""

    def alloc_bulk(self, count: int, cpu: int) -> list[Any]:
        """So many at once, or none."""

    def free(self, place: Any, cpu: int) -> None:
        """Give an object back."""

    def shrink(self) -> None:
        """kmem_cache_shrink()."""

    def destroy(self) -> None:
        """kmem_cache_destroy(), once no object is left."""


@dataclass(frozen=True)
class LineResult:
    """What a line of a script answered, in the words of the document; `failed`: an allocation did."""

    line: int
    answer: dict[str, Any]
    failed: bool = False
    cache: KmemCache | None = None
    """The cache that a `cache` line made or was given."""


@dataclass
class Owner:
    """What a script holds of a cache that it has created: its live objects, and numbers for slabs and allocations."""

    cache: KmemCache
    objects: Objects
    live: list[Any] = field(default_factory=list)
    numbers: dict[Any, int] = field(default_factory=dict)
    last: dict[tuple[Any, Hashable], int] = field(default_factory=dict)
    """The allocation that had a place of a slab last."""
    next_slab: int = 0
    allocations: int = 0

    def number(self, slab: Any) -> int:
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
        self.last = {key: number for key, number in self.last.items() if key[0].alive}


class ScriptRun(ABC):
    """A script's state: its caches, its objects, and the pages of its slabs."""

    def __init__(self, build: SlabBuild, pages: Pages, source: str, kmalloc: KmallocOf) -> None:
        """`source` names the script in messages."""
        self.build, self.pages, self.source, self.kmalloc = build, pages, source, kmalloc
        self.owners: dict[str, Owner] = {}
        self.gfp = slab_gfp(build)

    @abstractmethod
    def create(self, args: CacheArgs) -> tuple[KmemCache, Objects]:
        """kmem_cache_create(). Raises CacheError."""

    @abstractmethod
    def unused(self, cache: KmemCache) -> bool:
        """kmem_cache_destroy(): one user less; was it the last?"""

    def counters(self, objects: Objects) -> dict[str, Any]:
        """What the kernel counts of a cache, for the document; {} where it counts nothing."""
        return {}

    def key(self, owner: Owner, place: Any) -> Hashable:
        """Which place of its slab an object has."""
        return place.index  # type: ignore[no-any-return]

    def offset(self, owner: Owner, place: Any) -> int | None:
        """Where in its slab an object begins, in bytes; None where that is random."""
        return None

    def out_of_memory(self, owner: Owner, op: Alloc) -> list[str]:
        """What the kernel logs when an allocation fails."""
        return []

    def fragment(self, on: bool) -> None:
        """From now on there are no blocks above single pages (`on`), or there are again."""
        self.pages.fragmented = on

    def run(self, lines: Iterable[Line]) -> list[LineResult]:
        """Do every line. InputError where a cache is destroyed that has objects, and where there is too much to do."""
        results, work = [], 0
        for line in lines:
            work += LINE + self._asked(line.operation)
            if work > MOST_WORK:
                raise InputError(self.source, line.number, f"more than {MOST_WORK} objects by here; make two of it")
            results.append(self._line(line))
        return results

    def _asked(self, op: Operation) -> int:
        """How much a line asks for, in objects."""
        if isinstance(op, Alloc):
            return op.count
        if isinstance(op, Create):
            return LINE
        owner = self.owners.get(op.name) if isinstance(op, Free | OnCache) else None
        return len(owner.live) // LOOKED_AT if owner is not None else 0

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
        self.fragment(op.on)
        return LineResult(line.number, {})

    def _create(self, number: int, op: Create) -> LineResult:
        try:
            cache, objects = self.create(op.args)
        except CacheError as e:
            return LineResult(number, {"ok": False, "why": str(e)}, failed=True)
        self.owners[op.args.name] = Owner(cache, objects)
        return LineResult(number, {"ok": True, "cache": cache.name, **self._counted(objects)}, cache=cache)

    def _counted(self, objects: Objects) -> dict[str, Any]:
        counters = self.counters(objects)
        return {"counters": counters} if counters else {}

    def _owner(self, name: str, number: int) -> Owner:
        owner = self.owners.get(name)
        if owner is None:
            raise InputError(self.source, number, f"cache {name!r} could not be created")
        return owner

    def _alloc(self, number: int, op: Alloc) -> LineResult:
        owner = self._owner(op.name, number)
        self.pages.request(op.gfp, op.cpu)
        places = _objects(owner.objects, op)
        slabs = [owner.number(place.slab) for place in places]
        before = [self._take(owner, place) for place in places]
        owner.live += places
        answer = {
            "got": len(places),
            "live": len(owner.live),
            "slabs": slab_runs(slabs),
            "objects": number_runs(before),
            **self._places(owner, places, slabs),
            **self._counted(owner.objects),
        }
        if len(places) < op.count and (log := self.out_of_memory(owner, op)):
            answer["log"] = log
        return LineResult(number, answer, failed=len(places) < op.count)

    def _take(self, owner: Owner, place: Any) -> int | None:
        """Number an allocation, and say which one had its place before."""
        key = place.slab, self.key(owner, place)
        before = owner.last.get(key)
        owner.last[key] = owner.allocations
        owner.allocations += 1
        return before

    def _places(self, owner: Owner, places: Sequence[Any], slabs: Sequence[int]) -> dict[str, Any]:
        told = [[slab, self.offset(owner, place)] for slab, place in zip(slabs[:PLACES], places, strict=False)]
        return {"places": told} if told and told[0][1] is not None else {}

    def _free(self, number: int, op: Free) -> LineResult:
        owner = self._owner(op.name, number)
        freed, owner.live = chosen(op, owner.live)
        self.pages.request(self.gfp.mask("GFP_KERNEL"), op.cpu)
        for place in freed:
            owner.objects.free(place, op.cpu)
        owner.retire()
        return LineResult(number, {"freed": len(freed), "live": len(owner.live), **self._counted(owner.objects)})

    def _on_cache(self, number: int, op: OnCache) -> LineResult:
        owner = self._owner(op.name, number)
        if op.what == "shrink":
            owner.objects.shrink()
            owner.retire()
            return LineResult(number, {"live": len(owner.live), **self._counted(owner.objects)})
        if owner.live:
            raise InputError(self.source, number, f"cache {op.name!r} has {len(owner.live)} objects; free them before")
        if self.unused(owner.cache):
            owner.objects.destroy()
        del self.owners[op.name]
        return LineResult(number, {})

    def _kmalloc(self, number: int, op: Kmalloc) -> LineResult:
        run = self.kmalloc(op.size, kinds(op.gfp, self.gfp))
        blocked = run.served == PAGES and run.ksize > self.build.page_size and self.pages.fragmented
        if run.served == FAILS or blocked:
            return LineResult(number, {"got": 0, "ksize": 0, "cache": ""}, failed=True)
        return LineResult(number, {"got": op.count, "ksize": run.ksize, "cache": run.served})


def _objects(objects: Objects, op: Alloc) -> list[Any]:
    places: list[Any] = []
    while len(places) < op.count:
        if op.bulk:
            more = objects.alloc_bulk(min(op.bulk, op.count - len(places)), op.cpu)
            if not more:
                break
            places += more
            continue
        place = objects.alloc(op.cpu, op.node)
        if place is None:
            break
        places.append(place)
    return places
