"""What is wrong with a tree or a map: against real kernels, rule by rule, and as a command."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from support.blobs import Tree, blob, cells, text

from mmtool.answers.lint import RULES, Finding, lint
from mmtool.answers.lint.reserved_memory import FREED, REFUSED
from mmtool.build.choose import kernel_for
from mmtool.cli.lint import lint as command
from mmtool.errors import InputError, UsageError
from mmtool.firmware.fdt import parse_fdt
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import Machine
from mmtool.firmware.read import read_input

FIXTURES = Path(__file__).parent.parent / "fixtures"
FAULTS = FIXTURES / "fdt" / "faults.dtb.gz"
CAPTURES = os.environ.get("MMTOOL_CAPTURES", "")
RELEASES = ("5.10", "6.1", "6.12", "6.18", "7.3")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


# --- against real kernels: a tree with a mistake a node, and what five kernels said of it


def faults(release: str) -> tuple[tuple[Finding, ...], str]:
    machine = read_input(str(FAULTS))
    said = (FIXTURES / "fdt" / f"faults-{release}.txt").read_text()
    made_from = re.search(r"#1 SMP.* Debian (\d+\.\d+\.\d+)-", said)
    assert made_from is not None
    return lint(machine, kernel_for(machine, made_from[1])).findings, said


def named(places: list[Finding]) -> set[str]:
    return {str(f.place).removeprefix("/reserved-memory/") for f in places}


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_said_to_be_refused_real_kernels_refuse(release: str) -> None:
    found, said = faults(release)
    refused = [f for f in found if f.why == REFUSED or f.rule == "empty-reservation"]
    assert named(refused) == set(re.findall(r"failed to reserve memory for node '(.*?)'", said))


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_said_to_be_given_back_real_kernels_give_back(release: str) -> None:
    """Debian's arm64 kernels have no DMA_RESTRICTED_POOL."""
    found, said = faults(release)
    freed = [f for f in found if f.why.endswith(FREED) and f.rule != "restricted-pool"]
    assert named(freed) == set(re.findall(r"node (\S+) compatible matching fail", said))


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_said_to_have_no_room_real_kernels_do_not_place(release: str) -> None:
    found, said = faults(release)
    no_room = named([f for f in found if f.rule == "no-room"])
    assert no_room == set(re.findall(r"failed to allocate memory for node '(.*?)'", said)) == {"toobig"}


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_said_to_overlap_real_kernels_warn_of(release: str) -> None:
    found, said = faults(release)
    pairs = {
        frozenset((str(f.place).rpartition("/")[2], f.what.rpartition("/")[2])) for f in found if f.rule == "overlap"
    }
    assert pairs == {frozenset(pair) for pair in re.findall(r"^ ?(\S+) \(.*\) overlaps with (\S+) \(", said, re.M)}


@pytest.mark.parametrize("release", RELEASES)
def test_ranges_that_are_passed_over(release: str) -> None:
    found, said = faults(release)
    several = [f for f in found if f.rule == "several-ranges"]
    assert named(several) == {"several@58000000"}
    first_only = "only the first is used" in said
    assert [f.why.startswith("Linux keeps the first only, and uses the other 1 MiB") for f in several] == [first_only]


# --- rule by rule: a tree or a map that has the fault, and the same without it

ROOT: dict[str, Tree | bytes] = {"#address-cells": cells(2), "#size-cells": cells(2)}
MEMORY: dict[str, Tree | bytes] = {"device_type": text("memory"), "reg": cells(0, 0x40000000, 0, 0x40000000)}
GOOD_TREE: dict[str, Tree | bytes] = {**ROOT, "memory@40000000": MEMORY}
NO_MAP = {"no-map": b""}
POOL = {"compatible": text("shared-dma-pool"), "reusable": b""}


def reg(*ranges: tuple[int, int]) -> dict[str, bytes]:
    return {"reg": cells(*(word for start, size in ranges for word in (start >> 32, start & 0xFFFFFFFF, 0, size)))}


