"""Taking blocks of another type: which type gives, a block or its whole pageblock, boosts, and what is kept for atomic
requests. Each test states a rule of mm/page_alloc.c."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.systems import RELEASES, kernel, machine

from mmtool.firmware.read import read_capture
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.buddy import __free_one_page, account_freepages
from mmtool.linux.mm.page_alloc.fallback import (
    boost_watermark,
    find_suitable_fallback,
    may_take_pageblock,
    reserve_highatomic_pageblock,
    unreserve_highatomic_pageblock,
)
from mmtool.linux.mm.page_alloc.free_area import FreeArea
from mmtool.linux.mm.page_alloc.get_page_from_freelist import rmqueue
from mmtool.linux.mm.page_alloc.lru import LruPages
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.rmqueue import rmqueue_buddy
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_HIGHATOMIC, ALLOC_KSWAPD, ALLOC_NOFRAGMENT
from mmtool.system.of_boot import state_of_boot

UNMOVABLE, MOVABLE, RECLAIMABLE, HIGHATOMIC = (
    MigrateType.UNMOVABLE,
    MigrateType.MOVABLE,
    MigrateType.RECLAIMABLE,
    MigrateType.HIGHATOMIC,
)
CAPTURE = Path(__file__).parent.parent / "fixtures" / "captures" / "x86-6.12-64g"
PAGEBLOCK = 512
each_release = pytest.mark.parametrize("release", RELEASES)
OLD, NEW = "6.1.176", "7.3.4"
"""Before blocks are claimed and after."""
both = pytest.mark.parametrize("release", (OLD, NEW))


def empty_zone(release: str, kinds: dict[int, MigrateType], *, blocks: int = 8) -> Zone:
    """A zone without a free page, its pageblocks Movable but for those of `kinds`, by number."""
    system = machine(release, blocks=blocks)
    zone = system.zone(0, "Normal")
    while (pfn := zone.free_area.first(10, MOVABLE)) is not None:
        zone.free_area.del_page_from_free_list(pfn, 10)
    zone.nr_free_pages, zone.this_cpu = 0, None
    for number, kind in kinds.items():
        zone.pageblocks.set(at(zone, number), kind)
    return zone


def at(zone: Zone, pageblock: int, page: int = 0) -> int:
    return zone.zone_start_pfn + pageblock * PAGEBLOCK + page


def put(zone: Zone, pageblock: int, page: int, order: int, kind: MigrateType | None = None) -> int:
    """A free block, on the list of its pageblock's type or another."""
    pfn = at(zone, pageblock, page)
    on = zone.pageblocks.get(pfn) if kind is None else kind
    zone.free_area.add_to_free_list(pfn, order, on)
    account_freepages(zone, 1 << order, on)
    return pfn


