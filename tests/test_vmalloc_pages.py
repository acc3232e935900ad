"""vmalloc on the page allocator itself: every page is accounted for, and what mmtool vmalloc prints and keeps."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.cli.alloc import alloc as alloc_command
from mmtool.cli.boot import boot as boot_command
from mmtool.cli.vmalloc import vmalloc as command
from mmtool.errors import InputError, UsageError
from mmtool.linux.mm.vmalloc.restore import state_of_vmalloc, vmalloc_of
from mmtool.linux.mm.vmalloc.vmalloc import Vmalloc
from mmtool.system.codec.source import RECORDED_END, state_from_json
from mmtool.system.codec.state import state_document
from mmtool.system.restore import state_of, system_of
from mmtool.system.system import System

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURES = FIXTURES / "captures"
FREELISTS = os.environ.get("MMTOOL_FREELISTS", "")


@cache
def booted(name: str, cmdline: str = "nokaslr") -> str:
    """The document of a boot, as text."""
    arguments = ["--capture", str(CAPTURES / name), "--cmdline", cmdline, "-o", "json"]
    return CliRunner().invoke(boot_command, arguments, catch_exceptions=False, standalone_mode=False).stdout


def system(name: str) -> System:
    return system_of(*state_from_json(json.loads(booted(name)), name))


def on(system: System) -> Vmalloc:
    assert system.vmalloc is not None
    total = sum(zone.managed_pages for zone in system.zones())
    return vmalloc_of(
        system.vmalloc, system.kernel, system, totalram_pages=total, online_nodes=len(system.nodes)
    )  # fmt: skip


def free_pages(system: System) -> list[int]:
    """Every free page, of buddy lists and of CPUs' lists."""
    found: list[int] = []
    for zone in system.zones():
        for order, _, runs in zone.free_lists():
            found += [p for pfn, count in runs for p in range(pfn, pfn + (count << order))]
        for pcp in zone.per_cpu_pageset.values():
            found += [p for head, order in pcp.blocks() for p in range(head, head + (1 << order))]
    return sorted(found)


MACHINES = ["x86-6.1-numa4-ring", "x86-7.3-numa3-asym", "i386-6.1-1g-debug", "x86-5.10-numa2-memless-cpu"]


@pytest.mark.parametrize("name", MACHINES)
def test_pages_are_taken_from_the_free_ones_and_go_back(name: str) -> None:
    machine = system(name)
    v, before = on(machine), free_pages(machine)
    areas = [v.vmalloc(size) for size in (1, 16384, 3 << 20, 512 << 10, 40 << 10)]
    areas.append(v.vmalloc_huge(4 << 20))
    mapped = [pfn for area in v.space.busy.values() if area.vm for pfn in area.vm.pages]
    assert sorted([*mapped, *free_pages(machine)]) == before
    assert len(set(mapped)) == len(mapped) == v.nr_vmalloc_pages
    for area in areas:
        assert area is not None and v.vfree(area.addr)
    assert free_pages(machine) == before