def board(reserved: Mapping[str, Tree | bytes], **more: Tree | bytes) -> Tree:
    """A board of 1 GiB from 1 GiB on with these nodes in /reserved-memory."""
    return {**GOOD_TREE, **more, "reserved-memory": {**ROOT, "ranges": b"", **reserved}}


def judged(
    tree: Tree, release: str, memreserve: tuple[tuple[int, int], ...] = (), cmdline: str | None = None, **more: Any
) -> tuple[Finding, ...]:
    parsed = parse_fdt(blob(tree, (*memreserve, (0, 0))), "F")
    machine = Machine("device tree", (), origin="F", arch="arm64", fdt=parsed, **more)
    return lint(machine, kernel_for(machine, release), cmdline).findings


R = "/reserved-memory"
OVER_A = f"overlaps [0x50000000-0x50001fff] of {R}/a@50000000"
OVER_B = "overlaps [0x50001000-0x50002fff] of another range of its reg"
TREES: dict[str, tuple[str, Tree, list[tuple[str, str, str]], Tree]] = {
    "cells of /reserved-memory": (
        "6.1",
        {**GOOD_TREE, "reserved-memory": {"#address-cells": cells(2), "#size-cells": cells(1), "ranges": b""}},
        [("misread-property", R, "#size-cells: is not 2, as the root's; unsupported node format, ignoring")],
        board({}),
    ),
    "no ranges": (
        "6.1",
        {**GOOD_TREE, "reserved-memory": {**ROOT}},
        [("misread-property", R, "ranges: is not there; unsupported node format, ignoring")],
        board({}),
    ),
    "cells that do not fit": (
        "6.1",
        board({"a@50000000": {"reg": cells(0, 0x50000000, 0x1000)}}),
        [
            (
                "misread-property",
                f"{R}/a@50000000",
                "reg: 12 bytes is not a multiple of 16; the node is skipped; 7.3 passes over the property",
            )
        ],
        board({"a@50000000": reg((0x50000000, 0x1000))}),
    ),
    "an alignment of one cell too few": (
        "6.1",
        board({"a": {"size": cells(0, 0x1000), "alignment": cells(0x1000)}}),
        [
            (
                "misread-property",
                f"{R}/a",
                "alignment: 4 bytes, not the 8 of the root's cells; invalid alignment property, skipped",
            )
        ],
        board({"a@50000000": {**reg((0x50000000, 0x1000)), "alignment": cells(0x1000)}}),
    ),
    "memory of two nodes": (
        "6.1",
        {
            **ROOT,
            "memory@40000000": {**MEMORY, "numa-node-id": cells(0)},
            "memory@60000000": {**MEMORY, **reg((0x60000000, 0x40000000)), "numa-node-id": cells(1)},
        },
        [
            (
                "memory-in-two-nodes",
                "/memory@60000000",
                "[0x60000000-0x9fffffff] of node 1 overlaps node 0 in /memory@40000000",
            )
        ],
        {
            **ROOT,
            "memory@40000000": {**MEMORY, "numa-node-id": cells(0)},
            "memory@80000000": {**MEMORY, **reg((0x80000000, 0x40000000)), "numa-node-id": cells(1)},
        },
    ),
    "memory that ends in a page": (
        "6.1",
        {**ROOT, "memory@40000000": {**MEMORY, **reg((0x40000000, 0x3FFFFE00))}},
        [
            (
                "memory-not-in-pages",
                "/memory@40000000",
                "[0x40000000-0x7ffffdff] does not begin and end with a page of 4 KiB",
            )
        ],
        GOOD_TREE,
    ),
    "memory out of reach": (
        "6.1",
        {**GOOD_TREE, "memory@f000000000000": {**MEMORY, "reg": cells(0x10000000, 0, 0, 0x1000)}},
        [
            ("memory-out-of-reach", "/memory@f000000000000", "4 KiB lie at 0x10000000000000 and above"),
            ("unit-address", "/memory@f000000000000", "is named @f000000000000, its reg begins at 0x1000000000000000"),
        ],
        {**GOOD_TREE, "memory@100000000": {**MEMORY, "reg": cells(1, 0, 0, 0x1000)}},
    ),
    "regions that overlap": (
        "6.1",
        board({"a@50000000": reg((0x50000000, 0x2000)), "b@50001000": reg((0x50001000, 0x2000))}),
        [("overlap", f"{R}/b@50001000", f"[0x50001000-0x50002fff] overlaps [0x50000000-0x50001fff] of {R}/a@50000000")],
        board({"a@50000000": reg((0x50000000, 0x2000)), "b@50002000": reg((0x50002000, 0x2000))}),
    ),
    "a region that is disabled overlaps nothing": (
        "6.1",
        board({"a@50000000": reg((0x50000000, 0x2000)), "b@50001000": reg((0x50001000, 0x2000), (0x50002000, 0x1000))}),
        [
            ("overlap", f"{R}/b@50001000", f"[0x50001000-0x50002fff] {OVER_A}"),
            ("overlap", f"{R}/b@50001000", f"[0x50002000-0x50002fff] {OVER_B}"),
            ("several-ranges", f"{R}/b@50001000", "reg has 2 ranges"),
        ],
        board(
            {
                "a@50000000": reg((0x50000000, 0x2000)),
                "b@50001000": {**reg((0x50001000, 0x2000), (0x50002000, 0x1000)), "status": text("disabled")},
            }
        ),
    ),
    "a region half outside of memory": (
        "6.1",
        board({"a@7ffff000": reg((0x7FFFF000, 0x2000))}),
        [("outside-memory", f"{R}/a@7ffff000", "4 KiB of [0x7ffff000-0x80000fff] lie outside of the memory nodes")],
        board({"a@7ffff000": {**reg((0x7FFFF000, 0x2000)), **NO_MAP}}),
    ),
    "a pool outside of memory": (
        "6.1",
        board({"a@80000000": {**reg((0x80000000, 0x400000)), **POOL}}),
        [("outside-memory", f"{R}/a@80000000", "4 MiB of [0x80000000-0x803fffff] lie outside of the memory nodes")],
        board({"a@80000000": {**reg((0x80000000, 0x400000)), "compatible": text("shared-dma-pool")}}),
    ),
    "no bytes": (
        "6.1",
        board({"a@50000000": reg((0x50000000, 0))}),
        [("empty-reservation", f"{R}/a@50000000", "reg: 0 bytes at 0x50000000")],
        board({"a@50000000": {**reg((0x50000000, 0)), "status": text("disabled")}}),
    ),
    "too many regions": (
        "6.1",
        board({f"a@{0x50000000 + i * 0x1000:x}": reg((0x50000000 + i * 0x1000, 0x1000)) for i in range(65)}),
        [("too-many-regions", f"{R}/a@50040000", "is region 65 of 65")],
        board({f"a@{0x50000000 + i * 0x1000:x}": reg((0x50000000 + i * 0x1000, 0x1000)) for i in range(64)}),
    ),
    "too many regions to place": (
        "7.3",
        board({f"a{i}": {"size": cells(0, 0x1000)} for i in range(65)}),
        [("too-many-regions", f"{R}/a64", "is region 65 of 65")],
        board({f"a@{0x50000000 + i * 0x1000:x}": reg((0x50000000 + i * 0x1000, 0x1000)) for i in range(65)}),
    ),
    "no room in alloc-ranges": (
        "6.1",
        board(
            {
                "a": {"size": cells(0, 0x20000000), "alloc-ranges": cells(0, 0x40000000, 0, 0x30000000)},
                "b@50000000": reg((0x50000000, 0x1000)),
            }
        ),
        [("no-room", f"{R}/a", "512 MiB fit nowhere in alloc-ranges")],
        board({"a": {"size": cells(0, 0x20000000), "alloc-ranges": cells(0, 0x40000000, 0, 0x40000000)}}),
    ),
    "an alignment that is no power of two": (
        "6.1",
        board({"a": {"size": cells(0, 0x1000), "alignment": cells(0, 0x3000)}}),
        [("odd-alignment", f"{R}/a", "alignment: 0x3000 is no power of two")],
        board({"a": {"size": cells(0, 0x1000), "alignment": cells(0, 0x4000)}}),
    ),
    "a pool that is no whole blocks": (
        "6.1",
        board({"a@50100000": {**reg((0x50100000, 0x300000)), **POOL}, "b": {"size": cells(0, 0x100000), **POOL}}),
        [
            ("cma-alignment", f"{R}/a@50100000", "size 0x300000 and address 0x50100000 are no multiple of 2 MiB"),
            ("cma-alignment", f"{R}/b", "size 0x100000 is no multiple of 2 MiB"),
        ],
        board({"a@50200000": {**reg((0x50200000, 0x400000)), **POOL}, "b": {"size": cells(0, 0x200000), **POOL}}),
    ),
    "blocks of 4 MiB before 5.18": (
        "5.10",
        board({"a@50200000": {**reg((0x50200000, 0x400000)), **POOL}}),
        [("cma-alignment", f"{R}/a@50200000", "address 0x50200000 is no multiple of 4 MiB")],
        board({"a@50400000": {**reg((0x50400000, 0x400000)), **POOL}}),
    ),
    "no-map that ends in a page": (
        "6.1",
        board({"a@50000000": {**reg((0x50000000, 0x1800)), **NO_MAP}}),
        [("no-map-in-page", f"{R}/a@50000000", "[0x50000000-0x500017ff] does not begin and end with a page of 4 KiB")],
        board(
            {
                "a@50000000": {**reg((0x50000000, 0x1800)), **NO_MAP},
                "b@50001800": {**reg((0x50001800, 0x800)), **NO_MAP},
            }
        ),
    ),
    "reusable and no-map": (
        "6.1",
        board({"a@50000000": {**reg((0x50000000, 0x400000)), **POOL, **NO_MAP}}),
        [("reusable-no-map", f"{R}/a@50000000", "is reusable and no-map")],
        board({"a@50000000": {**reg((0x50000000, 0x400000)), **POOL}}),
    ),
    "a restricted pool": (
        "6.1",
        board(
            {"a@50000000": {**reg((0x50000000, 0x400000)), "compatible": text("restricted-dma-pool"), **NO_MAP}}
        ),
        [("restricted-pool", f"{R}/a@50000000", "is a restricted-dma-pool with no-map")],
        board({"a@50000000": {**reg((0x50000000, 0x400000)), "compatible": text("restricted-dma-pool")}}),
    ),
    "linux,cma-default": (
        "6.1",
        board(
            {
                "a@50000000": {**reg((0x50000000, 0x400000)), "linux,cma-default": b""},
                "b@60000000": {**reg((0x60000000, 0x400000)), **POOL, "linux,cma-default": b""},
                "c@70000000": {**reg((0x70000000, 0x400000)), **POOL, "linux,cma-default": b""},
            }
        ),
        [
            ("cma-default", f"{R}/a@50000000", "linux,cma-default on what is no CMA pool"),
            ("cma-default", f"{R}/c@70000000", f"linux,cma-default is on {R}/b@60000000 too"),
        ],
        board({"a@50000000": {**reg((0x50000000, 0x400000)), **POOL, "linux,cma-default": b""}}),
    ),
    "a name with another address": (
        "6.1",
        board({"a@50000": reg((0x50000000, 0x1000)), "b": reg((0x60000000, 0x1000)), "c@x": reg((0x70000000, 0x1000))}),
        [("unit-address", f"{R}/a@50000", "is named @50000, its reg begins at 0x50000000")],
        board({"a@50000000": reg((0x50000000, 0x1000))}),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("release", "bad", "wanted", "good"), TREES.values(), ids=TREES)
def test_rules_on_trees(release: str, bad: Tree, wanted: list[tuple[str, str, str]], good: Tree) -> None:
    assert [f[:3] for f in judged(bad, release)] == wanted
    assert judged(good, release) == ()


@pytest.mark.parametrize(
    ("release", "flags", "why"),
    [
        ("6.1", NO_MAP, REFUSED),
        (
            "6.12.13",
            NO_MAP,
            "harmless with this kernel; up to 6.12.12 Linux refuses no-map then, and leaves the memory mapped",
        ),
        ("6.12", POOL, "CMA lends the memory out all the same, though /memreserve/ means to keep everyone away"),
        ("6.12", {}, "Linux keeps it for /memreserve/ too, so that removing or disabling the node frees nothing"),
    ],
)
def test_a_region_that_is_in_memreserve_too(release: str, flags: dict[str, bytes], why: str) -> None:
    tree = board({"a@50000000": {**reg((0x50000000, 0x400000)), **flags}})
    entries = ((0x40000000, 0x1000), (0x503FF000, 0x2000), (0x7FFFF000, 0x1000))
    found = judged(tree, release, entries)
    what = "[0x50000000-0x503fffff] is in /memreserve/ too, as [0x503ff000-0x50400fff]"
    assert [f[:4] for f in found] == [("memreserve", f"{R}/a@50000000", what, why)]
    assert judged(tree, release, (entries[0], entries[2])) == ()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (NO_MAP, REFUSED),
        ({}, "Linux frees the RAM disk once it is unpacked, and with it memory that the node means to keep"),
    ],
)
def test_a_region_over_the_initial_ram_disk(flags: dict[str, bytes], why: str) -> None:
    tree = board({"a@50000000": {**reg((0x50000000, 0x400000)), **flags}})
    (found,) = judged(tree, "6.1", initrd=(0x50300000, 0x51000000))
    what = "[0x50000000-0x503fffff] overlaps the initial RAM disk, [0x50300000-0x50ffffff]"
    assert found[:4] == ("boot-image", f"{R}/a@50000000", what, why)
    assert judged(tree, "6.1", initrd=(0x50400000, 0x51000000)) == ()


