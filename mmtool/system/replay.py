"""Doing a recorded series of allocations and frees again, and comparing page by page.

The events say what was asked for and which pages came back; the model says which pages should have. Probes beside the
kmem events tell what no allocator can know: which CPU was interrupted at its lists, when counters were added up, when
another CPU's lists were drained. A page of an event is only ever compared, never used, except to go on after a miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from mmtool.build.gfp import GfpError
from mmtool.errors import InputError
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.isolate import isolate_free_page, putback_isolated_page
from mmtool.linux.mm.page_alloc.per_cpu_pages import drain_pages_zone
from mmtool.observed.ftrace import TraceEvent
from mmtool.system.system import System

UNSEEN = 64
"""How far down a list the kernel's page is looked for after a miss."""
NO_PAGE = (0, 2**64 - 1, 2**32 - 1)
"""The pfns that an event prints for an allocation that failed."""


@dataclass(frozen=True)
class Miss:
    """An allocation for which the model has another page (None: none) than the kernel."""

    line: int
    order: int
    kernel: int | None
    model: int | None


@dataclass
class Replay:
    """How far the model agreed. `forced`: how often the kernel's page was taken to go on after a miss."""

    allocations: int = 0
    exact: int = 0
    forced: int = 0
    misses: list[Miss] = field(default_factory=list)


@dataclass
class _Cpu:
    """What the last events on one CPU were about."""

    in_refill: bool = False
    """The events belong to a refill, which rqbulk began."""
    zone_locked: int = 0
    """Blocks taken off the buddy lists in a row just now."""
    direct: bool = False
    """The last of them was no part of a refill."""


@dataclass
class _Bulk:
    """A call of __alloc_pages_bulk() that has begun."""

    gfp: int
    nid: int
    count: int
    done: bool = False


@dataclass(frozen=True)
class Addresses:
    """What the addresses in a trace's probes mean: the zones, where struct pages begin, and how large one is."""

    zones: Mapping[int, Zone] = field(default_factory=dict)
    vmemmap: int | None = None
    struct_page: int = 64

    def pfn(self, page: int) -> int | None:
        """The page frame of a struct page; None where nothing tells."""
        return None if self.vmemmap is None else (page - self.vmemmap) // self.struct_page


def replay(system: System, events: Sequence[TraceEvent], addresses: Addresses, source: str) -> Replay:
    """Do what `events` tell on `system`, which is left in the state at their end.

    InputError for an event with impossible fields.
    """
    system.kswapd_at_once = False
    run = _Run(system, events, addresses)
    for index, event in enumerate(events):
        try:
            run.event(index, event)
        except (KeyError, ValueError, GfpError) as e:
            raise InputError(source, event.line, f"{event.name}: {e}") from None
    return run.result


