"""`System`: a booted machine's memory at one moment, on which allocations and frees act.

It is one thing wherever it came from: a boot in the model, a recorded state, /proc. The work is done by
`mmtool.linux.mm.page_alloc`; here is what belongs to the machine as a whole, and the way in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from mmtool.build.gfp import GfpFlags, gfp_flags
from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.mm.compaction import CompactResult, try_to_compact_pages
from mmtool.linux.mm.gfp import gfp_migratetype, gfp_zone
from mmtool.linux.mm.mmzone import PcpLayout, Pgdat, Zone
from mmtool.linux.mm.page_alloc.buddy import account_freepages, free_one_page
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.fallback import unreserve_highatomic_pageblock
from mmtool.linux.mm.page_alloc.get_page_from_freelist import alloc_pages_bulk, get_page_from_freelist, refused
from mmtool.linux.mm.page_alloc.lru import SwapLeft
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType
from mmtool.linux.mm.page_alloc.outcome import Estimate, Outcome, Step, block_before, lists_moved
from mmtool.linux.mm.page_alloc.per_cpu_pages import commit_of, decay_pcp_high, drain_pages_zone, drain_zone_pages
from mmtool.linux.mm.page_alloc.slowpath import (
    Ask,
    Compact,
    DrainAllPages,
    Page,
    Reclaim,
    Unreserve,
    WakeKswapd,
    alloc_pages_slowpath,
)
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_NOFRAGMENT,
    ALLOC_WMARK_LOW,
    gfp_to_alloc_flags,
)
from mmtool.linux.mm.vmalloc.state import VmallocState
from mmtool.linux.mm.vmscan.node import NodeReclaim, try_to_free_pages, wakeup_kswapd
from mmtool.linux.mm.vmstat import fold_zone_stats
from mmtool.system.quick import QuickPages
from mmtool.system.state import Zonelist

FAST_PATH = "__alloc_pages"
_Request = tuple[int, int, int | None, frozenset[int] | None]
"""What is asked for: mask, order, node, nodemask."""


def _listed(zone: Zone) -> int:
    """Pages on the lists of the CPU that acts."""
    return zone.this_cpu.count if zone.this_cpu is not None else 0



@dataclass
class System(QuickPages):
    """The page allocator of a booted machine. Pfns are page frame numbers; counts are pages."""

    kernel: Kernel
    nodes: dict[int, Pgdat]
    """Online nodes by number, each with every zone type of the build, also those without pages."""
    fallback: Mapping[int, Zonelist]
    """Where a request of each node looks."""
    thisnode: Mapping[int, Zonelist]
    """Where a request of each node looks that must stay on it."""
    cpu_nodes: Mapping[int, int]
    """The online CPUs and their nodes."""
    version: str = ""
    """The kernel's uname -v, where it is known."""
    synthetic: bool = False
    """Are the page frame numbers made up, because only counts are known?"""
    vmalloc: VmallocState | None = None
    """Virtual memory, where it is known; pages alone leave it as it is."""
    swap: SwapLeft = field(default_factory=SwapLeft)
    """What can be swapped out, which the zones' lists know too."""
    reclaim_frees: bool = field(init=False, default=True)
    """Does reclaim free the pages that it scans? Nothing tells: that it frees none is the other bound."""
    estimates: dict[Estimate, None] = field(init=False, default_factory=dict)
    """What the requests since this was cleared rest on and the state does not tell."""
    failure: Outcome | None = field(init=False, default=None)
    """The last allocation that failed, with its path."""
    gfp: GfpFlags = field(init=False)
    layout: PcpLayout = field(init=False)
    _cpu: int = field(init=False, default=-1)
    _contexts: dict[_Request, AllocContext] = field(init=False, default_factory=dict)
    _zone_of: dict[int, Zone] = field(init=False, default_factory=dict)
    """The zone of pageblocks that lie in one zone, by their number."""

    def __post_init__(self) -> None:
        self.facts = self.kernel.release
        self.gfp = gfp_flags(self.facts)
        self.layout = pcp_layout(self.kernel)
        self._commit = commit_of(self.facts)
        self._pageblock_order = self.kernel.pageblock_order
        self._quick_allocs = {}
        self._quick_frees = next((zone.pageblocks.derived for zone in self.zones()), {})
        self.cpu = min(self.cpu_nodes)

    # What there is

    @property
    def cpu(self) -> int:
        """The CPU that acts."""
        return self._cpu

    @cpu.setter
    def cpu(self, cpu: int) -> None:
        if cpu == self._cpu:
            return
        if self.cpu_nodes.get(self._cpu) != self.cpu_nodes[cpu]:
            # Requests without a node mean another one now.
            self._contexts.clear()
        self._quick_allocs.clear()
        for zone in self.zones():
            zone.this_cpu = zone.per_cpu_pageset[cpu]
            zone.pageblocks.derived.clear()
        self._cpu = cpu

    def zones(self) -> Iterator[Zone]:
        """The zones that hold pages, by node."""
        for node in self.nodes.values():
            yield from node.populated_zones()

    def zone(self, nid: int, name: str) -> Zone:
        """A zone by node and name; KeyError when there is none."""
        for zone in self.nodes[nid].zones:
            if zone.name == name:
                return zone
        raise KeyError(name)

    def zone_index(self, name: str) -> int:
        """The index of a zone type of this build; KeyError when it has none."""
        for zone in self.nodes[min(self.nodes)].zones:
            if zone.name == name:
                return zone.zone_idx
        raise KeyError(name)

    def zone_of(self, pfn: int) -> Zone:
        """The zone that spans page `pfn`; KeyError when none does."""
        zone = self._zone_of.get(pfn >> self._pageblock_order)
        if zone is not None:
            return zone
        for zone in self.zones():
            if zone.spans(pfn):
                first = pfn >> self._pageblock_order << self._pageblock_order
                if zone.spans(first) and zone.spans(first + (1 << self._pageblock_order) - 1):
                    self._zone_of[pfn >> self._pageblock_order] = zone
                return zone
        raise KeyError(pfn)

    def context(
        self, gfp: int, order: int, nid: int | None = None, nodemask: frozenset[int] | None = None
    ) -> AllocContext:
        """prepare_alloc_pages(): what a request means. Without `nid` it is the acting CPU's node."""
        key = gfp, order, nid, nodemask
        found = self._contexts.get(key)
        if found is None:
            local = self.cpu_nodes[self._cpu] if nid is None else nid
            found = self._contexts[key] = self._prepare(gfp, order, local, nodemask)
        return found

    def _prepare(self, gfp: int, order: int, nid: int, nodemask: frozenset[int] | None) -> AllocContext:
        flags, names = self.gfp, [zone.name for zone in self.nodes[min(self.nodes)].zones]
        highest = self.zone_index(gfp_zone(gfp, flags, names))
        lists = self.thisnode if flags.has(gfp, "__GFP_THISNODE") else self.fallback
        zonelist = [self.zone(n, name) for n, name in lists.get(nid, ())]
        every = tuple(zone for zone in zonelist if zone.zone_idx <= highest)
        zones = every if nodemask is None else tuple(zone for zone in every if zone.nid in nodemask)
        migratetype = gfp_migratetype(gfp, flags)
        if not all(zone.mobility_grouping for zone in every):
            migratetype = MigrateType.UNMOVABLE
        lists_of_order = self.layout.index.get(order)
        return AllocContext(
            gfp, flags, order, nid, nodemask, migratetype, highest, zones, every,
            None if lists_of_order is None else lists_of_order[migratetype],
            ALLOC_WMARK_LOW | self._first_flags(gfp, order, migratetype, zones), self.facts, len(self.nodes),
            self.kernel.enabled("COMPACTION") and flags.has(gfp, "__GFP_IO"), highest < self.zone_index("Normal"),
        )  # fmt: skip

    def _first_flags(self, gfp: int, order: int, migratetype: MigrateType, zones: tuple[Zone, ...]) -> int:
        """alloc_flags_nofragment() and gfp_to_alloc_flags_cma(): the first attempt's rights beside its watermark."""
        flags = ALLOC_CMA if migratetype == MigrateType.MOVABLE else 0
        if self.facts.fast_path_has_highatomic:
            flags |= gfp_to_alloc_flags(gfp, self.gfp, order, self.facts) & ALLOC_HIGHATOMIC
        if self.gfp.wakes_kswapd(gfp):
            flags |= ALLOC_KSWAPD
        if not self.facts.nofragment or not self.kernel.enabled("ZONE_DMA32") or not zones:
            return flags
        preferred = zones[0]
        if preferred.name != "Normal":
            return flags
        below = self.nodes[preferred.nid].zones[preferred.zone_idx - 1]
        return flags if len(self.nodes) > 1 and not below.populated else flags | ALLOC_NOFRAGMENT

    # Allocating

    def alloc_pages(
        self, gfp: int, order: int = 0, nid: int | None = None, nodemask: frozenset[int] | None = None
    ) -> Outcome:
        """Allocate 2**order pages and say how it went (__alloc_pages())."""
        ac = self.context(gfp, order, nid, nodemask)
        steps: list[Step] = []
        lists = {(zone.nid, zone.name): (list(zone.free_area.nr_free), _listed(zone)) for zone in ac.zones}
        before, self.estimates = self.estimates, {}
        taken = self._alloc(ac, steps)
        mine = tuple(self.estimates)
        self.estimates = before | self.estimates
        if taken is None:
            assert self.failure is not None
            return self.failure
        pfn, zone = taken
        moved = block = None
        if len(steps) == 1 and (zone.nid, zone.name) in lists:
            free, listed = lists[zone.nid, zone.name]
            moved = lists_moved(free, zone.free_area.nr_free, _listed(zone) - listed, order)
            if moved is not None and moved.taken:
                block = block_before(zone, pfn, order)
        return Outcome(
            order, gfp, pfn, zone, tuple(steps), estimates=mine, looked_in=ac.zones, moved=moved, block=block
        )  # fmt: skip

    def _alloc_pfn(
        self, gfp: int, order: int, nid: int | None, nodemask: frozenset[int] | None, pcp_busy: bool
    ) -> int | None:
        ac = self.context(gfp, order, nid, nodemask)
        taken = self._alloc(ac, None, pcp_busy)
        if taken is None:
            return None
        if not order and nid is None and nodemask is None:
            self._remember_alloc(ac)
        return taken[0]

    def _alloc_pages_bulk(self, gfp: int, nid: int | None, count: int) -> list[int]:
        ac = self.context(gfp, 0, None if nid is None or nid < 0 else nid)
        pages = alloc_pages_bulk(ac, count)
        if not pages:
            taken = self._alloc(ac, None)
            return [] if taken is None else [taken[0]]
        if nid is None:
            self._remember_alloc(ac)
        return pages

    def _alloc(self, ac: AllocContext, steps: list[Step] | None, skip_pcp: bool = False) -> tuple[int, Zone] | None:
        taken = self.fast_path(ac, steps, skip_pcp)
        if taken is None:
            path = [refused(ac, FAST_PATH)] if steps is None else steps
            taken = self._slow_path(ac, path)
            if taken is None:
                reason = str(path[-1].detail.get("reason", ""))
                self.failure = Outcome(
                    ac.order, ac.gfp, None, None, tuple(path), reason, tuple(self.estimates), ac.zones
                )  # fmt: skip
        if taken is not None:
            self._wake_for_boost(taken[1], ac)
        return taken

    def fast_path(self, ac: AllocContext, steps: list[Step] | None, skip_pcp: bool = False) -> Page | None:
        """The first attempt of __alloc_pages(), at the low watermark."""
        return get_page_from_freelist(ac, ac.zones, ac.alloc_flags, FAST_PATH, steps, skip_pcp)

    def _slow_path(self, ac: AllocContext, steps: list[Step] | None) -> Page | None:
        """The slow path in a machine where nobody else acts, and all that it asks for is done at once, by estimate."""
        asking = alloc_pages_slowpath(ac, steps)
        if self.synthetic:
            self.estimates[Estimate.CPU_LISTS] = None
        try:
            while True:
                self._answer(next(asking), ac)
        except StopIteration as end:
            page: Page | None = end.value
            return page

    def _answer(self, ask: Ask, ac: AllocContext) -> None:
        match ask:
            case WakeKswapd():
                node = self.nodes[ask.nid]
                ask.freed = wakeup_kswapd(node, ac.order, ac.highest_zoneidx, frees=self.reclaim_frees)
                if ask.freed is not None:
                    self._rests_on_reclaim([node])
            case Compact():
                ask.result, zones = try_to_compact_pages(ac, ask.zones, ask.alloc_flags)
                ask.done = tuple(zones)
                if any(z.result is not CompactResult.SKIPPED and not z.zone.movable_known for z in zones):
                    self.estimates[Estimate.MOVABLE] = None
            case Reclaim():
                sc = NodeReclaim(ac.highest_zoneidx, ac.order, self.reclaim_frees)
                ask.freed = try_to_free_pages(self.nodes, ask.zones, sc)
                self._rests_on_reclaim([self.nodes[nid] for nid in {zone.nid for zone in ask.zones}])
            case Unreserve():
                ask.given = unreserve_highatomic_pageblock(ask.zones, ac.migratetype, ask.force)
            case DrainAllPages():
                self.drain_all_pages()

    def _rests_on_reclaim(self, nodes: Iterable[Pgdat]) -> None:
        """Note what reclaim on these nodes hangs on that is not known; nothing where there is nothing to reclaim."""
        for node in nodes:
            if any(zone.lru.reclaimable for zone in node.populated_zones()):
                self.estimates[Estimate.LISTS] = None
            if node.slab_reclaimable != 0:
                self.estimates[Estimate.SLAB] = None

    def _wake_for_boost(self, zone: Zone, ac: AllocContext) -> None:
        """The end of rmqueue(): a zone whose watermark was boosted wakes kswapd, which works at once."""
        if zone.boosted_watermark and (ac.alloc_flags & ALLOC_KSWAPD or not self.facts.boost_wakes_by_right):
            zone.boosted_watermark = False
            if wakeup_kswapd(self.nodes[zone.nid], 0, zone.zone_idx, frees=self.reclaim_frees) is not None:
                self._rests_on_reclaim([self.nodes[zone.nid]])

    # Freeing

    def _free_pages(self, pfn: int, order: int, pcp_busy: bool) -> None:
        zone = self.zone_of(pfn)
        lists = self.layout.index.get(order)
        if lists is None or pcp_busy:
            free_one_page(zone, pfn, order)
            return
        migratetype = zone.pageblocks.get(pfn)
        pcp = zone.per_cpu_pageset[self._cpu]
        if migratetype < MIGRATE_PCPTYPES:
            pindex = lists[migratetype]
        elif migratetype == MigrateType.ISOLATE:
            free_one_page(zone, pfn, order)
            return
        else:
            pindex = lists[MigrateType.MOVABLE]
        if migratetype != self.layout.type_of[pindex]:
            if self.facts.pcp_stores_type:
                pcp.page_mt[pfn] = migratetype
        elif not order and pfn >> self._pageblock_order in self._zone_of:
            self._quick_frees[pfn >> self._pageblock_order] = zone, pcp, pcp.lists[pindex], pindex
        pcp.lists[pindex].appendleft(pfn)
        pcp.count += 1 << order
        self._commit(zone, pcp, pindex, order)

    # Single pages, found and moved by hand

    def is_free(self, pfn: int) -> bool:
        """Is page `pfn` on a buddy list or a per-CPU list?"""
        zone = self.zone_of(pfn)
        if zone.free_area.find(pfn) is not None:
            return True
        return any(
            pfn >> order << order in pages
            for pcp in zone.per_cpu_pageset.values()
            for order, pages in zip(self.layout.order_of, pcp.lists, strict=True)
        )

    def take(self, pfn: int, order: int) -> bool:
        """Take whatever is free of the block (pfn, order), as no allocation would; whether that was all of it.

        Blocks on per-CPU lists that lie in it or hold it go as a whole.
        """
        zone, end = self.zone_of(pfn), pfn + (1 << order)
        taken = 0
        for pcp in zone.per_cpu_pageset.values():
            for size, pages in zip(self.layout.order_of, pcp.lists, strict=True):
                for block in [block for block in pages if block < end and block + (1 << size) > pfn]:
                    pages.remove(block)
                    pcp.count -= 1 << size
                    pcp.page_mt.pop(block, None)
                    taken += 1 << min(size, order)
        at = pfn
        while at < end:
            found = zone.free_area.find(at)
            if found is None:
                at += 1
                continue
            size = min(found[1], order)
            self._cut_out(zone, at, size, *found)
            taken += 1 << size
            at += 1 << size
        return taken == 1 << order

    def _cut_out(self, zone: Zone, pfn: int, order: int, head: int, size: int) -> None:
        """Take the block (pfn, order) out of the free block (head, size), whose rest stays free."""
        migratetype = zone.free_area.del_page_from_free_list(head, size)
        while size > order:
            size -= 1
            half = head + (1 << size)
            head, rest = (half, head) if pfn >= half else (head, half)
            zone.free_area.add_to_free_list(rest, size, migratetype)
        account_freepages(zone, -(1 << order), migratetype)

    def put_back(self, pfn: int, order: int) -> None:
        """Undo an allocation: the block goes to the head of the list that it came from, or else is freed."""
        zone = self.zone_of(pfn)
        lists = self.layout.index.get(order)
        if lists is None:
            free_one_page(zone, pfn, order)
            return
        pcp = zone.this_cpu
        assert pcp is not None
        kind = min(zone.pageblocks.get(pfn), MigrateType.RECLAIMABLE)
        pcp.lists[lists[kind]].appendleft(pfn)
        pcp.count += 1 << order

    # What happens beside allocations

    def refresh_cpu_vm_stats(self, cpu: int, do_pagesets: bool = True) -> None:
        """refresh_cpu_vm_stats(): a CPU's counts are added to the zones', and its lists of idle remote zones drained.

        A list is drained when its zone's counters have not changed for three of these (on kernels with NUMA). From 6.7
        on what the lists may hold decays.
        """
        for zone in self.zones():
            pcp = zone.per_cpu_pageset[cpu]
            if fold_zone_stats(zone, cpu):
                pcp.expire = 3
            if do_pagesets and self.facts.pcp_high_is_tuned:
                decay_pcp_high(zone, pcp)
            if not do_pagesets or not pcp.expire or not pcp.count or not self.kernel.enabled("NUMA"):
                continue
            if zone.nid == self.cpu_nodes[cpu]:
                pcp.expire = 0
                continue
            pcp.expire -= 1
            if not pcp.expire:
                drain_zone_pages(zone, pcp)

    def drain_all_pages(self) -> None:
        """drain_all_pages(): every CPU's lists go back to the buddy lists."""
        for cpu in self.cpu_nodes:
            for zone in self.zones():
                drain_pages_zone(zone, cpu)


def pcp_layout(kernel: Kernel) -> PcpLayout:
    """The per-CPU lists of a build."""
    huge = kernel.pageblock_order if kernel.enabled("TRANSPARENT_HUGEPAGE") else None
    return PcpLayout.of(kernel.release, huge)
