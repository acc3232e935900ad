"""What an allocation did, attempt by attempt: for those who ask why."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Zone
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
class Outcome:
    """The end of an allocation. `pfn` is the block's first page, None when there is none.

    `reason` names the step that ended a failed one.
    """

    order: int
    gfp: int
    pfn: int | None
    zone: Zone | None
    path: tuple[Step, ...]
    reason: str = ""
    estimates: tuple[Estimate, ...] = ()
    """Empty where the state decides it."""

    @property
    def ok(self) -> bool:
        return self.pfn is not None