def types(zone: Zone) -> list[MigrateType]:
    return [zone.pageblocks.get(at(zone, n)) for n in range(zone.spanned_pages // PAGEBLOCK)]


def free_of(zone: Zone, kind: MigrateType) -> set[tuple[int, int]]:
    return {(pfn, order) for order in range(11) for pfn in zone.free_area.blocks(order, kind)}


def counts_are_those_of_the_lists(zone: Zone) -> bool:
    """Of all types, and since 6.10 of CMA and of what is kept for atomic requests."""
    pages = {kind: sum(1 << order for _, order in free_of(zone, kind)) for kind in MigrateType}
    if zone.nr_free_pages != sum(pages.values()):
        return False
    kept = (zone.nr_free_cma_pages, zone.nr_free_highatomic)
    return not zone.facts.free_pages_counted_by_lists or kept == (pages[MigrateType.CMA], pages[HIGHATOMIC])


@each_release
@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [(UNMOVABLE, RECLAIMABLE, MOVABLE), (MOVABLE, RECLAIMABLE, UNMOVABLE), (RECLAIMABLE, UNMOVABLE, MOVABLE)],
)
def test_whose_blocks_a_type_takes(release: str, kind: MigrateType, first: MigrateType, second: MigrateType) -> None:
    zone = empty_zone(release, {0: first, 1: second})
    assert find_suitable_fallback(zone, 2, kind) is None
    put(zone, 1, 0, 2)
    assert find_suitable_fallback(zone, 2, kind) == second
    put(zone, 0, 0, 2)
    assert find_suitable_fallback(zone, 2, kind) == first
    assert find_suitable_fallback(zone, 3, kind) is None


@each_release
def test_a_pageblock_is_taken_along_from_half_its_order_on(release: str) -> None:
    zone = empty_zone(release, {})
    assert [may_take_pageblock(zone, order, MOVABLE) for order in range(11)] == [False] * 4 + [True] * 7
    assert all(may_take_pageblock(zone, order, kind) for order in range(11) for kind in (UNMOVABLE, RECLAIMABLE))
    zone.mobility_grouping = False
    assert may_take_pageblock(zone, 0, MOVABLE)


@both
@pytest.mark.parametrize(("free", "claimed"), [(256, True), (255, False)])
def test_half_a_pageblock_that_is_free_is_claimed(release: str, free: int, claimed: bool) -> None:
    """Of a Reclaimable pageblock nothing is known to be like Unmovable pages but what is free."""
    zone = empty_zone(release, {0: RECLAIMABLE})
    for order in range(8):
        if free >> order & 1:
            put(zone, 0, 1 << order, order)
    if free == 256:
        put(zone, 0, 256, 8)
    assert zone.nr_free_pages == free
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, UNMOVABLE) is not None
    assert types(zone)[0] == (UNMOVABLE if claimed else RECLAIMABLE)


@both
@pytest.mark.parametrize(("movable", "claimed"), [(256, True), (255, True), (257, False)])
def test_of_a_movable_pageblock_what_cannot_be_moved_counts_as_alike(release: str, movable: int, claimed: bool) -> None:
    zone = empty_zone(release, {})
    put(zone, 0, 0, 3)
    zone.movable_known = True
    zone.lru = LruPages([(at(zone, 0, 8), at(zone, 0, 8 + movable))])
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, RECLAIMABLE) == at(zone, 0)
    assert types(zone)[0] == (RECLAIMABLE if claimed else MOVABLE)


@both
@pytest.mark.parametrize(("movable", "claimed"), [(240, True), (239, False)])
def test_of_a_pageblock_that_movable_pages_take_those_that_can_be_moved_are_alike(
    release: str, movable: int, claimed: bool
) -> None:
    zone = empty_zone(release, {0: UNMOVABLE})
    put(zone, 0, 0, 4)
    zone.movable_known = True
    zone.lru = LruPages([(at(zone, 0, 16), at(zone, 0, 16 + movable))])
    assert rmqueue_buddy(zone, 4, ALLOC_KSWAPD, MOVABLE) == at(zone, 0)
    assert types(zone)[0] == (MOVABLE if claimed else UNMOVABLE)


@each_release
def test_a_whole_pageblock_changes_sides_without_a_boost(release: str) -> None:
    zone = empty_zone(release, {})
    put(zone, 2, 0, 10)
    put(zone, 4, 0, 3)
    assert rmqueue_buddy(zone, 1, ALLOC_KSWAPD, UNMOVABLE) == at(zone, 2)
    assert [n for n, kind in enumerate(types(zone)) if kind == UNMOVABLE] == [2, 3]
    assert (zone.watermark_boost, zone.boosted_watermark) == (0, False)
    assert zone.nr_free_pages == 1024 + 8 - 2


@both
def test_a_small_movable_request_leaves_the_rest_alone(release: str) -> None:
    """Neither the largest block nor its pageblock: the smallest block that does."""
    zone = empty_zone(release, {0: UNMOVABLE, 1: UNMOVABLE})
    put(zone, 0, 0, 3)
    put(zone, 1, 0, 1)
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, MOVABLE) == at(zone, 1)
    assert types(zone)[:2] == [UNMOVABLE, UNMOVABLE]
    assert free_of(zone, UNMOVABLE) >= {(at(zone, 0), 3)}


