"""The page allocator of a real kernel as recorded from outside: free lists and per-CPU lists, page by page.

A recording holds several moments ("stages") of one boot, or the two ends of a trace ("S0", "S1").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.linux.init.architecture import architecture
from mmtool.linux.mm.address_space import LayoutInputs
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, Watermarks
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.vmalloc.area import VM_ALLOC
from mmtool.linux.mm.vmalloc.state import AreaState, Place, VmallocState, state_of_layout
from mmtool.system.state import CpuState, NodeState, Runs, SystemState, ZoneState

ZONE_PREFIX = "ZONE_"
MOVABLE_KINDS = ("l", "m")
"""What a recorded list of pages calls those that move_freepages_block() counts as movable: on an LRU list, or the
pages of a driver that can move them."""
BOOSTED_WATERMARK, RECLAIM_ACTIVE, BELOW_HIGH = 1, 2, 4
"""enum zone_flags, as bits of zone->flags."""
PCPF_PREV_FREE_HIGH_ORDER, PCPF_FREE_HIGH_BATCH = 1, 2
"""The bits of per_cpu_pages.flags (6.7 on)."""


def is_stage(document: object) -> bool:
    """Does a JSON document look like one recorded moment with free lists?"""
    return isinstance(document, dict) and {"nodes", "kernel", "pageblocks", "migratetypes"} <= document.keys()


def state_from_stage(stage: Mapping[str, Any], source: str) -> SystemState:
    """The state that a recorded stage holds. InputError, with the place in the document, when a part is missing."""
    try:
        return _state(stage)
    except KeyError as e:
        raise InputError(source, None, f"this recorded stage has no {e}") from None
    except (TypeError, ValueError, AttributeError) as e:
        raise InputError(source, None, f"not a recorded stage: {e}") from None


def _state(stage: Mapping[str, Any]) -> SystemState:
    types = {int(number): MigrateType.from_name(name) for number, name in stage["migratetypes"].items()}
    cpu_nodes = {int(cpu): nid for cpu, nid in stage["misc"]["cpu_to_node"].items()}
    online = {cpu: max(cpu_nodes.get(cpu, 0), 0) for cpu in stage["cpus_online"]}
    movable = _movable(stage["pages"]) if "pages" in stage else None
    nodes = tuple(
        NodeState(
            node["node_id"], node["node_start_pfn"], node["spanned"],
            tuple(_zone(zone, types, online, movable) for zone in node["zones"]),
            _zonelist(node["zonelist_fallback"]), _zonelist(node["zonelist_nofallback"]),
        )
        for node in stage["nodes"]
    )  # fmt: skip
    return SystemState(
        stage["kernel"]["release"], stage["kernel"].get("version", ""), nodes, online,
        tuple((pfn, count, types[kind]) for pfn, count, kind in stage["pageblocks"]),
        not stage["misc"]["page_group_by_mobility_disabled"],
        watermark_boost_factor=stage["misc"].get("watermark_boost_factor", WATERMARK_BOOST_FACTOR),
        movable_known=movable is not None,
    )  # fmt: skip


def _zonelist(entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, str], ...]:
    return tuple((entry["nid"], zone_name(entry["zone"])) for entry in entries)


def zone_name(enumerator: str) -> str:
    """ZONE_DMA32 as /proc/zoneinfo prints it."""
    word = enumerator.removeprefix(ZONE_PREFIX)
    return word if word.startswith("DMA") else "HighMem" if word == "HIGHMEM" else word.capitalize()


def _movable(pages: Iterable[tuple[int, int, str]]) -> Runs:
    """The pages that could be moved, of a recorded list of (first pfn, number, kind)."""
    return tuple((pfn, count) for pfn, count, kind in pages if kind in MOVABLE_KINDS)


def _zone(
    zone: Mapping[str, Any], types: Mapping[int, MigrateType], online: Iterable[int], movable: Runs | None
) -> ZoneState:
    if zone.get("empty"):
        return ZoneState(zone["name"], zone["zone_idx"], lowmem_reserve=tuple(zone["lowmem_reserve"]))
    marks = zone["watermark"]
    kept = zone["nr_free_pages_percpu"]
    start, end = zone["zone_start_pfn"], zone["zone_start_pfn"] + zone["spanned"]
    return ZoneState(
        zone["name"], zone["zone_idx"], zone["zone_start_pfn"], zone["spanned"], zone["present"], zone["managed"],
        Watermarks(marks["min"], marks["low"], marks["high"], marks["promo"]), zone["watermark_boost"],
        tuple(zone["lowmem_reserve"]), zone["nr_reserved_highatomic"], zone["nr_free_pages_global"],
        zone.get("nr_free_cma_pages_global", 0), boosted=bool(zone["flags"] & BOOSTED_WATERMARK),
        reclaim_active=bool(zone["flags"] & RECLAIM_ACTIVE), below_high=bool(zone["flags"] & BELOW_HIGH),
        lru=tuple((pfn, count) for pfn, count in movable or () if start <= pfn < end),
        free=tuple(
            (int(order), types[int(kind)], runs_of(blocks, int(order)))
            for order, by_type in zone["free_lists"].items()
            for kind, blocks in by_type.items()
        ),
        cpus={cpu: _cpu(zone["pcp"][str(cpu)], kept[str(cpu)], types) for cpu in online},
    )  # fmt: skip


def _cpu(pcp: Mapping[str, Any], kept: Mapping[str, int], types: Mapping[int, MigrateType]) -> CpuState:
    high, flags = pcp["high"], pcp.get("flags", 0)
    return CpuState(
        PagesetLimits(pcp["batch"], pcp.get("high_min", high), pcp.get("high_max", high)), high,
        {int(index): tuple(pages) for index, pages in pcp["lists"].items()},
        {int(pfn): types[kind] for pfn, kind in pcp["page_mt"].items()},
        pcp.get("free_factor", 0), pcp.get("alloc_factor", 0), pcp.get("free_count", 0),
        bool(flags & PCPF_PREV_FREE_HIGH_ORDER), bool(flags & PCPF_FREE_HIGH_BATCH), pcp["expire"], kept["diff"],
        kept.get("cma_diff", 0), kept["stat_threshold"],
    )  # fmt: skip


def runs_of(blocks: Iterable[int], order: int) -> Runs:
    """Blocks of a list, head to tail, as runs of neighbours."""
    joined = groupby(enumerate(blocks), key=lambda item: item[1] - (item[0] << order))
    runs = []
    for _, group in joined:
        members = [pfn for _, pfn in group]
        runs.append((members[0], len(members)))
    return tuple(runs)


def zone_addresses(document: object) -> dict[int, tuple[int, str]]:
    """Where each zone's struct lies, as (node, name) by address; empty for a state that does not tell."""
    stage = _stage(document)
    zones = ((node["node_id"], zone) for node in stage.get("nodes", ()) for zone in node["zones"])
    return {zone["addr"]: (nid, zone["name"]) for nid, zone in zones if zone.get("present") and "addr" in zone}


