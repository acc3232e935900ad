"""`mmtool boot --why`: the formulas' results are the numbers that the boot has, on every capture and many options."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.captures import booted as plainly_booted
from support.captures import captures

from mmtool.answers.why import TOPICS, Reason, why
from mmtool.build.choose import kernel_for
from mmtool.cli import cli
from mmtool.cli.boot import WHY
from mmtool.errors import UsageError
from mmtool.firmware.read import read_input
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.mmzone import Zone

FIXTURES = Path(__file__).parent.parent / "fixtures"
NUMA = str(FIXTURES / "captures" / "x86-6.1-numa4-ring")


@cache
def booted(path: Path, release: str | None = None, more: str | None = None, cpus: int | None = None) -> Boot:
    if (release, more, cpus) == (None, None, None):
        return plainly_booted(path)
    machine = read_input(str(path))
    line = None if more is None else f"{machine.cmdline or ''} {more}"
    machine = machine if cpus is None else replace(machine, cpus=cpus)
    return start_kernel(machine, kernel_for(machine, release), cmdline=line)


def rows(boot: Boot, topic: str) -> dict[str, Reason]:
    """The reasons by what they are of; those below a name with it before theirs."""
    found, name = {}, ""
    for reason in why(boot, topic).reasons:
        name = name if reason.what.startswith("  ") else reason.what.split(" ")[0]
        key = f"{name}{reason.what[1:]}" if reason.what.startswith("  ") else reason.what
        found[key if key not in found else f"{key} {len(found)}"] = reason
    return found


def number(reason: Reason) -> int:
    return int(reason.result.split()[0])


def zones(boot: Boot) -> dict[str, Zone]:
    return {f"{z.nid}/{z.name}": z for node in boot.nodes.values() for z in node.populated_zones()}


def check(boot: Boot) -> None:
    """Every number that a formula comes to is the boot's."""
    assert number(rows(boot, "min_free")["in force"]) == boot.min_free_kbytes
    marks, managed, spans = rows(boot, "watermarks"), rows(boot, "managed"), rows(boot, "zones")
    for name, zone in zones(boot).items():
        assert number(marks[f"{name} min"]) == zone.watermark.min
        assert marks[f"{name} low, high"].result == f"{zone.watermark.low}, {zone.watermark.high}"
        kept = [number(r) for key, r in marks.items() if key.startswith(f"{name} keeps")]
        assert kept == sorted(set(kept), key=kept.index) and set(kept) - {0} == set(zone.lowmem_reserve) - {0}
        assert number(managed[name]) == zone.managed_pages
        parts = [int(n) for n in re.findall(r"\d+", managed[name].formula)]
        assert parts[0] - parts[1] + sum(parts[2:]) == zone.managed_pages
        assert number(spans[f"{name} present"]) == zone.present_pages
        start, end = zone.zone_start_pfn << zone_shift(boot), (zone.zone_end_pfn << zone_shift(boot)) - 1
        assert spans[name].result == f"[{start:#x}-{end:#x}]"
    shown: dict[int, list[str]] = {}
    nid = -1
    for reason in why(boot, "zonelists").reasons:
        nid = int(reason.what.split()[1]) if reason.what else nid
        shown.setdefault(nid, []).extend(re.findall(r"\d+/\w+", reason.result))
    assert shown == {nid: [f"{n}/{z}" for n, z in order] for nid, order in boot.zonelists.fallback.items()}


def zone_shift(boot: Boot) -> int:
    return boot.kernel.page_shift


@pytest.mark.parametrize("path", [c.path for c in captures()], ids=lambda path: path.name)
def test_formulas_come_to_what_the_boot_has(path: Path) -> None:
    check(booted(path))


@pytest.mark.parametrize(
    ("release", "options"),
    [
        (None, "transparent_hugepage=never"),
        (None, "mem=300M"),
        (None, "movablecore=1G"),
        (None, "kernelcore=30%"),
        (None, "hugepagesz=1G hugepages=1"),
        (None, "cma=64M"),
        (None, "numa=off"),
        (None, "numa=fake=8"),
        ("5.4", ""),
        ("5.10", "transparent_hugepage=never"),
        ("debian-5.10-cloud-amd64", "movablecore=1G"),
        ("debian-6.12-cloud-amd64", "movablecore=2G hugepages=100"),
        ("debian-6.18-cloud-amd64", "transparent_hugepage=never"),
        ("debian-7.3-cloud-amd64", "kernelcore=1G"),
    ],
)
def test_with_options_and_other_releases_too(release: str | None, options: str) -> None:
    check(booted(Path(NUMA), release, options))


def test_min_free_says_who_asks_for_it() -> None:
    reasons = rows(booted(Path(NUMA)), "min_free")
    assert reasons["khugepaged asks"] == Reason(
        "khugepaged asks", "5 zones up to Normal * 11 pageblocks * 2048 kB", "112640 kB",
        "set_recommended_min_free_kbytes()",
    )  # fmt: skip
    assert reasons["in force"].formula == "the larger of 8016 and 112640"
    never = rows(booted(Path(NUMA), None, "transparent_hugepage=never"), "min_free")
    assert never["in force"].formula == "transparent huge pages are off: it stays"
    small = rows(booted(Path(NUMA), None, "mem=300M"), "min_free")
    assert small["in force"].formula == "below 512 MiB there are no transparent huge pages: it stays"


def test_a_tie_between_nodes_says_what_broke_it() -> None:
    formulas = [r.formula for r in why(booted(Path(NUMA)), "zonelists").reasons]
    assert "distance 20, before 3: the lower number" in formulas
    assert "distance 20, before 0: which is lower" in formulas
    assert "distance 20 + 1 for a number below 3, before 2: load 1, not 2" in formulas


def test_it_is_shown_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(cli, ["boot", NUMA, "--why", ",".join(WHY)])
    assert done.exit_code == 0 and max(map(len, done.stdout.splitlines())) <= 80
    reasons = [reason for topic in WHY for reason in why(booted(Path(NUMA)), topic).reasons]
    assert all(f" {reason.function}\n" in done.stdout for reason in reasons)


def test_for_scripts_it_is_one_table() -> None:
    done = CliRunner().invoke(cli, ["boot", NUMA, "--why", "Min_Free", "-o", "csv", "--columns", "what,result"])
    assert list(csv.reader(io.StringIO(done.stdout)))[-1] == ["in force", "112640 kB"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--why", "watermark"), "--why: no topic 'watermark'; did you mean watermarks?"),
        (("--why", "zones,managed", "-o", "csv"), "CSV is one table: say which, as --why zones"),
        (("--why", "zones", "--only", "zones"), "--why is an answer of its own"),
        (("--why", "zones", "-o", "svg"), "--why is an answer of its own"),
        (("--why", "zones", "--bytes"), "--bytes goes with -o csv where --why is asked"),
    ],
)
def test_it_is_an_answer_of_its_own(arguments: tuple[str, ...], said: str) -> None:
    error = CliRunner().invoke(cli, ["boot", NUMA, *arguments]).exception
    assert isinstance(error, UsageError) and str(error).startswith(said)


def test_the_topics_are_those_that_there_are() -> None:
    assert set(WHY) == set(TOPICS)
