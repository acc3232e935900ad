"""min_free_kbytes, watermarks, lowmem_reserve, per-CPU limits: as real kernels had them, and what always holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtool.build.fact import Version, parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.build.release import Release, release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.linux.mm.khugepaged import hugepage_enabled, hugepage_init, recommended_min_free_kbytes
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.migratetype import PageblockTypes
from mmtool.linux.mm.page_alloc.pageset_limits import (
    pcp_high_at_init,
    pcp_high_may_be,
    setup_per_cpu_pageset,
    zone_batchsize,
    zone_pcp_update,
)
from mmtool.linux.mm.page_alloc.setup_per_zone_wmarks import (
    MAX_FREE_KBYTES,
    MIN_FREE_KBYTES,
    adjust_managed_page_count,
    calculate_min_free_kbytes,
    calculate_totalreserve_pages,
    init_per_zone_wmark_min,
    nr_free_buffer_pages,
    setup_per_zone_wmarks,
)
from mmtool.linux.mm.page_alloc.tuning import Tuning

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "fixtures" / "watermarks" / "zoneinfo.jsonl").read_text().splitlines()
]
RELEASES: tuple[Version, ...] = ((4, 19, 0), (5, 10, 223), (6, 1, 176), (6, 6, 0), (6, 12, 117), (6, 18, 15), (7, 3, 4))
X86_ZONES = ("DMA", "DMA32", "Normal", "Movable", "Device")
MIB = 256
"""Pages of 4 KiB in a MiB."""


def facts_of(version: Version) -> Release:
    return release_facts(version)


def make_node(nid: int, managed: dict[str, int], facts: Release, names: tuple[str, ...] = X86_ZONES) -> Pgdat:
    """A node whose zones manage all that they hold."""
    pageblocks = PageblockTypes(9)
    zones = [
        Zone(name, nid, 0, managed.get(name, 0), managed.get(name, 0), facts, pageblocks, 10, i, managed.get(name, 0))
        for i, name in enumerate(names)
    ]
    return Pgdat(nid, 0, sum(managed.values()), zones)


def make_kernel(version: Version = (6, 1, 176), **config: bool) -> Kernel:
    options = {"TRANSPARENT_HUGEPAGE": True, "HUGETLB_PAGE": True, **config}
    return Kernel("test", release_facts(version), Profile("test", "x86_64", "test", options, {}))


class Boot:
    """The zones of a recorded boot, and its three moments."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        version = parse_version(case["release"])
        assert version is not None
        self.facts = release_facts(version)
        node_cpus = {int(nid): count for nid, count in case["node_cpus"].items()}
        self.tuning = Tuning(case["page_shift"], case["online_cpus"], node_cpus)
        pageblocks = PageblockTypes(case["pageblock_order"])
        self.nodes = [
            Pgdat(nid, 0, 0, [
                Zone(z["name"], nid, 0, z["present"], z["present"], self.facts, pageblocks, 10, i)
                for i, z in enumerate(z for z in case["zones"] if z["nid"] == nid)
            ])
            for nid in sorted({z["nid"] for z in case["zones"]})
        ]  # fmt: skip

    def zones(self) -> list[tuple[Zone, dict[str, Any]]]:
        return list(zip([z for node in self.nodes for z in node.zones], self.case["zones"], strict=True))

    def run(self) -> int:
        """From setup_per_cpu_pageset() to init; min_free_kbytes."""
        self._manage(0)
        setup_per_cpu_pageset(self.nodes, self.tuning)
        min_free = init_per_zone_wmark_min(self.nodes, self.tuning)
        self._manage(1)
        min_free = hugepage_init(self.nodes, min_free, make_kernel(self.facts.version), parse_cmdline(""), self.tuning)
        self._manage(2)
        return min_free

    def _manage(self, moment: int) -> None:
        for zone, record in self.zones():
            adjust_managed_page_count(self.nodes, zone, record["managed"][moment] - zone.managed_pages, self.tuning)


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["name"]))
def test_as_the_kernel_had_them(case: dict[str, Any]) -> None:
    boot = Boot(case)
    assert boot.run() == case["min_free_kbytes"]
    for zone, want in boot.zones():
        where = (zone.nid, zone.name)
        mark = zone.watermark
        assert (where, mark.min, mark.low, mark.high) == (where, want["min"], want["low"], want["high"])
        assert (where, zone.lowmem_reserve) == (where, tuple(want["protection"]))
        if "promo" in want:
            assert (where, mark.promo) == (where, want["promo"])
        if "pcp" in want:
            check_pageset(zone, want["pcp"])