def test_a_block_too_small_to_be_claimed_ends_the_search_for_one() -> None:
    """__rmqueue_claim() looks at smaller blocks no more, even where mobility says it could: the order only falls."""
    zone = empty_zone(NEW, {0: UNMOVABLE, 1: UNMOVABLE})
    put(zone, 0, 0, 3)
    put(zone, 1, 0, 2)
    rmqueue_buddy(zone, 2, ALLOC_KSWAPD, MOVABLE)
    assert (zone.watermark_boost, types(zone)[:2]) == (0, [UNMOVABLE, UNMOVABLE])


@both
def test_keeping_types_apart_takes_whole_pageblocks_only(release: str) -> None:
    zone = empty_zone(release, {})
    put(zone, 0, 0, 8)
    assert rmqueue_buddy(zone, 0, ALLOC_NOFRAGMENT, UNMOVABLE) is None
    put(zone, 1, 0, 9)
    assert rmqueue_buddy(zone, 0, ALLOC_NOFRAGMENT, UNMOVABLE) == at(zone, 1)
    assert types(zone)[:2] == [MOVABLE, UNMOVABLE]


@both
@pytest.mark.parametrize(("kind", "taker"), [(MOVABLE, UNMOVABLE), (RECLAIMABLE, MOVABLE)])
def test_where_nothing_tells_what_pages_are_for_their_pageblock_does(
    release: str, kind: MigrateType, taker: MigrateType
) -> None:
    """All in use of a Movable pageblock can be moved, of others nothing: neither is like who takes of it."""
    zone = empty_zone(release, {0: kind})
    for order in range(8):
        put(zone, 0, 1 << order, order)
    assert not zone.movable_known
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, taker) is not None
    assert types(zone)[0] == kind


@each_release
def test_all_that_is_free_of_a_claimed_pageblock_changes_its_list(release: str) -> None:
    """Blocks that lie side by side too."""
    zone = empty_zone(release, {15: RECLAIMABLE})
    for page, order in ((64, 6), (128, 7), (256, 8)):
        put(zone, 15, page, order)
    put(zone, 3, 0, 2)
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, UNMOVABLE) is not None
    assert types(zone)[15] == UNMOVABLE
    assert sum(1 << order for _, order in free_of(zone, UNMOVABLE)) == 447
    assert free_of(zone, RECLAIMABLE) == set()
    assert free_of(zone, MOVABLE) == {(at(zone, 3), 2)}
    assert counts_are_those_of_the_lists(zone)


@pytest.mark.parametrize(
    ("release", "claimed", "page", "left"),
    [(OLD, True, 256, (128, 7)), ("6.12.5", False, 256, (128, 7)), (NEW, False, 128, (256, 8))],
)
def test_a_pageblock_that_begins_outside_the_zone_is_not_claimed_from_6_10_on(
    release: str, claimed: bool, page: int, left: tuple[int, int]
) -> None:
    """Before, it is from the block on that is taken; later the block is cut, or the smallest that does."""
    zone = empty_zone(release, {0: RECLAIMABLE})
    put(zone, 0, 128, 7)
    taken = put(zone, 0, 256, 8) - 256 + page
    zone.zone_start_pfn += 8
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, UNMOVABLE) == taken
    zone.zone_start_pfn -= 8
    assert types(zone)[0] == (UNMOVABLE if claimed else RECLAIMABLE)
    assert (at(zone, 0, left[0]), left[1]) in free_of(zone, RECLAIMABLE)


@pytest.mark.parametrize("release", (OLD, "6.12.5", NEW))
def test_a_pageblock_that_ends_outside_the_zone_keeps_its_type(release: str) -> None:
    zone = empty_zone(release, {15: RECLAIMABLE})
    put(zone, 15, 0, 8)
    zone.spanned_pages -= 1
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, UNMOVABLE) is not None
    assert zone.pageblocks.get(at(zone, 15)) == RECLAIMABLE
    rest = free_of(zone, UNMOVABLE if release == OLD else RECLAIMABLE)
    assert sum(1 << order for _, order in rest) == 255


# Boosts


