"""The state of the page allocator as a document: what one command leaves and the next goes on from."""

from __future__ import annotations

from typing import Any

from mmtool.build.kernel import Kernel
from mmtool.system.state import CpuState, SystemState, ZoneState

OPTIONS = (
    "NUMA", "TRANSPARENT_HUGEPAGE", "ZONE_DMA32", "HUGETLB_PAGE", "CMA", "X86_PAE", "ARM64_16K_PAGES",
    "ARM64_64K_PAGES", "COMPACTION", "FORCE_MAX_ZONEORDER", "ARCH_FORCE_MAX_ORDER", "NODES_SHIFT",
)  # fmt: skip
"""What of a build's configuration the page allocator depends on."""


def state_document(state: SystemState, kernel: Kernel) -> dict[str, Any]:
    """A state with its kernel, for JSON; `observed.state` reads it again. Pfns and counts of pages."""
    config = kernel.profile.config
    document: dict[str, Any] = {
        "kernel": {
            "release": kernel.name, "version": state.version, "facts": list(kernel.release.version),
            "arch": kernel.arch, "profile": kernel.profile.name,
            "options": {name: config[name] for name in OPTIONS if name in config},
        },
        "synthetic": state.synthetic,
        "cpus": {str(cpu): nid for cpu, nid in state.cpu_nodes.items()},
        "mobility_grouping": state.mobility_grouping,
        "watermark_boost_factor": state.watermark_boost_factor, "movable_known": state.movable_known,
        "pageblocks": [[pfn, count, kind.label] for pfn, count, kind in state.pageblocks],
        "nodes": [
            {
                "nid": node.nid, "start_pfn": node.start_pfn, "spanned": node.spanned,
                "kswapd_failures": node.kswapd_failures,
                "fallback": [list(entry) for entry in node.fallback],
                "thisnode": [list(entry) for entry in node.thisnode],
                "zones": [_zone(zone) for zone in node.zones],
            }
            for node in state.nodes
        ],
    }  # fmt: skip
    if state.vmalloc is not None:
        from mmtool.system.write_vmalloc import vmalloc_document

        document["vmalloc"] = vmalloc_document(state.vmalloc)
    return document


def _zone(zone: ZoneState) -> dict[str, Any]:
    if not zone.present:
        return {"name": zone.name, "protection": list(zone.lowmem_reserve)}
    marks = zone.watermark
    return {
        "name": zone.name, "start_pfn": zone.start_pfn, "spanned": zone.spanned, "present": zone.present,
        "managed": zone.managed, "min": marks.min, "low": marks.low, "high": marks.high, "promo": marks.promo,
        "boost": zone.boost, "protection": list(zone.lowmem_reserve),
        "reserved_highatomic": zone.nr_reserved_highatomic,
        "nr_free_pages": zone.nr_free, "nr_free_cma": zone.nr_free_cma, "boosted": zone.boosted,
        "reclaim_active": zone.reclaim_active, "below_high": zone.below_high,
        "movable": [list(run) for run in zone.lru], "reclaimable": zone.reclaimable,
        "free": [
            {"order": order, "type": kind.label, "runs": [list(run) for run in runs]}
            for order, kind, runs in zone.free
        ],
        "cpus": {str(cpu): _cpu(kept) for cpu, kept in zone.cpus.items()},
    }  # fmt: skip


def _cpu(kept: CpuState) -> dict[str, Any]:
    limits = kept.limits
    return {
        "batch": limits.batch, "high": kept.high, "high_min": limits.high_min, "high_max": limits.high_max,
        "lists": {str(index): list(pages) for index, pages in kept.lists.items()},
        "types": {str(pfn): kind.label for pfn, kind in kept.page_mt.items()},
        "free_factor": kept.free_factor, "alloc_factor": kept.alloc_factor, "free_count": kept.free_count,
        "prev_free_high_order": kept.prev_free_high_order, "free_high_batch": kept.free_high_batch,
        "expire": kept.expire, "free_diff": kept.free_diff,
        "cma_diff": kept.cma_diff, "stat_threshold": kept.stat_threshold,
    }  # fmt: skip