def test_an_initial_ram_disk_beyond_memory() -> None:
    (found,) = judged(board({}), "6.1", initrd=(0x7F000000, 0x81000000))
    what = "16 MiB of the initial RAM disk, [0x7f000000-0x80ffffff], lie outside of memory"
    assert found[:3] == ("initrd", "/chosen", what)
    assert judged(board({}), "6.1", initrd=(0x7F000000, 0x80000000)) == ()


def test_options_that_go_before_the_tree() -> None:
    pool = {**reg((0x50000000, 0x400000)), **POOL, "linux,cma-default": b""}
    tree = board({"a@50000000": pool})
    found = judged(tree, "6.1", cmdline="cma=64M mem=512M")
    assert [f[:3] for f in found] == [
        ("memory-out-of-reach", "command line", "mem=512M hides 512 MiB of memory"),
        ("cma-default", f"{R}/a@50000000", "linux,cma-default beside cma= on the command line"),
    ]
    assert judged(tree, "6.1", cmdline="mem=2G") == ()


def test_what_needs_memory_is_not_judged_without() -> None:
    tree = {
        name: node
        for name, node in board({"a": {"size": cells(0x100, 0)}, "b": {"size": cells(0, 5), **POOL}}).items()
        if name != "memory@40000000"
    }
    machine = Machine("device tree", (), origin="F", arch="arm64", fdt=parse_fdt(blob(tree), "F"))
    linted = lint(machine, kernel_for(machine, "6.1"))
    assert linted.not_booted is not None and "--memory 0x40000000-0xbfffffff" in linted.not_booted
    assert [f.rule for f in linted.findings] == ["cma-alignment"]