@each_release
@pytest.mark.parametrize(
    ("high", "factor", "boosts"),
    [
        (192, 15000, [512, 512]),
        (1000, 15000, [512, 1024, 1500, 1500]),
        (1000, 10000, [512, 1000, 1000]),
        (1000, 30000, [512, 1024, 1536, 2048, 2560, 3000, 3000]),
        (1000, 0, [0]),
        (0, 15000, [0]),
    ],
)
def test_boosts_grow_by_a_pageblock_up_to_their_part_of_high(
    release: str, high: int, factor: int, boosts: list[int]
) -> None:
    zone = empty_zone(release, {})
    zone.watermark, zone.watermark_boost_factor = replace(zone.watermark, high=high), factor
    seen = []
    for _ in boosts:
        assert boost_watermark(zone) == (boosts != [0])
        seen.append(zone.watermark_boost)
    assert seen == boosts


@each_release
@pytest.mark.parametrize(("managed", "boosted"), [(4 * PAGEBLOCK, True), (4 * PAGEBLOCK - 1, False)])
def test_zones_of_four_pageblocks_are_boosted(release: str, managed: int, boosted: bool) -> None:
    zone = empty_zone(release, {})
    zone.managed_pages = managed
    assert boost_watermark(zone) == boosted


@both
@pytest.mark.parametrize(("rights", "wakes"), [(ALLOC_KSWAPD, True), (0, False)])
def test_a_boost_wakes_kswapd_where_the_request_may(release: str, rights: int, wakes: bool) -> None:
    zone = empty_zone(release, {0: RECLAIMABLE})
    put(zone, 0, 0, 2)
    rmqueue_buddy(zone, 0, rights, UNMOVABLE)
    assert (zone.watermark_boost, zone.boosted_watermark) == (512, wakes)


@pytest.mark.parametrize(
    ("release", "saves", "factor"),
    [
        ("6.12.117", True, 0),
        ("6.12.117", False, 15000),
        ("6.12.116", True, 15000),
        ("6.1.176", True, 15000),
        ("7.3.4", True, 0),
        ("7.3.3", True, 15000),
    ],
)
def test_a_kernel_that_saves_a_crashed_one_is_not_boosted(release: str, saves: bool, factor: int) -> None:
    found = read_capture(str(CAPTURE))
    options = (found.cmdline or "") + (" elfcorehdr=0x1000000" if saves else "")
    booted = start_kernel(replace(found, cmdline=options), kernel(release))
    assert state_of_boot(booted).watermark_boost_factor == factor


# Merging pageblocks


@pytest.mark.parametrize(
    ("release", "types_after"),
    [
        ("6.8.0", [MOVABLE, RECLAIMABLE, RECLAIMABLE]),
        ("6.12.64", [MOVABLE, MOVABLE, RECLAIMABLE]),
        ("6.12.65", [MOVABLE, MOVABLE, MOVABLE]),
        ("7.3.4", [MOVABLE, MOVABLE, MOVABLE]),
    ],
)
def test_which_pageblocks_of_a_merged_buddy_change_their_type(release: str, types_after: list[MigrateType]) -> None:
    """On a build whose largest block has two orders more than a pageblock."""
    zone = empty_zone(release, {})
    zone.top_order = 11
    zone.free_area = FreeArea(11)
    start = -(-zone.zone_start_pfn // 2048) * 2048
    zone.pageblocks.set_heads(start + 1024, start + 2048, RECLAIMABLE)
    zone.free_area.add_to_free_list(start + 1024, 10, RECLAIMABLE)
    __free_one_page(zone, start, 10, MOVABLE)
    assert zone.free_area.first(11, MOVABLE) == start
    found = [zone.pageblocks.get(start + n * PAGEBLOCK) for n in (0, 2, 3)]
    assert found == types_after


# Who gets at what is kept for atomic requests, and when


@pytest.mark.parametrize(("release", "first"), [("6.12.117", False), ("7.2.13", False), ("7.3.4", True)])
def test_who_may_have_kept_blocks_at_the_first_attempt(release: str, first: bool) -> None:
    system = machine(release)
    context = system.context(system.gfp.parse("GFP_ATOMIC"), 2)
    assert bool(context.alloc_flags & ALLOC_HIGHATOMIC) == first
    assert not system.context(system.gfp.parse("GFP_ATOMIC"), 0).alloc_flags & ALLOC_HIGHATOMIC
    assert not system.context(system.gfp.parse("GFP_NOWAIT"), 2).alloc_flags & ALLOC_HIGHATOMIC


@pytest.mark.parametrize(("release", "refills"), [("6.12.117", True), ("7.2.13", False), ("7.3.4", False)])
def test_who_refills_an_empty_list_for_a_high_order_atomic_request(release: str, refills: bool) -> None:
    system = machine(release)
    zone = system.zone(0, "Normal")
    context = system.context(system.gfp.parse("GFP_ATOMIC"), 2, 0)
    assert context.pindex is not None and zone.this_cpu is not None
    assert rmqueue(zone, context, ALLOC_HIGHATOMIC) is not None
    assert bool(zone.this_cpu.lists[context.pindex]) == refills
    assert rmqueue(zone, context, ALLOC_KSWAPD) is not None
    assert zone.this_cpu.lists[context.pindex]


# What is kept for atomic requests


@pytest.mark.parametrize("release", ("5.10.0", "6.1.176", "6.8.0"))
def test_a_block_of_a_kept_pageblock_moves_alone(release: str) -> None:
    """Before lists and pageblocks were kept in step (6.10), a page drained late could be on another type's list."""
    zone = empty_zone(release, {0: HIGHATOMIC})
    for page in range(0, 512, 32):
        put(zone, 0, page, 5, UNMOVABLE)
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, RECLAIMABLE) is not None
    assert types(zone)[0] == HIGHATOMIC
    assert len([1 for _, order in free_of(zone, UNMOVABLE) if order == 5]) == 15
    assert zone.watermark_boost == 0


