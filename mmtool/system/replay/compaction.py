"""What a recorded compaction does to the free lists: blocks that it takes, and the order in which it leaves the rest.

The events tell which pageblocks it scans (isolblk) and which blocks it takes (isof). How it looked for them, and so
how it turned the lists, follows from where its scanners are; whether it looked at all, from the first block of a pass:
proactive compaction, which no order asks for, does not look, and begins with the lowest free block of a pageblock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from mmtool.late import dataclass
from mmtool.linux.mm.compaction_search import (
    Block,
    CompactControl,
    fast_find_migrateblock,
    fast_isolate_freepages,
    isolate_migratepages_block,
    quick_look,
)
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.isolate import __isolate_free_page as take_isolated
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.observed.ftrace import TraceEvent
from mmtool.system.system import System

PB_MIGRATE_SKIP = 8
"""The bit of a pageblock's flags that compaction is to skip it."""
AHEAD = 5000
"""How many events the first block of a pass is looked for."""


@dataclass(frozen=True)
class Addresses:
    """What the addresses in a trace's probes mean: the zones, where struct pages begin, and how large one is."""

    zones: Mapping[int, Zone]
    vmemmap: int | None = None
    struct_page: int = 64

    def pfn(self, page: int) -> int | None:
        """The page frame of a struct page; None where nothing tells."""
        return None if self.vmemmap is None else (page - self.vmemmap) // self.struct_page


@dataclass(frozen=True)
class _Series:
    """Blocks that are taken one after the other: of which pageblock, and whether by walking through it."""

    pageblock: int
    walks: bool


class Compactions:
    """The compactions that run in a replay, by task."""

    def __init__(self, system: System, addresses: Addresses, events: Sequence[TraceEvent]) -> None:
        self.system, self.addresses, self.events = system, addresses, events
        self.passes: dict[int, CompactControl] = {}
        self.series: dict[int, _Series] = {}
        """Whose last event was a block that was taken: the next one may go with it."""
        self.shows_skips = any(event.name == "setpfb" for event in events)
        self.found: set[int] = set()
        """Who has found a pageblock to clear on the free lists."""

    def other_event(self, event: TraceEvent) -> None:
        """A task does something else: the next block that it takes is looked for anew."""
        self.series.pop(event.pid, None)

    def scan_block(self, index: int, event: TraceEvent) -> None:
        """isolate_migratepages_block() begins at `low`."""
        low = event.number("low")
        zone = self.system.zone_of(low)
        cc = self.passes.get(event.pid)
        begins_again = cc is not None and low < cc.pageblock_start(cc.migrate_pfn - 1) and event.pid not in self.found
        if cc is None or cc.zone is not zone or begins_again:
            cc = self.passes[event.pid] = self._new_pass(index, event, zone, low, cc)
        if cc.order > 0 and event.pid not in self.found:
            fast_find_migrateblock(cc, None if self.shows_skips else low)
        self.found.discard(event.pid)
        isolate_migratepages_block(cc, low)
        # What is being moved is on no list, until it is freed or put back.
        zone.lru.remove(low, cc.migrate_pfn)

    def _new_pass(
        self, index: int, event: TraceEvent, zone: Zone, low: int, before: CompactControl | None
    ) -> CompactControl:
        last = (zone.zone_end_pfn - 1) >> zone.pageblock_order << zone.pageblock_order
        order = zone.pageblock_order
        cc = CompactControl(zone, order, low, last, order)
        if before is not None and zone.zone_idx > before.zone.zone_idx:
            # The same work goes on in the next zone.
            cc.search_order, cc.fast_search_fail, cc.order = before.search_order, before.fast_search_fail, before.order
        first = next((e for e in islice(self.events, index, index + AHEAD) if _takes(e, event.pid)), None)
        if first is not None and (pfn := self.addresses.pfn(first.number("page"))) is not None and zone.spans(pfn):
            ahead = CompactControl(zone, order, low, last, cc.search_order)
            isolate_migratepages_block(ahead, low)
            look = quick_look(ahead)
            if look is not None and look[0] != pfn and cc.is_lowest(pfn):
                cc.order = -1
        return cc

    def drains(self, event: TraceEvent) -> None:
        """A task drains lists: its CPU's (lru_add_drain_cpu_zone()), before it goes on, or all, since its pass is over.

        The last look of a pass is for a pageblock between the scanners, where none is left to be cleared.
        """
        cc = self.passes.get(event.pid)
        if cc is None:
            return
        if event.depth:
            cc.last_migrated_pfn = None
            return
        del self.passes[event.pid]
        if cc.order > 0 and cc.migrate_pfn + (1 << cc.zone.pageblock_order) <= cc.free_pfn:
            fast_find_migrateblock(cc, None)

    def skip(self, index: int, event: TraceEvent) -> None:
        """A pageblock's flags are set: with interrupts off, of one to be cleared, which the free lists named."""
        cc = self.passes.get(event.pid)
        if cc is None or event.number("flags") != PB_MIGRATE_SKIP or not event.masked:
            return
        pfn = event.number("pfn")
        order = cc.zone.free_area.buddy_order(pfn)
        if order is not None and cc.zone.free_area.migratetype(pfn, order) == MigrateType.MOVABLE:
            cc.zone.free_area.move_list_tail(pfn, order)
            cc.fast_search_fail = 0
            self.found.add(event.pid)

    def isolate(self, index: int, event: TraceEvent) -> None:
        """__isolate_free_page(): a block is taken; the first of a pageblock may come from a look at the lists."""
        pfn, order = self.addresses.pfn(event.number("page")), event.number("order")
        if pfn is None:
            return
        zone = self.system.zone_of(pfn)
        if not zone.free_area.is_free(pfn, order):
            return
        pageblock, series = pfn >> zone.pageblock_order, self.series.get(event.pid)
        if series is None or series.pageblock != pageblock:
            walks = series is not None and series.walks
            if zone.free_area.migratetype(pfn, order) == MigrateType.MOVABLE:
                walks = self._look(self.passes.get(event.pid), zone, (pfn, order), walks)
            self.series[event.pid] = _Series(pageblock, walks)
        take_isolated(zone, pfn, order)

    @staticmethod
    def _look(cc: CompactControl | None, zone: Zone, block: Block, walks: bool) -> bool:
        """Turn the list where a block was found on it; whether it comes from a walk through pageblocks instead.

        A walk (`walks`) goes on into the next pageblock without another look.
        """
        if cc is None or cc.zone is not zone:
            zone.free_area.move_list_head(*block)
            return False
        lowest = cc.is_lowest(block[0])
        if cc.order <= 0 or (walks and lowest):
            return True
        if fast_isolate_freepages(cc, block):
            return lowest and cc.fast_search_fail > 0
        if not lowest:
            zone.free_area.move_list_head(*block)
            cc.search_order = block[1]
        return lowest


def _takes(event: TraceEvent, pid: int) -> bool:
    return event.name == "isof" and event.pid == pid
