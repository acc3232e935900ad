"""Recorded boots again in the model: the same requests in the same order get the kernel's addresses, every one."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from support.vmalloc import Area, TracedBoot, traced_boots

from mmtool.linux.mm.vmalloc.vmap import LAZY_BYTES, VmapArea, VmapSpace

BOOTS = traced_boots()
EVENTS_ONLY = [boot for boot in BOOTS if all(event.name != "pcpu_get_vm_areas" for event in boot.events)]
UNHASHED = [boot for boot in BOOTS if boot.areas[0].end - boot.areas[0].start == boot.areas[0].size]
STACK = 5 * 4096
"""A stack of 16 KiB with its guard page."""
ALONE = 1
"""fls() of the CPUs that run before the others are started."""


def do_again(boot: TracedBoot) -> tuple[VmapSpace, int]:
    """The space at the end of the trace, and how many requests were made; each must get the kernel's address."""
    space, requests = boot.space(), 0
    for event in boot.events:
        space.cpu, f = event.cpu, event.fields
        if event.name == "alloc_vmap_area":
            area = space.alloc_vmap_area(f["size"], f["align"], f["vstart"], f["vend"])
            requests += 1
            assert area is not None
            assert hex(area.start) == hex(f["va_start"]), f"request {requests}"
        elif event.name == "free_vmap_area_noflush":
            found = space.find_unlink(f["va_start"])
            assert found is not None
            space.free_vmap_area_noflush(found)
            if "nr_lazy" in f:
                assert space.lazy_pages == f["nr_lazy"]
                assert f["nr_lazy_max"] in (space.lazy_max_pages, ALONE * LAZY_BYTES // space.page_size)
        elif event.name == "pcpu_get_vm_areas":
            assert space.pcpu_get_vm_areas(event.lists["offsets"], event.lists["sizes"], f["align"]) is not None
        elif "num_purged" in f:
            purge(space, f["start"], f["num_purged"])
        else:
            space.purge()
    return space, requests


def purge(space: VmapSpace, start: int, count: int) -> None:
    """A purge of the trace. The area it begins with may be one whose free a new CPU could not record."""
    lazy = list(space.lazy_areas())
    if count and start not in {area.start for area in lazy}:
        lost = space.find_unlink(start)
        assert lost is not None
        space.free_vmap_area_noflush(lost)
        lazy.append(lost)
    assert len(lazy) == count
    space.purge()


@pytest.mark.parametrize("boot", BOOTS, ids=lambda boot: boot.path.name)
def test_every_request_gets_the_kernels_address(boot: TracedBoot) -> None:
    _, requests = do_again(boot)
    assert requests == {
        "arm64-6.12-52bit-nokaslr": 119, "arm64-6.18-16k-nokaslr": 88, "x86-5.10-numa2-nokaslr": 164,
        "x86-6.1-numa2-nokaslr": 174, "x86-6.12-numa2-nokaslr": 176, "x86-6.18-numa2-nokaslr": 165,
        "x86-7.3-nokaslr": 90, "x86-7.3-numa2-nokaslr": 164,
    }[boot.path.name]  # fmt: skip


def places(areas: Iterable[VmapArea | Area]) -> set[tuple[int, int]]:
    """Where areas lie, but for stacks: processes come and go between the trace's end and the reading of the file."""
    return {(area.start, area.end) for area in areas if area.end - area.start != STACK}


@pytest.mark.parametrize("boot", UNHASHED, ids=lambda boot: boot.path.name)
def test_what_is_left_is_what_proc_shows(boot: TracedBoot) -> None:
    """With the areas of CPUs where the trace tells of those."""
    space, _ = do_again(boot)
    told = any(event.name == "pcpu_get_vm_areas" for event in boot.events)
    shown = [a for a in boot.areas if told or not a.text.startswith("pcpu_get_vm_areas")]
    busy = [a for a in shown if a.text != "unpurged vm_area"]
    assert places(space.busy.values()) == places(busy)
    assert places(space.lazy_areas()) == places(a for a in shown if a not in busy)


@pytest.mark.parametrize("boot", EVENTS_ONLY, ids=lambda boot: boot.path.name)
def test_percpu_areas_lie_as_high_as_the_kernels(boot: TracedBoot) -> None:
    """What is asked for: an area for each group of CPUs, at the distances of the groups."""
    space, _ = do_again(boot)
    percpu = sorted((a.start, a.end) for a in boot.areas if a.text.startswith("pcpu_get_vm_areas"))
    assert percpu
    offsets, sizes = [start - percpu[0][0] for start, _ in percpu], [end - start for start, end in percpu]
    align = space.page_size if boot.boot.kernel.arch == "arm64" else 2 << 20
    areas = space.pcpu_get_vm_areas(offsets, sizes, align)
    assert areas is not None
    assert [(area.start, area.end) for area in areas] == percpu
