"""/proc/vmallocinfo of boots without KASLR: the areas that are there, laid in the model, lie where the kernel has them.

The file does not tell in what order they were asked for, nor what was there and is gone (tests/test_vmalloc_traces.py
has boots of which every request is known). The order taken here is that of addresses: whatever was asked for when, each
area lies at the lowest place that is free when all below it is in place, or something was in its way that is gone
since. Where the model would put it lower, a filler of the same request takes that place; fillers are counted.

Alignment follows from who asked: stacks are aligned to themselves (on arm64 to twice that), device memory to its size,
hash tables to the pages that map them. Where addresses are hashed, whether neighbours touch is compared.
MMTOOL_CAPTURES names a folder of captures.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.vmalloc import TracedBoot, capture_boot, traced_boots

from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.vmalloc.area import VM_MAP, VmStruct
from mmtool.linux.mm.vmalloc.huge import huge_vmap_shift
from mmtool.linux.mm.vmalloc.vmap import VmapSpace
from mmtool.observed.vmallocinfo import InfoArea, VmallocInfo, parse_vmallocinfo

MORE = os.environ.get("MMTOOL_CAPTURES", "")
CAPTURES = sorted(Path(MORE).glob("*nokaslr*/proc/vmallocinfo")) if MORE else []
LEAST = 0.95
LEAST_PAIRS = 0.9
"""Where addresses are hashed, what is gone since cannot be told from what never was, and its neighbours miss it."""
MOST_FILLERS = 40
STACKS = ("kernel_clone", "fork_idle", "start_kernel")
STACK_SIZE = 16 << 10
ELSEWHERE = ("paging_init", "pcpu_get_vm_areas", "bpf_jit_binary_alloc")
"""What is there before vmalloc is, what is laid from the top down, and what has a place of its own in 5.10."""


def alignment(area: InfoArea, boot: Boot) -> int:
    """What the caller of an area asks for; of one that was freed it is guessed by its place."""
    page = 1 << boot.kernel.page_shift
    size = area.size - page
    stack = max(STACK_SIZE, page) * (2 if boot.kernel.arch == "arm64" else 1)
    if "ioremap" in area.kinds:
        order = (size - 1).bit_length()
        return 1 << min(max(order, boot.kernel.page_shift), boot.address_space.ioremap_max_order)
    if area.function in STACKS:
        return stack
    if "unpurged" in area.kinds and size == max(STACK_SIZE, page) and area.start is not None:
        return 1 if area.start % stack else stack
    if area.function == "alloc_large_system_hash":
        nodes = max(len(area.nodes), 1)
        return 1 << huge_vmap_shift(boot.kernel, size, nodes)
    return 1


def lay(areas: Sequence[InfoArea], boot: Boot, early: Sequence[InfoArea]) -> tuple[list[int], int]:
    """Where each of `areas` comes to lie in the order given, and how many fillers that took."""
    layout = boot.address_space
    known = [VmStruct(a.start, a.size, VM_MAP) for a in early if a.start is not None]
    space = VmapSpace(
        boot.kernel.release, layout.vmalloc.start, layout.vmalloc_end, page_size=1 << boot.kernel.page_shift,
        early=known,
    )  # fmt: skip
    places, fillers = [], 0
    for area in areas:
        align = alignment(area, boot)
        found = space.alloc_vmap_area(area.size, align)
        while found is not None and area.placed and found.start < (area.start or 0):
            fillers += 1
            found = space.alloc_vmap_area(area.size, align)
        assert found is not None
        places.append(found.start)
    return places, fillers


def own_areas(info: VmallocInfo, boot: Boot) -> list[InfoArea]:
    """The areas that vmalloc laid from the bottom up, by address where that is known."""
    area = boot.address_space.vmalloc
    found = [a for a in info.areas if a.function not in ELSEWHERE]
    if info.hashed:
        return found
    inside = [a for a in found if a.start is not None and area.start <= a.start < area.end]
    return sorted(inside, key=lambda a: a.start or 0)


def check(info: VmallocInfo, boot: Boot) -> None:
    areas = own_areas(info, boot)
    places, fillers = lay(areas, boot, [a for a in info.areas if a.function == "paging_init"])
    there = [(a, place) for a, place in zip(areas, places, strict=True) if "unpurged" not in a.kinds]
    exact = sum(area.start == place for area, place in there)
    assert exact >= LEAST * len(there), f"{exact} of {len(there)}"
    assert fillers <= MOST_FILLERS


@pytest.mark.parametrize(
    "traced", [t for t in traced_boots() if t.case["cpus"] == 1], ids=lambda traced: traced.path.name
)
def test_areas_of_recorded_boots_lie_where_the_kernel_has_them(traced: TracedBoot) -> None:
    path = traced.path / "vmallocinfo"
    check(parse_vmallocinfo(path.read_text().splitlines(), str(path)), traced.boot)


@pytest.mark.skipif(not CAPTURES, reason="MMTOOL_CAPTURES names no folder with captures")
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.parent.parent.name)
def test_areas_of_captures_lie_where_the_kernel_has_them(path: Path) -> None:
    info = parse_vmallocinfo(path.read_text().splitlines(), str(path))
    boot = capture_boot(path.parent.parent)
    if not info.hashed:
        check(info, boot)
        return
    areas = [a for a in own_areas(info, boot) if "unpurged" not in a.kinds]
    image = [a for a in info.areas if a.function == "paging_init"]
    early, at = [], boot.address_space.vmalloc.start
    for a in image:
        early.append(replace(a, start=at, end=at + a.size))
        at += a.size
    places, _ = lay(areas, boot, early)
    pairs = list(zip(areas, places, areas[1:], places[1:], strict=False))
    agree = sum((a.end == b.start) == (p + a.size == q) for a, p, b, q in pairs)
    assert agree >= LEAST_PAIRS * len(pairs), f"{agree} of {len(pairs)}"