@each_release
def test_a_zone_keeps_its_last_pageblock_unless_it_is_forced(release: str) -> None:
    zone = empty_zone(release, {}, blocks=120)
    for number in (0, 1):
        put(zone, number, 0, 3)
        reserve_highatomic_pageblock(zone, at(zone, number), 3)
    assert zone.nr_reserved_highatomic == 2 * PAGEBLOCK
    assert unreserve_highatomic_pageblock([zone], UNMOVABLE, False)
    assert zone.nr_reserved_highatomic == PAGEBLOCK
    assert not unreserve_highatomic_pageblock([zone], UNMOVABLE, False)
    assert zone.nr_reserved_highatomic == PAGEBLOCK
    assert unreserve_highatomic_pageblock([zone], UNMOVABLE, True)
    assert zone.nr_reserved_highatomic == 0
    assert types(zone)[:3] == [UNMOVABLE, UNMOVABLE, MOVABLE]


@each_release
def test_what_is_kept_is_counted_while_it_is_kept(release: str) -> None:
    zone = empty_zone(release, {0: HIGHATOMIC}, blocks=120)
    zone.nr_reserved_highatomic = PAGEBLOCK
    put(zone, 0, 0, 3)
    put(zone, 0, 8, 0)
    put(zone, 1, 0, 4)
    put(zone, 1, 16, 4)
    reserve_highatomic_pageblock(zone, at(zone, 1), 2)
    assert zone.nr_reserved_highatomic == 2 * PAGEBLOCK
    assert free_of(zone, HIGHATOMIC) == {(at(zone, 0), 3), (at(zone, 0, 8), 0), (at(zone, 1), 4), (at(zone, 1, 16), 4)}
    assert counts_are_those_of_the_lists(zone) or not zone.facts.free_pages_counted_by_lists
    assert unreserve_highatomic_pageblock([zone], RECLAIMABLE, False)
    assert free_of(zone, RECLAIMABLE) == {(at(zone, 0), 3), (at(zone, 0, 8), 0)}
    assert counts_are_those_of_the_lists(zone) or not zone.facts.free_pages_counted_by_lists


@each_release
def test_a_kept_pageblock_is_given_back_for_a_single_free_page_and_not_for_none(release: str) -> None:
    """In a zone that has enough; one that keeps its last is passed over."""
    first, second = (empty_zone(release, {0: HIGHATOMIC, 1: HIGHATOMIC}, blocks=120) for _ in range(2))
    first.nr_reserved_highatomic, second.nr_reserved_highatomic = PAGEBLOCK, 2 * PAGEBLOCK
    put(first, 0, 5, 0)
    assert not unreserve_highatomic_pageblock([second], MOVABLE, True)
    assert (second.nr_reserved_highatomic, types(second)[:2]) == (2 * PAGEBLOCK, [HIGHATOMIC, HIGHATOMIC])
    put(second, 1, 5, 0)
    assert unreserve_highatomic_pageblock([first, second], MOVABLE, False)
    assert (types(first)[:2], types(second)[:2]) == ([HIGHATOMIC, HIGHATOMIC], [HIGHATOMIC, MOVABLE])
    assert (first.nr_reserved_highatomic, second.nr_reserved_highatomic) == (PAGEBLOCK, PAGEBLOCK)


