"""A state out of whatever holds one: what mmtool prints, and recordings of real kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.machine import Machine
from mmtool.system.codec.recorded import is_stage, state_from_stage, vmalloc_from_recording
from mmtool.system.codec.state import kernel_from_document, state_from_document
from mmtool.system.shape import check_consistent, check_document, moment_shape, state_shape
from mmtool.system.state import SystemState
from mmtool.system.system import pcp_layout

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
        check_document(document, moment_shape, source)
        state = state_from_stage(document, source)
        kernel = kernel_named(state.release, state.version)
        _check(state, kernel, source)
        return _with_recorded_vmap(state, document.get("vmap"), kernel, source), kernel
    if not isinstance(document, dict):
        raise InputError(source, None, f"this recording has no stage {RECORDED_END!r}")
    if "schema" in document and "state" not in document:
        raise InputError(source, None, f"this {document['schema']} document holds no state; print it without --only")
    body = document.get("state", document)
    check_document(body, state_shape, source)
    kernel = kernel_from_document(body["kernel"], source)
    try:
        state = state_from_document(body)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(source, "/vmalloc", f"not what mmtool prints of vmalloc: {type(e).__name__}: {e}") from None
    return _check(state, kernel, source), kernel


def kernel_named(release: str, version: str) -> Kernel:
    """The kernel that calls itself so: uname -r, and uname -v or the line of /proc/version."""
    line = version if version.startswith("Linux version") else f"Linux version {release} {version}"
    return kernel_for(Machine("none", (), release=release, version_line=line))


def _with_recorded_vmap(state: SystemState, vmap: Any, kernel: Kernel, source: str) -> SystemState:
    if vmap is None:
        return state
    try:
        return replace(state, vmalloc=vmalloc_from_recording(vmap, kernel, len(state.cpu_nodes)))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(source, None, f"the recorded vmap areas are not as they should be: {e}") from None


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
