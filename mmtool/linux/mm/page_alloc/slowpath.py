"""When the low watermark is not met: __alloc_pages_slowpath() of mm/page_alloc.c, step by step.

What depends on other tasks is left out: kswapd does at once what it is woken for, nobody else frees anything, and the
OOM killer ends the request instead of a task. Reclaim and compaction are estimates (`mmtool.linux.mm.vmscan`,
`mmtool.linux.mm.compaction`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from mmtool.linux.mm.compaction import CompactResult, compaction_zonelist_suitable, try_to_compact_pages
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Zone
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.fallback import unreserve_highatomic_pageblock
from mmtool.linux.mm.page_alloc.freelist import get_page_from_freelist
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
from mmtool.linux.mm.vmscan.node import MAX_RECLAIM_RETRIES, try_to_free_pages, wakeup_kswapd, zone_reclaimable_pages
from mmtool.linux.mm.vmstat import zone_page_state_snapshot

if TYPE_CHECKING:
    from mmtool.system.system import System


Page = tuple[int, Zone]


class Reason(Enum):
    """Why an allocation ends without a page."""

    ORDER_TOO_LARGE = "order above the largest block's"
    NO_ZONE = "no zone may serve it"
    NO_DIRECT_RECLAIM = "may not reclaim"
    NORETRY_COMPACTION = "__GFP_NORETRY, and compaction did not help"
    NORETRY = "__GFP_NORETRY"
    COSTLY = "costly order without __GFP_RETRY_MAYFAIL"
    NO_OOM = "the OOM killer may not be called for it"
    OOM = "the OOM killer is called"


@dataclass
class _Request:
    """A request in the slow path."""

    system: System
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

    def freelist(self, function: str, alloc_flags: int | None = None) -> Page | None:
        """get_page_from_freelist() with the request's rights, or others."""
        flags = self.alloc_flags if alloc_flags is None else alloc_flags
        return get_page_from_freelist(self.ac, self.zones, flags, len(self.system.nodes), function, self.steps)

    def note(self, function: str, **detail: int | str | bool) -> None:
        if self.steps is not None:
            self.steps.append(Step(function, self.alloc_flags, detail=detail))


def alloc_pages_slowpath(system: System, ac: AllocContext, steps: list[Step] | None) -> Page | None:
    """__alloc_pages_slowpath(): the page and its zone, or None; the last of `steps` then says why."""
    flags, gfp = ac.flags, ac.gfp
    plain = gfp & ~flags.mask("__GFP_MEMALLOC")
    request = _Request(system, ac, steps, ac.zones, gfp_to_alloc_flags(plain, flags, ac.order, system.facts))
    page, reason = _slowpath(request)
    if page is None and request.has("__GFP_NOFAIL") and flags.can_direct_reclaim(gfp):
        # The kernel goes on for ever, with access to some of the reserves.
        page = request.freelist("__alloc_pages_cpuset_fallback", ALLOC_MIN_RESERVE)
    if page is None and reason is not None:
        request.note("warn_alloc", reason=reason.value)
    return page


def _slowpath(request: _Request) -> tuple[Page | None, Reason | None]:
    ac = request.ac
    if not request.zones:
        return None, Reason.NO_ZONE
    if request.alloc_flags & ALLOC_KSWAPD:
        _wake_all_kswapds(request)
    page = request.freelist("__alloc_pages_slowpath")
    if page is not None:
        return page, None
    can_reclaim = ac.flags.can_direct_reclaim(ac.gfp)
    memalloc = request.has("__GFP_MEMALLOC") and not request.has("__GFP_NOMEMALLOC")
    compacts_first = request.costly or (ac.order > 0 and ac.migratetype != MigrateType.MOVABLE)
    if can_reclaim and _can_compact(request) and compacts_first and not memalloc:
        page = _direct_compact(request)
        if page is not None:
            return page, None
        if request.costly and request.has("__GFP_NORETRY"):
            if request.compact_result is CompactResult.SKIPPED or request.has("__GFP_THISNODE"):
                return None, Reason.NORETRY_COMPACTION
            request.compact_priority = 0
    return _retry(request, can_reclaim, memalloc)


def _wake_all_kswapds(request: _Request) -> None:
    """wake_all_kswapds(): one a node of the zonelist."""
    ac = request.ac
    if not request.system.kswapd_at_once:
        return
    for nid in dict.fromkeys(zone.nid for zone in request.zones):
        freed = wakeup_kswapd(request.system.nodes[nid], ac.order, ac.highest_zoneidx)
        if freed is not None:
            request.note("wakeup_kswapd", node=nid, reclaimed=freed)