@each_release
@pytest.mark.parametrize("managed", (51199, 51200, 51300, 102400))
def test_a_hundredth_of_the_zone_is_kept_in_whole_pageblocks(release: str, managed: int) -> None:
    """Less than one pageblock is none, since that is exact; before, a pageblock more than the hundredth began."""
    zone = empty_zone(release, {}, blocks=120)
    zone.managed_pages = managed
    for number in range(8):
        reserve_highatomic_pageblock(zone, at(zone, number), 2)
    exact = {51199: 0, 51200: 1, 51300: 2, 102400: 2}
    before = {51199: 2, 51200: 2, 51300: 3, 102400: 3}
    expected = exact if zone.facts.highatomic_share_is_exact else before
    assert zone.nr_reserved_highatomic == expected[managed] * PAGEBLOCK


@pytest.mark.parametrize("release", (OLD, "6.12.117", NEW))
def test_a_pageblock_that_ends_outside_the_zone_is_kept_only_before_6_10(release: str) -> None:
    """And there it is none that brings a page when it is given back."""
    zone = empty_zone(release, {}, blocks=60)
    last = zone.spanned_pages // PAGEBLOCK - 1
    put(zone, last, 0, 3)
    zone.spanned_pages -= 1
    reserve_highatomic_pageblock(zone, at(zone, last), 3)
    assert zone.nr_reserved_highatomic == (PAGEBLOCK if release == OLD else 0)
    if release == OLD:
        zone.free_area.move_to_free_list(at(zone, last), 3, HIGHATOMIC)
        assert not unreserve_highatomic_pageblock([zone], MOVABLE, True)


@each_release
def test_only_pageblocks_that_merge_with_others_are_kept(release: str) -> None:
    zone = empty_zone(release, {0: MigrateType.CMA, 1: MigrateType.ISOLATE, 2: RECLAIMABLE}, blocks=120)
    for number in range(3):
        reserve_highatomic_pageblock(zone, at(zone, number), 2)
    assert types(zone)[:3] == [MigrateType.CMA, MigrateType.ISOLATE, HIGHATOMIC]
    assert zone.nr_reserved_highatomic == PAGEBLOCK


@pytest.mark.parametrize("release", ("6.12.117", NEW))
def test_a_block_of_several_pageblocks_is_kept_and_given_back_as_a_whole(release: str) -> None:
    zone = empty_zone(release, {}, blocks=600)
    for number in (0, 2):
        reserve_highatomic_pageblock(zone, at(zone, number), 10)
    assert types(zone)[:5] == [HIGHATOMIC] * 4 + [MOVABLE]
    assert zone.nr_reserved_highatomic == 4 * PAGEBLOCK
    put(zone, 2, 0, 10)
    assert unreserve_highatomic_pageblock([zone], UNMOVABLE, False)
    assert counts_are_those_of_the_lists(zone)
    assert zone.nr_reserved_highatomic == 2 * PAGEBLOCK
    assert types(zone)[:5] == [HIGHATOMIC] * 2 + [UNMOVABLE] * 2 + [MOVABLE]


@each_release
@pytest.mark.parametrize("order", (9, 10))
def test_a_pageblock_that_is_free_as_a_whole_is_taken_without_a_boost(release: str, order: int) -> None:
    zone = empty_zone(release, {0: MOVABLE, 1: MOVABLE}, blocks=120)
    put(zone, 0, 0, order)
    assert rmqueue_buddy(zone, 0, ALLOC_KSWAPD, UNMOVABLE) is not None
    assert types(zone)[0] == UNMOVABLE
    assert zone.watermark_boost == 0
