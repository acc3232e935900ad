"""A machine's slab allocator: the caches that boot creates and those of a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmtool.build.caches import recorded_caches
from mmtool.errors import UsageError
from mmtool.linux.mm.slab_common import CacheArgs, CacheError, SlabAllocator, SlabBuild
from mmtool.linux.mm.slub.caches import Slub
from mmtool.observed.slab_creations import read_creations

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
