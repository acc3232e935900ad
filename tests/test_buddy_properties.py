"""The hand-over and the buddy algorithm against a page-by-page reference, on random memory."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.build.release import Release, release_facts
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock, MemblockRegion
from mmtool.linux.mm.mm_init import MovableWish, free_area_init
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.buddy import free_one_page, page_del_and_expand
from mmtool.linux.mm.page_alloc.free_area import FreeArea
from mmtool.linux.mm.page_alloc.handover import deferred_grow_zone, memblock_free_all, page_alloc_init_late
from mmtool.linux.mm.page_alloc.migratetype import MigrateType, PageblockTypes

TOP, BLOCK, SECTION = 4, 3, 32
"""Small orders, so that a few hundred pages hold every situation: 16-page blocks, 8-page pageblocks."""
PAGES = 400
UNIT = 1024
"""Regions begin and end at any kilobyte, so that pages are reserved in part."""
RELEASES = [
    release_facts(v) for v in ((5, 10, 0), (6, 1, 0), (6, 10, 0), (6, 11, 0), (6, 12, 0), (6, 13, 0), (7, 3, 0))
]
NOMAP, NOINIT = 0x4, 0x10

PROFILE = Profile("small", "x86_64", "6.1", {"SPARSEMEM": True}, {"struct_page": 64})

Region = MemblockRegion
Lists = dict[tuple[int, MigrateType], list[int]]


class SmallKernel(Kernel):
    """A kernel of small orders and sections."""

    max_page_order, pageblock_order, section_size_bits = TOP, BLOCK, (SECTION * 4096).bit_length() - 1


@dataclass
class NaiveZone:
    """A zone as a dict of plain lists of pfns, head first."""

    zone: Zone
    lists: Lists = field(default_factory=dict)
    managed: int = 0

    def on(self, order: int, kind: MigrateType) -> list[int]:
        return self.lists.setdefault((order, kind), [])

    def holder(self, pfn: int, order: int) -> MigrateType | None:
        return next((kind for kind in MigrateType if pfn in self.on(order, kind)), None)

    def content(self) -> Lists:
        return {key: blocks for key, blocks in self.lists.items() if blocks}


class Naive:
    """The kernel's way, a page at a time: its own memory map, its own types, nothing shared with the model but
    zone spans and facts."""

    def __init__(self, memory: list[Region], pgdats: dict[int, Pgdat], facts: Release, deferred: bool) -> None:
        self.facts, self.pgdats, self.memory = facts, pgdats, memory
        self.types: dict[int, MigrateType] = {}
        self.zone_of: dict[int, NaiveZone] = {}
        self.nid_of: dict[int, int] = {}
        self.first_deferred: dict[int, int] = {}
        self.zones = {id(z): NaiveZone(z) for p in pgdats.values() for z in p.zones}
        self.memmap_init(memory, deferred)

    def memmap_init(self, memory: list[Region], deferred: bool) -> None:
        prev_end, count = None, 0
        for region in memory:
            start, end = -(-region.base // 4096), (region.base + region.size) // 4096
            if start >= end:
                continue
            for zone in self.pgdats[region.nid].zones:
                stopped = False
                for pfn in range(max(start, zone.zone_start_pfn), min(end, zone.zone_end_pfn)):
                    node = self.pgdats[zone.nid]
                    self.zone_of[pfn], self.nid_of[pfn] = self.zones[id(zone)], zone.nid
                    last = zone.zone_end_pfn == node.node_end_pfn
                    if stopped or not deferred:
                        pass
                    elif self.facts.defer_init_counts_every_zone and prev_end != zone.zone_end_pfn:
                        prev_end, count = zone.zone_end_pfn, 0
                    if deferred and last and not stopped:
                        if zone.nid in self.first_deferred:
                            stopped = True
                        else:
                            if prev_end != zone.zone_end_pfn:
                                prev_end, count = zone.zone_end_pfn, 0
                            count += 1
                            if count > SECTION and pfn % SECTION == 0:
                                self.first_deferred[zone.nid] = pfn
                                stopped = True
                    if not stopped and pfn % (1 << BLOCK) == 0:
                        self.types[pfn >> BLOCK] = MigrateType.MOVABLE

    def type_of(self, pfn: int) -> MigrateType:
        return self.types.get(pfn >> BLOCK, MigrateType.UNMOVABLE)

    def free_one_page(self, zone: NaiveZone, pfn: int, order: int, kind: MigrateType, to_tail: bool) -> None:
        while order < TOP:
            buddy = pfn ^ (1 << order)
            holder = zone.holder(buddy, order)
            if holder is None:
                break
            if order >= BLOCK and self.type_of(buddy) != kind:
                rare = MigrateType.HIGHATOMIC if self.facts.merge_needs_fallback_types else MigrateType.ISOLATE
                if self.type_of(buddy) >= rare or kind >= rare:
                    break
                if self.facts.merge_sets_buddy_type:
                    for block in range(buddy >> BLOCK, (buddy + (1 << order)) >> BLOCK):
                        self.types[block] = kind
            zone.on(order, holder).remove(buddy)
            pfn, order = min(pfn, buddy), order + 1
        if not to_tail and order < TOP - 1:
            parent = pfn >> (order + 1) << (order + 1)
            to_tail = zone.holder(parent ^ (1 << (order + 1)), order + 1) is not None
        if to_tail:
            zone.on(order, kind).append(pfn)
        else:
            zone.on(order, kind).insert(0, pfn)

    def free_core(self, zone: NaiveZone, pfn: int, order: int) -> None:
        zone.managed += 1 << order
        pieces = [(pfn, order)]
        if self.facts.free_splits_at_pageblocks and order > BLOCK:
            pieces = [(head, BLOCK) for head in range(pfn, pfn + (1 << order), 1 << BLOCK)]
        for head, piece in pieces:
            self.free_one_page(zone, head, piece, self.type_of(head), True)

    def memblock_free_all(self, ranges: list[tuple[int, int]], reserved: list[Region], limit: int | None) -> None:
        if limit is not None and not self.facts.memblock_free_all_gives_highmem:
            for start, end in ranges:
                for pfn in range(start, end):
                    zone = self.zone_of[pfn]
                    if zone.zone.zone_start_pfn >= limit:
                        zone.managed += 1
                        self.free_one_page(zone, pfn, 0, self.type_of(pfn), False)
        if self.facts.reserved_pageblocks_movable:
            for region in reserved + [r for r in self.memory if r.flags & NOMAP]:
                for pfn in range(region.base // 4096, -(-(region.base + region.size) // 4096)):
                    nid = self.nid_of.get(pfn)
                    late = nid is not None and pfn >= self.first_deferred.get(nid, PAGES * 2)
                    if late and pfn % (1 << BLOCK) == 0 and region.flags != NOINIT:
                        self.types[pfn >> BLOCK] = MigrateType.MOVABLE
        for start, end in ranges:
            if limit is not None and not self.facts.memblock_free_all_gives_highmem:
                end = min(end, limit)
            pfn = start
            while pfn < end:
                order = TOP
                while pfn % (1 << order) or pfn + (1 << order) > end:
                    order -= 1
                if pfn < self.first_deferred.get(self.nid_of[pfn], PAGES * 2):
                    self.free_core(self.zone_of[pfn], pfn, order)
                pfn += 1 << order

    def init_late(self, ranges: list[tuple[int, int]], stop: dict[int, int] | None = None) -> None:
        for start, end in ranges:
            for pfn in range(start, end):
                nid = self.nid_of[pfn]
                if nid in self.first_deferred and pfn >= self.first_deferred[nid] and (not stop or pfn < stop[nid]):
                    if pfn % (1 << BLOCK) == 0:
                        self.types[pfn >> BLOCK] = MigrateType.MOVABLE
                    self.free_core(self.zone_of[pfn], pfn, 0)


def naive_ranges(memory: list[Region], reserved: list[Region]) -> list[tuple[int, int]]:
    """Free ranges kilobyte by kilobyte."""
    taken = {unit for r in reserved for unit in range(r.base // UNIT, (r.base + r.size) // UNIT)}
    found = []
    for region in memory:
        if region.flags & NOMAP:
            continue
        units = [u for u in range(region.base // UNIT, (region.base + region.size) // UNIT) if u not in taken]
        while units:
            count = next((i for i in range(1, len(units)) if units[i] != units[0] + i), len(units))
            start, end = -(-units[0] * UNIT // 4096), (units[0] + count) * UNIT // 4096
            if start < end:
                found.append((start, end))
            units = units[count:]
    return found


@st.composite
def regions(draw: st.DrawFn, flags: list[int], nodes: int, most: int, fine: bool) -> list[Region]:
    step = 1 if fine else 4
    grain = draw(st.sampled_from([1, 1, 8, 16]))
    cuts = draw(st.lists(st.integers(0, PAGES // grain), min_size=2, max_size=most, unique=True))
    ends = sorted(c * grain * (4 // step) for c in cuts)
    if fine:
        ends = sorted({e + draw(st.integers(0, 3)) for e in ends})
    found = []
    for start, end in itertools.pairwise(ends):
        if draw(st.booleans()) or not found:
            nid = draw(st.integers(0, nodes - 1))
            found.append(
                Region(start * 4096 // 4 * step, (end - start) * 4096 // 4 * step, draw(st.sampled_from(flags)), nid)
            )
    return found


@dataclass
class Case:
    memory: list[Region]
    reserved: list[Region]
    facts: Release
    ends: tuple[tuple[str, int], ...]
    deferred: bool
    highmem: bool
    odd: dict[int, MigrateType]
    """Pageblocks (by number) that were given another type before the hand-over, so that a block may span two types."""

    def build(self) -> dict[int, Pgdat]:
        profile = PROFILE.nearest({"DEFERRED_STRUCT_PAGE_INIT": self.deferred})
        kernel = SmallKernel("small", self.facts, profile)
        mb = Memblock(self.facts, numa=True, page_size=4096, smp_cache_bytes=64)
        mb.memory.restore(self.memory)
        nids = {nid for _, _, nid in mb.for_each_mem_pfn_range()}
        pgdats = free_area_init(
            mb, kernel, (*self.ends, ("Movable", 0)), MovableWish(), KernelLog(), possible_nodes=nids, online_nodes=nids
        )
        for block, kind in self.odd.items():
            pgdats[min(pgdats)].zones[0].pageblocks.set(block << BLOCK, kind)
        return pgdats

    @property
    def limit(self) -> int | None:
        return self.ends[-2][1] if self.highmem else None

    def hand_over(self) -> dict[int, Pgdat]:
        pgdats = self.build()
        memblock_free_all(self.memory, self.reserved, pgdats, max_low_pfn=self.limit, highmem=self.highmem)
        return pgdats


@st.composite
def cases(draw: st.DrawFn, most_odd: int = 0) -> Case:
    memory = draw(regions([0, 0, 0, 0x1, NOMAP], draw(st.integers(1, 3)), 10, draw(st.booleans())))
    if not any(-(-r.base // 4096) < (r.base + r.size) // 4096 for r in memory):
        memory = [Region(0, PAGES * 4096, 0, 0)]
    reserved = draw(regions([0, 0, NOINIT], 1, 14, draw(st.booleans())))
    highmem = draw(st.booleans())
    low, high = sorted((draw(st.integers(0, PAGES)), draw(st.integers(0, PAGES))))
    ends = (
        (("DMA", low), ("Normal", high), ("HighMem", 2 * PAGES)) if highmem else (("DMA", low), ("Normal", 2 * PAGES))
    )
    others = st.sampled_from([MigrateType.RECLAIMABLE, MigrateType.CMA, MigrateType.ISOLATE])
    odd = draw(st.dictionaries(st.integers(0, PAGES >> BLOCK), others, max_size=most_odd))
    deferred = not highmem and draw(st.booleans())
    return Case(memory, reserved, draw(st.sampled_from(RELEASES)), ends, deferred, highmem, odd)


def content(zone: Zone) -> Lists:
    return {(o, t): list(zone.free_area.blocks(o, t)) for o, t in zone.free_area.lists()}


def compare(naive: Naive, pgdats: dict[int, Pgdat]) -> None:
    for pgdat in pgdats.values():
        for zone in pgdat.zones:
            reference = naive.zones[id(zone)]
            assert content(zone) == reference.content()
            assert zone.managed_pages == reference.managed
            assert zone.nr_free == [sum(len(reference.on(o, t)) for t in MigrateType) for o in range(TOP + 1)]
            counted = {t: sum(len(b) << o for (o, k), b in reference.content().items() if k == t) for t in MigrateType}
            assert zone.nr_free_pages == sum(counted.values()) - counted[MigrateType.ISOLATE]
            # Where CMA merges with other types, pages change lists and the counter does not see it: so in the kernel.
            if naive.facts.merge_needs_fallback_types:
                assert zone.nr_free_cma_pages == counted[MigrateType.CMA]
    pageblocks = next(iter(pgdats.values())).zones[0].pageblocks
    for pfn in naive.zone_of:
        assert pageblocks.get(pfn) == naive.type_of(pfn)


@settings(max_examples=125, deadline=None)
@given(cases(most_odd=6))
def test_hand_over_equals_the_page_by_page_reference(case: Case) -> None:
    pgdats = case.build()
    naive = Naive(case.memory, pgdats, case.facts, case.deferred)
    naive.types |= case.odd
    assert {
        n: p.first_deferred_pfn for n, p in pgdats.items() if p.first_deferred_pfn is not None
    } == naive.first_deferred

    ranges = naive_ranges(case.memory, case.reserved)
    memblock_free_all(case.memory, case.reserved, pgdats, max_low_pfn=case.limit, highmem=case.highmem)
    naive.memblock_free_all(ranges, case.reserved, case.limit)
    compare(naive, pgdats)

    page_alloc_init_late(case.memory, case.reserved, pgdats)
    naive.init_late(ranges)
    compare(naive, pgdats)


@settings(max_examples=50, deadline=None)
@given(cases(most_odd=3), st.integers(0, TOP))
def test_growing_a_deferred_zone_leads_to_the_same_lists(case: Case, order: int) -> None:
    grown, late = case.hand_over(), case.hand_over()
    page_alloc_init_late(case.memory, case.reserved, late)
    for nid, pgdat in grown.items():
        while pgdat.first_deferred_pfn is not None:
            zone, start = pgdat.populated_zones()[-1], pgdat.first_deferred_pfn
            free = zone.nr_free_pages
            again = deferred_grow_zone(case.memory, case.reserved, grown, zone, order, pages_per_section=SECTION)
            assert again or zone.nr_free_pages == free
            assert pgdat.first_deferred_pfn is None or pgdat.first_deferred_pfn > start
        assert [content(z) for z in pgdat.zones] == [content(z) for z in late[nid].zones]


@settings(max_examples=75, deadline=None)
@given(cases())
def test_no_page_is_lost_or_free_twice_and_merging_is_maximal(case: Case) -> None:
    pgdats = case.hand_over()
    page_alloc_init_late(case.memory, case.reserved, pgdats)
    seen: set[int] = set()
    for zone in (zone for pgdat in pgdats.values() for zone in pgdat.zones):
        blocks = {(pfn, order) for (order, _), pfns in content(zone).items() for pfn in pfns}
        for pfn, order in blocks:
            assert pfn % (1 << order) == 0
            assert order == TOP or (pfn ^ (1 << order), order) not in blocks
            pages = set(range(pfn, pfn + (1 << order)))
            assert not pages & seen
            seen |= pages
    limit = case.limit
    wanted = {pfn for start, end in naive_ranges(case.memory, case.reserved) for pfn in range(start, end)}
    if limit is not None and not case.facts.memblock_free_all_gives_highmem:
        high = {z.zone_start_pfn for p in pgdats.values() for z in p.zones if z.populated and z.zone_start_pfn >= limit}
        wanted = {pfn for pfn in wanted if pfn < limit or high}
    assert seen == wanted


def allocate(zone: Zone, order: int, rng: random.Random) -> tuple[int, MigrateType] | None:
    """Take a block from the head, tail or middle of some list that has one."""
    choices = [(o, t) for o, t in zone.free_area.lists() if o >= order]
    if not choices:
        return None
    high, kind = rng.choice(choices)
    pfn = rng.choice(list(zone.free_area.blocks(high, kind)))
    page_del_and_expand(zone, pfn, order, high, kind)
    return pfn, kind


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 2**32))
def test_allocating_and_freeing_equals_the_reference(case: Case, seed: int) -> None:
    rng = random.Random(seed)
    pgdats = case.hand_over()
    naive = Naive(case.memory, pgdats, case.facts, case.deferred)
    zones = [zone for pgdat in pgdats.values() for zone in pgdat.populated_zones()]
    held: list[tuple[Zone, int, int]] = []
    pageblocks = zones[0].pageblocks
    for zone in zones:
        naive.zones[id(zone)].lists = content(zone)
        naive.zones[id(zone)].managed = zone.managed_pages
    naive.types = {pfn >> BLOCK: pageblocks.get(pfn) for pfn in range(2 * PAGES)}
    for _ in range(60):
        zone = rng.choice(zones)
        reference = naive.zones[id(zone)]
        if held and rng.random() < 0.5:
            zone, pfn, order = held.pop(rng.randrange(len(held)))
            reference = naive.zones[id(zone)]
            managed = reference.managed
            to_tail = rng.random() < 0.3
            free_one_page(zone, pfn, order, to_tail)
            for head in range(pfn, pfn + (1 << order), 1 << (min(order, BLOCK) if split(case, order) else order)):
                piece = min(order, BLOCK) if split(case, order) else order
                naive.free_one_page(reference, head, piece, naive.type_of(head), to_tail)
            assert reference.managed == managed
        else:
            order = rng.randint(0, TOP)
            before = content(zone)
            taken = allocate(zone, order, rng)
            if taken is None:
                continue
            pfn, kind = taken
            high = next(o for (o, t), blocks in before.items() if pfn in blocks)
            reference.on(high, kind).remove(pfn)
            for o in range(high - 1, order - 1, -1):
                reference.on(o, kind).insert(0, pfn + (1 << o))
            held.append((zone, pfn, order))
        assert content(zone) == reference.content()
    for zone, pfn, order in held:
        free_one_page(zone, pfn, order)
    fresh = case.hand_over()
    for zone, new in zip(zones, [z for p in fresh.values() for z in p.populated_zones()], strict=True):
        assert zone.nr_free == new.nr_free
        assert blocks_of(zone) == blocks_of(new)


def split(case: Case, order: int) -> bool:
    return case.facts.free_splits_at_pageblocks and order > BLOCK


def blocks_of(zone: Zone) -> set[tuple[int, int]]:
    return {(order, pfn) for (order, _), pfns in content(zone).items() for pfn in pfns}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_free_area_is_a_list_of_blocks(seed: int, steps: int) -> None:
    """Every list operation on runs equals the same operation on a plain list of blocks."""
    rng, area = random.Random(seed), FreeArea(TOP)
    unused = set(range(0, 1 << 10, 1 << TOP))
    kinds = [MigrateType.UNMOVABLE, MigrateType.MOVABLE]
    order = TOP
    lists: dict[MigrateType, list[int]] = {kind: [] for kind in kinds}
    for _ in range(steps):
        kind = rng.choice(kinds)
        action = rng.choice(["run", "head", "tail", "del", "del", "move", "first"])
        free = sorted(unused)
        if action in ("run", "head", "tail") and free:
            start = rng.choice(free)
            count = next(i for i in range(1, 65) if start + (i << TOP) not in unused)
            if action == "run":
                count = rng.randint(1, count)
                area.add_run_to_tail(start, count, order, kind)
                blocks = [start + (i << TOP) for i in range(count)]
                lists[kind] += blocks
            else:
                blocks = [start]
                (area.add_to_free_list if action == "head" else area.add_to_free_list_tail)(start, order, kind)
                lists[kind].insert(0 if action == "head" else len(lists[kind]), start)
            unused -= set(blocks)
        elif action in ("del", "move") and lists[kind]:
            pfn = rng.choice(lists[kind])
            lists[kind].remove(pfn)
            if action == "move":
                other = rng.choice(kinds)
                assert area.move_to_free_list(pfn, order, other) is kind
                lists[other].append(pfn)
            else:
                assert area.del_page_from_free_list(pfn, order) is kind
                unused.add(pfn)
        for each in kinds:
            assert list(area.blocks(order, each)) == lists[each]
            assert area.first(order, each) == (lists[each][0] if lists[each] else None)
            assert area.last(order, each) == (lists[each][-1] if lists[each] else None)
            assert area.count(order, each) == len(lists[each])
        assert area.nr_free[order] == sum(map(len, lists.values()))
        for pfn in range(0, 1 << 10, 1 << TOP):
            assert area.is_free(pfn, order) == (pfn not in unused)
            assert area.find(pfn + 3) == ((pfn, order) if pfn not in unused else None)
            assert area.buddy_order(pfn) == (order if pfn not in unused else None)
            assert area.buddy_order(pfn + 4) is None


@settings(max_examples=75, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.sampled_from(list(MigrateType))), max_size=25))
def test_pageblock_types_equal_a_plain_map(changes: list[tuple[int, int, MigrateType]]) -> None:
    types = PageblockTypes(BLOCK)
    types.add_sections(32, 256)
    plain = dict.fromkeys(range(4, 32), MigrateType.UNMOVABLE)
    for start, end, kind in changes:
        types.set_heads(start, end, kind)
        plain |= {block: kind for block in range(40) if start <= block << BLOCK < end}
    for pfn in range(320):
        assert types.get(pfn) == plain.get(pfn >> BLOCK, MigrateType.UNMOVABLE)
    runs = types.runs()
    assert {(pfn >> BLOCK) + i: kind for pfn, count, kind in runs for i in range(count)} == plain
    for (pfn, count, kind), (behind, _, other) in itertools.pairwise(runs):
        assert pfn + (count << BLOCK) < behind or kind != other
