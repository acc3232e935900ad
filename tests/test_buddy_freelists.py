"""The hand-over against free lists read out of a real kernel, block by block in list order.

MMTOOL_FREELISTS names a folder of further recordings in the same format, to be compared as well.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mmtool.build.fact import parse_version
from mmtool.build.kernel import Kernel
from mmtool.build.profile import load_profile
from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.linux.arch.x86.mm.zones import arch_zone_limits_init
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock
from mmtool.linux.mm.mm_init import free_area_init, movable_wish
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.handover import memblock_free_all, page_alloc_init_late
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.observed.memblock import RecordedMemblock, memblock_from_json

FIXTURES = Path(__file__).parent.parent / "fixtures" / "freelists"
ULONG_MAX = 2**64 - 1
Lists = dict[tuple[int, str], list[int]]


def recordings() -> list[Path]:
    more = os.environ.get("MMTOOL_FREELISTS")
    found = sorted(FIXTURES.glob("*.json.gz")) + (sorted(Path(more).glob("[nt][0-9]*.json.gz")) if more else [])
    return found


def load(path: Path) -> dict[str, Any]:
    stages: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))["stages"]
    return stages


def nodes_of(stage: dict[str, Any]) -> tuple[RecordedMemblock, dict[int, Pgdat]]:
    """memblock's lists of a stage and the nodes before the hand-over."""
    lists = memblock_from_json(stage, "-")
    profile = load_profile("debian-6.1-cloud-amd64")
    version = parse_version(profile.release)
    assert version and lists.release and lists.release.startswith("6.1.0-") and lists.cmdline is not None
    kernel = Kernel(lists.release, release_facts(version), profile)
    mb = Memblock.of(kernel)
    mb.memory.restore(lists.memory)
    nids = {region.nid for region in lists.memory}
    max_pfn = max(end for _, end, _ in mb.for_each_mem_pfn_range())
    pgdats = free_area_init(
        mb, kernel, arch_zone_limits_init(kernel, max_pfn, max_pfn),
        movable_wish(parse_cmdline(lists.cmdline), kernel), KernelLog(), possible_nodes=nids, online_nodes=nids,
    )  # fmt: skip
    return lists, pgdats


def recorded_lists(zone: dict[str, Any], names: dict[str, str]) -> Lists:
    return {
        (int(order), MigrateType.from_name(names[number]).label): blocks
        for order, by_type in zone["free_lists"].items()
        for number, blocks in by_type.items()
        if blocks
    }


def model_lists(zone: Zone) -> Lists:
    return {(o, t.label): list(zone.free_area.blocks(o, t)) for o, t in zone.free_area.lists()}


def recorded_zones(stage: dict[str, Any]) -> dict[tuple[int, str], dict[str, Any]]:
    return {(n["node_id"], z["name"]): z for n in stage["nodes"] for z in n["zones"] if not z.get("empty")}


def model_zones(pgdats: dict[int, Pgdat]) -> dict[tuple[int, str], Zone]:
    return {(zone.nid, zone.name): zone for pgdat in pgdats.values() for zone in pgdat.populated_zones()}


def pageblock_runs(pgdats: dict[int, Pgdat]) -> list[list[int]]:
    pageblocks = pgdats[0].zones[0].pageblocks
    return [[pfn, count, int(migratetype)] for pfn, count, migratetype in pageblocks.runs()]


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name.removesuffix(".json.gz"))
def test_memblock_free_all_is_exact(path: Path) -> None:
    stages = load(path)
    before, after = stages["before_free_all"], stages["after_free_all"]
    lists, pgdats = nodes_of(before)
    assert memblock_free_all(lists.memory, lists.reserved, pgdats) == after["misc"]["totalram_pages"]

    recorded, model = recorded_zones(after), model_zones(pgdats)
    assert model.keys() == recorded.keys()
    for key, zone in recorded.items():
        mine = model[key]
        assert (mine.zone_start_pfn, mine.spanned_pages) == (zone["zone_start_pfn"], zone["spanned"])
        assert (mine.present_pages, mine.managed_pages) == (zone["present"], zone["managed"])
        assert mine.nr_free == zone["nr_free"]
        assert mine.nr_free_pages == zone["nr_free_pages_global"]
        assert model_lists(mine) == recorded_lists(zone, before["migratetypes"])
    for node in after["nodes"]:
        assert (pgdats[node["node_id"]].first_deferred_pfn or ULONG_MAX) == node["first_deferred_pfn"]
    # The types are numbered alike up to HighAtomic, and at this point there are only Unmovable and Movable.
    assert pageblock_runs(pgdats) == after["pageblocks"]


@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name.removesuffix(".json.gz"))
def test_page_alloc_init_late_frees_the_deferred_part(path: Path) -> None:
    stages = load(path)
    if "after_init_late" not in stages:
        pytest.skip("the recording has no late stages")
    before, after = stages["before_init_late"], stages["after_init_late"]
    lists, pgdats = nodes_of(before)
    resume(pgdats, before)
    page_alloc_init_late(lists.memory, lists.reserved, pgdats)

    cpus = list(before["misc"]["cpu_to_node"].values())
    recorded = recorded_zones(after)
    for key, zone in model_zones(pgdats).items():
        assert zone.managed_pages == recorded[key]["managed"]
        want = recorded_lists(recorded[key], before["migratetypes"]).get((10, "Movable"), [])
        got = model_lists(zone).get((10, "Movable"), [])
        # The threads' own stacks and descriptors come out of the same lists: a few blocks may be gone by the end.
        assert len(set(want) ^ set(got)) <= 1
        if cpus.count(key[0]) == 1:
            deferred = [pfn for pfn in got if pfn in set(want)]
            assert deferred == want
    assert all(pgdat.first_deferred_pfn is None for pgdat in pgdats.values())


def test_late_init_is_exact_where_every_node_has_one_cpu() -> None:
    """Of the recorded boots this one takes nothing from the lists meanwhile, so that all of them can be compared."""
    stages = load(FIXTURES / "n2x2g.json.gz")
    before, after = stages["before_init_late"], stages["after_init_late"]
    lists, pgdats = nodes_of(before)
    resume(pgdats, before)
    page_alloc_init_late(lists.memory, lists.reserved, pgdats)
    for key, zone in recorded_zones(after).items():
        assert model_lists(model_zones(pgdats)[key]) == recorded_lists(zone, before["migratetypes"])
    assert pageblock_runs(pgdats) == after["pageblocks"]


def resume(pgdats: dict[int, Pgdat], stage: dict[str, Any]) -> None:
    """Put the nodes into the recorded state: pageblock types, free lists, managed pages."""
    pageblocks = pgdats[0].zones[0].pageblocks
    for pfn, count, number in stage["pageblocks"]:
        pageblocks.set_heads(pfn, pfn + (count << 9), MigrateType(number))
    zones = model_zones(pgdats)
    for key, zone in recorded_zones(stage).items():
        zones[key].managed_pages = zone["managed"]
        for (order, name), blocks in recorded_lists(zone, stage["migratetypes"]).items():
            for pfn in blocks:
                zones[key].free_area.add_to_free_list_tail(pfn, order, MigrateType.from_name(name))
