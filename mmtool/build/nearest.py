"""A kernel that no log speaks of, as slabs are asked about: known by its release, or built unlike its profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from mmtool.build.choose import OLDEST_SLABS, SHIPPED_NAME, series_between
from mmtool.build.fact import parse_version
from mmtool.build.facts.slab import SlabFacts
from mmtool.build.kernel import Kernel
from mmtool.build.profile import Option, Profile, available, load_profile
from mmtool.build.release import release_facts
from mmtool.errors import UsageError

_FLAVOURS = {"amd64": "x86_64", "arm64": "arm64", "686": "i386", "686-pae": "i386", "arm64-16k": "arm64"}
_PAGE_OPTIONS = {4096: "ARM64_4K_PAGES", 16384: "ARM64_16K_PAGES", 65536: "ARM64_64K_PAGES"}


def nearest_kernel(name: str, arch: str, page_size: int) -> tuple[Kernel, tuple[str, ...]]:
    """A kernel known by its release, architecture and size of pages (bytes) alone, and what is assumed of its build.

    A series that there is a profile of (6.1) is the release of that profile (6.1.176); another one stands on the
    nearest profile. UsageError when there are no such pages or `name` is neither a release nor a profile.
    """
    if page_size != 4096 and (arch != "arm64" or page_size not in _PAGE_OPTIONS):
        raise UsageError(f"{arch} has no pages of {page_size} bytes")
    version = parse_version(name)
    if version is None:
        profile = load_profile(name)
        if profile.arch != arch:
            raise UsageError(f"{name} is a kernel for {profile.arch}, not for {arch}")
        return _kernel_of(profile.release, profile), ()
    profile = load_profile(_nearest(version[0], version[1], arch, page_size))
    known = parse_version(profile.release) or version
    same = known[:2] == version[:2]
    release = profile.release if same and re.fullmatch(r"\d+\.\d+", name) else name
    assumed: tuple[str, ...] = () if same else (f"Linux {name}'s build is taken to be like {profile.name}'s",)
    if profile.config_of is not None:
        assumed += (f"{profile.name}'s configuration is taken to be {profile.config_of}'s",)
    if version < OLDEST_SLABS:
        assumed += (f"what changed in slabs before {OLDEST_SLABS[0]}.{OLDEST_SLABS[1]} is not known",)
    pages = _PAGE_OPTIONS[page_size]
    if arch == "arm64" and not profile.enabled(pages):
        sizes: dict[str, Option] = {option: option == pages for option in _PAGE_OPTIONS.values()}
        return _kernel_of(release, profile.nearest(sizes)), (f"{profile.name} with pages of {page_size} bytes",)
    return _kernel_of(release, profile), assumed


def _kernel_of(release: str, profile: Profile) -> Kernel:
    version = parse_version(release)
    assert version is not None
    return Kernel(release, release_facts(version), profile)


def _nearest(major: int, minor: int, arch: str, page_size: int) -> str:
    """The shipped profile whose series is nearest, pages of the same size and cloud builds first."""
    found = []
    for shipped in available():
        m = SHIPPED_NAME.fullmatch(shipped)
        if m is None or _FLAVOURS.get(m[4]) != arch:
            continue
        away = series_between(m, major, minor)
        other_pages = m[4].endswith("-16k") != (page_size == 16384)
        plain = not m[3] and m[4] not in ("686-pae", "arm64-16k")
        found.append((other_pages, away, plain, shipped))
    return min(found)[3]


def kernel_with_allocator(kernel: Kernel, allocator: str) -> tuple[Kernel, tuple[str, ...]]:
    """The kernel built with another slab allocator than its profile's (slub, slab, slob), and what is assumed of that.

    No distribution's configuration is known with it: what bears on slabs is as Kconfig has it unless told otherwise.
    """
    config = kernel.profile.config
    if bool(config.get(allocator.upper())) or (
        allocator == "slub" and not config.get("SLAB") and not config.get("SLOB")
    ):
        return kernel, ()
    defaults: dict[str, Option] = {name.upper(): name == allocator for name in ("slub", "slab", "slob")}
    defaults |= {"SLAB_MERGE_DEFAULT": True, "SLAB_FREELIST_RANDOM": False, "SLAB_FREELIST_HARDENED": False}
    defaults |= {"HARDENED_USERCOPY": False, "MEMCG": False, "INIT_ON_FREE_DEFAULT_ON": False}
    assumed = (f"a build with {allocator.upper()}, for the rest as Kconfig has it; give --config for your own",)
    return replace(kernel, profile=kernel.profile.nearest(defaults)), assumed


def kernel_with_config(kernel: Kernel, options: Mapping[str, Option], name: str) -> Kernel:
    """The kernel as built with a configuration of the user's; sizes stay those of `kernel`'s build, made to fit it.

    struct kmem_cache ends in an array of all possible nodes.
    """
    profile = kernel.profile
    built = replace(profile, name=name, config=options, config_of=None, exact=False)
    there = replace(kernel, profile=built)
    word = 8 if kernel.is_64bit else 4
    sizes = dict(profile.sizes)
    if "kmem_cache" in sizes:
        entry = word * (2 if kernel.facts(SlabFacts).sheaves_everywhere else 1)
        sizes["kmem_cache"] += (there.max_numnodes - kernel.max_numnodes) * entry
    return replace(there, profile=replace(built, sizes=sizes))
