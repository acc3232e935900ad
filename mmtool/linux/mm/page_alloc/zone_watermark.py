"""May a zone give a block away? The watermark check of mm/page_alloc.c, in every form from 2.6.32 to 7.3.

Also who may go how far below the mark: `gfp_to_alloc_flags`. All counts in pages. Releases differ by the facts named
after this file's words in `mmtool.build.release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Protocol

from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.gfp import gfp_migratetype
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES, MigrateType

ALLOC_WMARK_MIN = 0x00
ALLOC_WMARK_LOW = 0x01
ALLOC_WMARK_HIGH = 0x02
ALLOC_WMARK_MASK = 0x03
ALLOC_NO_WATERMARKS = 0x04
ALLOC_OOM = 0x08
ALLOC_NON_BLOCK = 0x10
"""The request cannot wait: an eighth of the mark more. ALLOC_HARDER before 6.3: a quarter."""
ALLOC_MIN_RESERVE = 0x20
"""Half of the mark: __GFP_HIGH. ALLOC_HIGH before 6.3."""
ALLOC_CPUSET = 0x40
ALLOC_CMA = 0x80
ALLOC_NOFRAGMENT = 0x100
ALLOC_HIGHATOMIC = 0x200
ALLOC_KSWAPD = 0x800
ALLOC_RESERVES = ALLOC_NON_BLOCK | ALLOC_MIN_RESERVE | ALLOC_HIGHATOMIC | ALLOC_OOM

_PCPTYPES = tuple(MigrateType(t) for t in range(MIGRATE_PCPTYPES))


class WatermarkZone(Protocol):
    """What the check looks at in a zone."""

    @property
    def nr_free_pages(self) -> int:
        """NR_FREE_PAGES."""

    @property
    def nr_free_cma_pages(self) -> int:
        """NR_FREE_CMA_PAGES."""

    @property
    def nr_free_highatomic(self) -> int:
        """Free pages of HighAtomic pageblocks; what counts from 6.12 on."""

    @property
    def nr_reserved_highatomic(self) -> int:
        """Pages of HighAtomic pageblocks, free or not; what counts from 4.4 to 6.11."""

    @property
    def lowmem_reserve(self) -> Sequence[int]:
        """Pages kept from requests that could have used the zone of that index."""

    @property
    def nr_free(self) -> Sequence[int]:
        """Free blocks by order, of all types."""

    def has_free(self, order: int, migratetype: MigrateType) -> bool:
        """Is there a free block of exactly that order and type?"""


class Refusal(Enum):
    """Why a zone does not pass."""

    BELOW_MARK = "below mark"
    """Too few pages are free, whatever the order."""
    NO_BLOCK = "no block"
    """Enough pages are free, but no block that is large enough and of a type that may be taken."""
    TOO_FEW_LARGE = "too few large blocks"
    """Before 4.4: what is free in larger blocks is not above the mark's share for them."""


@dataclass(frozen=True, slots=True)
class WatermarkCheck:
    """The check of one zone with every term: it passes if `usable` > `min` + `lowmem_reserve` and a block is there."""

    order: int
    mark: int
    """The watermark that was asked for: the zone's min, low or high, boost included."""
    min: int
    """What the request's rights leave of the mark."""
    lowmem_reserve: int
    free: int
    tail: int
    """(1 << order) - 1: what the block takes beside its first page."""
    highatomic: int
    """Free pages denied since they are kept for atomic requests."""
    cma: int
    """Free pages denied since they are CMA's."""
    refusal: Refusal | None = None
    block_order: int | None = None
    """The lowest order with a block that will do; None for order 0, for which no block is looked for, and for none."""
    failed_order: int | None = None
    """TOO_FEW_LARGE: the order below which blocks are too small, so that `free_above` were left against `min_above`."""
    free_above: int = 0
    min_above: int = 0

    @property
    def ok(self) -> bool:
        return self.refusal is None

    @property
    def usable(self) -> int:
        """Free pages as far as they count; may be negative."""
        return self.free - self.tail - self.highatomic - self.cma

    @property
    def short(self) -> int:
        """How many more free pages the comparison with the mark needs; 0 when it is passed."""
        return max(0, self.min + self.lowmem_reserve + 1 - self.usable)