def _retry(request: _Request, can_reclaim: bool, memalloc: bool) -> tuple[Page | None, Reason | None]:
    """From the label `retry` on, as often as the kernel would come back to it."""
    ac = request.ac
    if memalloc:
        cma = ALLOC_CMA if ac.migratetype == MigrateType.MOVABLE else 0
        request.alloc_flags = ALLOC_NO_WATERMARKS | cma | request.alloc_flags & ALLOC_KSWAPD
    if memalloc or not request.alloc_flags & ALLOC_CPUSET:
        request.zones = ac.every_zone
    while True:
        page = request.freelist("__alloc_pages_slowpath")
        if page is not None:
            return page, None
        if not can_reclaim:
            return None, Reason.NO_DIRECT_RECLAIM
        page, progress = _direct_reclaim(request)
        page = page or _direct_compact(request)
        if page is not None:
            return page, None
        if request.has("__GFP_NORETRY"):
            return None, Reason.NORETRY
        if request.costly and not (_can_compact(request) and request.has("__GFP_RETRY_MAYFAIL")):
            return None, Reason.COSTLY
        if _should_reclaim_retry(request, progress):
            continue
        if progress and _can_compact(request) and _should_compact_retry(request):
            continue
        return _may_oom(request)


def _can_compact(request: _Request) -> bool:
    """gfp_compaction_allowed(): the build has it and the request may do I/O."""
    return request.system.kernel.enabled("COMPACTION") and request.has("__GFP_IO")


def _direct_compact(request: _Request) -> Page | None:
    """__alloc_pages_direct_compact()."""
    if not request.ac.order or not _can_compact(request):
        return None
    request.compact_result, zones = try_to_compact_pages(request.ac, request.zones, request.alloc_flags)
    moved = sum(zone.moved for zone in zones)
    index = max((zone.index for zone in zones), default=0)
    request.note(
        "__alloc_pages_direct_compact", result=request.compact_result.name, moved=moved, fragmentation_index=index
    )
    if request.compact_result is CompactResult.SKIPPED:
        return None
    return request.freelist("__alloc_pages_direct_compact")


def _direct_reclaim(request: _Request) -> tuple[Page | None, int]:
    """__alloc_pages_direct_reclaim(): a page, and the pages that were freed for it."""
    progress = try_to_free_pages(request.system.nodes.values(), request.zones)
    request.note("__alloc_pages_direct_reclaim", reclaimed=progress)
    if not progress:
        return None, 0
    page = request.freelist("__alloc_pages_direct_reclaim")
    if page is None:
        unreserve_highatomic_pageblock(request.zones, request.ac.migratetype, False)
        request.system.drain_all_pages()
        page = request.freelist("drain_all_pages")
    return page, progress


def _should_reclaim_retry(request: _Request, progress: int) -> bool:
    """should_reclaim_retry(): would the watermark be met if all that is reclaimable were free?"""
    ac, facts = request.ac, request.system.facts
    request.no_progress_loops = 0 if progress and not request.costly else request.no_progress_loops + 1
    if request.no_progress_loops <= MAX_RECLAIM_RETRIES:
        for zone in request.zones:
            available = zone_reclaimable_pages(zone) + zone_page_state_snapshot(zone)
            mark = zone.watermark.min + zone.watermark_boost
            short = available - zone.nr_free_pages
            # The same check, with as many more pages as could be reclaimed.
            if zone_watermark_ok(zone, ac.order, mark - short, ac.highest_zoneidx, request.alloc_flags, facts).ok:
                return True
    return unreserve_highatomic_pageblock(request.zones, ac.migratetype, True)


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


def _may_oom(request: _Request) -> tuple[Page | None, Reason | None]:
    """__alloc_pages_may_oom(): one more look at the high watermark, then whether the OOM killer may be called."""
    page = request.freelist("__alloc_pages_may_oom", ALLOC_WMARK_HIGH | ALLOC_CPUSET)
    if page is not None:
        return page, None
    lowmem = request.ac.highest_zoneidx < request.system.zone_index("Normal")
    if request.costly or request.has("__GFP_RETRY_MAYFAIL") or request.has("__GFP_THISNODE") or lowmem:
        return None, Reason.NO_OOM
    if request.has("__GFP_NOFAIL"):
        page = request.freelist("out_of_memory", ALLOC_NO_WATERMARKS)
        if page is not None:
            return page, None
    return None, Reason.OOM
