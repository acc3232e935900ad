"""The slow path: which step ends a request, by its flags and order; what reclaim, compaction and reserves change."""

from __future__ import annotations

import pytest
from support.systems import RELEASES, free_pages, machine

from mmtool.linux.mm.page_alloc.fallback import reserve_highatomic_pageblock
from mmtool.linux.mm.page_alloc.lru import LruPages
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.outcome import Outcome
from mmtool.linux.mm.page_alloc.zone_watermark import ALLOC_NO_WATERMARKS
from mmtool.system.system import System

each_release = pytest.mark.parametrize("release", RELEASES)


def ask(system: System, gfp: str, order: int = 0) -> Outcome:
    return system.alloc_pages(system.gfp.parse(gfp), order)


def drain(system: System, gfp: str, order: int = 0) -> int:
    """Allocate until it fails; how many blocks."""
    mask, count = system.gfp.parse(gfp), 0
    while system.alloc_pfn(mask, order) is not None:
        count += 1
    return count


def ask_in_vain(system: System, gfp: str, order: int) -> Outcome:
    """What becomes of a request when memory is used up."""
    drain(system, "GFP_KERNEL|__GFP_MEMALLOC|__GFP_NORETRY")
    return ask(system, gfp, order)


def functions(outcome: Outcome) -> list[str]:
    return [step.function for step in outcome.path]


@pytest.mark.parametrize(
    ("gfp", "order", "reason"),
    [
        ("GFP_NOWAIT", 0, "may not reclaim"),
        ("GFP_ATOMIC", 3, "may not reclaim"),
        ("GFP_KERNEL|__GFP_NORETRY", 0, "__GFP_NORETRY"),
        ("GFP_KERNEL|__GFP_NORETRY", 9, "__GFP_NORETRY, and compaction did not help"),
        ("GFP_KERNEL", 4, "costly order without __GFP_RETRY_MAYFAIL"),
        ("GFP_KERNEL|__GFP_RETRY_MAYFAIL", 4, "the OOM killer may not be called for it"),
        ("GFP_KERNEL|__GFP_RETRY_MAYFAIL", 0, "the OOM killer may not be called for it"),
        ("GFP_KERNEL|__GFP_THISNODE", 0, "the OOM killer may not be called for it"),
        ("GFP_KERNEL|GFP_DMA32", 0, "the OOM killer may not be called for it"),
        ("GFP_KERNEL", 0, "the OOM killer is called"),
        ("GFP_KERNEL", 3, "the OOM killer is called"),
    ],
)
@each_release
def test_the_step_that_ends_a_request(release: str, gfp: str, order: int, reason: str) -> None:
    system = machine(release, blocks=2)
    if reason == "__GFP_NORETRY, and compaction did not help" and system.facts.slowpath_tries_once_a_round:
        # Only who must stay on the node ends there.
        assert ask_in_vain(system, gfp, order).reason == "__GFP_NORETRY"
        gfp += "|__GFP_THISNODE"
    drain(system, "GFP_KERNEL|__GFP_MEMALLOC|__GFP_NORETRY")
    outcome = ask(system, gfp, order)
    assert (outcome.ok, outcome.reason) == (False, reason)
    assert functions(outcome)[0] == "__alloc_pages" and functions(outcome)[-1] == "warn_alloc"


@each_release
def test_rights_go_deeper_one_after_the_other(release: str) -> None:
    system = machine(release, blocks=16, min_pages=2000)
    levels = []
    for gfp in ("GFP_KERNEL|__GFP_NORETRY", "GFP_ATOMIC", "GFP_KERNEL|__GFP_MEMALLOC|__GFP_NORETRY"):
        drain(system, gfp)
        levels.append(sum(zone.nr_free_pages for zone in system.zones()))
        assert not ask(system, gfp).ok
    # A refill takes up to 480 pages once the mark was met.
    assert 2 * 2000 + 64 >= levels[0] > 2 * 2000 - 2 * 480
    assert 2 * 2000 * 5 // 8 >= levels[1] > 2 * 2000 * 3 // 8 - 2 * 480
    assert levels[2] <= 2 * 5


@each_release
def test_nofail_gets_what_nobody_else_may_have(release: str) -> None:
    system = machine(release)
    drain(system, "GFP_KERNEL|__GFP_NORETRY")
    outcome = ask(system, "GFP_KERNEL|__GFP_NOFAIL")
    assert outcome.ok
    assert outcome.path[-1].function == "out_of_memory"
    assert outcome.path[-1].alloc_flags & ALLOC_NO_WATERMARKS


@each_release
def test_pages_of_files_are_reclaimed(release: str) -> None:
    system = machine(release)
    zone = system.zone(0, "Normal")
    got = [system.alloc_pfn(system.gfp.parse("GFP_HIGHUSER_MOVABLE"), 9) for _ in range(8)]
    assert all(pfn is not None and zone.spans(pfn) for pfn in got)
    zone.lru = LruPages(((pfn, pfn + 512) for pfn in got if pfn is not None), reclaimable=1000)
    reclaimed = drain(system, "GFP_KERNEL|__GFP_NORETRY")
    assert zone.lru.reclaimable == 0
    other = machine(release)
    for _ in range(8):
        other.alloc_pfn(other.gfp.parse("GFP_HIGHUSER_MOVABLE"), 9)
    # What a CPU's list held back when it failed may differ by a refill.
    assert abs(reclaimed - drain(other, "GFP_KERNEL|__GFP_NORETRY") - 1000) <= 480


