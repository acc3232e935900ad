"""What a state's document must look like before it is read (`mmtool.system.read`): types, ranges, names, no overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from mmtool.build.shape import options_shape
from mmtool.errors import InputError
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.shape import (
    Shape,
    ShapeError,
    any_of,
    array,
    boolean,
    integer,
    integers,
    mapping,
    number_name,
    one_of,
    record,
    row,
    text,
)
from mmtool.system.state import SystemState

MOST_PFN = 1 << 52
MOST_NODES, MOST_CPUS = 1024, 8192
ZONES = ("DMA", "DMA32", "Normal", "HighMem", "Movable", "Device")
PFN, COUNT = integer(0, MOST_PFN), integer(0, MOST_PFN)
SIGNED = integer(-MOST_PFN, MOST_PFN)
SMALL = integer(0, 1 << 20)
NID = integer(0, MOST_NODES - 1)
TYPE = one_of(kind.label for kind in MigrateType)
RUNS = array(row(PFN, COUNT))

_CPU = record(
    {
        **dict.fromkeys(("batch", "high", "high_min", "high_max", "free_count"), COUNT),
        "lists": mapping(number_name(0, 63), integers(0, MOST_PFN)),
        "types": mapping(number_name(0, MOST_PFN), TYPE),
        **dict.fromkeys(("free_factor", "alloc_factor", "expire", "stat_threshold"), SMALL),
        "prev_free_high_order": boolean, "free_diff": SIGNED, "cma_diff": SIGNED,
    },
    {"free_high_batch": boolean},
)  # fmt: skip
_EMPTY_ZONE = record({"name": one_of(ZONES), "protection": integers(0, MOST_PFN)})
_FULL_ZONE = record(
    {
        **dict.fromkeys(("start_pfn", "spanned", "present", "managed", "min", "low", "high", "promo", "boost"), COUNT),
        **dict.fromkeys(("reserved_highatomic", "reclaimable"), COUNT),
        "nr_free_pages": SIGNED, "nr_free_cma": SIGNED, "below_high": boolean, "movable": RUNS,
        "free": array(record({"order": integer(0, 20), "type": TYPE, "runs": RUNS})),
        "cpus": mapping(number_name(0, MOST_CPUS - 1), _CPU),
    },
    {"boosted": boolean, "reclaim_active": boolean},
)  # fmt: skip


def _zone(value: Any, path: str) -> None:
    _EMPTY_ZONE(value, path)
    if "present" in value:
        _FULL_ZONE(value, path)


_LIST = array(row(NID, one_of(ZONES)), 8 * MOST_NODES)
STATE: Shape = record(
    {
        "kernel": record(
            {
                "release": text(256), "version": text(), "profile": text(256), "arch": text(32),
                "facts": row(*[integer(0, 1 << 20)] * 2, integer(-100, 1 << 20)), "options": options_shape,
            }
        ),
        "synthetic": boolean, "mobility_grouping": boolean, "cpus": mapping(number_name(0, MOST_CPUS - 1), NID),
        "pageblocks": array(row(PFN, COUNT, TYPE)),
        "nodes": array(
            record(
                {
                    "nid": NID, "start_pfn": PFN, "spanned": COUNT, "kswapd_failures": SMALL, "fallback": _LIST,
                    "thisnode": _LIST, "zones": array(_zone, len(ZONES)),
                }
            ),
            MOST_NODES,
        ),
    },
    {"watermark_boost_factor": integer(0, 1 << 32), "movable_known": boolean},
)  # fmt: skip


_LISTED = array(record({"nid": NID, "zone": text(32)}), 8 * MOST_NODES)
_RECORDED_CPU = record(
    {
        "high": COUNT, "batch": COUNT, "expire": SMALL, "lists": mapping(number_name(0, 63), integers(0, MOST_PFN)),
        "page_mt": mapping(number_name(0, MOST_PFN), integer(0, 63)),
    },
    dict.fromkeys(("high_min", "high_max", "free_count", "free_factor", "alloc_factor", "flags"), COUNT),
)  # fmt: skip
_EMPTY_RECORDED_ZONE = record(
    {"name": one_of(ZONES), "zone_idx": integer(0, 7), "lowmem_reserve": integers(0, MOST_PFN)}
)
_FULL_RECORDED_ZONE = record(
    {
        "watermark": record(dict.fromkeys(("min", "low", "high", "promo"), COUNT)),
        **dict.fromkeys(("watermark_boost", "zone_start_pfn", "spanned", "present", "managed"), COUNT),
        **dict.fromkeys(("nr_reserved_highatomic", "flags"), COUNT), "nr_free_pages_global": SIGNED,
        "nr_free_pages_percpu": mapping(
            number_name(0, MOST_CPUS), record({"diff": SIGNED, "stat_threshold": SMALL}, {"cma_diff": SIGNED})
        ),
        "free_lists": mapping(number_name(0, 20), mapping(number_name(0, 63), integers(0, MOST_PFN))),
        "pcp": mapping(number_name(0, MOST_CPUS), _RECORDED_CPU),
    },
    {"nr_free_cma_pages_global": SIGNED, "addr": integer(0, (1 << 64) - 1)},
)  # fmt: skip


def _recorded_zone(value: Any, path: str) -> None:
    _EMPTY_RECORDED_ZONE(value, path)
    if not value.get("empty"):
        _FULL_RECORDED_ZONE(value, path)


STAGE: Shape = record(
    {
        "kernel": record({"release": text(256)}, {"version": text()}),
        "migratetypes": mapping(number_name(0, 63), text(40)),
        "misc": record(
            {
                "cpu_to_node": mapping(number_name(0, MOST_CPUS), integer(-1, MOST_NODES - 1)),
                "page_group_by_mobility_disabled": any_of(boolean, SMALL),
            },
            {"watermark_boost_factor": integer(0, 1 << 32), "vmemmap_base": integer(0, (1 << 64) - 1)},
        ),
        "cpus_online": integers(0, MOST_CPUS - 1), "pageblocks": array(row(PFN, COUNT, integer(0, 63))),
        "nodes": array(
            record(
                {
                    "node_id": NID, "node_start_pfn": PFN, "spanned": COUNT, "zones": array(_recorded_zone, len(ZONES)),
                    "zonelist_fallback": _LISTED, "zonelist_nofallback": _LISTED,
                }
            ),
            MOST_NODES,
        ),
    },
    {"pages": array(row(PFN, COUNT, text(1))), "sizeof_struct_page": integer(1, 1 << 12)},
)  # fmt: skip


def check_document(document: Any, shape: Shape, source: str) -> None:
    """InputError, with the path of the value, for a document that is not of a shape (STATE, STAGE)."""
    try:
        shape(document, "")
    except ShapeError as e:
        raise InputError(source, e.path or None, str(e).partition(": ")[2]) from None


def check_consistent(state: SystemState, source: str) -> None:
    """InputError for a state whose parts contradict each other: zones that overlap, free blocks outside their zone, in
    each other or kept by a CPU too, lists that name a zone that there is not."""
    zones = {(node.nid, zone.name) for node in state.nodes for zone in node.zones}
    nids = [node.nid for node in state.nodes]
    if len(set(nids)) != len(nids):
        raise InputError(source, "/nodes", "a node comes twice")
    for cpu, nid in state.cpu_nodes.items():
        if nid not in nids:
            raise InputError(source, f"/cpus/{cpu}", f"there is no node {nid}")
    for node in state.nodes:
        where = f"node {node.nid}"
        if len({zone.name for zone in node.zones}) != len(node.zones):
            raise InputError(source, where, "a zone comes twice")
        missing = [entry for entry in (*node.fallback, *node.thisnode) if entry not in zones]
        if missing:
            nid, name = missing[0]
            raise InputError(source, where, f"its zonelist names zone {name} of node {nid}, which there is not")
    spans = sorted(
        (zone.start_pfn, zone.start_pfn + zone.spanned, f"zone {zone.name} of node {node.nid}")
        for node in state.nodes
        for zone in node.zones
        if zone.present
    )
    taken = sorted(
        (pfn, pfn + (count << order), order)
        for node in state.nodes
        for zone in node.zones
        for order, _, runs in zone.free
        for pfn, count in runs
    )
    for (_, end, _), (start, _, _) in pairwise(taken):
        if start < end:
            raise InputError(source, None, f"page {start:#x} is in two free blocks")
    for node in state.nodes:
        for zone in node.zones:
            end = zone.start_pfn + zone.spanned
            for order, _, runs in zone.free:
                for pfn, count in runs:
                    if not (zone.start_pfn <= pfn and pfn + (count << order) <= end and count):
                        place = f"zone {zone.name} of node {node.nid}"
                        raise InputError(source, place, f"its free block at page {pfn:#x} lies outside it")
    _check_pageblocks(state, spans, source)


def _check_pageblocks(state: SystemState, spans: list[tuple[int, int, str]], source: str) -> None:
    """Pageblocks are told in order, none twice."""
    last = 0
    for pfn, count, _ in sorted(state.pageblocks):
        if pfn < last:
            raise InputError(source, "/pageblocks", f"the pageblock at page {pfn:#x} comes twice")
        last = pfn + count if count else pfn
    if spans and not state.pageblocks:
        raise InputError(source, "/pageblocks", "there are zones with pages but no pageblocks")
