"""A node, its zones and their per-CPU lists: struct pglist_data, zone and per_cpu_pages of include/linux/mmzone.h."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import field
from functools import cached_property

from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.page_alloc.free_area import FreeArea
from mmtool.linux.mm.page_alloc.lru import LruPages
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType, PageblockTypes

PAGE_ALLOC_COSTLY_ORDER = 3
PCP_BATCH_SCALE_MAX = 5
"""CONFIG_PCP_BATCH_SCALE_MAX: a batch doubles at most so often."""
WATERMARK_BOOST_FACTOR = 15000
"""vm.watermark_boost_factor as it is unless set: fragmentation raises the watermarks up to this part of high, in ten
thousandths."""
_PCP_TYPES = (MigrateType.UNMOVABLE, MigrateType.MOVABLE, MigrateType.RECLAIMABLE)


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


@dataclass(frozen=True, slots=True)
class PcpLayout:
    """Which lists a CPU has: the order and usual type of each, and the list of an order for each of the three types.

    Models NR_PCP_LISTS and order_to_pindex(): up to the costly order a list for each of the three types, and one or two
    for huge pages. Before 5.14 there are only lists of single pages.
    """

    order_of: tuple[int, ...]
    type_of: tuple[MigrateType, ...]
    """The type of a list's blocks where none is stored with them."""
    index: dict[int, tuple[int, int, int]]

    @classmethod
    def of(cls, facts: Release, huge_page_order: int | None) -> PcpLayout:
        """The lists of a release; `huge_page_order` is None without transparent huge pages."""
        if not facts.pcp_holds_orders:
            return cls((0, 0, 0), _PCP_TYPES, {0: (0, 1, 2)})
        order_of = [order for order in range(PAGE_ALLOC_COSTLY_ORDER + 1) for _ in range(MIGRATE_PCPTYPES)]
        index = {order: (3 * order, 3 * order + 1, 3 * order + 2) for order in range(PAGE_ALLOC_COSTLY_ORDER + 1)}
        if huge_page_order is not None:
            first = len(order_of)
            movable = first + facts.pcp_splits_huge_pages
            order_of += [huge_page_order] * (1 + facts.pcp_splits_huge_pages)
            index[huge_page_order] = (first, movable, first)
        type_of = (*_PCP_TYPES * (PAGE_ALLOC_COSTLY_ORDER + 1), MigrateType.UNMOVABLE, MigrateType.MOVABLE)
        return cls(tuple(order_of), type_of[: len(order_of)], index)


class PerCpuPages:
    """struct per_cpu_pages and per_cpu_zonestat: what one CPU keeps of one zone, and what it has yet to count."""

    __slots__ = (
        "alloc_factor", "batch", "cma_diff", "count", "expire", "free_count", "free_diff", "free_factor",
        "free_high_batch", "high", "high_max", "high_min", "layout", "lists", "page_mt", "prev_free_high_order",
        "stat_threshold",
    )  # fmt: skip

    def __init__(self, layout: PcpLayout, limits: PagesetLimits, high: int, stat_threshold: int = 0) -> None:
        self.layout = layout
        self.lists: list[deque[int]] = [deque() for _ in layout.order_of]
        """Blocks by list, head first."""
        self.page_mt: dict[int, MigrateType] = {}
        """The types of blocks that do not have their list's: where they are drained to (before 6.7)."""
        self.count = 0
        self.high = high
        self.high_min, self.high_max, self.batch = limits.high_min, limits.high_max, limits.batch
        self.free_factor = 0
        """How often the drained batch doubles (5.14 to 6.6)."""
        self.alloc_factor = 0
        """How often the refill doubles (6.7 on)."""
        self.free_count = 0
        """Pages freed in a row, roughly (6.7 on)."""
        self.prev_free_high_order = False
        """PCPF_PREV_FREE_HIGH_ORDER: the last block freed was a small one of several pages (6.7 on)."""
        self.free_high_batch = False
        """PCPF_FREE_HIGH_BATCH: the CPU's caches hold three batches, so that a batch is kept before high orders go."""
        self.expire = 0
        """Seconds until the pages of a remote zone are drained."""
        self.free_diff = 0
        """Pages that the CPU has yet to add to NR_FREE_PAGES."""
        self.cma_diff = 0
        self.stat_threshold = stat_threshold

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Every block that is kept: (pfn, order)."""
        for order, pages in zip(self.layout.order_of, self.lists, strict=True):
            for pfn in pages:
                yield pfn, order


@dataclass(eq=False, repr=False)
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
    (`mmtool.linux.mm.vmstat`). The watermarks are compared with this number."""
    nr_free_cma_pages: int = 0
    nr_free_highatomic: int = 0
    """Pages on the HighAtomic lists; the kernel counts them from 6.12 on."""
    watermark: Watermarks = Watermarks()
    lowmem_reserve: tuple[int, ...] = ()
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
    reclaim_active: bool = False
    """ZONE_RECLAIM_ACTIVE: kswapd is at work, so that per-CPU lists hold little (5.14 on)."""
    below_high: bool = False
    """ZONE_BELOW_HIGH: an allocation met the high watermark, so that per-CPU lists stop growing (6.7 on)."""
    movable_known: bool = False
    """Are all movable pages of the zone in `lru`?"""
    watermark_boost_factor: int = WATERMARK_BOOST_FACTOR
    """vm.watermark_boost_factor; 0 for no boosts."""
    this_cpu: PerCpuPages | None = None
    """The lists of the CPU that acts (this_cpu_ptr()); None while there is only the boot CPU, which counts at once."""
    kswapd_awake: bool = False
    """Is the node's kswapd at work? Not where it does at once what it is woken for."""

    # Made when first asked for: most zones of a machine with many nodes are empty, and a boot has nothing on all but
    # the free lists.

    @cached_property
    def free_area(self) -> FreeArea:
        """The free lists."""
        return FreeArea(self.top_order)

    @cached_property
    def lru(self) -> LruPages:
        """Pages in use that are known to be movable or reclaimable."""
        return LruPages()

    @cached_property
    def per_cpu_pageset(self) -> dict[int, PerCpuPages]:
        """Each CPU's lists; empty while the zone is only booted."""
        return {}

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
    slab_reclaimable: int | None = None
    """Pages of slab caches that could be given back; None where nothing tells."""

    @property
    def node_end_pfn(self) -> int:
        return self.node_start_pfn + self.node_spanned_pages

    def populated_zones(self) -> list[Zone]:
        return [zone for zone in self.zones if zone.present_pages > 0]