def vmemmap_of(document: object) -> tuple[int | None, int]:
    """Where struct pages begin (None where a state does not tell) and the size of one."""
    stage = _stage(document)
    return stage.get("misc", {}).get("vmemmap_base"), stage.get("sizeof_struct_page", 64)


def _stage(document: object) -> Mapping[str, Any]:
    """The recorded moment in a document; empty where it is something else."""
    if isinstance(document, dict) and "S0" in document:
        document = document["S0"]
    return document if isinstance(document, dict) and is_stage(document) else {}


def vmalloc_from_recording(vmap: Mapping[str, Any], kernel: Kernel, cpus: int) -> VmallocState | None:
    """The areas of a recorded stage ("vmap"); None before vmalloc_init(). Free areas are told in ascending order only.

    KeyError, TypeError or ValueError where it is none.
    """
    if not vmap["initialized"]:
        return None
    layout = state_of_layout(architecture(kernel).address_space(LayoutInputs(kernel, levels=vmap["levels"])), cpus=cpus)
    areas = []
    for found in vmap["busy"]:
        vm = found["vm"] or {}
        flags = vm.get("flags")
        areas.append(AreaState(
            found["va_start"], found["va_end"], flags=flags, caller=vm.get("caller") or "",
            phys_addr=(vm.get("phys_addr") or None) if flags is not None and not flags & VM_ALLOC else None,
            pages=tuple(found.get("pfns") or ()), page_order=vm.get("page_order") or 0,
        ))  # fmt: skip
    free = [(start, end) for start, end in vmap["free"]]
    busy = [(area.start, area.end) for area in areas]
    return replace(
        layout, start=vmap["VMALLOC_START"], end=vmap["VMALLOC_END"], base_known=True, busy=tuple(areas),
        lazy=_holes(sorted([*free, *busy])),
    )  # fmt: skip


def _holes(areas: list[tuple[int, int]]) -> tuple[Place, ...]:
    """What is neither free nor busy: areas that were freed and not purged yet."""
    holes: list[Place] = []
    for (_, end), (start, _) in pairwise(areas):
        if start > end:
            holes.append((end, start, -1))
    return tuple(holes)
