"""When the low watermark is not met: __alloc_pages_slowpath() of mm/page_alloc.c, step by step.

The slow path asks the rest of the machine for what it cannot do itself (`Ask`): to wake kswapd, compact, reclaim, give
a kept pageblock back, drain the CPUs' lists. Who runs it answers: at once and by estimate, or from a record of what a
real machine did meanwhile. The OOM killer ends the request instead of a task.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import Enum

from mmtool.late import dataclass
from mmtool.linux.mm.compaction import CompactResult, ZoneCompaction, compaction_zonelist_suitable
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Zone
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.get_page_from_freelist import get_page_from_freelist
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.outcome import Step
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_WMARK_HIGH,
    gfp_to_alloc_flags,
    zone_watermark_ok,
)
from mmtool.linux.mm.vmscan.zone import MAX_RECLAIM_RETRIES, zone_reclaimable_pages
from mmtool.linux.mm.vmstat import zone_page_state_snapshot

Page = tuple[int, Zone]


class Reason(Enum):
    """Why an allocation ends without a page."""

    NO_ZONE = "no zone may serve it"
    NO_DIRECT_RECLAIM = "may not reclaim"
    NORETRY_COMPACTION = "__GFP_NORETRY, and compaction did not help"
    NORETRY = "__GFP_NORETRY"
    COSTLY = "costly order without __GFP_RETRY_MAYFAIL"
    NO_OOM = "the OOM killer may not be called for it"
    OOM = "the OOM killer is called"


@dataclass
class WakeKswapd:
    """Wake the node's kswapd. Answer: the pages it freed where it works at once, None where it sleeps on."""

    nid: int
    freed: int | None = None


@dataclass
class Compact:
    """Compact the zones. Answer: the result, and what came of each zone."""

    zones: tuple[Zone, ...]
    alloc_flags: int
    result: CompactResult = CompactResult.SKIPPED
    done: tuple[ZoneCompaction, ...] = ()


@dataclass
class Reclaim:
    """Reclaim from the zones. Answer: the pages freed."""

    zones: tuple[Zone, ...]
    freed: int = 0


@dataclass
class Unreserve:
    """Give a pageblock that is kept for atomic requests back, the zone's last one too if `force`. Answer: was one?"""

    zones: tuple[Zone, ...]
    force: bool
    given: bool = False


@dataclass
class DrainAllPages:
    """Drain the per-CPU lists of all CPUs."""


Ask = WakeKswapd | Compact | Reclaim | Unreserve | DrainAllPages
Asking = Generator[Ask, None, Page | None]
"""An allocation in the slow path: what it asks for, one after the other, and its page in the end."""
_Verdict = tuple[Page | None, Reason | None]


@dataclass
class _Request:
    """A request in the slow path."""

    ac: AllocContext
    steps: list[Step] | None
    zones: tuple[Zone, ...]
    alloc_flags: int
    compact_result: CompactResult = CompactResult.SKIPPED
    compact_priority: int = 1
    """How often the priority can still be raised (COMPACT_PRIO_SYNC_LIGHT is 1)."""
    no_progress_loops: int = 0

    def has(self, name: str) -> bool:
        return self.ac.flags.has(self.ac.gfp, name)

    @property
    def costly(self) -> bool:
        return self.ac.order > PAGE_ALLOC_COSTLY_ORDER

    @property
    def compacts_first(self) -> bool:
        """Is there likely to be enough memory in small blocks, or would reclaim mix types for good?"""
        ac = self.ac
        return ac.can_compact and (self.costly or (ac.order > 0 and ac.migratetype != MigrateType.MOVABLE))

    def freelist(self, function: str, alloc_flags: int | None = None) -> Page | None:
        """get_page_from_freelist() with the request's rights, or others."""
        flags = self.alloc_flags if alloc_flags is None else alloc_flags
        return get_page_from_freelist(self.ac, self.zones, flags, function, self.steps)

    def note(self, function: str, **detail: int | str | bool) -> None:
        if self.steps is not None:
            self.steps.append(Step(function, self.alloc_flags, detail=detail))


