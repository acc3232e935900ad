"""What holds of every series of allocations and frees, on every release that the allocator differs for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import RELEASES, free_pages, machine

from mmtool.linux.mm.page_alloc.outcome import ZoneResult
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_NO_WATERMARKS
from mmtool.linux.mm.vmstat import mod_free_pages, take_free_pages, zone_page_state_snapshot
from mmtool.system.restore import state_of, system_of
from mmtool.system.system import System

GFPS = (
    "GFP_KERNEL|__GFP_NORETRY", "GFP_ATOMIC", "GFP_NOWAIT", "GFP_HIGHUSER_MOVABLE|__GFP_NORETRY",
    "GFP_KERNEL|__GFP_RECLAIMABLE|__GFP_NORETRY", "GFP_KERNEL|__GFP_MEMALLOC", "GFP_DMA32|__GFP_KSWAPD_RECLAIM",
    "GFP_KERNEL|__GFP_THISNODE",
)  # fmt: skip


@dataclass(frozen=True)
class Op:
    """Allocate `count` blocks and keep them, or free every `step`th of the kept ones."""

    kind: str
    gfp: str = ""
    order: int = 0
    count: int = 1
    step: int = 1
    cpu: int = 0
    node: int | None = None


allocs = st.builds(
    Op, st.just("alloc"), st.sampled_from(GFPS), st.one_of(st.integers(0, 4), st.integers(0, 10)),
    st.one_of(st.integers(1, 40), st.just(2000)), cpu=st.integers(0, 1), node=st.sampled_from((None, 0, 1)),
)  # fmt: skip
frees = st.builds(Op, st.just("free"), step=st.integers(1, 3), cpu=st.integers(0, 1))
folds = st.builds(Op, st.just("fold"), cpu=st.integers(0, 1))
series = st.lists(st.one_of(allocs, frees, folds), min_size=1, max_size=12)


class Run:
    """A series on a machine, checked as it goes."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.kept: list[tuple[int, int]] = []
        self.pages: set[int] = set()

    def do(self, op: Op) -> None:
        self.system.cpu = op.cpu
        if op.kind == "fold":
            self.system.refresh_cpu_vm_stats(op.cpu)
        elif op.kind == "free":
            for pfn, order in self.kept[:: op.step]:
                self.system.free_pages(pfn, order)
                self.pages -= set(range(pfn, pfn + (1 << order)))
            self.kept = [block for i, block in enumerate(self.kept) if i % op.step]
        else:
            self.alloc(op)

    def alloc(self, op: Op) -> None:
        gfp = self.system.gfp.parse(op.gfp)
        for _ in range(op.count):
            pfn = self.system.alloc_pfn(gfp, op.order, op.node)
            if pfn is None:
                return
            block = set(range(pfn, pfn + (1 << op.order)))
            assert not pfn & ((1 << op.order) - 1)
            assert not block & self.pages, "handed out twice"
            self.pages |= block
            self.kept.append((pfn, op.order))


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series)
@settings(max_examples=15, deadline=None)
def test_no_page_is_lost_or_handed_out_twice(release: str, ops: list[Op]) -> None:
    system = machine(release, nodes=2, blocks=4)
    total = free_pages(system)
    run = Run(system)
    for op in ops:
        run.do(op)
        assert free_pages(system) + len(run.pages) == total
        for zone in system.zones():
            on_lists = sum(count << order for order, count in enumerate(zone.nr_free))
            assert zone_page_state_snapshot(zone) == on_lists


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series)
@settings(max_examples=10, deadline=None)
def test_after_freeing_all_the_free_blocks_are_those_of_the_start(release: str, ops: list[Op]) -> None:
    system = machine(release, nodes=2, blocks=4)
    before = [zone.nr_free[:] for zone in system.zones()]
    run = Run(system)
    for op in ops:
        run.do(op)
    run.do(Op("free"))
    system.drain_all_pages()
    for zone, counts in zip(system.zones(), before, strict=True):
        if zone.nr_reserved_highatomic:
            # Pageblocks of another kind do not merge with their neighbours.
            assert sum(n << o for o, n in enumerate(zone.nr_free)) == sum(n << o for o, n in enumerate(counts))
        else:
            assert zone.nr_free == counts


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series, gfp=st.sampled_from(GFPS), order=st.integers(0, 10))
@settings(max_examples=15, deadline=None)
def test_no_watermark_is_crossed_without_the_right(release: str, ops: list[Op], gfp: str, order: int) -> None:
    system = machine(release, nodes=2, blocks=4)
    run = Run(system)
    for op in ops:
        run.do(op)
    outcome = system.alloc_pages(system.gfp.parse(gfp), order)
    for step in outcome.path:
        for tried in step.zones:
            if tried.result is ZoneResult.TAKEN and not step.alloc_flags & ALLOC_NO_WATERMARKS:
                assert tried.check is not None and tried.check.ok
                assert tried.check.usable > tried.check.min + tried.check.lowmem_reserve
            if tried.result is ZoneResult.BELOW_WATERMARK:
                assert tried.check is not None and not tried.check.ok
    if outcome.ok:
        assert outcome.path[-1].zones[-1].zone is outcome.zone
        assert outcome.path[-1].zones[-1].result is ZoneResult.TAKEN
    else:
        assert outcome.reason


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series, more=series)
@settings(max_examples=10, deadline=None)
def test_a_state_kept_and_made_again_goes_on_the_same_way(release: str, ops: list[Op], more: list[Op]) -> None:
    system = machine(release, nodes=2, blocks=4)
    run = Run(system)
    for op in ops:
        run.do(op)
    system.cpu = 0
    again = Run(system_of(state_of(system), system.kernel))
    assert state_of(again.system) == state_of(system)
    again.kept, again.pages = run.kept[:], set(run.pages)
    for op in more:
        run.do(op)
        again.do(op)
        assert again.kept == run.kept
    assert state_of(again.system) == state_of(system)


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series, gfp=st.sampled_from(GFPS), order=st.integers(0, 5), count=st.integers(1, 50))
@settings(max_examples=10, deadline=None)
def test_with_and_without_a_record_pages_are_the_same(
    release: str, ops: list[Op], gfp: str, order: int, count: int
) -> None:
    plain, recorded = (Run(machine(release, blocks=4)) for _ in range(2))
    for op in ops:
        if op.node != 1:
            plain.do(op)
            recorded.do(op)
    mask = plain.system.gfp.parse(gfp)
    for _ in range(count):
        assert plain.system.alloc_pfn(mask, order) == recorded.system.alloc_pages(mask, order).pfn
    assert state_of(plain.system) == state_of(recorded.system)