class _Run:
    def __init__(self, system: System, events: Sequence[TraceEvent], addresses: Addresses) -> None:
        self.system, self.addresses, self.result = system, addresses, Replay()
        self.cpus: dict[int, _Cpu] = {}
        self.bulks: dict[int, _Bulk] = {}
        self.gfps: dict[str, int] = {}
        self.refills_shown = any(event.name == "rqbulk" for event in events)
        self.later = _ends_of_frees(events)
        self.boosts: dict[int, list[tuple[Zone, int]]] = {}
        self.waiting: dict[int, int] = {}
        """Pages that were shown as freed and are not yet, with their orders."""

    def event(self, index: int, event: TraceEvent) -> None:
        cpu = self.cpus.setdefault(event.cpu, _Cpu())
        handle = _HANDLERS.get(event.name)
        if handle is None:
            return
        self.system.cpu = event.cpu
        handle(self, index, event, cpu)

    # Allocations

    def alloc(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        order, gfp = event.number("order"), self._gfp(event.fields["gfp_flags"])
        kernel: int | None = event.number("pfn")
        if kernel in NO_PAGE:
            kernel = None
        direct = cpu.direct if self.refills_shown else cpu.zone_locked == 1
        cpu.in_refill, cpu.zone_locked, cpu.direct = False, 0, False
        bulk = self.bulks.get(event.pid)
        if bulk is not None and not event.irq and bulk.gfp == gfp and order == 0:
            bulk.done = True
        model = self.system.alloc_pfn(gfp, order, pcp_busy=direct)
        self.result.allocations += 1
        if model == kernel:
            self.result.exact += 1
            return
        self.result.misses.append(Miss(event.line, order, kernel, model))
        if model is not None:
            self.system.put_back(model, order)
        if kernel is not None and self._force(gfp, kernel, order):
            self.result.forced += 1

    def _force(self, gfp: int, pfn: int, order: int) -> bool:
        """Take the kernel's page to go on after a miss; whether it was free in the model.

        Where it stands a little way down the CPU's list, the pages before it went to somebody whom no event shows, most
        likely to __alloc_pages_bulk().
        """
        ac = self.system.context(gfp, order)
        pcp = ac.zones[0].this_cpu if ac.zones and ac.pindex is not None else None
        if pcp is not None and ac.pindex is not None:
            unseen = list(islice(pcp.lists[ac.pindex], UNSEEN))
            if pfn in unseen:
                for before in unseen[: unseen.index(pfn)]:
                    self.system.take(before, order)
        return self.system.take(pfn, order)

    def bulk_begins(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        self.bulks[event.pid] = _Bulk(event.number("gfp"), event.number("nid"), event.number("n"))

    def bulk_ends(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        bulk = self.bulks.pop(event.pid, None)
        if bulk is not None and not bulk.done:
            self.system.alloc_pages_bulk(bulk.gfp, bulk.nid, bulk.count)

    def refill(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        cpu.in_refill, cpu.zone_locked = True, 0
        bulk = self.bulks.get(event.pid)
        if bulk is not None and not bulk.done and not event.irq:
            bulk.done = True
            self.system.alloc_pages_bulk(bulk.gfp, bulk.nid, bulk.count)

    def zone_locked(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        cpu.zone_locked += 1
        cpu.direct = not cpu.in_refill

    # Frees

    def free(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        cpu.in_refill, cpu.zone_locked, cpu.direct = False, 0, False
        pfn, order = event.number("pfn"), event.number("order")
        self.system.zone_of(pfn).lru.remove(pfn, pfn + (1 << order))
        if index in self.later:
            self.waiting[pfn] = order
        else:
            self._free(pfn, order)

    def free_batched(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        cpu.in_refill, cpu.zone_locked, cpu.direct = False, 0, False
        pfn = event.number("pfn")
        if pfn in self.waiting:
            self._free(pfn, self.waiting.pop(pfn))

    def free_one_page(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        cpu.in_refill, cpu.zone_locked, cpu.direct = False, 0, False
        pfn = event.number("pfn")
        if pfn in self.waiting:
            self._free(pfn, self.waiting.pop(pfn), pcp_busy=True)

    def _free(self, pfn: int, order: int, *, pcp_busy: bool = False) -> None:
        if self.result.misses:
            # After a miss the model may hold pages for free that the kernel used.
            self.system.take(pfn, order)
        self.system.free_pages(pfn, order, pcp_busy=pcp_busy)

    # What happens beside

    def refresh(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        self.system.refresh_cpu_vm_stats(event.cpu, bool(event.number("do")))

    def drain(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        zone = self.addresses.zones.get(event.number("zone"))
        if zone is not None:
            drain_pages_zone(zone, event.number("cpu"))

    def kswapd_begins(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        """kswapd notes the boosts that it works off; what it frees are events of their own."""
        self.boosts[event.pid] = [(zone, zone.watermark_boost) for zone in self.system.zones()]
        for zone in self.system.zones():
            zone.reclaim_active = True

    def kswapd_ends(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        for zone, boost in self.boosts.pop(event.pid, ()):
            zone.watermark_boost -= min(zone.watermark_boost, boost)
            zone.reclaim_active = False

    def lru_insertion(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        pfn = event.number("pfn")
        self.system.zone_of(pfn).lru.add(pfn, pfn + 1)

    def isolate(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        pfn, order = self.addresses.pfn(event.number("page")), event.number("order")
        if pfn is not None and self.system.zone_of(pfn).free_area.is_free(pfn, order):
            isolate_free_page(self.system.zone_of(pfn), pfn, order)

    def put_back(self, index: int, event: TraceEvent, cpu: _Cpu) -> None:
        pfn, order = self.addresses.pfn(event.number("page")), event.number("order")
        if pfn is not None:
            zone = self.system.zone_of(pfn)
            putback_isolated_page(zone, pfn, order, zone.pageblocks.get(pfn))

    def _gfp(self, text: str) -> int:
        mask = self.gfps.get(text)
        if mask is None:
            mask = self.gfps[text] = self.system.gfp.parse(text)
        return mask


_HANDLERS = {
    "mm_page_alloc": _Run.alloc, "mm_page_free": _Run.free, "mm_page_free_batched": _Run.free_batched,
    "mm_page_alloc_zone_locked": _Run.zone_locked, "rqbulk": _Run.refill,
    "bulkin": _Run.bulk_begins, "bulkret": _Run.bulk_ends, "f1p": _Run.free_one_page, "rcvs": _Run.refresh,
    "drainzone": _Run.drain, "balpg": _Run.kswapd_begins, "balpgr": _Run.kswapd_ends,
    "mm_lru_insertion": _Run.lru_insertion, "isof": _Run.isolate, "putb": _Run.put_back,
}  # fmt: skip


def _ends_of_frees(events: Sequence[TraceEvent]) -> set[int]:
    """The indices of mm_page_free events that only announce: the page is freed when it is named again.

    A list of pages is shown whole before the first is freed; each is named once more when its turn comes
    (mm_page_free_batched), or when it goes past the per-CPU lists (the probe on free_one_page()).
    """
    announced: set[int] = set()
    upcoming: dict[str, bool] = {}
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        if event.name == "mm_page_free":
            pfn = event.fields["pfn"]
            if upcoming.get(pfn):
                announced.add(index)
            upcoming[pfn] = False
        elif event.name in ("mm_page_free_batched", "f1p"):
            upcoming[event.fields["pfn"]] = True
        elif event.name == "mm_page_alloc":
            upcoming[event.fields["pfn"]] = False
    return announced
