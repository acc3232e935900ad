"""A moment of the page allocator as plain values: what a `System` is made from, and what it is kept as.

Whoever reads a state (a recording, a kept document, /proc) gives one of these; whoever writes one takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, Pgdat, Watermarks, Zone
from mmtool.linux.mm.page_alloc.lru import LruPages
from mmtool.linux.mm.page_alloc.migratetype import MigrateType, PageblockTypes

if TYPE_CHECKING:
    from mmtool.linux.mm.mmzone import PerCpuPages
    from mmtool.linux.mm.vmalloc.state import VmallocState
    from mmtool.system.system import System, Zonelist

Runs = tuple[tuple[int, int], ...]
"""A list from head to tail as (pfn, number of blocks), neighbours that follow each other joined."""
NO_WATERMARKS = Watermarks()


@dataclass(frozen=True)
class CpuState:
    """What one CPU keeps of one zone. `lists` by the list's index, blocks head first; counts are pages."""

    limits: PagesetLimits
    high: int
    lists: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    page_mt: Mapping[int, MigrateType] = field(default_factory=dict)
    free_factor: int = 0
    alloc_factor: int = 0
    free_count: int = 0
    prev_free_high_order: bool = False
    free_high_batch: bool = False
    expire: int = 0
    free_diff: int = 0
    cma_diff: int = 0
    stat_threshold: int = 0


@dataclass(frozen=True)
class ZoneState:
    """A zone that the kernel has, with or without pages. `nr_free` is NR_FREE_PAGES without what CPUs keep back."""

    name: str
    zone_idx: int
    start_pfn: int = 0
    spanned: int = 0
    present: int = 0
    managed: int = 0
    watermark: Watermarks = NO_WATERMARKS
    boost: int = 0
    lowmem_reserve: tuple[int, ...] = ()
    nr_reserved_highatomic: int = 0
    nr_free: int = 0
    nr_free_cma: int = 0
    boosted: bool = False
    reclaim_active: bool = False
    below_high: bool = False
    lru: Runs = ()
    """Pages in use that are known to be movable, as (first pfn, number)."""
    reclaimable: int = 0
    """How many of these reclaim could free."""
    free: tuple[tuple[int, MigrateType, Runs], ...] = ()
    """The lists that hold blocks: order, type, runs."""
    cpus: Mapping[int, CpuState] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeState:
    """A node: its zones, lowest first, and where requests of it look."""

    nid: int
    start_pfn: int
    spanned: int
    zones: tuple[ZoneState, ...]
    fallback: Zonelist
    thisnode: Zonelist
    kswapd_failures: int = 0


@dataclass(frozen=True)
class SystemState:
    """The page allocator at one moment. `release` and `version` are as uname -r and -v have them.

    `pageblocks` are (first pfn, number of pageblocks, type). `synthetic`: only counts are known, pfns are made up.
    """

    release: str
    version: str
    nodes: tuple[NodeState, ...]
    cpu_nodes: Mapping[int, int]
    pageblocks: tuple[tuple[int, int, MigrateType], ...]
    mobility_grouping: bool = True
    synthetic: bool = False
    vmalloc: VmallocState | None = None
    """Virtual memory, where it is known."""
    watermark_boost_factor: int = WATERMARK_BOOST_FACTOR
    """vm.watermark_boost_factor."""
    movable_known: bool = False
    """Are all movable pages in the zones' `lru`?"""


def system_of(state: SystemState, kernel: Kernel) -> System:
    """The `System` that a state describes, on the kernel it came from."""
    # Who only keeps a state, as every boot does, need not load the allocator.
    from mmtool.system.system import System

    pageblocks = PageblockTypes(kernel.pageblock_order)
    for pfn, count, migratetype in state.pageblocks:
        start, end = pfn, pfn + (count << kernel.pageblock_order)
        pageblocks.add_sections(start, end)
        pageblocks.set_heads(start, end, migratetype)
    nodes = {}
    for node in state.nodes:
        zones = [_zone_of(zone, node.nid, state, kernel, pageblocks) for zone in node.zones]
        nodes[node.nid] = Pgdat(
            node.nid, node.start_pfn, node.spanned, zones, kswapd_failures=node.kswapd_failures
        )  # fmt: skip
    return System(
        kernel, nodes, {n.nid: n.fallback for n in state.nodes}, {n.nid: n.thisnode for n in state.nodes},
        dict(state.cpu_nodes), state.version, state.synthetic, state.vmalloc,
    )  # fmt: skip


