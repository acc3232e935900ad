"""Who owns a physical address, and why it lies there: what every stage of a finished boot says of it."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.firmware.machine import E820Entry
from mmtool.late import dataclass
from mmtool.linux.arch.x86.kernel.e820 import type_name
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.mmzone import Zone


@dataclass(frozen=True, slots=True)
class Finding:
    """What one stage says: `start` to `end` (bytes, half-open) is the range that it says it of."""

    stage: str
    says: str
    start: int | None = None
    end: int | None = None


def explain_address(boot: Boot, address: int) -> list[Finding]:
    """What the stages of a boot say of the byte at `address`, in the order of the boot."""
    return [
        _in_map(boot, "firmware map", boot.firmware_map, address),
        _in_map(boot, "kernel's E820 map", boot.edited_map(), address),
        *_memblock(boot, address),
    ]


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
