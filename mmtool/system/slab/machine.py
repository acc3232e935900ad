"""A machine's slab allocator: the caches that boot creates and those of a list."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from mmtool.build.caches import recorded_caches
from mmtool.errors import UsageError
from mmtool.linux.mm.slab import SlabSlabAllocator
from mmtool.linux.mm.slab_common import CacheArgs, CacheError, SlabAllocator, SlabBuild
from mmtool.linux.mm.slob import SlobAllocator
from mmtool.linux.mm.slub.caches import Slub
from mmtool.observed.slab_creations import read_creations
from mmtool.system.slab.kmalloc import KmallocOf, KmallocRun, kmalloc_large

ALLOCATORS = ("slub", "slab", "slob")


def configured_allocator(build: SlabBuild) -> str:
    """The allocator that the kernel's configuration says; SLUB where it says none."""
    for name in ("slab", "slob"):
        if build.kernel.enabled(name.upper()):
            return name
    return "slub"


def check_allocator(name: str, build: SlabBuild) -> None:
    """UsageError when the release has no such allocator."""
    there = {"slub": True, "slab": build.facts.slab, "slob": build.facts.slob}
    if not there[name]:
        raise UsageError(f"Linux {build.kernel.name} has no {name.upper()} any more")


def boot_slub(build: SlabBuild) -> Slub:
    """SLUB with the caches that boot creates before any other: its own and kmalloc's."""
    slub = Slub(build)
    slub.kmem_cache_init()
    return slub


def boot_allocator(allocator: str, build: SlabBuild, memory: int) -> SlabAllocator[Any]:
    """An allocator with the caches that boot creates before any other; `memory` of the machine in bytes."""
    if allocator == "slub":
        return boot_slub(build)
    if allocator == "slob":
        return SlobAllocator(build)
    slab = SlabSlabAllocator(build, memory)
    slab.kmem_cache_init()
    return slab


def with_recorded(slub: SlabAllocator[Any]) -> bool:
    """Create the caches that the build was seen to create at boot; False where no boot of the build was recorded.

    The allocator's own structures keep the sizes that they have on the machine at hand.
    """
    profile = slub.build.kernel.profile
    lines = recorded_caches(profile.name) if profile.exact else None
    if lines is None:
        return False
    boot = set(slub.by_name)
    listed = read_creations(lines, profile.name)
    create_listed(slub, [args for args in listed if args.name not in boot])
    return True


def create_listed(slub: SlabAllocator[Any], listed: Iterable[CacheArgs]) -> list[tuple[str, str]]:
    """Create the caches of a list, in order; returns (name, why) of those that the kernel refuses.

    What boot has made already stays, with the size that the list gives: those of the allocator's own structures depend
    on the numbers of CPUs and nodes. kmalloc's caches are boot's alone.
    """
    made = set(slub.by_name)
    refused = []
    for args in listed:
        try:
            if args.name in made:
                slub.resize_boot_cache(args)
            elif "KMALLOC" not in args.flags:
                slub.kmem_cache_create(args)
        except CacheError as e:
            refused.append((args.name, str(e)))
    return refused


def slub_kmalloc(slub: Slub, size: int, kind: frozenset[str]) -> KmallocRun:
    """SLUB's kmalloc() of `size` bytes: the answer, and the last size that gets it."""
    cache = slub.kmalloc.slab(size, kind)
    if cache is None:
        return kmalloc_large(size, slub.build)
    return KmallocRun(size, slub.kmalloc.last_size(size), slub.ksize(cache), cache.name, cache)


def array_kmalloc(slab: SlabSlabAllocator, size: int, kind: frozenset[str]) -> KmallocRun:
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
    assert isinstance(slab, SlabSlabAllocator)
    return partial(array_kmalloc, slab)
