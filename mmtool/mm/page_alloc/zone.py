"""`Zone` and `Pgdat`: a zone's pages, free lists and counters, and the node that holds zones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mmtool.kernel.release import Release
from mmtool.mm.page_alloc.free_area import FreeArea
from mmtool.mm.page_alloc.lru import LruPages
from mmtool.mm.page_alloc.migratetype import MigrateType, PageblockTypes

if TYPE_CHECKING:
    from mmtool.mm.page_alloc.per_cpu_pages import PerCpuPages


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Free pages below which an allocation fails or reclaim begins and ends; promo is known from 5.18 on."""

    min: int = 0
    low: int = 0
    high: int = 0
    promo: int = 0


@dataclass(frozen=True, slots=True)
class PagesetLimits:
    """zone->pageset_batch, pageset_high_min and pageset_high_max: how many pages a CPU's list takes at once and holds.

    Before 6.7 there is one high; both have it.
    """

    batch: int
    high_min: int
    high_max: int


@dataclass(eq=False)
class Zone:
    """struct zone, as far as the buddy allocator needs it. Pfns and counts of pages."""

    name: str
    """"DMA", "DMA32", "Normal", "HighMem", "Movable", as /proc/zoneinfo prints it."""
    nid: int
    zone_start_pfn: int
    spanned_pages: int
    present_pages: int
    facts: Release
    pageblocks: PageblockTypes
    """The machine's pageblock types, shared by all zones."""
    top_order: int = 10
    """The largest block's order: MAX_ORDER - 1 before 6.4, MAX_PAGE_ORDER from 6.8 on."""
    zone_idx: int = 0
    managed_pages: int = 0
    nr_free_pages: int = 0
    """NR_FREE_PAGES: pages on the free lists but for those of type Isolate, and for what CPUs have yet to add
    (`mmtool.mm.vmstat`). The watermarks are compared with this number."""
    nr_free_cma_pages: int = 0
    nr_free_highatomic: int = 0
    """Pages on the HighAtomic lists; the kernel counts them from 6.12 on."""
    watermark: Watermarks = Watermarks()
    lowmem_reserve: list[int] = field(default_factory=list)
    """Pages kept from allocations that could have used the zone of that index; /proc/zoneinfo's "protection"."""
    pageset: PagesetLimits | None = None
    """The limits of the per-CPU lists; None before setup_per_cpu_pageset() and for a zone without pages."""
    mobility_grouping: bool = True
    """Are pageblocks grouped by type? Not on a machine too small for it (page_group_by_mobility_disabled)."""
    watermark_boost: int = 0
    """What fragmentation has added to the watermarks, until kswapd has worked it off."""
    nr_reserved_highatomic: int = 0
    """Pages of the pageblocks that are kept for high-order atomic allocations."""
    boosted_watermark: bool = False
    """ZONE_BOOSTED_WATERMARK: the next allocation wakes kswapd."""
    below_high: bool = False
    """ZONE_BELOW_HIGH: an allocation met the high watermark, so that per-CPU lists stop growing (6.7 on)."""
    lru: LruPages = field(default_factory=LruPages)
    """Pages in use that are known to be movable or reclaimable."""
    per_cpu_pageset: dict[int, PerCpuPages] = field(default_factory=dict)
    """Each CPU's lists; empty while the zone is only booted."""
    this_cpu: PerCpuPages | None = None
    """The lists of the CPU that acts (this_cpu_ptr()); None while there is only the boot CPU, which counts at once."""

    @cached_property
    def free_area(self) -> FreeArea:
        """The free lists; made when first asked for, since most zones of a machine with many nodes are empty."""
        return FreeArea(self.top_order)

    @property
    def pageblock_order(self) -> int:
        return self.pageblocks.order

    @property
    def zone_end_pfn(self) -> int:
        """One past the last pfn of the span."""
        return self.zone_start_pfn + self.spanned_pages

    @property
    def populated(self) -> bool:
        return self.present_pages > 0

    @property
    def nr_free(self) -> list[int]:
        """Free blocks by order, as /proc/buddyinfo prints them."""
        return self.free_area.nr_free

    @property
    def cma_pages(self) -> int:
        """Pages of the zone's CMA pageblocks, free or not."""
        spans = self.pageblocks.spans(self.zone_start_pfn, self.zone_end_pfn)
        return sum(end - start for start, end, kind in spans if kind == MigrateType.CMA)

    def has_free(self, order: int, migratetype: MigrateType) -> bool:
        """Is there a free block of exactly that order and type?"""
        return self.free_area.first(order, migratetype) is not None

    def spans(self, pfn: int) -> bool:
        return self.zone_start_pfn <= pfn < self.zone_end_pfn

    def free_lists(self) -> Iterator[tuple[int, MigrateType, list[tuple[int, int]]]]:
        """Every list that holds a block: (order, type, runs (pfn, number of blocks) from head to tail)."""
        for order, migratetype in self.free_area.lists():
            yield order, migratetype, list(self.free_area.runs(order, migratetype))


@dataclass(eq=False)
class Pgdat:
    """struct pglist_data, as far as the hand-over needs it: a node, its span in pfns and its zones, lowest first."""

    nid: int
    node_start_pfn: int
    node_spanned_pages: int
    zones: list[Zone] = field(default_factory=list)
    first_deferred_pfn: int | None = None
    """From here on the node's struct pages are set up late; None when none are (ULONG_MAX in the kernel)."""
    totalreserve_pages: int = 0
    kswapd_failures: int = 0
    """How often in a row kswapd freed nothing; from MAX_RECLAIM_RETRIES on nobody wakes it."""

    @property
    def node_end_pfn(self) -> int:
        return self.node_start_pfn + self.node_spanned_pages

    def populated_zones(self) -> list[Zone]:
        return [zone for zone in self.zones if zone.populated]
