"""The counters of free pages: what each CPU has yet to add to them, and when it does (mm/vmstat.c).

A CPU keeps small changes to itself until they pass a threshold, or until it is idle for a while. Watermarks are
compared with the zone's counter as it stands, so that these differences decide allocations near a mark.
"""

from __future__ import annotations

from mmtool.linux.mm.mmzone import Zone

MAX_THRESHOLD = 125


def calculate_normal_threshold(managed_pages: int, page_shift: int, online_cpus: int) -> int:
    """calculate_normal_threshold(): the pages that a CPU keeps to itself, for a zone of `managed_pages`."""
    blocks = managed_pages >> (27 - page_shift)
    return min(MAX_THRESHOLD, 2 * online_cpus.bit_length() * (1 + blocks.bit_length()))


def mod_free_pages(zone: Zone, nr_pages: int) -> None:
    """Add `nr_pages` (may be negative) to NR_FREE_PAGES, as the CPU that acts does (__mod_zone_page_state())."""
    cpu = zone.this_cpu
    if cpu is None:
        zone.nr_free_pages += nr_pages
        return
    diff = cpu.free_diff + nr_pages
    if diff > cpu.stat_threshold or -diff > cpu.stat_threshold:
        zone.nr_free_pages += diff
        diff = 0
    cpu.free_diff = diff


def take_free_pages(zone: Zone, each: int, times: int) -> None:
    """mod_free_pages(zone, -each), done `times` times over."""
    cpu = zone.this_cpu
    if cpu is None:
        zone.nr_free_pages -= each * times
        return
    first = (cpu.stat_threshold + cpu.free_diff) // each + 1
    if times < first:
        cpu.free_diff -= each * times
        return
    left = (times - first) % (cpu.stat_threshold // each + 1)
    zone.nr_free_pages += cpu.free_diff - each * (times - left)
    cpu.free_diff = -each * left


def mod_free_cma_pages(zone: Zone, nr_pages: int) -> None:
    """Add `nr_pages` to NR_FREE_CMA_PAGES, as the CPU that acts does."""
    cpu = zone.this_cpu
    if cpu is None:
        zone.nr_free_cma_pages += nr_pages
        return
    diff = cpu.cma_diff + nr_pages
    if diff > cpu.stat_threshold or -diff > cpu.stat_threshold:
        zone.nr_free_cma_pages += diff
        diff = 0
    cpu.cma_diff = diff


def zone_page_state_snapshot(zone: Zone) -> int:
    """NR_FREE_PAGES with what CPUs have yet to add: the pages that are on the free lists."""
    return zone.nr_free_pages + sum(cpu.free_diff for cpu in zone.per_cpu_pageset.values())


def fold_zone_stats(zone: Zone, cpu: int) -> bool:
    """A CPU adds what it kept to itself (a zone's part of refresh_cpu_vm_stats()); whether there was any."""
    pcp = zone.per_cpu_pageset[cpu]
    changed = bool(pcp.free_diff or pcp.cma_diff)
    zone.nr_free_pages += pcp.free_diff
    zone.nr_free_cma_pages += pcp.cma_diff
    pcp.free_diff = pcp.cma_diff = 0
    return changed