@given(st.lists(st.tuples(st.integers(1, 600 << 10), st.booleans(), st.integers(0, 5)), max_size=12))
@settings(deadline=None, max_examples=15)
def test_no_page_is_lost(requests: list[tuple[int, bool, int]]) -> None:
    machine = system("i386-6.1-1g-debug")
    v, before = on(machine), free_pages(machine)
    held, mapped = [], []
    for size, huge, which in requests:
        area = v.vmalloc_huge(size) if huge else v.vmalloc(size)
        assert area is not None
        held.append(area)
        if which == 0:
            assert v.vfree(held.pop(len(held) // 2).addr)
        mapped = [pfn for a in held for pfn in (*a.pages, *(a.array.pages if a.array else ()))]
        assert len(mapped) == v.nr_vmalloc_pages == len(set(mapped))
    assert sorted([*mapped, *free_pages(machine)]) == before
    for area in held:
        assert v.vfree(area.addr)
    assert free_pages(machine) == before


def test_high_memory_comes_first() -> None:
    machine = system("i386-6.1-1g-debug")
    area = on(machine).vmalloc(16384)
    assert area is not None
    assert {machine.zone_of(pfn).name for pfn in area.pages} == {"HighMem"}


@pytest.mark.parametrize("node", range(4))
def test_a_node_that_is_asked_for_gives_the_pages(node: int) -> None:
    machine = system("x86-6.1-numa4-ring")
    area = on(machine).vmalloc(1 << 20, node=node)
    assert area is not None
    assert {machine.zone_of(pfn).nid for pfn in area.pages} == {node}


def test_the_state_is_kept_to_the_shape_of_its_tree() -> None:
    machine = system("x86-7.3-numa3-asym")
    v = on(machine)
    areas = [v.vmalloc(16384 * (1 + n % 3)) for n in range(30)]
    for area in areas[::3]:
        assert area is not None and v.vfree(area.addr)
    v.space.purge()
    for area in areas[1::6]:
        assert area is not None and v.vfree(area.addr)
    assert machine.vmalloc is not None
    machine.vmalloc = state_of_vmalloc(v, machine.vmalloc)
    document = json.loads(json.dumps({"state": state_document(state_of(machine), machine.kernel)}))
    again = system_of(*state_from_json(document, "test"))
    assert again.vmalloc == machine.vmalloc
    w = on(again)
    assert list(w.space.free.preorder()) == list(v.space.free.preorder())
    assert (w.nr_vmalloc_pages, w.space.lazy_pages) == (v.nr_vmalloc_pages, v.space.lazy_pages)
    for size in (4096, 16384, 32768, 1 << 20):
        one, other = v.vmalloc(size), w.vmalloc(size)
        assert one is not None and other is not None
        assert (one.addr, one.pages) == (other.addr, other.pages)


@pytest.mark.skipif(not FREELISTS, reason="MMTOOL_FREELISTS names no folder with recordings")
@pytest.mark.parametrize("path", sorted(Path(FREELISTS).glob("*.json.gz")) if FREELISTS else [], ids=lambda p: p.name)
def test_recorded_areas_and_their_pages_are_in_use(path: Path) -> None:
    """A recorded kernel's areas hold pages that its free lists do not; freeing all of them gives all back."""
    import gzip

    recorded = json.loads(gzip.decompress(path.read_bytes()))
    last = recorded["stages"][RECORDED_END] if "stages" in recorded else recorded["S0"]
    if not last["vmap"]["busy"]:
        pytest.skip("no area is in use in the recording")
    machine = system_of(*state_from_json(recorded, path.name))
    v, before = on(machine), set(free_pages(machine))
    mapped = [pfn for area in v.space.busy.values() if area.vm for pfn in area.vm.pages]
    assert mapped and not before & set(mapped)
    area = v.vmalloc(16384)
    assert area is not None and before.issuperset(area.pages)
    for address in list(v.space.busy):
        v.vfree(address)
    assert set(free_pages(machine)) == before | set(mapped)
    assert v.nr_vmalloc_pages == 0


# The command


def run(text: str, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--state", "-", *arguments], input=text, standalone_mode=False)


def document(text: str, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(run(text, *arguments, "-o", "json").stdout))


def test_json_goes_on_from_itself() -> None:
    first = document(booted("x86-6.1-movablecore"), "--size", "16K", "--count", "2")
    assert first["schema"] == "mmtool.vmalloc/1"
    addresses = [outcome["address"] for outcome in first["outcomes"]]
    assert [int(b, 16) - int(a, 16) for a, b in pairwise(addresses)] == [5 * 4096]
    assert all(o["pages"] == 4 and sum(n for _, n in o["pfns"]) == 4 for o in first["outcomes"])
    second = document(json.dumps(first), "--size", "4K", "--free", addresses[0])
    assert second["freed"] == [addresses[0]] and second["lazy_pages"] == 5
    assert int(second["outcomes"][0]["address"], 16) == int(addresses[1], 16) + 5 * 4096


def test_other_commands_leave_virtual_memory_as_it_is() -> None:
    first = document(booted("x86-6.1-movablecore"), "--size", "16K")
    arguments = ["--state", "-", "--order", "3", "-o", "json"]
    between = CliRunner().invoke(alloc_command, arguments, input=json.dumps(first), standalone_mode=False)
    assert json.loads(between.stdout)["state"]["vmalloc"] == first["state"]["vmalloc"]


def test_every_format_has_the_areas() -> None:
    text = booted("x86-6.1-movablecore")
    whole = document(text, "--size", "1M", "--huge")
    assert yaml.safe_load(run(text, "--size", "1M", "--huge", "-o", "yaml").stdout) == whole
    row = next(csv.DictReader(io.StringIO(run(text, "--size", "1M", "--huge", "-o", "csv").stdout)))
    assert row["address"] == whole["outcomes"][0]["address"] and row["result"] == "ok"
    assert row["address"] in run(text, "--size", "1M", "--huge").stdout


def test_what_fails_is_told_in_the_kernels_words_and_by_the_exit_status() -> None:
    result = run(booted("i386-6.1-1g-debug", "vmalloc=16M"), "--size", "1M", "--count", "max")
    assert result.return_value == 1
    assert "vmap allocation for size 1052672 failed: use vmalloc=<size> to increase size" in result.stdout
    assert result.stdout.count(" ok ") == 15


def test_freeing_where_nothing_is() -> None:
    result = run(booted("x86-6.1-movablecore"), "--free", "0x1000")
    assert result.return_value == 1 and "there is no area of vmalloc at 0x1000" in result.stderr


def test_kaslr_is_named() -> None:
    result = run(booted("x86-6.1-movablecore", ""), "--size", "4K")
    assert "KASLR hides where the vmalloc area begins" in result.stderr


def test_a_base_that_is_known_moves_the_area() -> None:
    text = booted("x86-6.1-movablecore", "")
    first = document(text, "--size", "16K")
    assert first["state"]["vmalloc"]["base_known"] is False
    moved = document(json.dumps(first), "--size", "4K", "--base", "0xffffb10340000000")
    assert moved["state"]["vmalloc"]["base_known"] is True
    assert moved["outcomes"][0]["address"] == "0xffffb10340005000"
    assert moved["state"]["vmalloc"]["busy"][0]["start"] == "0xffffb10340000000"


def test_a_state_without_virtual_memory_gets_an_empty_area() -> None:
    body = json.loads(booted("x86-6.1-movablecore"))
    del body["state"]["vmalloc"]
    result = run(json.dumps(body), "--size", "4K", "-o", "json")
    assert "tells nothing of virtual memory" in result.stderr
    assert json.loads(result.stdout)["outcomes"][0]["address"] == "0xffffc90000000000"


@pytest.mark.parametrize(("arguments", "said"), [
    ([], "give --size"),
    (["--size", "4K", "--align", "3"], "not a power of two"),
    (["--size", "4K", "--gfp", "GFP_NONSENSE"], "GFP_NONSENSE"),
    (["--size", "4K", "--count", "many"], "neither a number from 1 on nor max"),
    (["--size", "4K", "--node", "77"], "77"),
    (["--size", "4K", "--cpu", "99"], "not online"),
    (["--size", "4K", "--info", "x"], "--info"),
    (["--size", "4K", "--base", "0xffffc90000001000"], "KASLR does not hide it"),
])  # fmt: skip
def test_wrong_usage(arguments: list[str], said: str) -> None:
    result = run(booted("x86-6.1-movablecore"), *arguments)
    assert isinstance(result.exception, UsageError) and said in str(result.exception)


def damaged() -> Iterator[Any]:
    yield "nothing"
    for key, value in (("start", 5), ("busy", [{}]), ("free", [[1]]), ("cpus", "many"), ("lazy", [["0x1", "x", 0]])):
        body = json.loads(booted("x86-6.1-movablecore"))["state"]["vmalloc"]
        yield body | {key: value}


def test_a_damaged_state_is_refused_in_a_line() -> None:
    for broken in damaged():
        body = json.loads(booted("x86-6.1-movablecore"))
        body["state"]["vmalloc"] = broken
        result = run(json.dumps(body), "--size", "4K")
        assert isinstance(result.exception, InputError), broken
        assert "\n" not in str(result.exception)
