"""Virtual memory as a part of the state document; `observed.vmalloc_state` reads it again."""

from __future__ import annotations

from typing import Any

from mmtool.linux.mm.vmalloc.state import AreaState, VmallocState


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
        "busy": [_area(area) for area in state.busy],
        "lazy": [[f"{start:#x}", f"{end:#x}", node] for start, end, node in state.lazy],
        "kept": [[f"{start:#x}", f"{end:#x}", node] for start, end, node in state.kept],
        "free": [[f"{start:#x}", f"{end:#x}", red] for start, end, red in state.free],
    }  # fmt: skip


def _area(area: AreaState) -> dict[str, Any]:
    return {
        "start": f"{area.start:#x}", "end": f"{area.end:#x}", "node": area.node, "flags": area.flags,
        "caller": area.caller, "phys": None if area.phys_addr is None else f"{area.phys_addr:#x}",
        "pages": runs_of_pages(area.pages), "page_order": area.page_order,
        "array": None if area.array is None else f"{area.array:#x}",
    }  # fmt: skip
