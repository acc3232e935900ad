"""Reads a state of the page allocator back: what `report.state` writes, and recordings of real kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.build.profile import GENERIC, available, load_profile
from mmtool.build.release import release_facts
from mmtool.errors import InputError, UsageError
from mmtool.firmware.machine import Machine
from mmtool.linux.mm.mmzone import WATERMARK_BOOST_FACTOR, PagesetLimits, Watermarks
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.observed.freelists import is_stage, state_from_stage
from mmtool.system.shape import STAGE, STATE, check_consistent, check_document
from mmtool.system.state import CpuState, NodeState, SystemState, ZoneState
from mmtool.system.system import pcp_layout

if TYPE_CHECKING:
    from mmtool.linux.mm.vmalloc.state import VmallocState

RECORDED_END = "init"
"""Of a recorded boot's moments the one that is taken: the first system call of init."""


def state_from_json(document: object, source: str) -> tuple[SystemState, Kernel]:
    """The state in a parsed JSON document, and its kernel.

    Takes what mmtool prints with a "state" (boot, alloc, free, replay), that part alone, a recorded stage, a recording
    with "stages", or a recorded trace, of which the beginning counts. InputError says what is missing or wrong.
    """
    if not isinstance(document, dict):
        raise InputError(source, None, "a JSON object with a state is needed, as mmtool boot -o json prints it")
    if "S0" in document:
        document = document["S0"]
    elif isinstance(document.get("stages"), dict):
        document = document["stages"].get(RECORDED_END)
    if is_stage(document):
        assert isinstance(document, dict)
        check_document(document, STAGE, source)
        state = state_from_stage(document, source)
        kernel = kernel_named(state.release, state.version)
        _check(state, kernel, source)
        return _with_recorded_vmap(state, document.get("vmap"), kernel, source), kernel
    if not isinstance(document, dict):
        raise InputError(source, None, f"this recording has no stage {RECORDED_END!r}")
    if "schema" in document and "state" not in document:
        raise InputError(source, None, f"this {document['schema']} document holds no state; print it without --only")
    body = document.get("state", document)
    check_document(body, STATE, source)
    kernel = _kernel(body["kernel"], source)
    try:
        state = _state(body)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(source, "/vmalloc", f"not what mmtool prints of vmalloc: {type(e).__name__}: {e}") from None
    return _check(state, kernel, source), kernel


def kernel_named(release: str, version: str) -> Kernel:
    """The kernel that calls itself so: uname -r, and uname -v or the line of /proc/version."""
    line = version if version.startswith("Linux version") else f"Linux version {release} {version}"
    return kernel_for(Machine("none", (), release=release, version_line=line))


def _kernel(found: Mapping[str, Any], source: str) -> Kernel:
    arch, name = found["arch"], found["profile"]
    if arch not in GENERIC:
        raise InputError(source, None, f"the state is of a kernel for {arch!r}, which is not known here")
    major, minor, patch = found["facts"]
    try:
        profile = load_profile(name if name in available() else GENERIC[arch])
    except UsageError as e:
        raise InputError(source, None, str(e)) from None
    return Kernel(found["release"], release_facts((major, minor, patch)), profile.nearest(found["options"]))


def _state(body: Mapping[str, Any]) -> SystemState:
    nodes = tuple(
        NodeState(
            node["nid"], node["start_pfn"], node["spanned"],
            tuple(_zone(zone, index) for index, zone in enumerate(node["zones"])),
            tuple((nid, name) for nid, name in node["fallback"]), tuple((nid, name) for nid, name in node["thisnode"]),
            node["kswapd_failures"],
        )
        for node in body["nodes"]
    )  # fmt: skip
    return SystemState(
        body["kernel"]["release"], body["kernel"]["version"], nodes,
        {int(cpu): nid for cpu, nid in body["cpus"].items()},
        tuple((pfn, count, MigrateType.from_name(kind)) for pfn, count, kind in body["pageblocks"]),
        body["mobility_grouping"], body["synthetic"], _vmalloc(body.get("vmalloc")),
        body.get("watermark_boost_factor", WATERMARK_BOOST_FACTOR), body.get("movable_known", False),
    )  # fmt: skip


def _vmalloc(body: Any) -> VmallocState | None:
    if body is None:
        return None
    from mmtool.system.read_vmalloc import vmalloc_from_json

    return vmalloc_from_json(body)


def _with_recorded_vmap(state: SystemState, vmap: Any, kernel: Kernel, source: str) -> SystemState:
    if vmap is None:
        return state
    from mmtool.system.read_vmalloc import vmalloc_from_recording

    try:
        return replace(state, vmalloc=vmalloc_from_recording(vmap, kernel, len(state.cpu_nodes)))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(source, None, f"the recorded vmap areas are not as they should be: {e}") from None


def _zone(zone: Mapping[str, Any], index: int) -> ZoneState:
    reserve = tuple(zone["protection"])
    if "present" not in zone:
        return ZoneState(zone["name"], index, lowmem_reserve=reserve)
    return ZoneState(
        zone["name"], index, zone["start_pfn"], zone["spanned"], zone["present"], zone["managed"],
        Watermarks(zone["min"], zone["low"], zone["high"], zone["promo"]), zone["boost"], reserve,
        zone["reserved_highatomic"], zone["nr_free_pages"], zone["nr_free_cma"], zone.get("boosted", False),
        zone.get("reclaim_active", False), zone["below_high"],
        tuple((pfn, count) for pfn, count in zone["movable"]), zone["reclaimable"],
        tuple(
            (part["order"], MigrateType.from_name(part["type"]), tuple((pfn, count) for pfn, count in part["runs"]))
            for part in zone["free"]
        ),
        {int(cpu): _cpu(kept) for cpu, kept in zone["cpus"].items()},
    )  # fmt: skip


def _cpu(kept: Mapping[str, Any]) -> CpuState:
    return CpuState(
        PagesetLimits(kept["batch"], kept["high_min"], kept["high_max"]), kept["high"],
        {int(index): tuple(pages) for index, pages in kept["lists"].items()},
        {int(pfn): MigrateType.from_name(kind) for pfn, kind in kept["types"].items()},
        kept["free_factor"], kept["alloc_factor"], kept["free_count"], kept["prev_free_high_order"],
        kept.get("free_high_batch", False), kept["expire"], kept["free_diff"], kept["cma_diff"], kept["stat_threshold"],
    )  # fmt: skip


def _check(state: SystemState, kernel: Kernel, source: str) -> SystemState:
    """Does the state fit its kernel? InputError where it must be of another release or build."""
    lists = len(pcp_layout(kernel).order_of)
    if not state.nodes or not state.cpu_nodes:
        raise InputError(source, None, "the state has no node or no CPU")
    check_consistent(state, source)
    for node in state.nodes:
        for zone in node.zones:
            where = f"zone {zone.name} of node {node.nid}"
            for order, _, runs in zone.free:
                if not 0 <= order <= kernel.max_page_order or any(pfn & ((1 << order) - 1) for pfn, _ in runs):
                    raise InputError(
                        source, None,
                        f"{where} has a block of order {order} that Linux {kernel.name} cannot have (up to "
                        f"{kernel.max_page_order}, aligned to its size): a state of another release?",
                    )  # fmt: skip
            for cpu, kept in zone.cpus.items():
                worst = max(kept.lists, default=0)
                if worst >= lists:
                    raise InputError(
                        source, None,
                        f"{where} has list {worst} of CPU {cpu}, Linux {kernel.name} has {lists} lists: a state of "
                        "another release?",
                    )  # fmt: skip
    return state