def alloc_pages_slowpath(ac: AllocContext, steps: list[Step] | None) -> Asking:
    """__alloc_pages_slowpath(): the page and its zone, or None; the last of `steps` then says why."""
    flags, gfp = ac.flags, ac.gfp
    plain = gfp & ~flags.mask("__GFP_MEMALLOC")
    request = _Request(ac, steps, ac.zones, gfp_to_alloc_flags(plain, flags, ac.order, ac.facts))
    page, reason = yield from _slowpath(request)
    if page is None and request.has("__GFP_NOFAIL") and flags.can_direct_reclaim(gfp):
        # The kernel goes on for ever, with access to some of the reserves.
        page = request.freelist("__alloc_pages_cpuset_fallback", ALLOC_MIN_RESERVE)
    if page is None and reason is not None:
        request.note("warn_alloc", reason=reason.value)
    return page


def _slowpath(request: _Request) -> Generator[Ask, None, _Verdict]:
    """Up to the label `retry`, and from there on."""
    ac = request.ac
    if not request.zones:
        return None, Reason.NO_ZONE
    if ac.facts.slowpath_tries_once_a_round:
        return (yield from _rounds(request))
    if request.alloc_flags & ALLOC_KSWAPD:
        yield from _wake_all_kswapds(request)
    page = request.freelist("__alloc_pages_slowpath")
    if page is not None:
        return page, None
    can_reclaim = ac.flags.can_direct_reclaim(ac.gfp)
    memalloc = request.has("__GFP_MEMALLOC") and not request.has("__GFP_NOMEMALLOC")
    if can_reclaim and request.compacts_first and not memalloc:
        page = yield from _direct_compact(request)
        if page is not None:
            return page, None
        if request.costly and request.has("__GFP_NORETRY"):
            if request.compact_result is CompactResult.SKIPPED or request.has("__GFP_THISNODE"):
                return None, Reason.NORETRY_COMPACTION
            request.compact_priority = 0
    _ignore_policies(request, memalloc)
    return (yield from _retry(request, can_reclaim))


def _ignore_policies(request: _Request, memalloc: bool) -> bool:
    """More rights for who reclaims, and all nodes for who may ignore policies; whether the request is one of them."""
    ac = request.ac
    if memalloc:
        cma = ALLOC_CMA if ac.migratetype == MigrateType.MOVABLE else 0
        request.alloc_flags = ALLOC_NO_WATERMARKS | cma | request.alloc_flags & ALLOC_KSWAPD
    if not memalloc and request.alloc_flags & ALLOC_CPUSET:
        return False
    request.zones = ac.every_zone
    return True


def _rounds(request: _Request) -> Generator[Ask, None, _Verdict]:
    """From 7.0 on: rounds that are all alike, but that the first one compacts where a request does so first."""
    ac = request.ac
    can_reclaim = ac.flags.can_direct_reclaim(ac.gfp)
    memalloc = request.has("__GFP_MEMALLOC") and not request.has("__GFP_NOMEMALLOC")
    compact_first, again = can_reclaim and request.compacts_first, True
    progress = 0
    while True:
        if request.alloc_flags & ALLOC_KSWAPD:
            yield from _wake_all_kswapds(request)
        page = request.freelist("__alloc_pages_slowpath")
        if page is not None:
            return page, None
        if _ignore_policies(request, memalloc) and again:
            again = False
            continue
        if not can_reclaim:
            return None, Reason.NO_DIRECT_RECLAIM
        if not compact_first:
            page, progress = yield from _direct_reclaim(request)
        if page is None:
            page = yield from _direct_compact(request)
        if page is not None:
            return page, None
        if compact_first:
            if request.has("__GFP_NORETRY") and request.has("__GFP_THISNODE"):
                return None, Reason.NORETRY_COMPACTION
            compact_first = False
            continue
        final = _final_without_retry(request)
        if final is not None:
            return None, final
        if not (yield from _should_retry(request, progress)):
            return _may_oom(request)


def _wake_all_kswapds(request: _Request) -> Generator[Ask, None, None]:
    """wake_all_kswapds(): one a node of the zonelist."""
    for nid in dict.fromkeys(zone.nid for zone in request.zones):
        ask = WakeKswapd(nid)
        yield ask
        if ask.freed is not None:
            request.note("wakeup_kswapd", node=nid, reclaimed=ask.freed)


