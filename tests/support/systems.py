"""Small machines for the page allocator, on every release that it differs for."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.build.fact import parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import load_profile
from mmtool.build.release import release_facts
from mmtool.linux.mm.mmzone import PagesetLimits, Watermarks
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.system.restore import system_of
from mmtool.system.state import CpuState, NodeState, SystemState, ZoneState
from mmtool.system.system import System

RELEASES = ("5.10.0", "5.15.0", "6.1.0", "6.1.176", "6.6.0", "6.8.0", "6.12.5", "6.12.117", "7.3.4")
BLOCK = 1024
"""Pages of a block of the largest order."""


def kernel(release: str) -> Kernel:
    """Debian's cloud build, as if of another release."""
    version = parse_version(release)
    assert version is not None
    return Kernel(release, release_facts(version), load_profile("debian-6.12-cloud-amd64"))


def zone_state(
    name: str, idx: int, start: int, blocks: int, *, min_pages: int, reserve: Sequence[int] = (0,) * 5, cpus: int = 2
) -> ZoneState:
    """A zone of `blocks` free blocks of the largest order, with watermarks at 1, 5/4 and 3/2 of `min_pages`."""
    pages = blocks * BLOCK
    limits = PagesetLimits(15, max(60, min_pages // 2), max(60, pages // 16))
    kept = CpuState(limits, limits.high_min, stat_threshold=4)
    return ZoneState(
        name, idx, start, pages, pages, pages,
        Watermarks(min_pages, min_pages * 5 // 4, min_pages * 3 // 2, min_pages * 7 // 4), 0, tuple(reserve), 0, pages,
        free=((10, MigrateType.MOVABLE, ((start, blocks),)),), cpus=dict.fromkeys(range(cpus), kept),
    )  # fmt: skip


def machine(release: str, *, nodes: int = 1, blocks: int = 6, min_pages: int = 128) -> System:
    """Node 0 has DMA32 and Normal, further nodes Normal alone; two CPUs, all memory free."""
    made, start = [], 0
    everything = []
    for nid in range(nodes):
        zones = [ZoneState("DMA", 0, lowmem_reserve=(0,) * 5)]
        if nid == 0:
            zones.append(zone_state("DMA32", 1, start, blocks, min_pages=min_pages, reserve=(0, 0, 64, 64, 64)))
            start += blocks * BLOCK
        else:
            zones.append(ZoneState("DMA32", 1, lowmem_reserve=(0,) * 5))
        zones.append(zone_state("Normal", 2, start, blocks, min_pages=min_pages))
        start += blocks * BLOCK
        zones += [ZoneState("Movable", 3, lowmem_reserve=(0,) * 5), ZoneState("Device", 4, lowmem_reserve=(0,) * 5)]
        everything.append(zones)
    for nid, zones in enumerate(everything):
        order = [nid, *(n for n in range(nodes) if n != nid)]
        fallback = tuple((n, z.name) for n in order for z in reversed(everything[n]) if z.present)
        thisnode = tuple(entry for entry in fallback if entry[0] == nid)
        first = min(z.start_pfn for z in zones if z.present)
        spanned = sum(z.present for z in zones)
        made.append(NodeState(nid, first, spanned, tuple(zones), fallback, thisnode))
    state = SystemState(
        release, "", tuple(made), {0: 0, 1: nodes - 1}, ((0, start >> 9, MigrateType.MOVABLE),), synthetic=False
    )
    return system_of(state, kernel(release))


def free_pages(system: System) -> int:
    """Pages on free lists and per-CPU lists."""
    return sum(
        sum(count << order for order, count in enumerate(zone.nr_free))
        + sum(pcp.count for pcp in zone.per_cpu_pageset.values())
        for zone in system.zones()
    )
