"""The state of the page allocator as a document, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtool.build.kernel import Kernel
from mmtool.build.profile import GENERIC, available, load_profile
from mmtool.build.release import release_facts
from mmtool.errors import InputError, UsageError
from mmtool.linux.mm.folio import LRU_NAMES
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, Watermarks
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.system.codec.vmalloc import vmalloc_document, vmalloc_from_json
from mmtool.system.state import CpuState, NodeState, SystemState, ZoneState

OPTIONS = (
    "NUMA", "TRANSPARENT_HUGEPAGE", "ZONE_DMA32", "HUGETLB_PAGE", "CMA", "X86_PAE", "ARM64_16K_PAGES",
    "ARM64_64K_PAGES", "COMPACTION", "FORCE_MAX_ZONEORDER", "ARCH_FORCE_MAX_ORDER", "NODES_SHIFT",
)  # fmt: skip
"""What of a build's configuration the page allocator depends on."""


def state_document(state: SystemState, kernel: Kernel) -> dict[str, Any]:
    """A state with its kernel, for JSON; state_from_document() reads it again. Pfns and counts of pages."""
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
        "swap_free": state.swap_free,
        "pageblocks": [[pfn, count, kind.label] for pfn, count, kind in state.pageblocks],
        "nodes": [
            {
                "nid": node.nid, "start_pfn": node.start_pfn, "spanned": node.spanned,
                "kswapd_failures": node.kswapd_failures, "slab_reclaimable": node.slab_reclaimable,
                "fallback": [list(entry) for entry in node.fallback],
                "thisnode": [list(entry) for entry in node.thisnode],
                "zones": [_zone_document(zone) for zone in node.zones],
            }
            for node in state.nodes
        ],
    }  # fmt: skip
    if state.vmalloc is not None:
        document["vmalloc"] = vmalloc_document(state.vmalloc)
    return document


def _zone_document(zone: ZoneState) -> dict[str, Any]:
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
        **({} if zone.lru_size is None else {"lru": dict(zip(LRU_NAMES[:4], zone.lru_size, strict=True))}),
        "free": [
            {"order": order, "type": kind.label, "runs": [list(run) for run in runs]}
            for order, kind, runs in zone.free
        ],
        "cpus": {str(cpu): _cpu_document(kept) for cpu, kept in zone.cpus.items()},
    }  # fmt: skip


def _cpu_document(kept: CpuState) -> dict[str, Any]:
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


def kernel_from_document(found: Mapping[str, Any], source: str) -> Kernel:
    """The kernel of a state, from the "kernel" part of its document."""
    arch, name = found["arch"], found["profile"]
    if arch not in GENERIC:
        raise InputError(source, None, f"the state is of a kernel for {arch!r}, which is not known here")
    major, minor, patch = found["facts"]
    try:
        profile = load_profile(name if name in available() else GENERIC[arch])
    except UsageError as e:
        raise InputError(source, None, str(e)) from None
    return Kernel(found["release"], release_facts((major, minor, patch)), profile.nearest(found["options"]))


def state_from_document(body: Mapping[str, Any]) -> SystemState:
    """The state in a document that state_document() made. KeyError, TypeError or ValueError where it is none."""
    vmalloc = body.get("vmalloc")
    nodes = tuple(
        NodeState(
            node["nid"], node["start_pfn"], node["spanned"],
            tuple(_zone(zone, index) for index, zone in enumerate(node["zones"])),
            tuple((nid, name) for nid, name in node["fallback"]), tuple((nid, name) for nid, name in node["thisnode"]),
            node["kswapd_failures"], node.get("slab_reclaimable"),
        )
        for node in body["nodes"]
    )  # fmt: skip
    return SystemState(
        body["kernel"]["release"], body["kernel"]["version"], nodes,
        {int(cpu): nid for cpu, nid in body["cpus"].items()},
        tuple((pfn, count, MigrateType.from_name(kind)) for pfn, count, kind in body["pageblocks"]),
        body["mobility_grouping"], body["synthetic"], vmalloc_from_json(vmalloc) if vmalloc is not None else None,
        body.get("watermark_boost_factor", WATERMARK_BOOST_FACTOR), body.get("movable_known", False),
        body.get("swap_free", 0),
    )  # fmt: skip


def _zone(zone: Mapping[str, Any], index: int) -> ZoneState:
    reserve = tuple(zone["protection"])
    if "present" not in zone:
        return ZoneState(zone["name"], index, lowmem_reserve=reserve)
    return ZoneState(
        zone["name"], index, zone["start_pfn"], zone["spanned"], zone["present"], zone["managed"],
        Watermarks(zone["min"], zone["low"], zone["high"], zone["promo"]), zone["boost"], reserve,
        zone["reserved_highatomic"], zone["nr_free_pages"], zone["nr_free_cma"], zone.get("boosted", False),
        zone.get("reclaim_active", False), zone["below_high"],
        tuple((pfn, count) for pfn, count in zone["movable"]), zone["reclaimable"], _lru_size(zone.get("lru")),
        tuple(
            (part["order"], MigrateType.from_name(part["type"]), tuple((pfn, count) for pfn, count in part["runs"]))
            for part in zone["free"]
        ),
        {int(cpu): _cpu(kept) for cpu, kept in zone["cpus"].items()},
    )  # fmt: skip


def _lru_size(size: Mapping[str, int] | None) -> tuple[int, int, int, int] | None:
    if size is None:
        return None
    return size["inactive_anon"], size["active_anon"], size["inactive_file"], size["active_file"]


def _cpu(kept: Mapping[str, Any]) -> CpuState:
    return CpuState(
        PagesetLimits(kept["batch"], kept["high_min"], kept["high_max"]), kept["high"],
        {int(index): tuple(pages) for index, pages in kept["lists"].items()},
        {int(pfn): MigrateType.from_name(kind) for pfn, kind in kept["types"].items()},
        kept["free_factor"], kept["alloc_factor"], kept["free_count"], kept["prev_free_high_order"],
        kept.get("free_high_batch", False), kept["expire"], kept["free_diff"], kept["cma_diff"], kept["stat_threshold"],
    )  # fmt: skip