E820 = """\
Linux version {release} (gcc) #1 SMP
Command line: {cmdline}
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x000000000009fc00-0x00000000000fffff] reserved
BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
{more}"""


def mapped(more: str = "", cmdline: str = "quiet", release: str = "6.1.0") -> list[tuple[str, int | str, str]]:
    machine = read_log(E820.format(more=more, cmdline=cmdline, release=release), "F")
    return [f[:3] for f in lint(machine, kernel_for(machine)).findings]


def entry(start: int, end: int, words: str) -> str:
    return f"BIOS-e820: [mem {start:#018x}-{end:#018x}] {words}\n"


def test_entries_that_overlap() -> None:
    assert mapped(entry(0x3FF00000, 0x400FFFFF, "reserved")) == [
        ("map-overlap", 6, "[0x3ff00000-0x400fffff] reserved overlaps [0x100000-0x3fffffff] usable (5)")
    ]
    assert mapped(entry(0x3FF00000, 0x400FFFFF, "usable")) == []
    assert mapped(entry(0x40000000, 0x400FFFFF, "reserved")) == []


@pytest.mark.parametrize(
    ("cmdline", "what"),
    [
        ("mem=512M", "mem=512M hides 512 MiB of the 1023.62 MiB of RAM in the map"),
        ("memmap=64M$256M", "memmap=64M$256M hides 64 MiB of the 1023.62 MiB of RAM in the map"),
        (
            "mem=nopentium memmap=1M!16M,1M%32M-1+2",
            "mem=nopentium memmap=1M!16M,1M%32M-1+2 hides 2 MiB of the 1023.62 MiB of RAM in the map",
        ),
    ],
)
def test_options_that_hide_ram(cmdline: str, what: str) -> None:
    assert mapped(cmdline=cmdline) == [("map-option", "command line", what)]


