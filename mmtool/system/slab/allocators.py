"""SLUB, SLAB and SLOB after boot: their caches, and what kmalloc() gets of each."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmtool.linux.mm.slab import SlabCaches
from mmtool.linux.mm.slab_common import SlabAllocator, SlabBuild
from mmtool.linux.mm.slob import SlobCaches
from mmtool.linux.mm.slub.caches import Slub
from mmtool.system.slab.kmalloc import KmallocOf, KmallocRun, kmalloc_large
from mmtool.system.slab.machine import boot_slub


def boot_allocator(allocator: str, build: SlabBuild, memory: int) -> SlabAllocator[Any]:
    """An allocator with the caches that boot creates before any other; `memory` of the machine in bytes."""
    if allocator == "slub":
        return boot_slub(build)
    if allocator == "slob":
        return SlobCaches(build)
    slab = SlabCaches(build, memory)
    slab.kmem_cache_init()
    return slab


def slub_kmalloc(slub: Slub, size: int, kind: frozenset[str]) -> KmallocRun:
    """SLUB's kmalloc() of `size` bytes: the answer, and the last size that gets it."""
    cache = slub.kmalloc.slab(size, kind)
    if cache is None:
        return kmalloc_large(size, slub.build)
    return KmallocRun(size, slub.kmalloc.last_size(size), slub.ksize(cache), cache.name, cache)


def array_kmalloc(slab: SlabCaches, size: int, kind: frozenset[str]) -> KmallocRun:
    """SLAB's kmalloc() of `size` bytes: the answer, and the last size that gets it."""
    cache = slab.kmalloc.slab(size, kind)
    if cache is None:
        return kmalloc_large(size, slab.build)
    return KmallocRun(size, slab.kmalloc.last_size(size), cache.object_size, cache.name, cache)


def slob_kmalloc(build: SlabBuild, size: int, kind: frozenset[str]) -> KmallocRun:
    """SLOB's kmalloc() of `size` bytes: units of a page, or pages once the size before the object does not fit."""
    minalign = max(build.kmalloc_minalign, build.slab_minalign)
    if size >= build.page_size - minalign:
        return kmalloc_large(size, build)
    unit = 2 if build.page_size <= 32767 * 2 else 4
    ksize = -(-size // unit) * unit
    return KmallocRun(size, min(ksize, build.page_size - minalign - 1), ksize, "slob")


def kmalloc_answers(allocator: str, build: SlabBuild, memory: int) -> KmallocOf:
    """kmalloc() of an allocator that has just booted on a machine of so much memory (bytes)."""
    if allocator == "slob":
        return partial(slob_kmalloc, build)
    if allocator == "slub":
        return partial(slub_kmalloc, boot_slub(build))
    slab = boot_allocator(allocator, build, memory)
    assert isinstance(slab, SlabCaches)
    return partial(array_kmalloc, slab)
