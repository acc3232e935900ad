"""From a state to the `System` that it describes, and back. Who only keeps a state need not load the allocator."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, PerCpuPages, Pgdat, Zone
from mmtool.linux.mm.page_alloc.lru import LruPages, SwapLeft
from mmtool.linux.mm.page_alloc.migratetype import MigrateType, PageblockTypes
from mmtool.system.state import CpuState, NodeState, SystemState, ZoneState, state_of_zone
from mmtool.system.system import System, pcp_layout


def system_of(state: SystemState, kernel: Kernel) -> System:
    """The `System` that a state describes, on the kernel it came from."""
    pageblocks = PageblockTypes(kernel.pageblock_order)
    for pfn, count, migratetype in state.pageblocks:
        start, end = pfn, pfn + (count << kernel.pageblock_order)
        pageblocks.add_sections(start, end)
        pageblocks.set_heads(start, end, migratetype)
    nodes = {}
    for node in state.nodes:
        zones = [_zone_of(zone, node.nid, state, kernel, pageblocks) for zone in node.zones]
        nodes[node.nid] = Pgdat(
            node.nid, node.start_pfn, node.spanned, zones, kswapd_failures=node.kswapd_failures,
            slab_reclaimable=node.slab_reclaimable,
        )  # fmt: skip
    swap = SwapLeft(state.swap_free)
    for pgdat in nodes.values():
        for zone in pgdat.zones:
            zone.lru.swap = swap
    return System(
        kernel, nodes, {n.nid: n.fallback for n in state.nodes}, {n.nid: n.thisnode for n in state.nodes},
        dict(state.cpu_nodes), state.version, state.synthetic, state.vmalloc, swap,
    )  # fmt: skip


def _zone_of(z: ZoneState, nid: int, state: SystemState, kernel: Kernel, pageblocks: PageblockTypes) -> Zone:
    zone = Zone(
        z.name, nid, z.start_pfn, z.spanned, z.present, kernel.release, pageblocks, kernel.max_page_order, z.zone_idx,
        z.managed, z.nr_free, z.nr_free_cma, 0, z.watermark, z.lowmem_reserve, None, state.mobility_grouping,
        z.boost, z.nr_reserved_highatomic, z.boosted, z.reclaim_active, z.below_high, state.movable_known,
        state.watermark_boost_factor,
    )  # fmt: skip
    zone.lru = LruPages(((pfn, pfn + n) for pfn, n in z.lru), z.reclaimable, z.lru_size)
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
            node.slab_reclaimable,
        )
        for node in system.nodes.values()
    )  # fmt: skip
    return SystemState(
        system.kernel.name, system.version, nodes, dict(system.cpu_nodes), pageblocks,
        all(zone.mobility_grouping for zone in system.zones()), system.synthetic, system.vmalloc,
        next((zone.watermark_boost_factor for zone in system.zones()), WATERMARK_BOOST_FACTOR),
        all(zone.movable_known for zone in system.zones()), system.swap.pages,
    )  # fmt: skip