def check_pageset(zone: Zone, want: dict[str, int]) -> None:
    limits = zone.pageset
    assert limits is not None
    assert limits.batch == want["batch"]
    if "high_min" in want:
        assert (limits.high_min, limits.high_max) == (want["high_min"], want["high_max"])
    if not zone.facts.pcp_high_is_tuned:
        assert pcp_high_at_init(zone) == want["high"]
    elif limits.batch == 1:
        assert pcp_high_at_init(zone) == 0


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["name"]))
def test_where_a_list_s_high_may_stand(case: dict[str, Any]) -> None:
    boot = Boot(case)
    boot.run()
    for zone, want in boot.zones():
        if "pcp" not in want or zone.pageset is None:
            continue
        assert pcp_high_may_be(zone, want["pcp"]["high"])
        low, most = 4 * zone.pageset.batch, zone.pageset.high_max
        allowed = {high for high in (0, 1, low - 1, low, most, most + 1) if pcp_high_may_be(zone, high)}
        if zone.facts.pcp_high_is_tuned:
            assert allowed == {0, low, most}
        else:
            assert allowed <= {pcp_high_at_init(zone)}


def test_fixture_has_every_release_and_kind_of_machine() -> None:
    names = " ".join(c["name"] for c in CASES)
    for part in ("5.10", "6.1-", "6.12", "6.18", "7.3", "arm64", "i386", "16k", "numa", "kernelcore", "hugepages"):
        assert part in names


@pytest.mark.parametrize(("mib", "kbytes"), [(16, 512), (64, 1024), (512, 2896), (1024, 4096), (16384, 16384)])
def test_min_free_kbytes_of_the_kernels_own_table(mib: int, kbytes: int) -> None:
    node = make_node(0, {"DMA32": mib * MIB}, facts_of((6, 1, 0)))
    assert calculate_min_free_kbytes([node], Tuning()) == kbytes


def test_min_free_kbytes_has_bounds() -> None:
    facts = facts_of((6, 1, 0))
    assert calculate_min_free_kbytes([make_node(0, {}, facts)], Tuning()) == MIN_FREE_KBYTES
    assert calculate_min_free_kbytes([make_node(0, {"Normal": 1 << 34}, facts)], Tuning()) == MAX_FREE_KBYTES


@pytest.mark.parametrize("version", RELEASES)
def test_one_page_and_no_low_memory(version: Version) -> None:
    facts = facts_of(version)
    one = make_node(0, {"DMA": 1}, facts)
    assert init_per_zone_wmark_min([one], Tuning()) == MIN_FREE_KBYTES
    assert one.zones[0].watermark.min == MIN_FREE_KBYTES >> 2
    assert one.totalreserve_pages == 1
    movable_only = make_node(0, {"Movable": 1000}, facts)
    init_per_zone_wmark_min([movable_only], Tuning())
    assert movable_only.zones[3].watermark.min == 32


@pytest.mark.parametrize(("version", "least"), [((6, 1, 0), 4096), ((6, 6, 0), 128)])
def test_movable_counts_as_low_memory_until_6_5(version: Version, least: int) -> None:
    node = make_node(0, {"Normal": 1 << 20, "Movable": 1 << 20}, facts_of(version))
    setup_per_zone_wmarks([node], 32768, Tuning())
    assert node.zones[3].watermark.min == least
    assert node.zones[2].watermark.min == (4096 if least == 4096 else 8192)


