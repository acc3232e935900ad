"""From virtual memory as plain values to a `Vmalloc`, and back."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.vmalloc.area import VmStruct
from mmtool.linux.mm.vmalloc.free_tree import FreeTree
from mmtool.linux.mm.vmalloc.state import AreaState, VmallocState
from mmtool.linux.mm.vmalloc.vmalloc import Pages, Vmalloc
from mmtool.linux.mm.vmalloc.vmap import VmapArea


def vmalloc_of(state: VmallocState, kernel: Kernel, pages: Pages, *, totalram_pages: int, online_nodes: int) -> Vmalloc:
    """The `Vmalloc` that a state describes, on a page allocator that is in the state of the same moment."""
    structs = {
        a.start: VmStruct(a.start, a.end - a.start, a.flags, a.caller, a.phys_addr)
        for a in state.busy
        if a.flags is not None
    }
    v = Vmalloc(
        kernel, state.start, state.end, pages, ioremap_max_order=state.ioremap_max_order,
        totalram_pages=totalram_pages, cpus=state.cpus, online_nodes=online_nodes, allow_huge=state.allow_huge,
    )  # fmt: skip
    space = v.space
    space.busy = {}
    for a in state.busy:
        vm = structs.get(a.start)
        space.busy[a.start] = VmapArea(a.start, a.end, vm, a.node)
        if vm is not None:
            vm.pages, vm.page_order = a.pages, a.page_order
            vm.array = structs.get(a.array) if a.array is not None else None
            v.nr_vmalloc_pages += len(a.pages)
    for start, end, node in state.lazy:
        space.add_lazy(VmapArea(start, end, None, node))
    for start, end, node in reversed(state.kept):
        pools = space.nodes[node].pools
        pools.setdefault((end - start) // space.page_size, deque()).appendleft(VmapArea(start, end, None, node))
    if state.free:
        space.free = FreeTree.of_preorder(state.free)
    else:
        space.free = FreeTree()
        _fill(space.free, space.last, state)
    return v


def _fill(free: FreeTree, last: int, state: VmallocState) -> None:
    """Everything that is in no area is free, in ascending order."""
    at = 1
    taken = [*((a.start, a.end) for a in state.busy), *((start, end) for start, end, _ in (*state.lazy, *state.kept))]
    for start, end in sorted(taken):
        if start > at:
            free.add(at, start)
        at = end
    if last > at:
        free.add(at, last)


def state_of_vmalloc(v: Vmalloc, before: VmallocState) -> VmallocState:
    """A `Vmalloc` as plain values; `before` is the state that it was made from."""
    busy = []
    for area in sorted(v.space.busy.values(), key=lambda area: area.start):
        vm = area.vm
        if vm is None:
            busy.append(AreaState(area.start, area.end, area.node))
            continue
        array = vm.array.addr if vm.array is not None else None
        busy.append(AreaState(
            area.start, area.end, area.node, vm.flags, vm.caller, vm.phys_addr, tuple(vm.pages), vm.page_order, array
        ))  # fmt: skip
    return replace(
        before, busy=tuple(busy), lazy=tuple((a.start, a.end, a.node) for a in v.space.lazy_areas()),
        kept=tuple((a.start, a.end, a.node) for a in v.space.kept_areas()), free=tuple(v.space.free.preorder()),
    )  # fmt: skip