def _retry(request: _Request, can_reclaim: bool) -> Generator[Ask, None, _Verdict]:
    """From the label `retry` on, as often as the kernel would come back to it."""
    while True:
        page = request.freelist("__alloc_pages_slowpath")
        if page is not None:
            return page, None
        if not can_reclaim:
            return None, Reason.NO_DIRECT_RECLAIM
        page, progress = yield from _direct_reclaim(request)
        if page is None:
            page = yield from _direct_compact(request)
        if page is not None:
            return page, None
        final = _final_without_retry(request)
        if final is not None:
            return None, final
        if not (yield from _should_retry(request, progress)):
            return _may_oom(request)


def _final_without_retry(request: _Request) -> Reason | None:
    """Why a request gives up after one round; None where it may go on."""
    if request.has("__GFP_NORETRY"):
        return Reason.NORETRY
    if request.costly and not (request.ac.can_compact and request.has("__GFP_RETRY_MAYFAIL")):
        return Reason.COSTLY
    return None


def _should_retry(request: _Request, progress: int) -> Generator[Ask, None, bool]:
    """Is another round worth it, for what reclaim or compaction may bring?"""
    if (yield from _should_reclaim_retry(request, progress)):
        return True
    return progress > 0 and request.ac.can_compact and _should_compact_retry(request)


def _direct_compact(request: _Request) -> Asking:
    """__alloc_pages_direct_compact()."""
    if not request.ac.order or not request.ac.can_compact:
        return None
    ask = Compact(request.zones, request.alloc_flags)
    yield ask
    request.compact_result = ask.result
    moved = sum(zone.moved for zone in ask.done)
    index = max((zone.index for zone in ask.done), default=0)
    request.note("__alloc_pages_direct_compact", result=ask.result.name, moved=moved, fragmentation_index=index)
    if ask.result is CompactResult.SKIPPED:
        return None
    return request.freelist("__alloc_pages_direct_compact")


def _direct_reclaim(request: _Request) -> Generator[Ask, None, tuple[Page | None, int]]:
    """__alloc_pages_direct_reclaim(): a page, and the pages that were freed for it."""
    ask = Reclaim(request.zones)
    yield ask
    request.note("__alloc_pages_direct_reclaim", reclaimed=ask.freed)
    if not ask.freed:
        return None, 0
    page = request.freelist("__alloc_pages_direct_reclaim")
    if page is None:
        yield Unreserve(request.zones, force=False)
        yield DrainAllPages()
        page = request.freelist("drain_all_pages")
    return page, ask.freed


def _should_reclaim_retry(request: _Request, progress: int) -> Generator[Ask, None, bool]:
    """should_reclaim_retry(): would the watermark be met if all that is reclaimable were free?"""
    ac, facts = request.ac, request.ac.facts
    request.no_progress_loops = 0 if progress and not request.costly else request.no_progress_loops + 1
    if request.no_progress_loops <= MAX_RECLAIM_RETRIES:
        for zone in request.zones:
            available = zone_reclaimable_pages(zone) + zone_page_state_snapshot(zone)
            mark = zone.watermark.min + zone.watermark_boost
            short = available - zone.nr_free_pages
            # The same check, with as many more pages as could be reclaimed.
            if zone_watermark_ok(zone, ac.order, mark - short, ac.highest_zoneidx, request.alloc_flags, facts).ok:
                return True
    ask = Unreserve(request.zones, force=True)
    yield ask
    return ask.given


def _should_compact_retry(request: _Request) -> bool:
    """should_compact_retry(): compaction is tried again at a higher priority, or if reclaim may make room for it."""
    if not request.ac.order:
        return False
    if request.compact_result is CompactResult.SKIPPED:
        return compaction_zonelist_suitable(request.ac, request.zones)
    lowest = 1 if request.costly else 0
    if request.compact_priority > lowest:
        request.compact_priority -= 1
        return True
    return False


def _may_oom(request: _Request) -> _Verdict:
    """__alloc_pages_may_oom(): one more look at the high watermark, then whether the OOM killer may be called."""
    page = request.freelist("__alloc_pages_may_oom", ALLOC_WMARK_HIGH | ALLOC_CPUSET)
    if page is not None:
        return page, None
    if request.costly or request.ac.lowmem or request.has("__GFP_RETRY_MAYFAIL") or request.has("__GFP_THISNODE"):
        return None, Reason.NO_OOM
    if request.has("__GFP_NOFAIL"):
        page = request.freelist("out_of_memory", ALLOC_NO_WATERMARKS)
        if page is not None:
            return page, None
    return None, Reason.OOM
