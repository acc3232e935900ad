"""Virtual memory as a part of the state document, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmtool.linux.mm.vmalloc.state import AreaState, Place, VmallocState


def runs_of_pages(pages: tuple[int, ...]) -> list[list[int]]:
    """Pfns in their order as [pfn, n], those that follow each other joined."""
    runs: list[list[int]] = []
    for pfn in pages:
        if runs and runs[-1][0] + runs[-1][1] == pfn:
            runs[-1][1] += 1
        else:
            runs.append([pfn, 1])
    return runs


def vmalloc_document(state: VmallocState) -> dict[str, Any]:
    """A state of virtual memory for JSON: addresses as hex strings, ends exclusive."""
    return {
        "start": f"{state.start:#x}", "end": f"{state.end:#x}", "base_known": state.base_known,
        "ioremap_max_order": state.ioremap_max_order, "cpus": state.cpus, "allow_huge": state.allow_huge,
        "busy": [_area_document(area) for area in state.busy],
        "lazy": [[f"{start:#x}", f"{end:#x}", node] for start, end, node in state.lazy],
        "kept": [[f"{start:#x}", f"{end:#x}", node] for start, end, node in state.kept],
        "free": [[f"{start:#x}", f"{end:#x}", red] for start, end, red in state.free],
    }  # fmt: skip


def _area_document(area: AreaState) -> dict[str, Any]:
    return {
        "start": f"{area.start:#x}", "end": f"{area.end:#x}", "node": area.node, "flags": area.flags,
        "caller": area.caller, "phys": None if area.phys_addr is None else f"{area.phys_addr:#x}",
        "pages": runs_of_pages(area.pages), "page_order": area.page_order,
        "array": None if area.array is None else f"{area.array:#x}",
    }  # fmt: skip


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
