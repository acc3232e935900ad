"""Reads virtual memory back: what `report.vmalloc_state` writes, and the areas of a recorded kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from mmtool.build.kernel import Kernel
from mmtool.linux.init.architecture import architecture
from mmtool.linux.mm.address_space import LayoutInputs
from mmtool.linux.mm.vmalloc.area import VM_ALLOC
from mmtool.linux.mm.vmalloc.state import AreaState, Place, VmallocState, state_of_layout


def vmalloc_from_json(body: Mapping[str, Any]) -> VmallocState:
    """The "vmalloc" part of a state. KeyError, TypeError or ValueError where it is none."""
    return VmallocState(
        _address(body["start"]), _address(body["end"]), int(body["ioremap_max_order"]), bool(body["base_known"]),
        int(body["cpus"]), bool(body["allow_huge"]), tuple(_area(area) for area in body["busy"]),
        tuple(_place(place) for place in body["lazy"]), tuple(_place(place) for place in body["kept"]),
        tuple((_address(start), _address(end), bool(red)) for start, end, red in body["free"]),
    )  # fmt: skip


def _address(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no address in hex")
    return int(text, 16)


def _place(place: tuple[object, object, int]) -> Place:
    start, end, node = place
    return _address(start), _address(end), int(node)


def _area(area: Mapping[str, Any]) -> AreaState:
    phys, array = area["phys"], area["array"]
    pages = tuple(pfn + i for pfn, count in area["pages"] for i in range(count))
    return AreaState(
        _address(area["start"]), _address(area["end"]), int(area["node"]), area["flags"], str(area["caller"]),
        None if phys is None else _address(phys), pages, int(area["page_order"]),
        None if array is None else _address(array),
    )  # fmt: skip


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
