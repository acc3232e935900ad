"""A moment of the page allocator as plain values: what a `System` is made from, and what it is kept as.

Whoever reads a state (a recording, a kept document, /proc) gives one of these; whoever writes one takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, PerCpuPages, Watermarks, Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.vmalloc.state import VmallocState

Zonelist = tuple[tuple[int, str], ...]
"""Where requests of a node look, in this order: (nid, name of the zone)."""
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
    """How many of these belong to files."""
    lru_size: tuple[int, int, int, int] | None = None
    """Pages on the inactive and active lists of anonymous memory and of files; None where only `reclaimable` tells."""
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
    slab_reclaimable: int | None = None


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
    swap_free: int = 0
    """Pages that can be swapped out."""


def state_of_zone(zone: Zone) -> ZoneState:
    """A zone as plain values."""
    if not zone.populated:
        return ZoneState(zone.name, zone.zone_idx, lowmem_reserve=zone.lowmem_reserve)
    free = tuple((order, kind, tuple(runs)) for order, kind, runs in zone.free_lists())
    return ZoneState(
        zone.name, zone.zone_idx, zone.zone_start_pfn, zone.spanned_pages, zone.present_pages, zone.managed_pages,
        zone.watermark, zone.watermark_boost, zone.lowmem_reserve, zone.nr_reserved_highatomic,
        zone.nr_free_pages, zone.nr_free_cma_pages, zone.boosted_watermark, zone.reclaim_active, zone.below_high,
        tuple((start, end - start) for start, end in zone.lru.ranges()), zone.lru.size[2] + zone.lru.size[3],
        (zone.lru.size[0], zone.lru.size[1], zone.lru.size[2], zone.lru.size[3]), free,
        {cpu: _state_of_cpu(pcp) for cpu, pcp in zone.per_cpu_pageset.items()},
    )  # fmt: skip


def _state_of_cpu(pcp: PerCpuPages) -> CpuState:
    return CpuState(
        PagesetLimits(pcp.batch, pcp.high_min, pcp.high_max), pcp.high,
        {index: tuple(pages) for index, pages in enumerate(pcp.lists) if pages}, dict(pcp.page_mt), pcp.free_factor,
        pcp.alloc_factor, pcp.free_count, pcp.prev_free_high_order, pcp.free_high_batch, pcp.expire,
        pcp.free_diff, pcp.cma_diff, pcp.stat_threshold,
    )  # fmt: skip
