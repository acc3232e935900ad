"""Virtual memory at one moment as plain values: what a `Vmalloc` is made from, and what it is kept as."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.address_space import AddressSpace
from mmtool.linux.mm.vmalloc.area import VM_MAP, VmStruct
from mmtool.linux.mm.vmalloc.free_tree import FreeTree
from mmtool.linux.mm.vmalloc.vmalloc import Pages, Vmalloc
from mmtool.linux.mm.vmalloc.vmap import NO_NODE, VmapArea

Place = tuple[int, int, int]
"""An area that is no more in use: first byte, end, the node that it goes back to."""


@dataclass(frozen=True)
class AreaState:
    """A busy area; `flags` None for one of vm_map_ram(). `array` is where the area of its list of pages begins."""

    start: int
    end: int
    node: int = NO_NODE
    flags: int | None = None
    caller: str = ""
    phys_addr: int | None = None
    pages: tuple[int, ...] = ()
    page_order: int = 0
    array: int | None = None


@dataclass(frozen=True)
class VmallocState:
    """The vmalloc area and what is in it. `cpus` counts the possible ones, `free` is the tree, a node before its own.

    Each of `free` is (first byte, end, red). An empty `free` stands for everything that is not busy.
    """

    start: int
    end: int
    """VMALLOC_END as searches use it."""
    ioremap_max_order: int
    base_known: bool
    cpus: int = 1
    allow_huge: bool = True
    busy: tuple[AreaState, ...] = ()
    lazy: tuple[Place, ...] = ()
    kept: tuple[Place, ...] = ()
    free: tuple[tuple[int, int, bool], ...] = ()


def state_of_layout(
    layout: AddressSpace, *, cpus: int, allow_huge: bool = True, early: Iterable[VmStruct] = ()
) -> VmallocState:
    """The state right after vmalloc_init(): nothing is there but what was registered before."""
    area = layout.vmalloc
    busy = tuple(AreaState(vm.addr, vm.addr + vm.size, NO_NODE, VM_MAP, vm.caller, vm.phys_addr) for vm in early)
    return VmallocState(
        area.start, layout.vmalloc_end, layout.ioremap_max_order, area.base_known, cpus, allow_huge,
        busy,
    )  # fmt: skip


def moved(state: VmallocState, base: int) -> VmallocState:
    """A state whose area begins at `base` after all; what lies in it moves along."""
    by = base - state.start
    busy = tuple(
        replace(a, start=a.start + by, end=a.end + by, array=None if a.array is None else a.array + by)
        for a in state.busy
    )
    lazy, kept = (tuple((start + by, end + by, n) for start, end, n in places) for places in (state.lazy, state.kept))
    return replace(
        state, start=base, end=state.end + by, base_known=True, busy=busy, lazy=lazy, kept=kept, free=()
    )  # fmt: skip


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