@each_release
def test_compaction_makes_a_block_of_movable_pages(release: str) -> None:
    system = machine(release, blocks=4)
    pages = [system.alloc_pfn(system.gfp.parse("GFP_HIGHUSER_MOVABLE|__GFP_MEMALLOC")) for _ in range(8 * 1024)]
    taken = [pfn for pfn in pages if pfn is not None]
    movable = {pfn for pfn in taken if pfn & 1}
    for pfn in taken:
        if pfn not in movable:
            system.free_pages(pfn)
    system.drain_all_pages()
    assert all(not any(zone.nr_free[1:]) for zone in system.zones())
    before = free_pages(system)
    failed = ask(system, "GFP_KERNEL|__GFP_RETRY_MAYFAIL", 4)
    assert (failed.ok, failed.reason) == (False, "the OOM killer may not be called for it")
    for zone in system.zones():
        zone.lru = LruPages((pfn, pfn + 1) for pfn in movable if zone.spans(pfn))
    outcome = ask(system, "GFP_KERNEL|__GFP_RETRY_MAYFAIL", 4)
    assert outcome.ok and outcome.path[-1].function == "__alloc_pages_direct_compact"
    compacted = next(step for step in outcome.path if step.detail.get("result") == "SUCCESS")
    assert compacted.detail["moved"] == 8
    assert free_pages(system) == before - 16
    assert sum(end - start for zone in system.zones() for start, end in zone.lru.ranges()) == len(movable)


@each_release
def test_blocks_kept_for_atomic_requests(release: str) -> None:
    system = machine(release, blocks=64)
    zone = system.zone(0, "Normal")
    drain(system, "GFP_KERNEL|__GFP_NORETRY|__GFP_THISNODE", 3)
    pfn = next(zone.free_area.blocks(3, MigrateType.UNMOVABLE), None)
    assert pfn is None or zone.spans(pfn)
    blocks = [b for b in (system.alloc_pfn(system.gfp.parse("GFP_ATOMIC"), 3) for _ in range(4)) if b is not None]
    assert blocks
    for nid_zone in system.zones():
        kept = nid_zone.nr_reserved_highatomic
        spans = nid_zone.pageblocks.spans(nid_zone.zone_start_pfn, nid_zone.zone_end_pfn)
        assert kept == sum(end - start for start, end, kind in spans if kind == MigrateType.HIGHATOMIC)
        assert kept <= nid_zone.managed_pages // 100 + 512


@each_release
def test_lists_that_are_left_alone_shrink_only_where_their_high_is_tuned(release: str) -> None:
    system = machine(release, blocks=32)
    zone = system.zone(0, "Normal")
    pages = [system.alloc_pfn(system.gfp.parse("GFP_KERNEL")) for _ in range(4000)]
    for pfn in pages:
        assert pfn is not None
        system.free_pages(pfn)
    pcp = zone.per_cpu_pageset[0]
    high, count = pcp.high, pcp.count
    for _ in range(100):
        system.refresh_cpu_vm_stats(0)
    if zone.facts.pcp_high_is_tuned:
        assert high > pcp.high_min == pcp.high >= pcp.count
    else:
        assert (pcp.high, pcp.count) == (high, count)


def test_at_most_a_hundredth_is_kept() -> None:
    for release, most in (("6.1.176", 2), ("6.12.117", 1)):
        system = machine(release, blocks=64)
        zone = system.zone(0, "Normal")
        for start in range(zone.zone_start_pfn, zone.zone_end_pfn, 512):
            reserve_highatomic_pageblock(zone, start, 3)
        assert zone.nr_reserved_highatomic == 512 * (zone.managed_pages // 100 // 512 + most)
    small = machine("6.12.117", blocks=6)
    reserve_highatomic_pageblock(small.zone(0, "Normal"), small.zone(0, "Normal").zone_start_pfn, 3)
    assert small.zone(0, "Normal").nr_reserved_highatomic == 0


@each_release
def test_a_node_whose_kswapd_is_at_work_comes_last(release: str) -> None:
    system = machine(release, nodes=2)
    mask = system.gfp.parse("GFP_KERNEL")
    first = system.alloc_pfn(mask)
    assert first is not None and system.zone_of(first).nid == 0
    skips = system.facts.skips_nodes_with_kswapd
    for awake, nid in (({0}, 1 if skips else 0), ({1}, 0), ({0, 1}, 0), (set(), 0)):
        for node in system.nodes.values():
            for zone in node.zones:
                zone.kswapd_awake = node.nid in awake
        outcome, pfn = system.alloc_pages(mask, 0), system.alloc_pfn(mask)
        assert outcome.pfn is not None and pfn is not None
        assert {system.zone_of(outcome.pfn).nid, system.zone_of(pfn).nid} == {nid}
