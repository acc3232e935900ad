"""/proc/zoneinfo, buddyinfo and pagetypeinfo: those of real kernels agree with each other, others are refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.errors import InputError
from mmtool.observed.buddyinfo import ZoneBlocks, parse_buddyinfo
from mmtool.observed.pagetypeinfo import parse_pagetypeinfo
from mmtool.observed.zoneinfo import Pageset, parse_zoneinfo

FIXTURES = Path(__file__).parent.parent / "fixtures" / "captures"
NUMA3 = FIXTURES / "x86-7.3-numa3-asym" / "proc"
OLD = """\
Node 0, zone      DMA
  pages free     3976
        min      33
        low      41
        high     49
        scanned  0
        spanned  4095
        present  3998
        managed  3977
    nr_free_pages 3976
    nr_free_cma  0
        protection: (0, 3234, 15985, 15985)
  pagesets
    cpu: 0
              count: 0
              high:  0
              batch: 1
  vm stats threshold: 6
  all_unreclaimable: 1
  start_pfn:         1
  inactive_ratio:    1
"""
"""As 3.x printed it: counters before the protection, no per-node part."""


def folders() -> list[Path]:
    more = os.environ.get("MMTOOL_CAPTURES")
    roots = [FIXTURES, Path(more)] if more else [FIXTURES]
    return [file.parent for root in roots for file in sorted(root.glob("*/proc/pagetypeinfo"))]


@pytest.mark.parametrize("proc", folders(), ids=lambda proc: proc.parent.name)
def test_the_three_files_speak_of_the_same_zones(proc: Path) -> None:
    info = parse_zoneinfo((proc / "zoneinfo").read_text(), "zoneinfo")
    blocks = parse_buddyinfo((proc / "buddyinfo").read_text(), "buddyinfo")
    types = parse_pagetypeinfo((proc / "pagetypeinfo").read_text(), "pagetypeinfo")
    populated = [zone for zone in info.zones if zone.populated]
    names = [(zone.nid, zone.name) for zone in populated]
    assert names == [(zone.nid, zone.name) for zone in blocks] == [(zone.nid, zone.name) for zone in types.zones]
    for zone in populated:
        assert zone.counters["nr_free_pages"] == zone.free <= zone.managed <= zone.present <= zone.spanned
        assert zone.start_pfn is not None and zone.pagesets
        assert zone.min <= zone.low <= zone.high
    assert len({len(zone.protection) for zone in info.zones}) == 1
    assert {zone.nid for zone in populated} <= set(info.nodes)
    for by_type in types.zones:
        size = 1 << types.pageblock_order
        zone = next(zone for zone in populated if (zone.nid, zone.name) == (by_type.nid, by_type.name))
        # a pageblock counts where a zone has pages of it
        assert 0 < sum(by_type.blocks.values()) * size <= zone.spanned + 2 * size
        assert list(by_type.nr_free) == list(by_type.blocks)


def test_a_file_is_read_to_the_number() -> None:
    info = parse_zoneinfo((NUMA3 / "zoneinfo").read_text(), "zoneinfo")
    assert [(z.nid, z.name) for z in info.zones if z.populated] == [
        (0, "DMA"), (0, "DMA32"), (1, "DMA32"), (2, "Normal")
    ]  # fmt: skip
    zone = info.zones[0]
    assert (zone.line, zone.free, zone.boost, zone.min, zone.low, zone.high, zone.promo) == (
        1, 3584, 0, 76, 95, 114, 133
    )  # fmt: skip
    assert (zone.spanned, zone.present, zone.managed, zone.cma, zone.start_pfn) == (4095, 3998, 3840, 0, 1)
    assert zone.protection == (0, 991, 991, 991, 991)
    assert (zone.counters["nr_free_cma"], zone.counters["numa_other"]) == (0, 1)
    assert zone.pagesets[:1] == (Pageset(0, 0, 0, 1, 95, 480),)
    assert (zone.reserved_highatomic, zone.free_highatomic) == (0, 0)
    assert (info.nodes[0]["nr_slab_unreclaimable"], info.nodes[0]["nr_vmalloc"]) == (1357, 3690)
    assert parse_buddyinfo((NUMA3 / "buddyinfo").read_text(), "buddyinfo")[1] == ZoneBlocks(
        0, "DMA32", (1, 1, 1, 1, 2, 2, 1, 3, 3, 2, 238)
    )
    types = parse_pagetypeinfo((NUMA3 / "pagetypeinfo").read_text(), "pagetypeinfo")
    assert types.pageblock_order == 9
    assert types.zones[1].nr_free["Movable"] == (1, 0, 1, 0, 1, 0, 0, 1, 2, 0, 238)
    assert types.zones[1].blocks == {
        "Unmovable": 16, "Movable": 486, "Reclaimable": 2, "HighAtomic": 0, "CMA": 0, "Isolate": 0
    }  # fmt: skip


def test_old_forms() -> None:
    (zone,) = parse_zoneinfo(OLD, "zoneinfo").zones
    assert (zone.free, zone.protection, zone.start_pfn, zone.boost) == (3976, (0, 3234, 15985, 15985), 1, 0)
    assert zone.counters["nr_free_pages"] == 3976
    text = (NUMA3 / "pagetypeinfo").read_text().replace("    238 \n", " >100000 \n", 1)
    zone_types = parse_pagetypeinfo(text, "pagetypeinfo").zones[1]
    assert zone_types.nr_free["Movable"][10] == 100000
    assert zone_types.capped == {("Movable", 10)}


Parse = Callable[[str, str], object]
PARSERS: dict[str, Parse] = {
    "zoneinfo": parse_zoneinfo,
    "buddyinfo": parse_buddyinfo,
    "pagetypeinfo": parse_pagetypeinfo,
}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "zoneinfo",
            lambda t: t[: t.index("  start_pfn")],
            "zone DMA of node 0 ends without start_pfn: give the file whole",
        ),
        ("zoneinfo", lambda t: t[: t.index("  pages")], "zone DMA of node 0 ends without free: give the file whole"),
        ("zoneinfo", lambda t: t.replace("        min      76\n", ""), "zone DMA of node 0 ends without min"),
        ("zoneinfo", lambda t: "MemTotal: 1 kB\n" + t, ":1: is not /proc/zoneinfo: it begins with 'Node 0, zone ...'"),
        (
            "zoneinfo",
            lambda t: t.replace("min      76", "min      lots"),
            "is no line of /proc/zoneinfo: 'min      lots'",
        ),
        ("zoneinfo", lambda t: t + t, "zone DMA of node 0 comes twice"),
        ("zoneinfo", lambda t: "", "is empty; /proc/zoneinfo begins with 'Node 0, zone ...'"),
        ("buddyinfo", lambda t: t[:-22], "has 8 orders where the first zone has 11"),
        ("buddyinfo", lambda t: "hello\n", ":1: is no line of /proc/buddyinfo: 'hello'"),
        ("buddyinfo", lambda t: t + t, "zone DMA of node 0 comes twice"),
        ("buddyinfo", lambda t: "", "is empty; /proc/buddyinfo has lines"),
        ("pagetypeinfo", lambda t: t[:1500], "has 10 counts for 11 orders"),
        ("pagetypeinfo", lambda t: t[: t.index("Number")], "ends without the pageblocks of zone DMA of node 0"),
        ("pagetypeinfo", lambda t: "", "is not /proc/pagetypeinfo: it has no 'Page block order' or no zones"),
        ("pagetypeinfo", lambda t: t + "x\n", "is no line of /proc/pagetypeinfo: 'x'"),
    ],
)
def test_other_text_is_refused(name: str, change: Callable[[str], str], message: str) -> None:
    with pytest.raises(InputError) as error:
        PARSERS[name](change((NUMA3 / name).read_text()), "FILE")
    assert str(error.value).startswith("FILE:") and message in str(error.value)


@settings(max_examples=200)
@given(st.sampled_from(sorted(PARSERS)), st.data())
def test_damage_is_read_or_refused_in_one_line(name: str, data: st.DataObject) -> None:
    lines = (NUMA3 / name).read_text().splitlines()
    start = data.draw(st.integers(0, len(lines) - 1))
    lines[start : start + data.draw(st.integers(0, 3))] = data.draw(st.lists(st.text(max_size=30), max_size=2))
    try:
        PARSERS[name]("\n".join(lines), "FILE")
    except InputError as error:
        assert "\n" not in str(error)
