"""Reclaim on a node by the lengths of its lists: what is scanned, where, and when kswapd stops; and what stays open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from support.systems import RELEASES, free_pages, machine

from mmtool.build.fact import parse_series
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.cli.alloc import alloc
from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.lru import LruPages, SwapLeft
from mmtool.linux.mm.page_alloc.outcome import Estimate
from mmtool.linux.mm.vmscan.classic import get_scan_count as scan_count_of_cgroup
from mmtool.linux.mm.vmscan.node import (
    NodeReclaim,
    balance_pgdat,
    get_scan_count,
    pgdat_balanced,
    try_to_free_pages,
    wakeup_kswapd,
)
from mmtool.linux.mm.vmscan.scan_control import ScanControl
from mmtool.linux.mm.vmscan.zone import zone_reclaimable_pages
from mmtool.system.codec.state import state_document, state_from_document
from mmtool.system.restore import state_of, system_of
from mmtool.system.script import parse_script, run_script
from mmtool.system.system import System

NORMAL = 2
each_release = pytest.mark.parametrize("release", RELEASES)
SIZES = st.lists(st.integers(0, 1500), min_size=4, max_size=4)


def fill(zone: Zone, size: list[int], system: System) -> None:
    """Pages of those lists in the zone, taken from its free ones."""
    order = 10
    blocks = -(-sum(size) >> order) or 1
    pfns = [system.alloc_pfn(system.gfp.parse("GFP_HIGHUSER_MOVABLE"), order) for _ in range(blocks)]
    taken = [(pfn, pfn + (1 << order)) for pfn in pfns if pfn is not None]
    assert all(zone.spans(pfn) for pfn, _ in taken)
    zone.lru = LruPages(taken, size=size)
    zone.lru.swap = system.swap


def node_with(size: list[int], *, swap: int = 0, release: str = "6.12.117", low: list[int] | None = None) -> System:
    """A machine whose zone Normal, and if asked DMA32, has such lists."""
    system = machine(release, blocks=16)
    system.swap = SwapLeft(swap)
    for zone in system.zones():
        zone.lru.swap = system.swap
    fill(system.zone(0, "Normal"), size, system)
    if low is not None:
        zone = system.zone(0, "DMA32")
        pfn = system.alloc_pfn(system.gfp.parse("GFP_KERNEL|GFP_DMA32"), 10)
        assert pfn is not None and zone.spans(pfn)
        zone.lru = LruPages([(pfn, pfn + 1024)], size=low)
        zone.lru.swap = system.swap
    return system


def zones_of(node: Pgdat, upto: int = NORMAL) -> list[Zone]:
    return [zone for zone in node.populated_zones() if zone.zone_idx <= upto]


def use_up(system: System, left: int) -> None:
    """Allocate with access to reserves until so many pages are free; the lists stay as they are."""
    lists = {zone: zone.lru.size for zone in system.zones()}
    for zone in lists:
        zone.lru.size = [0, 0, 0, 0]
    mask = system.gfp.parse("GFP_KERNEL|__GFP_MEMALLOC|__GFP_NORETRY")
    for order in (8, 4, 0):
        most = left + (1 << order) - 1
        while sum(zone.nr_free_pages for zone in system.zones()) > most and system.alloc_pfn(mask, order) is not None:
            pass
    for zone, size in lists.items():
        zone.lru.size, zone.watermark_boost = size, 0
    for node in system.nodes.values():
        node.kswapd_failures = 0
    system.estimates.clear()


@settings(deadline=None, max_examples=60)
@given(
    SIZES, st.integers(0, 12), st.integers(0, 1), st.integers(0, 2000), st.integers(0, 2000), st.integers(0, 200),
)  # fmt: skip
def test_the_counts_are_those_of_the_model_of_a_cgroup(
    size: list[int], priority: int, swap: int, anon_cost: int, file_cost: int, swappiness: int
) -> None:
    node = node_with(size, swap=swap * 1000).nodes[0]
    version = parse_series("6.12")
    assert version is not None
    m = Memory(ReclaimFacts(version))
    m.swap.nr_swap_pages = swap
    m.lruvec.size[:4] = size
    for lru, n in enumerate(size):
        m.stats.mod(lru, n)
    m.stats.live, m.stats.state = m.stats.live, m.stats.live  # type: ignore[attr-defined]
    trim = size[2] >> priority > 0 and not size[2] < size[3]
    cgroup = ScanControl(32, swappiness, priority, anon_cost=anon_cost, file_cost=file_cost, cache_trim_mode=trim)
    sc = NodeReclaim(
        NORMAL, swappiness=swappiness, priority=priority, anon_cost=anon_cost, file_cost=file_cost
    )  # fmt: skip
    # Where memory is free, files are never too few; a cgroup's swappiness of 0 is stricter than a node's.
    if swappiness:
        assert get_scan_count(node, zones_of(node), sc) == scan_count_of_cgroup(m, cgroup)


def test_anonymous_pages_go_where_files_are_tiny() -> None:
    system = node_with([2000, 100, 40, 40], swap=1000)
    node = system.nodes[0]
    sc = NodeReclaim(NORMAL, priority=3)
    assert get_scan_count(node, zones_of(node), sc)[0] == 0
    use_up(system, 10)
    assert get_scan_count(node, zones_of(node), sc) == [250, 12, 0, 0]


@settings(deadline=None, max_examples=40)
@given(SIZES, st.lists(st.integers(0, 200), min_size=4, max_size=4), st.integers(0, 500), st.integers(1, NORMAL))
def test_direct_reclaim_takes_from_the_zones_that_are_wanted(
    size: list[int], low: list[int], swap: int, reclaim_idx: int
) -> None:
    system = node_with(size, swap=swap, low=low)
    normal, dma32 = system.zone(0, "Normal"), system.zone(0, "DMA32")
    before, lists = free_pages(system), [list(zone.lru.size) for zone in (normal, dma32)]
    zones = [zone for zone in (normal, dma32) if zone.zone_idx <= reclaim_idx]
    inactive = sum(zone.lru.size[2] for zone in zones)
    could = sum(zone_reclaimable_pages(zone) for zone in zones)
    freed = try_to_free_pages(system.nodes, zones, NodeReclaim(reclaim_idx))
    assert free_pages(system) == before + freed
    assert sum(lists[0]) + sum(lists[1]) == sum(normal.lru.size) + sum(dma32.lru.size) + freed
    assert freed <= could
    # The last priority scans all that is inactive; what it has made inactive has to wait for the next round.
    assert freed >= min(32, inactive)
    assert reclaim_idx == NORMAL or normal.lru.size == lists[0]
    assert system.swap.pages >= 0


@settings(deadline=None, max_examples=25)
@given(SIZES, st.integers(0, 500), st.booleans())
def test_what_frees_nothing_changes_no_length(size: list[int], swap: int, kswapd: bool) -> None:
    system = node_with(size, swap=swap)
    node, zone = system.nodes[0], system.zone(0, "Normal")
    use_up(system, 300)
    before = free_pages(system), sum(zone.lru.size), zone.lru.size[2] + zone.lru.size[3]
    if kswapd:
        assert not wakeup_kswapd(node, 0, NORMAL, frees=False)
        assert pgdat_balanced(node, 0, NORMAL) or node.kswapd_failures == 16
    else:
        assert not try_to_free_pages(system.nodes, zones_of(node), NodeReclaim(NORMAL, frees=False))
    assert (free_pages(system), sum(zone.lru.size), zone.lru.size[2] + zone.lru.size[3]) == before


@each_release
def test_kswapd_goes_on_until_the_node_is_balanced(release: str) -> None:
    system = node_with([0, 0, 3000, 0], release=release)
    node, zone = system.nodes[0], system.zone(0, "Normal")
    use_up(system, 200)
    assert not pgdat_balanced(node, 0, NORMAL)
    freed = wakeup_kswapd(node, 0, NORMAL)
    assert freed and pgdat_balanced(node, 0, NORMAL) and node.kswapd_failures == 0
    # It frees no more at a time than the zones' high watermarks together, and looks between.
    assert zone.lru.size[2] == 3000 - freed > 3000 - 3 * sum(z.watermark.high for z in node.populated_zones())
    assert wakeup_kswapd(node, 0, NORMAL) is None


def test_a_boost_is_worked_off_and_swaps_nothing_out() -> None:
    system = node_with([900, 0, 8192, 0], swap=1000)
    node, zone = system.nodes[0], system.zone(0, "Normal")
    zone.watermark_boost = 150
    freed = balance_pgdat(node, 0, NORMAL)
    assert zone.watermark_boost == 0 and 150 <= freed < 300
    assert zone.lru.size == [900, 0, 8192 - freed, 0]
    # Of a short list the first priority takes nothing, and a boost is not worth more.
    zone.watermark_boost, zone.lru.size[2] = 150, 4095
    assert balance_pgdat(node, 0, NORMAL) == 0
    assert zone.watermark_boost == 0 and node.kswapd_failures == 1


def test_nobody_wakes_a_kswapd_that_gave_up() -> None:
    system = node_with([100, 100, 0, 0])
    use_up(system, 100)
    assert wakeup_kswapd(system.nodes[0], 0, NORMAL) == 0
    assert wakeup_kswapd(system.nodes[0], 0, NORMAL) is None


def test_costly_blocks_leave_reclaim_to_compaction() -> None:
    system = node_with([0, 0, 1000, 0])
    node = system.nodes[0]
    assert try_to_free_pages(system.nodes, zones_of(node), NodeReclaim(NORMAL, order=4)) == 1
    assert system.zone(0, "Normal").lru.size == [0, 0, 1000, 0]


# What an answer says of itself


def ask(system: System, gfp: str, order: int = 0) -> set[Estimate]:
    return set(system.alloc_pages(system.gfp.parse(gfp), order).estimates)


def test_what_the_state_decides_is_no_estimate() -> None:
    system = node_with([0, 0, 1000, 0])
    assert ask(system, "GFP_KERNEL") == set()
    use_up(system, 0)
    assert Estimate.LISTS in ask(system, "GFP_KERNEL")
    empty = machine("6.12.117")
    use_up(empty, 0)
    assert ask(empty, "GFP_KERNEL|__GFP_NORETRY") == {Estimate.SLAB}
    empty.nodes[0].slab_reclaimable = 0
    assert ask(empty, "GFP_KERNEL|__GFP_NORETRY") == set()
    assert ask(empty, "GFP_NOWAIT") == set()


@each_release
def test_the_other_bound_is_what_there_is_without_reclaim(release: str) -> None:
    system = node_with([0, 0, 2000, 0], release=release)
    bare = system_of(state_of(system), system.kernel)
    for zone in bare.zones():
        zone.lru = LruPages(zone.lru.ranges(), size=(0, 0, 0, 0))
    script = parse_script(["alloc 0 GFP_KERNEL|__GFP_NORETRY count=max"], system, "-")
    estimated, sure = run_script(script, system)[0], run_script(script, bare)[0]
    assert Estimate.LISTS in estimated.estimates and Estimate.LISTS not in sure.estimates
    assert estimated.without_reclaim == sure.allocated and sure.without_reclaim is None
    assert estimated.allocated is not None and sure.allocated is not None
    assert sure.allocated < estimated.allocated <= sure.allocated + 2000 + 480


def test_lists_and_swap_are_part_of_a_state() -> None:
    system = node_with([10, 20, 30, 40], swap=50)
    system.nodes[0].slab_reclaimable = 60
    document = json.loads(json.dumps(state_document(state_of(system), system.kernel)))
    again = system_of(state_from_document(document), system.kernel)
    assert again.zone(0, "Normal").lru.size == [10, 20, 30, 40]
    assert (again.swap.pages, again.nodes[0].slab_reclaimable) == (50, 60)
    assert zone_reclaimable_pages(again.zone(0, "Normal")) == 100
    again.swap.pages = 0
    assert zone_reclaimable_pages(again.zone(0, "Normal")) == 70
    for node in document["nodes"]:
        del node["slab_reclaimable"]
        for zone in node["zones"]:
            zone.pop("lru", None)
    old = system_of(state_from_document(document | {"swap_free": 0}), system.kernel)
    assert old.zone(0, "Normal").lru.size == [0, 0, 70, 0]


def test_the_command_says_what_it_does_not_know(tmp_path: Path) -> None:
    system = node_with([0, 0, 2000, 0])
    state = tmp_path / "state.json"
    state.write_text(
        json.dumps({"schema": "mmtool.state/1", "state": state_document(state_of(system), system.kernel)})
    )  # fmt: skip
    runner = CliRunner()
    arguments = ["--state", str(state), "--order", "0", "--gfp", "GFP_KERNEL|__GFP_NORETRY"]
    assert "estimate" not in runner.invoke(alloc, arguments).output
    out = runner.invoke(alloc, [*arguments, "--count", "max"], catch_exceptions=False).output
    assert "An estimate; the state does not tell" in out and "if reclaim frees nothing" in out
    document = json.loads(runner.invoke(alloc, [*arguments, "--count", "max", "-o", "json"]).output)
    assert document["without_reclaim"] < document["allocated"]
    assert document["outcomes"][-1]["estimates"] and not document["outcomes"][0]["estimates"]
    script = ["--state", str(state), "--script", "-"]
    out = runner.invoke(alloc, script, input="alloc 0 0xcc0 count=10\n").output
    assert "if reclaim frees nothing" not in out and "estimate" not in out
    out = runner.invoke(alloc, script, input="alloc 0 GFP_KERNEL|__GFP_NORETRY count=max keep\nfree all\n").output
    assert "if reclaim frees nothing" in out