@pytest.mark.parametrize("cmdline", ["mem=4G", "memmap=64M$4G", "memmap=64M@2G", "mem=nopentium"])
def test_options_that_hide_nothing(cmdline: str) -> None:
    assert mapped(cmdline=cmdline) == []


MTRRS = """\
MTRR default type: uncachable
MTRR variable ranges enabled:
  0 base 000000000 mask FE0000000 write-back
"""


def test_mtrrs_that_do_not_cover_ram() -> None:
    assert mapped(MTRRS) == [("mtrr", "MTRRs", "MTRRs do not cover all RAM: 512MB of RAM lost")]
    assert mapped(MTRRS.replace("FE0000000", "FC0000000")) == []
    warned = "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 512MB of RAM.\n"
    assert mapped(warned) == [("mtrr", 6, "MTRRs do not cover all RAM: 512MB of RAM lost")]


def test_ram_out_of_reach() -> None:
    log = FIXTURES / "logs" / "i386-5.4-non-pae.txt"
    machine = read_input(str(log))
    (found,) = lint(machine, kernel_for(machine)).findings
    assert (found.rule, machine.e820_places.index(found.place), found.what) == (
        "out-of-reach",
        7,
        "1 GiB of RAM lie at 0x100000000 and above",
    )


@pytest.mark.parametrize(
    ("cmdline", "rule", "what"),
    [
        ("crashkernel=1020M", "kernel-warning", "crashkernel reservation failed - No suitable area found."),
        (
            "hugepagesz=1G hugepages=2",
            "kernel-warning",
            "HugeTLB: allocating 2 of page size 1.00 GiB failed.  Only allocated 0 hugepages.",
        ),
        ("hugepagesz=3M", "kernel-warning", "HugeTLB: unsupported hugepagesz=3M"),
    ],
)
def test_what_the_kernel_would_complain_of(cmdline: str, rule: str, what: str) -> None:
    found = mapped("Using GB pages for direct mapping\n", cmdline)
    assert [(f[0], f[1]) for f in found] == [(rule, "command line")]
    assert found[0][2] == what
    assert mapped(cmdline="crashkernel=64M hugepages=10 crashkernel=auto") == []


