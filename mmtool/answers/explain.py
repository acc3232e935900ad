"""Who owns an address, and why it lies there: what every stage of a finished boot says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mmtool.firmware.machine import E820Entry
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.address_space import VMEMMAP
from mmtool.linux.mm.mmzone import Zone


class Finding(NamedTuple):
    """What one stage says: `start` to `end` (bytes, half-open) is the range that it says it of."""

    stage: str
    says: str
    start: int | None = None
    end: int | None = None


def explain_address(boot: Boot, address: int) -> list[Finding]:
    """What the stages of a boot say of the byte at `address`, in the order of the boot.

    Of a virtual address the kernel's address space comes first, and the stages follow where it has memory behind it.
    """
    if is_virtual(boot, address):
        finding, physical = _in_address_space(boot, address)
        return [finding, *(explain_address(boot, physical) if physical is not None else ())]
    return [
        _in_map(boot, "firmware map", boot.firmware_map, address),
        *([_in_map(boot, "kernel's E820 map", boot.edited_map(), address)] if boot.edits_map else []),
        *_memblock(boot, address),
    ]


def is_virtual(boot: Boot, address: int) -> bool:
    """Is it an address of the kernel's? With 32 bits only one that is no memory."""
    if boot.kernel.bits_per_long == 64:
        return address >> 63 == 1
    return not _is_memory(boot, address) and boot.address_space.area_at(address) is not None


def _is_memory(boot: Boot, address: int) -> bool:
    return any(r.base <= address < r.end for r in boot.memblock.memory.regions)


def _in_address_space(boot: Boot, address: int) -> tuple[Finding, int | None]:
    """Which area a virtual address is in, and the physical address behind it where one follows (__virt_to_phys())."""
    stage, space, direct = "address space", boot.address_space, boot.direct_map
    area = space.area_at(address)
    if area is None:
        other = address - space.other_direct_map if space.other_direct_map is not None else -1
        if _is_memory(boot, other):
            return Finding(stage, f"physical {other:#x} with another number of levels of page tables"), other
        return Finding(stage, "in no area of this kernel's"), None
    if area.start == direct.start:
        physical, what = address - direct.start + direct.phys, "physical"
    elif area.name == VMEMMAP:
        first = direct.phys >> boot.kernel.page_shift
        pfn = first + (address - area.start) // boot.kernel.profile.sizes["struct_page"]
        physical, what = pfn << boot.kernel.page_shift, f"struct page of page {pfn:#x}, physical"
    else:
        return Finding(stage, f"{area.name}: no physical address follows from it", area.start, area.end), None
    if not direct.base_known and not _is_memory(boot, physical):
        says = f"{area.name}, moved by KASLR: what is behind it cannot be told"
        return Finding(stage, says, area.start, area.end), None
    unless = "" if direct.base_known else ", unless KASLR moved it"
    return Finding(stage, f"{area.name}: {what} {physical:#x}{unless}", area.start, area.end), physical


def _in_map(boot: Boot, stage: str, entries: tuple[E820Entry, ...] | list[E820Entry], address: int) -> Finding:
    for e in entries:
        if e.start <= address < e.end:
            return Finding(stage, type_name(e.type, boot.kernel.release), e.start, e.end)
    return Finding(stage, "in no entry: a hole, or a device")


def _memblock(boot: Boot, address: int) -> Iterator[Finding]:
    mb = boot.memblock
    memory = next((r for r in mb.memory.regions if r.base <= address < r.end), None)
    if memory is None:
        yield Finding("memblock.memory", "not memory to the kernel")
        return
    node = f"memory of node {memory.nid}" if mb.valid_node(memory.nid) else "memory"
    yield Finding("memblock.memory", node, memory.base, memory.end)
    for start, end, owner in mb.ledger.overlapping(address, address + 1):
        yield Finding(
            "memblock.reserved", f"{owner}, reserved in {boot.owner_steps.get(owner, 'start_kernel')}", start, end
        )
    yield from _zone(boot, address)


def _zone(boot: Boot, address: int) -> Iterator[Finding]:
    shift = boot.kernel.page_shift
    pfn = address >> shift
    for nid, node in sorted(boot.nodes.items()):
        for zone in node.populated_zones():
            if zone.spans(pfn):
                start, end = zone.zone_start_pfn << shift, zone.zone_end_pfn << shift
                yield Finding("zone", f"page {pfn:#x} is in node {nid}'s zone {zone.name}", start, end)
                yield _free_block(zone, pfn, shift)
                return
    yield Finding("zone", "in no zone")


def _free_block(zone: Zone, pfn: int, page_shift: int) -> Finding:
    found = zone.free_area.find(pfn)
    if found is None:
        return Finding("page allocator", "not free when init starts")
    head, order = found
    label = zone.free_area.migratetype(head, order).label
    start = head << page_shift
    return Finding(
        "page allocator",
        f"free, in a block of order {order} and type {label}",
        start,
        start + (1 << order + page_shift),
    )