def test_highmem_and_movable_cut_from_it_keep_little() -> None:
    names = ("DMA", "Normal", "HighMem", "Movable")
    pages = {"DMA": 4096, "Normal": 200000, "HighMem": 50000, "Movable": 500000}
    node = make_node(0, pages, facts_of((6, 1, 0)), names)
    setup_per_zone_wmarks([node], 4096, Tuning())
    assert [z.watermark.min for z in node.zones[2:]] == [50000 // 1024, 128]
    # The distance of the marks is not capped: it goes by the zone's whole share.
    assert node.zones[3].watermark.low - 128 == (1024 * 500000 // 204096) >> 2


def test_watermark_scale_factor_sets_the_distance() -> None:
    node = make_node(0, {"Normal": 1_000_000}, facts_of((6, 1, 0)))
    setup_per_zone_wmarks([node], 4096, Tuning(watermark_scale_factor=100))
    mark = node.zones[2].watermark
    assert (mark.min, mark.low, mark.high, mark.promo) == (1024, 11024, 21024, 31024)


@pytest.mark.parametrize("version", RELEASES)
def test_lowmem_reserve_follows_only_where_the_kernel_does(version: Version) -> None:
    facts = facts_of(version)
    node = make_node(0, {"DMA": 4000, "Normal": 256000}, facts)
    init_per_zone_wmark_min([node], Tuning())
    assert node.zones[0].lowmem_reserve == (0, 0, 1000, 1000, 1000)
    adjust_managed_page_count([node], node.zones[2], 2560, Tuning())
    assert node.zones[0].lowmem_reserve[2] == (1010 if facts.lowmem_reserve_follows_managed else 1000)


def test_memory_without_cpus_is_split_between_all() -> None:
    facts = facts_of((6, 1, 0))
    nodes = [make_node(n, {"Normal": 1 << 20}, facts) for n in (0, 1)]
    tuning = Tuning(online_cpus=4, node_cpus={0: 4})
    setup_per_zone_wmarks(nodes, 65536, tuning)
    high = [n.zones[2].pageset.high_min for n in nodes if n.zones[2].pageset]
    assert high == [nodes[0].zones[2].watermark.low // 4] * 2


@pytest.mark.parametrize("version", RELEASES)
def test_huge_pages_raise_what_is_kept(version: Version) -> None:
    node = make_node(0, {"DMA": 3840, "DMA32": 500 * MIB}, facts_of(version))
    kernel, tuning = make_kernel(version), Tuning()
    first = init_per_zone_wmark_min([node], tuning)
    # 500 MiB and the DMA zone are over 512 MiB: 11 pageblocks a zone, which is less than 5% of low memory.
    assert hugepage_init([node], first, kernel, parse_cmdline(""), tuning) == recommended_after(node, tuning)
    assert node.zones[1].watermark.min > first // 8


def recommended_after(node: Pgdat, tuning: Tuning) -> int:
    fresh = make_node(0, {z.name: z.managed_pages for z in node.zones}, node.zones[0].facts)
    init_per_zone_wmark_min([fresh], tuning)
    return recommended_min_free_kbytes([fresh], tuning)


def test_huge_pages_change_nothing_on_small_machines_or_without_the_option() -> None:
    small = make_node(0, {"DMA32": 511 * MIB}, facts_of((6, 1, 0)))
    large = make_node(0, {"DMA32": 1024 * MIB}, facts_of((6, 1, 0)))
    tuning, none = Tuning(), parse_cmdline("")
    assert hugepage_init([small], 2000, make_kernel(), none, tuning) == 2000
    assert hugepage_init([large], 2000, make_kernel(TRANSPARENT_HUGEPAGE=False), none, tuning) == 2000
    assert large.zones[1].watermark.min == 0


def test_five_percent_bounds_huge_pages() -> None:
    node = make_node(0, {"DMA": 100, "DMA32": 520 * MIB, "Normal": 100}, facts_of((6, 1, 0)))
    assert recommended_min_free_kbytes([node], Tuning()) == nr_free_buffer_pages([node]) // 20 * 4


@pytest.mark.parametrize(("version", "again"), [((5, 10, 223), False), ((6, 1, 176), True)])
def test_never_works_it_out_again_from_5_16_on(version: Version, again: bool) -> None:
    node = make_node(0, {"Normal": 4096 * MIB}, facts_of(version))
    tuning = Tuning()
    first = init_per_zone_wmark_min([node], tuning)
    never = parse_cmdline("transparent_hugepage=never")
    second = hugepage_init([node], first, make_kernel(version), never, tuning)
    assert (second < first) == again


def test_which_options_turn_huge_pages_on() -> None:
    default_never = make_kernel(TRANSPARENT_HUGEPAGE_NEVER=True)
    assert hugepage_enabled(make_kernel(), parse_cmdline(""))
    assert hugepage_enabled(make_kernel(), parse_cmdline("transparent_hugepage=madvise"))
    assert not hugepage_enabled(make_kernel(), parse_cmdline("transparent_hugepage=never"))
    assert hugepage_enabled(make_kernel(), parse_cmdline("transparent_hugepage=never transparent_hugepage=always"))
    assert hugepage_enabled(make_kernel(), parse_cmdline("transparent_hugepage=perhaps"))
    assert not hugepage_enabled(default_never, parse_cmdline(""))
    assert hugepage_enabled(default_never, parse_cmdline("transparent_hugepage=always"))


def late_form_of_batch(managed: int, page_shift: int) -> int:
    """The batch as 7.3 works it out."""
    batch = min(managed >> 12, (256 << 10) >> page_shift)
    return 1 if batch <= 1 else (1 << ((batch + batch // 2).bit_length() - 1)) - 1


@given(st.integers(0, 1 << 24), st.sampled_from((12, 14)))
def test_both_forms_of_the_batch_come_to_the_same(managed: int, page_shift: int) -> None:
    assert max(1, zone_batchsize(managed, page_shift, facts_of((6, 1, 0)))) == late_form_of_batch(managed, page_shift)


def test_before_4_19_the_batch_is_half() -> None:
    assert zone_batchsize(1 << 20, 12, facts_of((4, 18, 0))) == 31
    assert zone_batchsize(1 << 20, 12, facts_of((4, 19, 0))) == 63


def test_a_zone_without_pages_has_no_lists() -> None:
    zone = make_node(0, {}, facts_of((6, 1, 0))).zones[2]
    zone_pcp_update(zone, Tuning())
    assert zone.pageset is None
    assert pcp_high_at_init(zone) == 0


node_of_pages = st.dictionaries(st.sampled_from(X86_ZONES[:4]), st.integers(0, 1 << 26))


@given(st.lists(node_of_pages, min_size=1, max_size=4), st.sampled_from(RELEASES), st.integers(1, 64))
def test_what_always_holds(pages: list[dict[str, int]], version: Version, cpus: int) -> None:
    facts = facts_of(version)
    nodes = [make_node(nid, managed, facts) for nid, managed in enumerate(pages)]
    tuning = Tuning(online_cpus=cpus, node_cpus={0: cpus})
    min_free = init_per_zone_wmark_min(nodes, tuning)
    assert MIN_FREE_KBYTES <= min_free <= MAX_FREE_KBYTES
    shares = 0
    for node in nodes:
        assert node.totalreserve_pages <= sum(z.managed_pages for z in node.zones)
        for i, zone in enumerate(node.zones):
            mark, reserve = zone.watermark, zone.lowmem_reserve
            assert mark.min <= mark.low <= mark.high <= mark.promo
            assert mark.high - mark.low == mark.low - mark.min
            assert list(reserve) == sorted(reserve) and not any(reserve[: i + 1])
            assert (zone.pageset is None) == (not zone.populated) or not facts.pcp_high_from_watermark
            shares += mark.min if zone.name != "Movable" or not facts.movable_min_watermark_capped else 0
    assert shares <= min_free >> 2
    assert calculate_totalreserve_pages(nodes) == sum(node.totalreserve_pages for node in nodes)
