"""Virtual memory at one moment as plain values: what a `Vmalloc` is made from, and what it is kept as."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mmtool.late import dataclass
from mmtool.linux.mm.address_space import AddressSpace
from mmtool.linux.mm.vmalloc.area import NO_NODE, VM_MAP, VmStruct

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