def test_a_crash_kernel_that_is_passed_over() -> None:
    assert mapped(cmdline="crashkernel=2G", release="6.12.0") == [
        ("crashkernel", "command line", "crashkernel=2G keeps nothing")
    ]
    assert mapped(cmdline="crashkernel=64M", release="6.12.0") == []
    assert mapped(cmdline="crashkernel=4G-:64M", release="6.12.0") == []


def test_a_machine_that_does_not_boot() -> None:
    machine = read_log("Command line: mem=1K\n" + entry(0, 0xFFFFF, "usable"), "F")
    linted = lint(machine, kernel_for(machine))
    assert linted.not_booted is not None and "the kernel stops in" in linted.not_booted
    assert ("no-boot", "map", "no kernel boots with it") in [f[:3] for f in linted.findings]


def test_every_rule_is_seen_at_work() -> None:
    """Each rule of the table finds something in the tests above."""
    seen = {rule for _, _, wanted, _ in TREES.values() for rule, _, _ in wanted}
    seen |= {
        "memreserve",
        "boot-image",
        "initrd",
        "map-overlap",
        "map-option",
        "mtrr",
        "out-of-reach",
        "kernel-warning",
        "crashkernel",
    }
    assert set(RULES) == seen


# --- real machines


def inputs() -> list[Path]:
    captures = Path(CAPTURES) if CAPTURES else FIXTURES / "captures"
    folders = [*captures.iterdir(), *(FIXTURES / "arm64").iterdir()]
    return [*sorted(p for p in folders if p.is_dir()), *sorted((FIXTURES / "logs").glob("*.txt"))]