@pytest.mark.parametrize("release", RELEASES)
@given(ops=series, gfps=st.lists(st.sampled_from(GFPS), min_size=1, max_size=4), count=st.integers(1, 80))
@settings(max_examples=10, deadline=None)
def test_the_short_way_comes_to_what_the_long_way_does(
    release: str, ops: list[Op], gfps: list[str], count: int
) -> None:
    short, long = (machine(release, blocks=4) for _ in range(2))
    for system in (short, long):
        run = Run(system)
        for op in ops:
            if op.node != 1:
                run.do(op)
    kept: list[int] = []
    for turn in range(count):
        # What is forgotten before each step cannot be used.
        long._quick_allocs.clear()
        long._quick_frees.clear()
        gfp = short.gfp.parse(gfps[turn % len(gfps)])
        if turn % 5 == 4:
            pages = short.alloc_pages_bulk(gfp, None, turn % 7)
            assert pages == long.alloc_pages_bulk(gfp, None, turn % 7)
            kept += pages
        pfn = short.alloc_pfn(gfp)
        assert pfn == long.alloc_pfn(gfp)
        kept += [] if pfn is None else [pfn]
        if turn % 3 == 2:
            long._quick_frees.clear()
            half, kept = kept[::2], kept[1::2]
            short.free_pages_bulk(half)
            for page in half:
                long._quick_frees.clear()
                long.free_pages(page)
    assert state_of(short) == state_of(long)


@given(
    threshold=st.integers(0, 125), diff=st.integers(-125, 125), each=st.sampled_from((1, 2, 4, 8, 512)),
    times=st.integers(0, 600),
)  # fmt: skip
def test_counting_many_pages_at_once_is_counting_them_one_by_one(
    threshold: int, diff: int, each: int, times: int
) -> None:
    one, many = (next(machine("6.12.117").zones()) for _ in range(2))
    for zone in (one, many):
        assert zone.this_cpu is not None
        zone.this_cpu.stat_threshold = threshold
        zone.this_cpu.free_diff = max(-threshold, min(diff, threshold))
    for _ in range(times):
        mod_free_pages(one, -each)
    take_free_pages(many, each, times)
    assert one.this_cpu is not None and many.this_cpu is not None
    assert (one.nr_free_pages, one.this_cpu.free_diff) == (many.nr_free_pages, many.this_cpu.free_diff)