def gfp_to_alloc_flags(
    mask: int, flags: GfpFlags, order: int, facts: Release, *, rt_task: bool = False, memalloc: bool = False
) -> int:
    """gfp_to_alloc_flags() with __gfp_pfmemalloc_flags(): the slow path's rights, for the min watermark.

    `rt_task`: the caller runs with a realtime policy; `memalloc`: it has PF_MEMALLOC. From 7.x on
    alloc_flags_slowpath().
    """
    if not flags.has(mask, "__GFP_NOMEMALLOC") and (memalloc or flags.has(mask, "__GFP_MEMALLOC")):
        return ALLOC_NO_WATERMARKS
    rights = ALLOC_WMARK_MIN | ALLOC_CPUSET
    if flags.has(mask, "__GFP_HIGH"):
        rights |= ALLOC_MIN_RESERVE
    if flags.wakes_kswapd(mask):
        rights |= ALLOC_KSWAPD
    rights = _non_blocking(rights, mask, flags, order, facts, rt_task)
    if gfp_migratetype(mask, flags) is MigrateType.MOVABLE:
        rights |= ALLOC_CMA
    return rights


def _non_blocking(rights: int, mask: int, flags: GfpFlags, order: int, facts: Release, rt_task: bool) -> int:
    """What a request gets for not waiting, or its task for its policy."""
    may_harden = not flags.has(mask, "__GFP_NOMEMALLOC")
    if facts.watermark_min_reserve:
        if flags.can_direct_reclaim(mask):
            return rights | ALLOC_MIN_RESERVE if rt_task else rights
        if may_harden:
            rights |= ALLOC_NON_BLOCK
            if order > 0 and (rights & ALLOC_MIN_RESERVE or not facts.highatomic_needs_high):
                rights |= ALLOC_HIGHATOMIC
        return rights & ~ALLOC_CPUSET if rights & ALLOC_MIN_RESERVE else rights
    if _is_atomic(mask, flags):
        return (rights | ALLOC_NON_BLOCK if may_harden else rights) & ~ALLOC_CPUSET
    return rights | ALLOC_NON_BLOCK if rt_task else rights


def _is_atomic(mask: int, flags: GfpFlags) -> bool:
    """__GFP_ATOMIC; before 4.4, all that may not wait but huge pages."""
    if flags.mask("__GFP_ATOMIC"):
        return flags.has(mask, "__GFP_ATOMIC")
    return not flags.can_direct_reclaim(mask) and flags.wakes_kswapd(mask)


def zone_watermark_ok(
    zone: WatermarkZone, order: int, mark: int, highest_zoneidx: int, alloc_flags: int, facts: Release
) -> WatermarkCheck:
    """Would `zone` still hold `mark` pages after 2**order were taken, and has it a block to take?

    Models __zone_watermark_ok(). `highest_zoneidx` is the index of the highest zone that the request could have used
    (before 5.8 classzone_idx), `alloc_flags` its rights, of which ALLOC_NO_WATERMARKS is the caller's affair.
    """
    harder = alloc_flags & (ALLOC_RESERVES if facts.watermark_min_reserve else ALLOC_NON_BLOCK | ALLOC_OOM)
    denied = zone.nr_free_highatomic if facts.highatomic_counts_free else zone.nr_reserved_highatomic
    cma_denied = facts.cma_counts_in_watermark and not alloc_flags & ALLOC_CMA
    reserve = zone.lowmem_reserve[highest_zoneidx] if highest_zoneidx < len(zone.lowmem_reserve) else 0
    terms = (
        order,
        mark,
        _mark_after_flags(mark, alloc_flags, facts),
        reserve,
        zone.nr_free_pages,
        (1 << order) - 1,
        0 if harder or not facts.has_highatomic_reserve else denied,
        zone.nr_free_cma_pages if cma_denied else 0,
    )
    check = WatermarkCheck(*terms)
    if check.usable <= check.min + reserve:
        return WatermarkCheck(*terms, refusal=Refusal.BELOW_MARK)
    if not order:
        return check
    if facts.watermark_loops_over_orders:
        return _large_enough(check, zone.nr_free)
    for o in range(order, len(zone.nr_free)):
        if zone.nr_free[o] and _block_will_do(zone, o, alloc_flags, facts):
            return WatermarkCheck(*terms, block_order=o)
    return WatermarkCheck(*terms, refusal=Refusal.NO_BLOCK)


