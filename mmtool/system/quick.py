"""The short way for single pages: from the head of the CPU's own list, and back to it, where nothing else can happen.

What these methods leave is what the long way (`mmtool.system.system`) would: a test does everything both ways.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable

from mmtool.linux.mm.mmzone import PerCpuPages, Zone
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.per_cpu_pages import Commit

From = tuple[Zone, PerCpuPages, deque[int], int]
"""A list of the acting CPU, and above how many free pages of its zone every watermark is met."""
To = tuple[Zone, PerCpuPages, deque[int], int]
"""A list of the acting CPU, and its index."""


class QuickPages(ABC):
    """Allocates and frees pages, single ones the short way where that is sure to be right."""

    _quick_allocs: dict[int, From]
    """By mask: where single pages come from on this CPU."""
    _quick_frees: dict[int, To]
    """By pageblock: where single pages go to on this CPU; forgotten when a pageblock changes its type."""
    _pageblock_order: int
    _commit: Commit

    @abstractmethod
    def _alloc_pfn(
        self, gfp: int, order: int, nid: int | None, nodemask: frozenset[int] | None, pcp_busy: bool
    ) -> int | None:
        """The long way of alloc_pfn()."""

    @abstractmethod
    def _alloc_pages_bulk(self, gfp: int, nid: int | None, count: int) -> list[int]:
        """The long way of alloc_pages_bulk()."""

    @abstractmethod
    def _free_pages(self, pfn: int, order: int, pcp_busy: bool) -> None:
        """The long way of free_pages()."""

    def alloc_pfn(
        self,
        gfp: int,
        order: int = 0,
        nid: int | None = None,
        nodemask: frozenset[int] | None = None,
        *,
        pcp_busy: bool = False,
    ) -> int | None:
        """Allocate 2**order pages; the first one's pfn, None when it fails: then `failure` says why.

        Like alloc_pages(), without a record of what went well.

        `pcp_busy`: the CPU was interrupted while it was at its lists, so that the first attempt goes past them.
        """
        if not order and nid is None and nodemask is None and not pcp_busy:
            quick = self._quick_allocs.get(gfp)
            if quick is not None:
                zone, pcp, pages, plenty = quick
                # Nothing can happen but that the page at the head of the CPU's list is taken.
                at_rest = not zone.boosted_watermark and not zone.kswapd_awake
                if pages and zone.nr_free_pages > plenty and not pcp.page_mt and at_rest:
                    pcp.free_count >>= 1
                    pcp.free_factor >>= 1
                    pcp.count -= 1
                    return pages.popleft()
        return self._alloc_pfn(gfp, order, nid, nodemask, pcp_busy)

    def alloc_pages_bulk(self, gfp: int, nid: int | None, count: int) -> list[int]:
        """Allocate up to `count` single pages of one zone at once (__alloc_pages_bulk(), 5.13 on); their pfns.

        Does not scale what frees drain. Where no local zone is `count` pages above its low watermark it allocates one
        page as usual.
        """
        if nid is None and count > 1:
            quick = self._quick_allocs.get(gfp)
            if quick is not None:
                zone, pcp, pages, plenty = quick
                if len(pages) >= count and zone.nr_free_pages > plenty + count and not pcp.page_mt:
                    pcp.count -= count
                    return [pages.popleft() for _ in range(count)]
        return self._alloc_pages_bulk(gfp, nid, count)

    def free_pages(self, pfn: int, order: int = 0, *, pcp_busy: bool = False) -> None:
        """Free the block of 2**order pages that begins at `pfn` (__free_pages(), free_unref_page()).

        Orders that have per-CPU lists go there, others to the buddy lists. `pcp_busy`: the CPU was interrupted while
        it was at its lists, so that the block goes past them. KeyError when no zone spans `pfn`.
        """
        if not order and not pcp_busy:
            quick = self._quick_frees.get(pfn >> self._pageblock_order)
            if quick is not None:
                zone, pcp, pages, pindex = quick
                pages.appendleft(pfn)
                pcp.count += 1
                self._commit(zone, pcp, pindex, 0)
                return
        self._free_pages(pfn, order, pcp_busy)

    def free_pages_bulk(self, pfns: Iterable[int]) -> None:
        """Free single pages, one after the other, as free_pages() does with each."""
        quick_of, shift, commit = self._quick_frees, self._pageblock_order, self._commit
        for pfn in pfns:
            quick = quick_of.get(pfn >> shift)
            if quick is None:
                self._free_pages(pfn, 0, False)
                continue
            zone, pcp, pages, pindex = quick
            pages.appendleft(pfn)
            pcp.count += 1
            commit(zone, pcp, pindex, 0)

    def _remember_alloc(self, ac: AllocContext) -> None:
        """Note where requests of a kind find their pages as long as their first zone has plenty."""
        zone = ac.zones[0]
        pcp = zone.this_cpu
        if ac.gfp not in self._quick_allocs and pcp is not None and ac.pindex is not None:
            self._quick_allocs[ac.gfp] = zone, pcp, pcp.lists[ac.pindex], _plenty(zone, ac.highest_zoneidx)


def _plenty(zone: Zone, highest_zoneidx: int) -> int:
    """So many free pages that every watermark check for a single page passes, whatever is boosted or kept back."""
    pageblock = 1 << zone.pageblock_order
    high = zone.watermark.high
    boosted = high + max(pageblock, high * zone.watermark_boost_factor // 10000)
    kept_back = zone.managed_pages // 100 + 2 * pageblock + zone.cma_pages
    return boosted + zone.lowmem_reserve[highest_zoneidx] + kept_back
