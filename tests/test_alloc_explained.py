"""`alloc --explain` and `vmalloc --explain`: the block that was split, the lists that changed, the holes passed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mmtool.cli import cli
from mmtool.cli.states import system_of_json
from mmtool.linux.mm.page_alloc.outcome import ListsMoved, lists_moved
from mmtool.linux.mm.vmalloc.area import VM_ALLOC, VmStruct
from mmtool.report.alloc import lists_said
from mmtool.report.vmalloc import Attempt, search_table
from mmtool.system.system import System

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURES = ["x86-5.10-numa2-memless-cpu", "x86-6.1-numa4-ring", "x86-6.12-64g", "x86-7.3-numa3-asym"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


@cache
def document(name: str) -> str:
    return run("boot", str(FIXTURES / "captures" / name), "-o", "json").stdout


def system(name: str) -> System:
    return system_of_json(json.loads(document(name)), name)


@pytest.mark.parametrize("name", CAPTURES)
@pytest.mark.parametrize("gfp", ["GFP_KERNEL", "GFP_HIGHUSER_MOVABLE", "GFP_DMA32", "GFP_ATOMIC"])
def test_what_moved_is_what_the_lists_show(name: str, gfp: str) -> None:
    """Of a single block the head and the order are those that the lists had it in; pages are lost nowhere."""
    seen = 0
    for order in range(11):
        before, after = system(name), system(name)
        outcome = after.alloc_pages(after.gfp.parse(gfp), order)
        moved = outcome.moved
        if outcome.pfn is None or outcome.zone is None or moved is None:
            continue
        zone = before.zone(outcome.zone.nid, outcome.zone.name)
        left = sum(n << o for o, n in moved.taken.items()) - sum(n << o for o, n in moved.put_back.items())
        assert left == (1 << order) + moved.listed
        held = zone.free_area.find(outcome.pfn)
        assert held is not None
        assert outcome.block == held
        seen += 1
        address = held[0] << after.kernel.page_shift
        assert lists_said(outcome, after).startswith(f"order {held[1]} at {address:#x} taken")
    assert seen >= 3


def test_a_page_of_the_cpus_list_changes_no_free_list() -> None:
    s = system("x86-6.1-numa4-ring")
    mask = s.gfp.parse("GFP_KERNEL")
    said = [lists_said(s.alloc_pages(mask, 0), s) for _ in range(3)]
    assert said[0] == (
        "order 0 at 0x3ec3d000 taken; for the list with it orders 6, 1, 62 more of order 0 for CPU 0's list, "
        "order 2 put back"
    )
    assert said[1:] == ["CPU 0's own list had it; no free list changed"] * 2


def cases() -> Iterator[tuple[list[int], list[int], int, int, ListsMoved | None]]:
    yield [0, 0, 0, 1], [1, 1, 1, 0], 0, 0, ListsMoved({3: 1}, {2: 1, 1: 1, 0: 1}, 0)
    yield [0, 0, 0, 1], [0, 0, 1, 0], 3, 0, ListsMoved({3: 1}, {2: 1}, 3)
    yield [5, 5], [5, 5], -1, 0, ListsMoved({}, {}, -1)
    yield [5, 5], [9, 5], 0, 0, None  # pages that reclaim freed in between


@pytest.mark.parametrize(("before", "after", "listed", "order", "moved"), list(cases()))
def test_from_counts_alone(before: list[int], after: list[int], listed: int, order: int, moved: Any) -> None:
    assert lists_moved(before, after, listed, order) == moved


def test_the_split_of_an_empty_machine_is_told_in_a_line() -> None:
    shown = CliRunner().invoke(
        cli, ["alloc", "--state", "-", "--order", "5", "--gfp", "GFP_DMA", "--explain"],
        input=document("x86-6.1-numa4-ring"),
    ).stdout  # fmt: skip
    assert "lists     order 8 at 0x100000 taken, orders 7 to 5 put back\n" in shown
    assert "looks in  0/DMA (mmtool boot --why zonelists says why in this order)\n" in shown


def test_at_80_columns_what_came_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["alloc", "--state", "-", "--order", "3", "--explain"]
    shown = CliRunner().invoke(cli, arguments, input=document("x86-6.1-numa4-ring")).stdout
    assert "a block is" in shown and "left out for width: watermark, rights" in shown
    assert max(map(len, shown.splitlines())) <= 80


def vmalloc(text: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["vmalloc", "--state", "-", *arguments], input=text)


def test_the_search_for_addresses_is_told() -> None:
    text = document("x86-6.1-numa4-ring")
    shown = vmalloc(text, "--size", "64K", "--explain").stdout
    assert "needs   64 KiB and a guard page of 4 KiB\n" in shown
    assert "holes   1, the lowest holds it\n" in shown
    assert "taken   [0xffa0000000000000-0xffd1fffffffffffe]; 12.5 PiB of it is left\n" in shown
    assert "The search" not in vmalloc(text, "--size", "64K").stdout


def searched(size: int, holes: tuple[tuple[int, int], ...], area: VmStruct | None, align: int = 1) -> list[str]:
    return [says for _, says in search_table(Attempt(size, area, (), holes, align), 4096).rows]


def test_holes_that_are_too_small_are_passed() -> None:
    holes = ((0x1000, 0x3000), (0x10000, 0x14000), (0x20000, 0x80000))
    assert searched(0x4000, holes, VmStruct(0x20000, 0x5000, VM_ALLOC)) == [
        "16 KiB and a guard page of 4 KiB",
        "3, 2 lower do not hold it, the largest 16 KiB",
        "[0x20000-0x7ffff]; 364 KiB of it is left",
    ]
    assert searched(0x1000, holes, VmStruct(0x1000, 0x2000, VM_ALLOC))[1] == "3, the lowest holds it"
    assert searched(0x4000, holes, VmStruct(0x90000, 0x5000, VM_ALLOC))[1].startswith("an area of this size that was")
    assert searched(0x100000, holes, None, 0x200000) == [
        "1 MiB and a guard page of 4 KiB, at a multiple of 2 MiB", "3, the largest 384 KiB: none holds it",
    ]  # fmt: skip


def test_what_no_hole_holds_fails_for_want_of_a_place() -> None:
    text = document("i386-6.1-pae-vmalloc256")
    assert "none holds it" in vmalloc(text, "--size", "512M", "--explain").stdout
