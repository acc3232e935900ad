"""Pages of slabs out of a booted machine: taken from its buddy lists and given back to them."""

from __future__ import annotations

from mmtool.linux.mm.slab_common import KmemCache
from mmtool.system.system import System

_KEPT = (
    "__GFP_RECLAIM", "__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_WAIT", "__GFP_HIGH", "__GFP_IO", "__GFP_FS",
    "__GFP_NOWARN", "__GFP_RETRY_MAYFAIL", "__GFP_REPEAT", "__GFP_NOFAIL", "__GFP_NORETRY", "__GFP_MEMALLOC",
    "__GFP_NOMEMALLOC", "__GFP_ATOMIC", "__GFP_HARDWALL", "__GFP_THISNODE",
)  # fmt: skip
"""GFP_RECLAIM_MASK and GFP_CONSTRAINT_MASK: what of the caller's flags a new slab is asked for with."""


class SystemPages:
    """The pages of all slabs of a booted machine, and how many there are of each kind."""

    def __init__(self, system: System) -> None:
        self.system, self.fragmented = system, False
        self.gfp = system.gfp.mask("GFP_KERNEL")
        self.reclaimable = self.unreclaimable = 0
        """NR_SLAB_RECLAIMABLE and NR_SLAB_UNRECLAIMABLE: pages that scripts' slabs have."""

    def request(self, gfp: int, cpu: int) -> None:
        """Who asks from now on: the caller's mask, and the CPU."""
        self.gfp, self.system.cpu = gfp, cpu

    def of(self, cache: KmemCache | None) -> CachePages:
        """The pages of a cache's slabs; None: of nobody's in particular."""
        return CachePages(self, cache)


class CachePages:
    """Where a cache's slabs get their pages: alloc_slab_page() and __free_slab()."""

    def __init__(self, pages: SystemPages, cache: KmemCache | None) -> None:
        self.pages, self.system = pages, pages.system
        flags = cache.flags if cache is not None else frozenset()
        mask = self.system.gfp.mask
        self.reclaimable = "RECLAIM_ACCOUNT" in flags
        self.allocflags = mask("__GFP_COMP") | (mask("__GFP_RECLAIMABLE") if self.reclaimable else 0)
        self.allocflags |= mask("__GFP_DMA") if "CACHE_DMA" in flags else 0
        self.allocflags |= mask("__GFP_DMA32") if "CACHE_DMA32" in flags else 0
        self.kept = 0
        for name in _KEPT:
            self.kept |= mask(name)

    def alloc(self, order: int, nid: int, *, thisnode: bool = False, last: bool = True) -> tuple[int, int] | None:
        """allocate_slab(): a block for a slab. A first try of several neither reclaims nor touches the reserves."""
        if order and self.pages.fragmented:
            return None
        mask = self.system.gfp.mask
        gfp = self.pages.gfp & self.kept | self.allocflags
        if not last:
            gfp = (gfp | mask("__GFP_NOWARN") | mask("__GFP_NORETRY")) & ~mask("__GFP_NOFAIL")
            if self.system.gfp.can_direct_reclaim(gfp):
                gfp = (gfp | mask("__GFP_NOMEMALLOC")) & ~(mask("__GFP_RECLAIM") | mask("__GFP_WAIT"))
        if thisnode:
            gfp |= mask("__GFP_THISNODE")
        pfn = self.system.alloc_pfn(gfp, order, nid)
        if pfn is None:
            return None
        self._count(1 << order)
        return pfn, self.system.zone_of(pfn).nid

    def free(self, pfn: int, order: int, nid: int) -> None:
        """Give a slab's block back."""
        self.system.free_pages(pfn, order)
        self._count(-1 << order)

    def _count(self, pages: int) -> None:
        if self.reclaimable:
            self.pages.reclaimable += pages
        else:
            self.pages.unreclaimable += pages
