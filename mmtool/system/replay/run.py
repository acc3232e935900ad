"""Doing a recorded series of allocations and frees again, and comparing page by page.

The events say what was asked for and which pages came back; the model says which pages should have. Probes beside the
kmem events tell what no allocator can know: which CPU was interrupted at its lists, when counters were added up, when
another CPU's lists were drained, when kswapd ran. A page of an event is only ever compared, never used, except to go on
after a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from itertools import islice

from mmtool.build.gfp import GfpError
from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.mm.compaction import CompactResult, compaction_suitable
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.context import AllocContext
from mmtool.linux.mm.page_alloc.fallback import unreserve_highatomic_pageblock
from mmtool.linux.mm.page_alloc.get_page_from_freelist import alloc_pages_bulk, passes, wmark_pages
from mmtool.linux.mm.page_alloc.isolate import __putback_isolated_page as put_isolated_back
from mmtool.linux.mm.page_alloc.per_cpu_pages import drain_pages_zone
from mmtool.linux.mm.page_alloc.slowpath import (
    Ask,
    Asking,
    Compact,
    DrainAllPages,
    Reclaim,
    Unreserve,
    WakeKswapd,
    alloc_pages_slowpath,
)
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_HIGHATOMIC, gfp_to_alloc_flags
from mmtool.observed.ftrace import TraceEvent
from mmtool.system.replay.compaction import Addresses, Compactions
from mmtool.system.replay.kswapd import Kswapds
from mmtool.system.replay.order import (
    Who,
    ends_of_allocations,
    ends_of_frees,
    named_before,
    next_of_task,
    next_own,
    page_of,
    who_of,
)
from mmtool.system.system import System

UNSEEN = 64
"""How far down a list the kernel's page is looked for after a miss."""


@dataclass(frozen=True)
class Miss:
    """An allocation for which the model has another page (None: none) than the kernel."""

    line: int
    order: int
    kernel: int | None
    model: int | None


@dataclass
class Replay:
    """How far the model agreed."""

    allocations: int = 0
    exact: int = 0
    forced: int = 0
    """How often the kernel's page was taken to go on after a miss."""
    lost: int = 0
    """How many events after a miss could not be done in the model."""
    misses: list[Miss] = field(default_factory=list)


@dataclass
class _Bulk:
    """A call of __alloc_pages_bulk() that has begun."""

    gfp: int
    nid: int
    count: int
    done: bool = False


@dataclass
class _Request:
    """An allocation that has begun, and is over with the event that names its page."""

    ac: AllocContext
    asking: Asking | None = None
    """The slow path, where it waits for others; None before it and after."""
    ask: Ask | None = None
    """What it waits for."""
    freed: int = 0
    """Pages that whoever allocates has freed meanwhile."""
    unreserved: bool = False
    slow: bool = False
    """Did the fast path fail?"""
    left_lists: bool = False
    """Have events told of blocks that left the buddy lists?"""
    unreserves: bool = False
    """Has it tried to give a pageblock back, as after reclaim that was of no use?"""
    compacts: bool = False
    """Has it compacted since it waits?"""
    pfn: int | None = None


def replay(
    system: System,
    events: Sequence[TraceEvent],
    addresses: Addresses,
    source: str,
    probes: frozenset[str] = frozenset(),
) -> Replay:
    """Do what `events` tell on `system`, which is left in the state at their end.

    `probes` are the events that would be there if they had happened, beside those that are. What the model cannot do
    once it is not the kernel any more is counted, and the rest goes on. InputError for an event with impossible fields.
    """
    run = _Run(system, events, addresses, probes)
    for index, event in enumerate(events):
        try:
            run.event(index, event)
        except (ValueError, GfpError) as e:
            raise InputError(source, event.line, f"{event.name}: {e}") from None
        except (KeyError, AssertionError):
            run.result.lost += 1
    return run.result