def _zone_of(z: ZoneState, nid: int, state: SystemState, kernel: Kernel, pageblocks: PageblockTypes) -> Zone:
    from mmtool.linux.mm.mmzone import PerCpuPages
    from mmtool.system.system import pcp_layout

    zone = Zone(
        z.name, nid, z.start_pfn, z.spanned, z.present, kernel.release, pageblocks, kernel.max_page_order, z.zone_idx,
        z.managed, z.nr_free, z.nr_free_cma, 0, z.watermark, list(z.lowmem_reserve), None, state.mobility_grouping,
        z.boost, z.nr_reserved_highatomic, z.boosted, z.reclaim_active, z.below_high,
        LruPages(((pfn, pfn + n) for pfn, n in z.lru), z.reclaimable), state.movable_known,
        state.watermark_boost_factor,
    )  # fmt: skip
    for order, migratetype, runs in z.free:
        for pfn, count in runs:
            zone.free_area.add_run_to_tail(pfn, count, order, migratetype)
            if migratetype == MigrateType.HIGHATOMIC:
                zone.nr_free_highatomic += count << order
    layout = pcp_layout(kernel)
    for cpu in state.cpu_nodes if z.present else ():
        kept = z.cpus.get(cpu) or CpuState(PagesetLimits(1, 0, 0), 0)
        pcp = zone.per_cpu_pageset[cpu] = PerCpuPages(layout, kept.limits, kept.high, kept.stat_threshold)
        for index, pages in kept.lists.items():
            pcp.lists[index].extend(pages)
            pcp.count += len(pages) << layout.order_of[index]
            usual = layout.type_of[index]
            pcp.page_mt.update((p, kept.page_mt[p]) for p in pages if kept.page_mt.get(p, usual) != usual)
        pcp.free_factor, pcp.alloc_factor, pcp.free_count = kept.free_factor, kept.alloc_factor, kept.free_count
        pcp.prev_free_high_order, pcp.free_high_batch = kept.prev_free_high_order, kept.free_high_batch
        pcp.expire = kept.expire
        pcp.free_diff, pcp.cma_diff = kept.free_diff, kept.cma_diff
    return zone


def state_of(system: System) -> SystemState:
    """A `System` as plain values; system_of() makes it again."""
    pageblocks: tuple[tuple[int, int, MigrateType], ...] = ()
    for zone in system.zones():
        pageblocks = tuple(zone.pageblocks.runs())
        break
    nodes = tuple(
        NodeState(
            node.nid, node.node_start_pfn, node.node_spanned_pages, tuple(state_of_zone(z) for z in node.zones),
            system.fallback.get(node.nid, ()), system.thisnode.get(node.nid, ()), node.kswapd_failures,
        )
        for node in system.nodes.values()
    )  # fmt: skip
    return SystemState(
        system.kernel.name, system.version, nodes, dict(system.cpu_nodes), pageblocks,
        all(zone.mobility_grouping for zone in system.zones()), system.synthetic, system.vmalloc,
        next((zone.watermark_boost_factor for zone in system.zones()), WATERMARK_BOOST_FACTOR),
        all(zone.movable_known for zone in system.zones()),
    )  # fmt: skip


def state_of_zone(zone: Zone) -> ZoneState:
    """A zone as plain values."""
    if not zone.populated:
        return ZoneState(zone.name, zone.zone_idx, lowmem_reserve=tuple(zone.lowmem_reserve))
    free = tuple((order, kind, tuple(runs)) for order, kind, runs in zone.free_lists())
    return ZoneState(
        zone.name, zone.zone_idx, zone.zone_start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages,
        zone.watermark, zone.watermark_boost, tuple(zone.lowmem_reserve), zone.nr_reserved_highatomic,
        zone.nr_free_pages, zone.nr_free_cma_pages, zone.boosted_watermark, zone.reclaim_active, zone.below_high,
        tuple((start, end - start) for start, end in zone.lru.ranges()), zone.lru.reclaimable, free,
        {cpu: _state_of_cpu(pcp) for cpu, pcp in zone.per_cpu_pageset.items()},
    )  # fmt: skip


def _state_of_cpu(pcp: PerCpuPages) -> CpuState:
    return CpuState(
        PagesetLimits(pcp.batch, pcp.high_min, pcp.high_max), pcp.high,
        {index: tuple(pages) for index, pages in enumerate(pcp.lists) if pages}, dict(pcp.page_mt), pcp.free_factor,
        pcp.alloc_factor, pcp.free_count, pcp.prev_free_high_order, pcp.free_high_batch, pcp.expire,
        pcp.free_diff, pcp.cma_diff, pcp.stat_threshold,
    )  # fmt: skip
