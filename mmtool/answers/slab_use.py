"""Whose the slabs are: the largest users of a reading, what lies empty, what grew, what other options would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmtool.late import dataclass
from mmtool.linux.mm.slab_common import CacheArgs, CacheError, KmemCache, SlabAllocator
from mmtool.observed.slabinfo import CacheUse, SlabInfo


@dataclass(frozen=True)
class Use:
    """A cache's share. Pages are pages, the rest is bytes."""

    cache: CacheUse
    pages: int
    in_use: int
    """In objects that are in use."""
    empty: int
    """In places without an object."""
    left_over: int
    """In the slabs, behind the last place."""
    grown: int | None
    """Pages more than in an earlier reading; None without one."""


def uses_of(info: SlabInfo, page_size: int, earlier: SlabInfo | None = None) -> list[Use]:
    """Every cache with slabs (or that had some), the largest first; with an earlier reading what grew most first."""
    before = {cache.name: cache.pages for cache in earlier.caches} if earlier is not None else {}
    found = []
    for cache in info.caches:
        grown = cache.pages - before.pop(cache.name, 0) if earlier is not None else None
        if cache.pages or grown:
            found.append(_use(cache, page_size, grown))
    for name, pages in before.items():
        if pages:
            found.append(_use(CacheUse(name, 0, 0, 0, 0, 0, 0), page_size, -pages))
    return sorted(found, key=lambda use: (-(use.grown or 0), -use.pages, use.cache.name))


def _use(cache: CacheUse, page_size: int, grown: int | None) -> Use:
    held = cache.pages * page_size
    return Use(
        cache,
        cache.pages,
        cache.active * cache.size,
        (cache.objects - cache.active) * cache.size,
        held - cache.objects * cache.size,
        grown,
    )


@dataclass(frozen=True)
class Price:
    """A cache under two sets of options: what its objects take when slabs are full, in pages."""

    name: str
    active: int
    now: int
    then: int
    apart: int
    """Caches that it shares with now and would not share with then: each keeps slabs of its own."""
    known: bool
    """Is it known what the cache was created with? Else its size is all that counts."""


def prices(info: SlabInfo, now: SlabAllocator[Any], boot: Callable[[], SlabAllocator[Any]]) -> list[Price]:
    """What other options cost: the objects of a reading laid out by `now` and by the allocator that `boot` makes.

    Both hold the caches of the build. A cache that neither knows is created in both, by its size alone.
    """
    then = boot()
    found = []
    for cache in info.caches:
        if not cache.active:
            continue
        known = cache.name in now.by_name and cache.name in then.by_name
        if not known and not (_create(now, cache) and _create(then, cache)):
            continue
        old, new = now.by_name[cache.name], then.by_name[cache.name]
        apart = len(set(old.members) - set(new.members))
        found.append(Price(cache.name, cache.active, _pages(old, cache), _pages(new, cache), apart, known))
    return sorted(found, key=lambda price: (price.now - price.then, price.name))


def _create(allocator: SlabAllocator[Any], cache: CacheUse) -> bool:
    try:
        allocator.by_name[cache.name] = allocator.new_cache(
            CacheArgs(cache.name, cache.size), frozenset(), allocator.build.slab_minalign
        )
    except CacheError:
        return False
    return True


def _pages(laid_out: KmemCache, cache: CacheUse) -> int:
    shape = laid_out.shape()
    if not shape.objects or shape.order is None:
        return cache.pages
    return -(-cache.active // shape.objects) << shape.order


def total(prices: Sequence[Price]) -> int:
    """Pages more than now, in all."""
    return sum(price.then - price.now for price in prices)