class _Run:
    """A replay on its way.

    An allocation shows only what happens on the buddy lists, and its page when it is over; in between others act. So it
    is done when the first event tells that it has begun:

    event                         nothing begun             fast path failed          done
    ----------------------------  ------------------------  ------------------------  -----------------
    zone_locked, extfrag          begin                     go on to the end          -
    wkswapd                       begin (slow path, or a    -                         -
                                  boost's wake after it)
    mm_page_free, isolblk, isof   free, isolate             the same, as reclaim or   free, isolate
                                                            compaction of the request
    unresv                        -                         give a pageblock back     -
    mm_page_alloc                 begin, go on, compare     go on to the end,         compare
                                                            compare

    What takes the zone's lock is done once it is seen to have it, which matters where several CPUs act: a refill
    (rqbulk) at its first zone_locked or extfrag, a free or a drain with its first mm_page_pcpu_drain; at once where
    none comes.
    "begin" runs the fast path, and where that fails the slow path up to its first reclaim or compaction. A bulk
    allocation (bulkin to bulkret) is done at its first rqbulk or zone_locked, at the latest when it returns. A free
    that is named again later (mm_page_free_batched, f1p) is done then. rcvs, drainzone, isof, putb, balpg, balpgr and
    mm_lru_insertion are done as they come.
    """

    def __init__(
        self, system: System, events: Sequence[TraceEvent], addresses: Addresses, probes: frozenset[str] = frozenset()
    ) -> None:
        self.system, self.addresses, self.events, self.result = system, addresses, events, Replay()
        self.bulks: dict[int, _Bulk] = {}
        self.gfps: dict[str, int] = {}
        self.names = {event.name for event in events} | probes
        self.next_own = next_own(events)
        self.next_of_task = next_of_task(events)
        self.last: dict[int, int] = {}
        """The last event on each CPU."""
        self.pending: dict[Who, Callable[[], None]] = {}
        """What waits for the zone's lock."""
        self.frees_end_later = ends_of_frees(events)
        self.ends = ends_of_allocations(events)
        self.named_before = named_before(events)
        self.requests: dict[Who, _Request] = {}
        self.in_refill: set[Who] = set()
        """Whose next zone_locked events are part of a refill, which rqbulk began."""
        self.waiting: dict[int, int] = {}
        """Pages that were shown as freed and are not yet, with their orders."""
        self.kswapds = Kswapds(system, events)
        self.compactions = Compactions(system, addresses, events)

    def event(self, index: int, event: TraceEvent) -> None:
        handle = _HANDLERS.get(event.name)
        if handle is None:
            return
        if event.name != "isof":
            self.compactions.other_event(event)
        self.system.cpu = event.cpu
        if event.name != "balpgr":
            self.kswapds.acts(event)
        last = self.last.get(event.cpu)
        if last is not None and who_of(self.events[last]) != who_of(event):
            self._interrupted(last)
        self.last[event.cpu] = index
        handle(self, index, event)
        if event.name != "balpgr":
            self.kswapds.just_worked_off = []

    # Allocations

    def _interrupted(self, last: int) -> None:
        """Others act on the CPU of event `last` now: has whoever acted then taken the next page from the list already?

        A page that comes off a per-CPU list shows only when its allocation is over. It was taken before if it is at the
        list's head now: others can only put pages above it.
        """
        event = self.events[last]
        own, task = self.next_of_task[last], (event.pid, "")
        if own is None or task in self.requests or event.pid in self.bulks:
            return
        end = self.events[own]
        if end.name != "mm_page_alloc" or end.cpu != event.cpu or self.named_before.get(own, -1) > last:
            return
        ac = self.system.context(self._gfp(end.text("gfp_flags")), end.number("order"))
        zone = self._first_zone(ac)
        if zone is None or zone.this_cpu is None or ac.pindex is None:
            return
        pages = zone.this_cpu.lists[ac.pindex]
        if pages and pages[0] == page_of(end):
            self.requests[task] = self._begin(end, end)

    def _with_lock(self, index: int, event: TraceEvent, shown_by: frozenset[str], action: Callable[[], None]) -> None:
        """Do something now, or when the next event, where it is one of these, tells that it has the zone's lock."""
        own = self.next_own[index]
        if own is not None and self.events[own].name in shown_by:
            self.pending[who_of(event)] = action
        else:
            action()

    def locked(self, index: int, event: TraceEvent) -> None:
        """Somebody has a zone's lock, and does what waited for it."""
        action = self.pending.pop(who_of(event), None)
        if action is not None:
            action()

    def refill(self, index: int, event: TraceEvent) -> None:
        self.in_refill.add(who_of(event))
        self._with_lock(index, event, _TAKES, lambda: self._from_buddy_lists(index, event))

    def zone_locked(self, index: int, event: TraceEvent) -> None:
        self.locked(index, event)
        self._from_buddy_lists(index, event)

    def _from_buddy_lists(self, index: int, event: TraceEvent) -> None:
        """A refill begins, or a block leaves the buddy lists: the request has come so far."""
        bulk = self.bulks.get(event.pid)
        if bulk is not None and not event.irq:
            if not bulk.done:
                self._bulk(bulk)
            return
        request = self._go_on(index, event, to_the_end=True)
        if request is not None:
            request.left_lists = True

    def wakes_kswapd(self, index: int, event: TraceEvent) -> None:
        """kswapd is woken: by the slow path, for all zones of the request, or for a zone's boosted watermark."""
        request = self._go_on(index, event, to_the_end=False)
        zone = self.addresses.zones.get(event.number("zone"))
        if request is None or zone is None:
            return
        if request.slow and not request.left_lists:
            self.kswapds.wake(index, zone, request.ac.order, request.ac.highest_zoneidx)
        else:
            self.kswapds.wake(index, zone, 0, zone.zone_idx)

    def alloc(self, index: int, event: TraceEvent) -> None:
        who, order, kernel = who_of(event), event.number("order"), page_of(event)
        bulk = self.bulks.get(event.pid)
        gfp = self._gfp(event.text("gfp_flags"))
        if bulk is not None and not event.irq and bulk.gfp == gfp and order == 0:
            bulk.done = True
        self.result.allocations += 1
        page = None
        try:
            self._go_on(index, event, to_the_end=True, failed=kernel is None)
            page = self.requests[who].pfn
        finally:
            self.requests.pop(who, None)
            self.in_refill.discard(who)
            if page == kernel:
                self.result.exact += 1
            else:
                self.result.misses.append(Miss(event.line, order, kernel, page))
        if page == kernel:
            return
        if page is not None:
            self.system.put_back(page, order)
        if kernel is not None and self._force(self.system.context(gfp, order), kernel):
            self.result.forced += 1

    def _go_on(self, index: int, event: TraceEvent, *, to_the_end: bool, failed: bool = False) -> _Request | None:
        """Begin the allocation that an event tells of, unless it has begun, and go on with it."""
        who = who_of(event)
        request = self.requests.get(who)
        if request is None:
            end = self.ends.get(index)
            if end is None:
                return None
            request = self.requests[who] = self._begin(self.events[end], event)
        if request.asking is not None and to_the_end:
            self._end_slow_path(request, failed)
        return request

    def _begin(self, end: TraceEvent, event: TraceEvent) -> _Request:
        """The fast path of the allocation that is over at `end`, and the slow path as far as it needs nobody."""
        ac = self.system.context(self._gfp(end.text("gfp_flags")), end.number("order"))
        request = _Request(ac)
        before = self._began_before_kswapd(ac, event) if self.kswapds.just_worked_off else []
        for zone, boost in before:
            zone.watermark_boost += boost
        taken = self.system.fast_path(ac, None, self._past_lists(ac, event, end))
        if taken is not None:
            request.pfn = taken[0]
            taken[1].boosted_watermark = False
        for zone, boost in before:
            zone.watermark_boost -= min(zone.watermark_boost, boost)
        if taken is None:
            request.slow = True
            request.asking = alloc_pages_slowpath(ac, None)
            self._advance(request)
        return request

    def _past_lists(self, ac: AllocContext, event: TraceEvent, end: TraceEvent) -> bool:
        """Does a block leave the buddy lists with only their lock held, though the CPU has its own lists?

        Then somebody was at those: the CPU itself when it was interrupted, or another that drained them.
        """
        if event.name != "mm_page_alloc_zone_locked" or ac.pindex is None:
            return False
        if "rqbulk" in self.names:
            return who_of(event) not in self.in_refill
        if self._goes_past(ac):
            return False
        if event.depth:
            return event.depth == end.depth + 1
        pcp = self._zone(event.number("pfn")).this_cpu
        return pcp is not None and bool(pcp.lists[ac.pindex])

    def _goes_past(self, ac: AllocContext) -> bool:
        """Does a request go to the buddy lists by itself where the CPU's list is empty? (high-order atomic ones)"""
        if not self.system.facts.pcp_no_refill_for_highatomic:
            return False
        return bool(gfp_to_alloc_flags(ac.gfp, ac.flags, ac.order, ac.facts) & ALLOC_HIGHATOMIC)

    def _began_before_kswapd(self, ac: AllocContext, event: TraceEvent) -> list[tuple[Zone, int]]:
        """The boosts that the request still saw, where kswapd worked them off just before the first event of it.

        No event tells when a request begins. Only where the boosts decide which zone passes is there a difference; then
        the zone that the block came from tells.
        """
        if "pfn" not in event.fields or (pfn := page_of(event)) is None:
            return []
        now = self._first_zone(ac)
        for zone, boost in self.kswapds.just_worked_off:
            zone.watermark_boost += boost
        then = self._first_zone(ac)
        for zone, boost in self.kswapds.just_worked_off:
            zone.watermark_boost -= boost
        return self.kswapds.just_worked_off if now is not then and self._zone(pfn) is then else []

    @staticmethod
    def _first_zone(ac: AllocContext) -> Zone | None:
        flags = ac.alloc_flags
        return next((zone for zone in ac.zones if passes(zone, ac, wmark_pages(zone, flags), flags)), None)

    def _advance(self, request: _Request) -> None:
        """Go on with a slow path until it has to wait for reclaim or compaction, or is over."""
        assert request.asking is not None
        try:
            while True:
                request.ask = next(request.asking)
                if not isinstance(request.ask, WakeKswapd):
                    return
        except StopIteration as end:
            request.asking = request.ask = None
            if end.value is not None:
                request.pfn = end.value[0]
                end.value[1].boosted_watermark = False

    def _end_slow_path(self, request: _Request, failed: bool) -> None:
        """Answer what a slow path waits for with what the events told, until it is over.

        A request that fails and has not given a pageblock back has reclaimed nothing.
        """
        while request.asking is not None:
            match request.ask:
                case Compact():
                    if request.compacts or "isolblk" not in self.names or _may_compact(request):
                        request.ask.result = CompactResult.COMPLETE
                    request.compacts = False
                case Reclaim():
                    in_vain = failed and not request.unreserves and "unresv" in self.names
                    request.ask.freed, request.freed = 0 if in_vain else request.freed, 0
                case Unreserve():
                    if "unresv" in self.names:
                        request.ask.given, request.unreserved = request.unreserved, False
                    else:
                        zones, kind = request.ask.zones, request.ac.migratetype
                        request.ask.given = unreserve_highatomic_pageblock(zones, kind, request.ask.force)
                case DrainAllPages() if "drainzone" not in self.names:
                    self.system.drain_all_pages()
            self._advance(request)

    def unreserve(self, index: int, event: TraceEvent) -> None:
        """The request gives a pageblock back: by force, unless the CPUs' lists are drained next."""
        request = self._go_on(index, event, to_the_end=False)
        if request is None:
            return
        who, later = who_of(event), islice(self.events, index + 1, None)
        own = (e.name for e in later if who_of(e) == who and e.name in _AFTER_UNRESERVE)
        force = next(own, "") != "drainzone"
        zones = request.ask.zones if isinstance(request.ask, Compact | Reclaim | Unreserve) else request.ac.zones
        request.unreserves = True
        request.unreserved |= unreserve_highatomic_pageblock(zones, request.ac.migratetype, force)

    def _force(self, ac: AllocContext, pfn: int) -> bool:
        """Take the kernel's page to go on after a miss; whether it was free in the model.

        Where it stands a little way down the CPU's list, the pages before it went to somebody whom no event shows, most
        likely to __alloc_pages_bulk().
        """
        pcp = ac.zones[0].this_cpu if ac.zones and ac.pindex is not None else None
        if pcp is not None and ac.pindex is not None:
            unseen = list(islice(pcp.lists[ac.pindex], UNSEEN))
            if pfn in unseen:
                for before in unseen[: unseen.index(pfn)]:
                    self.system.take(before, ac.order)
        return self.system.take(pfn, ac.order)

    def bulk_begins(self, index: int, event: TraceEvent) -> None:
        self.bulks[event.pid] = _Bulk(event.number("gfp"), event.number("nid"), event.number("n"))

    def bulk_ends(self, index: int, event: TraceEvent) -> None:
        bulk = self.bulks.pop(event.pid, None)
        if bulk is not None and not bulk.done:
            self._bulk(bulk)
        self.in_refill.discard(who_of(event))

    def _bulk(self, bulk: _Bulk) -> None:
        bulk.done = True
        alloc_pages_bulk(self.system.context(bulk.gfp, 0, None if bulk.nid < 0 else bulk.nid), bulk.count)

    # Frees

    def free(self, index: int, event: TraceEvent) -> None:
        pfn, order = event.number("pfn"), event.number("order")
        self._zone(pfn).lru.remove(pfn, pfn + (1 << order))
        request = self.requests.get(who_of(event))
        if request is not None:
            request.freed += 1 << order
        if index in self.frees_end_later:
            self.waiting[pfn] = order
        else:
            self._shown_free(index, event, pfn, order)

    def free_batched(self, index: int, event: TraceEvent) -> None:
        pfn = event.number("pfn")
        if pfn in self.waiting:
            order = self.waiting.pop(pfn)
            self._shown_free(index, event, pfn, order)

    def free_past_lists(self, index: int, event: TraceEvent) -> None:
        pfn = event.number("pfn")
        if pfn in self.waiting:
            self._free(pfn, self.waiting.pop(pfn), pcp_busy=True)

    def _shown_free(self, index: int, event: TraceEvent, pfn: int, order: int) -> None:
        if self.kswapds.balances and order in self.system.layout.index:
            own = self.next_own[index]
            drains = own is not None and self.events[own].name in _DRAINS
            self.kswapds.shown_by_free(event, self._zone(pfn), order, drains=drains)
        self._with_lock(index, event, _DRAINS, lambda: self._free(pfn, order))

    def _free(self, pfn: int, order: int, *, pcp_busy: bool = False) -> None:
        if self.result.misses:
            # After a miss the model may hold pages for free that the kernel used.
            self.system.take(pfn, order)
        self.system.free_pages(pfn, order, pcp_busy=pcp_busy)

    # What happens beside

    def refresh(self, index: int, event: TraceEvent) -> None:
        pagesets = bool(event.number("do"))
        self._with_lock(index, event, _DRAINS, lambda: self.system.refresh_cpu_vm_stats(event.cpu, pagesets))

    def drain(self, index: int, event: TraceEvent) -> None:
        zone, cpu = self.addresses.zones.get(event.number("zone")), event.number("cpu")
        if zone is not None:
            self.compactions.drains(event)
            drained = zone
            self._with_lock(index, event, _DRAINS, lambda: drain_pages_zone(drained, cpu))

    def kswapd_begins(self, index: int, event: TraceEvent) -> None:
        self.kswapds.begins(event)

    def kswapd_ends(self, index: int, event: TraceEvent) -> None:
        self.kswapds.ends(event)

    def lru_insertion(self, index: int, event: TraceEvent) -> None:
        pfn = event.number("pfn")
        self._zone(pfn).lru.add(pfn, pfn + 1)

    def isolate(self, index: int, event: TraceEvent) -> None:
        self.compactions.isolate(index, event)

    def scan_block(self, index: int, event: TraceEvent) -> None:
        request = self.requests.get(who_of(event))
        if request is not None:
            request.compacts = True
        self.compactions.scan_block(index, event)

    def skip_block(self, index: int, event: TraceEvent) -> None:
        self.compactions.skip(index, event)

    def put_back(self, index: int, event: TraceEvent) -> None:
        pfn, order = self.addresses.pfn(event.number("page")), event.number("order")
        if pfn is not None:
            zone = self._zone(pfn)
            put_isolated_back(zone, pfn, order, zone.pageblocks.get(pfn))

    def _zone(self, pfn: int) -> Zone:
        """The zone of a page; ValueError where there is none."""
        try:
            return self.system.zone_of(pfn)
        except KeyError:
            raise ValueError(f"page {pfn:#x} is in no zone") from None

    def _gfp(self, text: str) -> int:
        mask = self.gfps.get(text)
        if mask is None:
            # As a number it may have bits that nobody uses: a kernel takes them.
            mask = self.gfps[text] = int(text, 16) if text.startswith("0x") else self.system.gfp.parse(text)
        return mask


