"""What an allocation did, attempt by attempt: for those who ask why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.buddy import find_buddy_pfn
from mmtool.linux.mm.page_alloc.zone_watermark import WatermarkCheck


class ZoneResult(Enum):
    """What came of a zone in an attempt."""

    TAKEN = "taken"
    BELOW_WATERMARK = "below watermark"
    NO_BLOCK = "no block"
    """The watermark is met, but no list that may serve the request has a block."""


@dataclass(frozen=True, slots=True)
class ZoneTry:
    """One zone of an attempt: the watermark check, None where watermarks are ignored or the quick check passed."""

    zone: Zone
    result: ZoneResult
    check: WatermarkCheck | None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an allocation, by the kernel function's name, with the zones it looked at.

    `detail` is what else there is to say of it, in numbers or the kernel's words.
    """

    function: str
    alloc_flags: int = 0
    zones: tuple[ZoneTry, ...] = ()
    detail: dict[str, int | str | bool] = field(default_factory=dict)


class Estimate(Enum):
    """What an answer rests on that the state does not tell."""

    LISTS = "which pages of the LRU lists can be freed: all that are scanned are taken to be"
    SLAB = "what slab caches give back: nothing is taken to be"
    MOVABLE = "where movable pages lie"
    CPU_LISTS = "which types of pages CPUs' lists hold: half of them movable is a guess"


@dataclass(frozen=True, slots=True)
class ListsMoved:
    """What an allocation did to its zone's lists, taken together: blocks by order, and pages."""

    taken: Mapping[int, int]
    """By how many blocks the free lists are shorter."""
    put_back: Mapping[int, int]
    """By how many they are longer, through the parts of larger blocks (expand())."""
    listed: int
    """By how many pages the CPU's own lists grew; they shrink by a block that they had."""


def lists_moved(before: Sequence[int], after: Sequence[int], listed: int, order: int) -> ListsMoved | None:
    """From the zone's free_area.nr_free before and after; None where more has happened than one block's leaving."""
    by = [new - old for old, new in zip(before, after, strict=True)]
    if -sum(change << o for o, change in enumerate(by)) != listed + (1 << order):
        return None
    taken = {o: -change for o, change in enumerate(by) if change < 0}
    return ListsMoved(taken, {o: change for o, change in enumerate(by) if change > 0}, listed)


def block_before(zone: Zone, pfn: int, order: int) -> tuple[int, int]:
    """The free block, (pfn, order), that a block of 2**order pages has just been taken out of.

    Its other parts are free now, or on the list of the CPU that was refilled with them. Two buddies that had been free
    before would have been one block.
    """
    pcp = zone.this_cpu
    lists = zip(pcp.lists, pcp.layout.order_of, strict=True) if pcp is not None else ()
    listed = {block for blocks, of in lists if of == order for block in blocks}
    least = order

    def free(start: int, size: int) -> bool:
        if zone.free_area.is_free(start, size) or (size == least and start in listed):
            return True
        return size > least and free(start, size - 1) and free(start + (1 << size - 1), size - 1)

    while order < zone.top_order and free(find_buddy_pfn(pfn, order), order):
        pfn &= ~(1 << order)
        order += 1
    return pfn, order


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an allocation. `pfn` is the block's first page, None when there is none.

    `reason` names the step that ended a failed one, `looked_in` the zones that the request might look in, `moved` what
    it did to the lists, where the first attempt had it and no list was refilled in between.
    """

    order: int
    gfp: int
    pfn: int | None
    zone: Zone | None
    path: tuple[Step, ...]
    reason: str = ""
    estimates: tuple[Estimate, ...] = ()
    """Empty where the state decides it."""
    looked_in: tuple[Zone, ...] = ()
    moved: ListsMoved | None = None
    block: tuple[int, int] | None = None
    """The free block that it was taken out of, (pfn, order); None where the CPU's list had it."""

    @property
    def ok(self) -> bool:
        return self.pfn is not None