def zone_watermark_fast(
    zone: WatermarkZone,
    order: int,
    mark: int,
    highest_zoneidx: int,
    alloc_flags: int,
    facts: Release,
    *,
    boost: int = 0,
    mask: int = 0,
    flags: GfpFlags | None = None,
) -> WatermarkCheck:
    """zone_watermark_fast(): the check, and for order 0 with the right to it once more without the mark's boost.

    `boost` is zone->watermark_boost, which `mark` includes.
    """
    check = zone_watermark_ok(zone, order, mark, highest_zoneidx, alloc_flags, facts)
    if check.ok or order or not boost or alloc_flags & ALLOC_WMARK_MASK != ALLOC_WMARK_MIN:
        return check
    if not facts.atomic_ignores_boost:
        return check
    if flags is not None and flags.mask("__GFP_ATOMIC"):
        may_ignore = flags.has(mask, "__GFP_ATOMIC")
    else:
        may_ignore = bool(alloc_flags & ALLOC_MIN_RESERVE)
    return zone_watermark_ok(zone, 0, mark - boost, highest_zoneidx, alloc_flags, facts) if may_ignore else check


def _mark_after_flags(mark: int, alloc_flags: int, facts: Release) -> int:
    """What rights leave of the mark; divisions round as the kernel's do, down."""
    may_reserve, non_block = alloc_flags & ALLOC_MIN_RESERVE, alloc_flags & ALLOC_NON_BLOCK
    if may_reserve:
        mark -= mark // 2
    # once each counted by itself, but for a victim, whose half took the place of the quarter; now both need __GFP_HIGH
    if non_block and (may_reserve if facts.watermark_min_reserve else not alloc_flags & ALLOC_OOM):
        mark -= mark // 4
    return mark - mark // 2 if alloc_flags & ALLOC_OOM else mark


def _block_will_do(zone: WatermarkZone, order: int, alloc_flags: int, facts: Release) -> bool:
    """May the request take one of the zone's free blocks of that order?"""
    if facts.harder_takes_any_block and alloc_flags & ALLOC_NON_BLOCK:
        return True
    if any(zone.has_free(order, t) for t in _PCPTYPES):
        return True
    if alloc_flags & ALLOC_CMA and zone.has_free(order, MigrateType.CMA):
        return True
    atomic = ALLOC_OOM | (ALLOC_HIGHATOMIC if facts.watermark_min_reserve else ALLOC_NON_BLOCK)
    return bool(alloc_flags & atomic) and zone.has_free(order, MigrateType.HIGHATOMIC)


def _large_enough(check: WatermarkCheck, nr_free: Sequence[int]) -> WatermarkCheck:
    """The loop before 4.4: each order below takes its blocks and half of the mark away. CMA pages count in it."""
    free, least = check.usable + check.cma, check.min
    for o, blocks in enumerate(nr_free[: check.order]):
        free -= blocks << o
        least >>= 1
        if free <= least:
            refusal = Refusal.TOO_FEW_LARGE
            return replace(check, refusal=refusal, failed_order=o + 1, free_above=free, min_above=least)
    block = next((o for o in range(check.order, len(nr_free)) if nr_free[o]), None)
    return replace(check, block_order=block)
