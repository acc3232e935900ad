"""What a state's document must look like before it is read (`mmtool.system.read`): types, ranges, names, no overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from mmtool.build.shape import options_shape
from mmtool.errors import InputError
from mmtool.shape import Shape, ShapeError, shape_of
from mmtool.system.state import SystemState


def state_shape(value: Any, path: str) -> None:
    """A state: mmtool/schema/system.json, and a build's options within what Kconfig allows."""
    shape_of("system")(value, path)
    options_shape(value["kernel"]["options"], f"{path}/kernel/options")


def moment_shape(value: Any, path: str) -> None:
    """A moment of a recording: a part of mmtool/schema/recording.json."""
    shape_of("recording", "/$defs/moment")(value, path)


def check_document(document: Any, shape: Shape, source: str) -> None:
    """InputError, with the path of the value, for a document that is not of a shape."""
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
        if short := next((z.name for z in node.zones if len(z.lowmem_reserve) < len(node.zones)), None):
            raise InputError(source, where, f"the protection of zone {short} has fewer numbers than there are zones")
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