MEANT = {"map-option", "memory-out-of-reach", "kernel-warning", "crashkernel", "out-of-reach"}
"""Rules on what was asked for on a command line, or on a kernel too small for its machine."""


@pytest.mark.parametrize("path", inputs(), ids=lambda path: path.name)
def test_no_false_alarm_on_real_machines(path: Path) -> None:
    """A finding is one only where an option asked for it, and crashkernel= where the kernel says so itself."""
    machine = read_input(str(path), need_memory=False)
    found = lint(machine, kernel_for(machine)).findings
    assert {f.rule for f in found} <= MEANT
    log = (path / "dmesg.txt" if path.is_dir() else path).read_text(errors="replace")
    for f in found:
        if f.rule == "kernel-warning":
            assert f.what in log
        elif f.rule != "out-of-reach":
            assert re.search(r"mem(map)?=|crashkernel=", machine.cmdline or "")


# --- the command


def test_a_line_a_finding() -> None:
    done = run(FAULTS, "--kernel", "6.1")
    assert done.exit_code == 1
    heading, empty, *lines = done.stdout.splitlines()
    assert (heading, empty) == ("Linux 6.1 on arm64, pages of 4 KiB", "")
    assert len(lines) == len(faults("6.1")[0])
    assert all(line.startswith(f"{FAULTS}:/reserved-memory/") for line in lines)
    assert (
        f"{FAULTS}:/reserved-memory/several@58000000: reg has 2 ranges. "
        "Linux keeps all, but gives drivers the first only; from 7.2 on the others are not even kept. "
        "Make a node of each range. [several-ranges]"
    ) in lines


def test_nothing_found() -> None:
    done = run(FIXTURES / "captures" / "x86-6.12-64g")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing found")


def test_formats_agree() -> None:
    document = json.loads(run(FAULTS, "-o", "json").stdout)
    assert document == yaml.safe_load(run(FAULTS, "-o", "yaml").stdout)
    assert (document["schema"], document["source"], document["not_booted"]) == ("mmtool.lint/1", str(FAULTS), None)
    assert document["kernel"]["page_size"] == 4096
    rows = list(csv.DictReader(io.StringIO(run(FAULTS, "-o", "csv").stdout)))
    assert [{k: v or None for k, v in row.items()} for row in rows] == document["findings"]
    log = FIXTURES / "logs" / "i386-5.4-non-pae.txt"
    (finding,) = json.loads(run(log, "-o", "json").stdout)["findings"]
    assert finding["place"] == str(finding["line"])


def test_a_tree_without_memory_says_so_and_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "board.dtb"
    reserved = {**ROOT, "ranges": b"", "a": {"size": cells(0, 0x40000000)}}
    path.write_bytes(blob({**ROOT, "reserved-memory": reserved}))
    done = run(path)
    assert done.exit_code == 0
    assert done.stderr.startswith(f"mmtool: {path}: judged without a boot: no memory node says where memory is")
    done = run(path, "--memory", "0x40000000-0x5fffffff")
    assert (done.exit_code, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith(
        f"{path}:/reserved-memory/a: 1 GiB fit nowhere in memory. At most 512 MiB"
    )


def test_input_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("no log")
    with pytest.raises(InputError, match="no memory map in it"):
        run(path)
    path.write_text(E820.format(more="", cmdline="", release="6.1.0"))
    with pytest.raises(UsageError, match="--memory goes with a device tree"):
        run(path, "--memory", "0-1")
