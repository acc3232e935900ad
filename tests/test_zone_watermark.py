"""The watermark check and who gets which rights, era by era, in numbers worked out by hand from the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.build.fact import Version
from mmtool.build.gfp import gfp_flags
from mmtool.build.release import release_facts
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_CPUSET,
    ALLOC_HIGHATOMIC,
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    ALLOC_WMARK_MIN,
    Refusal,
    gfp_to_alloc_flags,
    zone_watermark_fast,
    zone_watermark_ok,
)

U, M, R, H, C, I = MigrateType  # noqa: E741
ATOMIC_RIGHTS = ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK
RELEASES: tuple[Version, ...] = ((2, 6, 32), (3, 13, 0), (4, 4, 0), (4, 15, 0), (5, 10, 0), (6, 1, 116), (7, 3, 0))


@dataclass
class ZoneLike:
    nr_free_pages: int
    nr_free_cma_pages: int = 0
    nr_free_highatomic: int = 0
    nr_reserved_highatomic: int = 0
    lowmem_reserve: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    blocks: dict[tuple[int, MigrateType], int] = field(default_factory=dict)

    @property
    def nr_free(self) -> list[int]:
        return [sum(n for (o, _), n in self.blocks.items() if o == order) for order in range(11)]

    def has_free(self, order: int, migratetype: MigrateType) -> bool:
        return self.blocks.get((order, migratetype), 0) > 0


def facts_of(*version: int):  # type: ignore[no-untyped-def]
    return release_facts((*version, 0, 0)[:3])


@pytest.mark.parametrize(
    ("version", "rights", "left"),
    [
        ((2, 6, 32), 0, 1001), ((2, 6, 32), ATOMIC_RIGHTS, 376), ((3, 13), ALLOC_NON_BLOCK, 751),
        ((5, 10), ALLOC_NON_BLOCK, 751), ((5, 10), ALLOC_MIN_RESERVE, 501), ((5, 10), ATOMIC_RIGHTS, 376),
        ((5, 10), ALLOC_OOM, 501), ((5, 10), ATOMIC_RIGHTS | ALLOC_OOM, 251),
        ((6, 1, 115), ALLOC_NON_BLOCK, 751), ((6, 1, 116), ALLOC_NON_BLOCK, 1001), ((6, 2), ALLOC_NON_BLOCK, 751),
        ((6, 12), ALLOC_NON_BLOCK, 1001), ((6, 12), ALLOC_MIN_RESERVE, 501), ((6, 12), ATOMIC_RIGHTS, 376),
        ((6, 12), ATOMIC_RIGHTS | ALLOC_OOM, 188),
    ],
)  # fmt: skip
def test_rights_take_their_share_of_the_mark(version: tuple[int, ...], rights: int, left: int) -> None:
    zone = ZoneLike(left + 40, lowmem_reserve=[0, 0, 40, 50])
    check = zone_watermark_ok(zone, 0, 1001, 2, rights, facts_of(*version))
    assert (check.min, check.lowmem_reserve, check.refusal, check.short) == (left, 40, Refusal.BELOW_MARK, 1)
    assert zone_watermark_ok(ZoneLike(left + 41, lowmem_reserve=[0, 0, 40]), 0, 1001, 2, rights, facts_of(*version)).ok


@pytest.mark.parametrize(
    ("version", "rights", "denied"),
    [
        ((3, 13), 0, (0, 30)), ((3, 6), 0, (0, 0)), ((4, 4), 0, (512, 30)), ((4, 4), ALLOC_NON_BLOCK, (0, 30)),
        ((6, 1, 100), ALLOC_MIN_RESERVE, (512, 30)), ((6, 1, 116), ALLOC_MIN_RESERVE, (0, 30)),
        ((6, 1, 176), 0, (512, 30)), ((6, 12), 0, (7, 30)), ((6, 12), ALLOC_CMA, (7, 0)),
        ((6, 12), ALLOC_HIGHATOMIC | ALLOC_CMA, (0, 0)),
    ],
)  # fmt: skip
def test_what_is_free_but_not_for_this_request(version: tuple[int, ...], rights: int, denied: tuple[int, int]) -> None:
    zone = ZoneLike(5000, 30, nr_free_highatomic=7, nr_reserved_highatomic=512, blocks={(4, U): 1})
    check = zone_watermark_ok(zone, 4, 100, 3, rights, facts_of(*version))
    assert (check.highatomic, check.cma) == denied
    assert check.usable == 5000 - 15 - sum(denied)


@pytest.mark.parametrize(
    ("version", "rights", "migratetype", "found"),
    [
        ((5, 10), 0, U, 5), ((5, 10), 0, M, 5), ((5, 10), 0, R, 5), ((5, 10), 0, H, None), ((5, 10), 0, C, None),
        ((5, 10), 0, I, None), ((5, 10), ALLOC_CMA, C, 5), ((5, 10), ALLOC_NON_BLOCK, H, 5),
        ((4, 4), ALLOC_NON_BLOCK, I, 5), ((4, 15), ALLOC_NON_BLOCK, I, None),
        ((6, 12), ALLOC_NON_BLOCK, H, None), ((6, 12), ALLOC_HIGHATOMIC, H, 5), ((6, 12), ALLOC_OOM, H, 5),
    ],
)  # fmt: skip
def test_a_block_must_be_of_a_type_that_may_be_taken(
    version: tuple[int, ...], rights: int, migratetype: MigrateType, found: int | None
) -> None:
    zone = ZoneLike(5000, blocks={(0, U): 4000, (3, U): 20, (5, migratetype): 1})
    check = zone_watermark_ok(zone, 4, 100, 3, rights, facts_of(*version))
    assert (check.block_order, check.refusal) == (found, None if found else Refusal.NO_BLOCK)


def test_the_marks_are_told_apart_by_the_numbers_of_mm_internal_h() -> None:
    assert (ALLOC_WMARK_MIN, ALLOC_WMARK_LOW, ALLOC_WMARK_HIGH, ALLOC_WMARK_MASK) == (0, 1, 2, 3)


def test_a_zone_keeps_nothing_from_requests_for_zones_that_it_does_not_know() -> None:
    zone = ZoneLike(101, lowmem_reserve=[0, 0, 40])
    assert [zone_watermark_ok(zone, 0, 100, i, 0, facts_of(6, 12)).lowmem_reserve for i in (2, 3, 4)] == [40, 0, 0]
    refused = zone_watermark_ok(zone, 0, 101, 3, 0, facts_of(6, 12))
    assert (refused.refusal, refused.free_above, refused.min_above) == (Refusal.BELOW_MARK, 0, 0)


def test_without_a_boost_nothing_is_tried_again() -> None:
    # half of 101 leaves 51, half of 100 leaves 50
    zone, facts = ZoneLike(51), facts_of(6, 12)
    assert not zone_watermark_fast(zone, 0, 101, 0, ALLOC_MIN_RESERVE, facts).ok
    assert zone_watermark_fast(zone, 0, 101, 0, ALLOC_MIN_RESERVE, facts, boost=1).ok
    assert not zone_watermark_fast(zone, 0, 101, 0, ALLOC_MIN_RESERVE | ALLOC_WMARK_LOW, facts, boost=1).ok


def test_before_4_4_every_order_takes_its_blocks_and_half_the_mark_away() -> None:
    zone = ZoneLike(1000, blocks={(0, U): 700, (1, U): 100, (2, U): 25})
    facts = facts_of(3, 13)
    # order 1: 999 > 200, then 299 > 100; order 2: 997 > 200, 297 > 100, 97 > 50; order 3 fails as 993-700-200-100 < 0
    assert zone_watermark_ok(zone, 1, 200, 0, 0, facts).block_order == 1
    assert zone_watermark_ok(zone, 2, 200, 0, 0, facts).block_order == 2
    check = zone_watermark_ok(zone, 3, 200, 0, 0, facts)
    assert (check.refusal, check.failed_order) == (Refusal.TOO_FEW_LARGE, 3)
    assert (check.free_above, check.min_above) == (-7, 25)
    assert zone_watermark_ok(zone, 2, 200, 0, 0, facts_of(4, 4)).ok
    # CMA pages are denied for the mark, and count for the blocks
    with_cma = ZoneLike(1000, 100, blocks={(0, U): 500, (9, C): 1})
    assert zone_watermark_ok(with_cma, 1, 200, 0, 0, facts).ok


@pytest.mark.parametrize(
    ("version", "gfp", "order", "rights"),
    [
        ((2, 6, 32), "GFP_KERNEL", 4, ALLOC_CPUSET | ALLOC_KSWAPD),
        ((2, 6, 32), "GFP_ATOMIC", 0, ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_KSWAPD),
        ((3, 13), "GFP_TRANSHUGE", 9, ALLOC_CPUSET | ALLOC_CMA),
        ((5, 10), "GFP_ATOMIC", 2, ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_KSWAPD),
        ((5, 10), "GFP_ATOMIC|__GFP_NOMEMALLOC", 2, ALLOC_MIN_RESERVE | ALLOC_KSWAPD),
        ((5, 10), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD),
        ((6, 12), "GFP_ATOMIC", 0, ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_KSWAPD),
        ((6, 12), "GFP_ATOMIC", 2, ALLOC_MIN_RESERVE | ALLOC_NON_BLOCK | ALLOC_KSWAPD | ALLOC_HIGHATOMIC),
        ((6, 12), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK | ALLOC_HIGHATOMIC),
        ((6, 12, 53), "GFP_NOWAIT", 1, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK | ALLOC_HIGHATOMIC),
        ((6, 12, 54), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        ((6, 1, 156), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK | ALLOC_HIGHATOMIC),
        ((6, 1, 157), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        ((6, 17), "GFP_NOWAIT", 0, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        ((6, 18), "GFP_NOWAIT", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_NON_BLOCK),
        ((6, 12), "GFP_KERNEL|__GFP_HIGH", 2, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_MIN_RESERVE),
        ((6, 12), "GFP_HIGHUSER_MOVABLE", 0, ALLOC_CPUSET | ALLOC_KSWAPD | ALLOC_CMA),
        ((6, 12), "GFP_NOFS|__GFP_MEMALLOC", 0, ALLOC_NO_WATERMARKS),
        ((6, 12), "GFP_NOFS|__GFP_MEMALLOC|__GFP_NOMEMALLOC", 0, ALLOC_CPUSET | ALLOC_KSWAPD),
    ],
)
def test_rights_of_a_mask(version: tuple[int, ...], gfp: str, order: int, rights: int) -> None:
    facts = facts_of(*version)
    flags = gfp_flags(facts)
    assert gfp_to_alloc_flags(flags.parse(gfp), flags, order, facts) == rights


def test_rights_of_the_task() -> None:
    for version, right in (((5, 10), ALLOC_NON_BLOCK), ((6, 12), ALLOC_MIN_RESERVE)):
        facts = facts_of(*version)
        flags = gfp_flags(facts)
        mask = flags.parse("GFP_KERNEL")
        assert gfp_to_alloc_flags(mask, flags, 0, facts, rt_task=True) & right
        assert gfp_to_alloc_flags(mask, flags, 0, facts, memalloc=True) == ALLOC_NO_WATERMARKS


@pytest.mark.parametrize(
    ("version", "gfp", "ok"),
    [((5, 8), "GFP_ATOMIC", False), ((5, 10), "GFP_ATOMIC", True), ((5, 10), "GFP_KERNEL|__GFP_HIGH", False),
     ((6, 12), "GFP_KERNEL|__GFP_HIGH", True), ((6, 12), "GFP_KERNEL", False)],
)  # fmt: skip
def test_a_boost_does_not_hold_up_who_may_use_reserves(version: tuple[int, ...], gfp: str, ok: bool) -> None:
    facts = facts_of(*version)
    flags = gfp_flags(facts)
    mask = flags.parse(gfp)
    zone = ZoneLike(300)
    rights = gfp_to_alloc_flags(mask, flags, 0, facts)
    check = zone_watermark_fast(zone, 0, 100 + 2000, 0, rights, facts, boost=2000, mask=mask, flags=flags)
    assert check.ok is ok
    low = rights | ALLOC_WMARK_LOW
    assert not zone_watermark_fast(zone, 0, 2100, 0, low, facts, boost=2000, mask=mask, flags=flags).ok


@given(
    st.sampled_from(RELEASES),
    st.integers(0, 10),
    st.integers(0, 4000),
    st.dictionaries(st.tuples(st.integers(0, 10), st.sampled_from(list(MigrateType))), st.integers(1, 9)),
    st.sampled_from([0, ALLOC_MIN_RESERVE, ATOMIC_RIGHTS, ATOMIC_RIGHTS | ALLOC_HIGHATOMIC | ALLOC_CMA]),
)
def test_rights_only_help_and_a_pass_leaves_the_mark(
    version: Version, order: int, mark: int, blocks: dict[tuple[int, MigrateType], int], rights: int
) -> None:
    facts = release_facts(version)
    free = sum(n << o for (o, _), n in blocks.items())
    zone = ZoneLike(free, blocks=blocks)
    check = zone_watermark_ok(zone, order, mark, 0, rights, facts)
    if zone_watermark_ok(zone, order, mark, 0, 0, facts).ok:
        assert check.ok
    if check.ok:
        assert free - (1 << order) >= check.min
        assert order == 0 or any(zone.nr_free[order:])
    assert (check.short > 0) == (check.refusal is Refusal.BELOW_MARK)


@pytest.mark.parametrize(("small", "refusal"), [(19, None), (20, Refusal.TOO_FEW_LARGE), (21, Refusal.TOO_FEW_LARGE)])
def test_before_4_4_as_much_as_half_of_the_mark_in_larger_blocks_is_too_little(
    small: int, refusal: Refusal | None
) -> None:
    """31 pages, of which a block of two wants one beside: 30 without the single ones are to be more than 10."""
    zone = ZoneLike(31, blocks={(0, U): small, (1, U): 4})
    check = zone_watermark_ok(zone, 1, 20, 0, 0, facts_of(3, 13))
    assert check.refusal == refusal
    assert refusal is None or (check.free_above, check.min_above) == (30 - small, 10)