def _may_compact(request: _Request) -> bool:
    """Is a zone worth compacting? Where none was compacted all the same it was put off, which is not refused."""
    ac = request.ac
    return any(compaction_suitable(zone, ac.order, ac.highest_zoneidx) for zone in ac.zones)


_AFTER_UNRESERVE = frozenset(("drainzone", "wkswapd", "unresv", "rqbulk", "mm_page_alloc_zone_locked", "mm_page_alloc"))
"""What may follow on giving a pageblock back."""
_TAKES = frozenset(("mm_page_alloc_zone_locked", "mm_page_alloc_extfrag"))
_DRAINS = frozenset(("mm_page_pcpu_drain",))
"""Events of somebody who has a zone's lock, to take blocks or to give them back."""
_HANDLERS = {
    "mm_page_alloc": _Run.alloc, "mm_page_free": _Run.free, "mm_page_free_batched": _Run.free_batched,
    "mm_page_alloc_zone_locked": _Run.zone_locked, "mm_page_alloc_extfrag": _Run.zone_locked, "rqbulk": _Run.refill,
    "mm_page_pcpu_drain": _Run.locked,
    "wkswapd": _Run.wakes_kswapd, "unresv": _Run.unreserve, "bulkin": _Run.bulk_begins, "bulkret": _Run.bulk_ends,
    "f1p": _Run.free_past_lists, "rcvs": _Run.refresh, "drainzone": _Run.drain, "balpg": _Run.kswapd_begins,
    "balpgr": _Run.kswapd_ends, "mm_lru_insertion": _Run.lru_insertion, "isof": _Run.isolate,
    "isolblk": _Run.scan_block, "setpfb": _Run.skip_block, "putb": _Run.put_back,
}  # fmt: skip
