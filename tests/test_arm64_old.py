"""arm64 as each release did it before 5.11, and what lies out of reach: boards of the field, cut to their memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.boards import cells, pairs, write_board

from mmtool.build.choose import kernel_for
from mmtool.firmware.fdt.blob import Node
from mmtool.firmware.machine import LogNote, Machine
from mmtool.firmware.read import read_board
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.lib.sort import sort

GIB = 1 << 30


def board(tmp_path: Path, memory: list[tuple[int, int]], *reserved: Node, **chosen: bytes) -> Machine:
    """A board with these ranges (start, size) of memory."""
    return read_board(write_board(tmp_path, memory, reserved, **chosen))


def boot(machine: Machine, release: str, cmdline: str = "") -> Boot:
    return start_kernel(machine, kernel_for(machine, release), cmdline=cmdline)


def zones(booted: Boot) -> list[str]:
    lines = [line.text for line in booted.log.lines]
    start = lines.index("Zone ranges:") + 1
    return [" ".join(line.split()) for line in lines[start : lines.index("Movable zone start for each node")]]


def said(booted: Boot, *beginnings: str) -> list[str]:
    return [line.text for line in booted.log.lines if line.text.startswith(beginnings)]


TWO = "[mem 0x0000000080000000-0x00000000bfffffff]"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.14", [f"DMA {TWO}", "Normal empty"]),
        ("5.4", [f"DMA32 {TWO}", "Normal empty"]),
        ("5.6", [f"DMA {TWO}", "DMA32 empty", "Normal empty"]),
        ("5.10.21", [f"DMA {TWO}", "DMA32 empty", "Normal empty"]),
        ("5.10.22", [f"DMA {TWO}", "DMA32 empty", "Normal empty"]),
    ],
)
def test_a_board_whose_memory_begins_at_2_gib(tmp_path: Path, release: str, expected: list[str]) -> None:
    assert zones(boot(board(tmp_path, [(2 * GIB, GIB)]), release)) == expected


@pytest.mark.parametrize(
    ("release", "ends"),
    [("4.14", (4,)), ("5.4", (4,)), ("5.6", (1, 4)), ("5.10.21", (1, 4)), ("5.10.22", (4, 4)), ("5.11", (4, 4))],
)
def test_where_the_low_zones_end(tmp_path: Path, release: str, ends: tuple[int, ...]) -> None:
    found = zones(boot(board(tmp_path, [(0, 8 * GIB)]), release))
    shown = [int(line.split("-0x")[1].rstrip("]"), 16) + 1 for line in found if "[mem" in line]
    assert shown == [gib * GIB for gib in sorted({*ends, 8})]


def test_crash_kernel_and_cma_come_before_the_page_tables_and_below_4_gib(tmp_path: Path) -> None:
    machine, line = board(tmp_path, [(2 * GIB, 4 * GIB)]), "crashkernel=512M cma=1G"
    old, new = boot(machine, "5.5", line), boot(machine, "5.11", line)
    assert said(old, "crash", "cma: R") == [
        "crashkernel reserved: 0x00000000e0000000 - 0x0000000100000000 (512 MB)",
        "cma: Reserved 1024 MiB at 0x00000000a0000000",
    ]
    names = [step.name for step in old.steps]
    assert names.index("reserve_crashkernel") < names.index("dma_contiguous_reserve") < names.index("paging_init")
    names = [step.name for step in new.steps]
    assert names.index("paging_init") < names.index("dma_contiguous_reserve") < names.index("reserve_crashkernel")


@pytest.mark.parametrize(("release", "ranges"), [("5.4", 2), ("5.10.19", 2), ("5.10.20", 3), ("6.1", 3)])
def test_fixed_memory_that_is_not_to_be_mapped(tmp_path: Path, release: str, ranges: int) -> None:
    """It leaves memblock, later it stays there with a mark: a range of its own."""
    node = Node("fw@4000000", None, {"reg": pairs((0x4000000, 0x200000)), "no-map": b""})
    booted = boot(board(tmp_path, [(0, GIB)], node), release)
    assert len(said(booted, "  node   0: ")) == ranges


def test_placed_regions_see_fixed_ones_until_6_12_13(tmp_path: Path) -> None:
    fixed = Node("atf@0", None, {"reg": pairs((0, 0x80000)), "no-map": b""})
    pool = {"compatible": b"shared-dma-pool\0", "reusable": b"", "linux,cma-default": b""}
    placed = Node("linux,cma", None, {**pool, "size": pairs((0, 64 << 20))[8:], "alloc-ranges": pairs((0, GIB))})
    machine = board(tmp_path, [(0, 2 * GIB)], fixed, placed)
    assert said(boot(machine, "6.6"), "Reserved memory: created CMA")[0].endswith("0x0000000000200000, size 64 MiB")
    new = said(boot(machine, "6.13"), "Reserved memory: created CMA")
    assert new[0].endswith("0x000000003c000000, size 64 MiB")
    old = [
        line.text for line in boot(machine, "6.6").log.lines if "non-reusable" in line.text or " reusable" in line.text
    ]
    assert [line.split()[-1] for line in old] == ["linux,cma", "atf@0"]


def test_memory_beyond_the_linear_map_leaves(tmp_path: Path) -> None:
    machine = board(tmp_path, [(2 * GIB, GIB), (0x8080000000, GIB)])
    kernel = kernel_for(machine, "6.1")
    kernel = type(kernel)(kernel.name, kernel.release, kernel.profile.nearest({"ARM64_VA_BITS": 39}))
    booted = start_kernel(machine, kernel)
    assert said(booted, "Memory doesn't fit") == ["Memory doesn't fit in the linear mapping, VA_BITS too small"]
    assert (booted.memblock.end_of_DRAM() or 0) <= (2 + 256) * GIB
    assert not said(boot(machine, "6.1"), "Memory doesn't fit")


def test_a_ram_disk_out_of_reach_is_dropped(tmp_path: Path) -> None:
    initrd = {"linux_initrd-start": cells(0x8000000), "linux_initrd-end": cells(0x9000000)}
    booted = boot(board(tmp_path, [(0x800000000, 2 * GIB)], **initrd), "6.1")
    assert said(booted, "initrd not fully accessible") and booted.initrd is None
    assert booted.memblock.start_of_DRAM() == 0x800000000


def test_faked_nodes(tmp_path: Path) -> None:
    machine = board(tmp_path, [(0, 8 * GIB)], bootargs=b"numa=fake=8\0")
    booted = boot(machine, "6.18", "numa=fake=8")
    assert said(booted, "Faking node 7") == ["Faking node 7 at [mem 0x00000001c0000000-0x00000001ffffffff] (1024MB)"]
    assert len(booted.nodes) == 8


@pytest.mark.parametrize(
    ("name", "kib"),
    [("6.12.43+deb13-arm64-16k", 16), ("6.1.73-arm64-64k", 64), ("6.18.34+rpt-rpi-2712", 16), ("6.12.1", 4)],
)
def test_the_size_of_pages_by_the_kernels_name(tmp_path: Path, name: str, kib: int) -> None:
    assert kernel_for(board(tmp_path, [(0, GIB)]), name).page_size == kib << 10


def test_the_size_of_pages_by_the_per_cpu_areas() -> None:
    note = LogNote("pcpu_alloc", (100000, 16384), 1, "pcpu-alloc: s100000 r8192 d28672 u147456 alloc=9*16384")
    machine = Machine("none", (), arch="arm64", release="6.18.34-own", notes=(note,))
    assert kernel_for(machine).page_size == 16384


def test_the_kernels_sort_turns_two_equals_round() -> None:
    assert sort([("a", 0), ("b", 0)], lambda e: e[1]) == [("b", 0), ("a", 0)]
    assert [n for n, _ in sort([(c, 0) for c in "abcd"], lambda e: e[1])] == ["b", "c", "d", "a"]


@given(st.lists(st.integers(0, 9)))
def test_the_kernels_sort_sorts(numbers: list[int]) -> None:
    assert sort(numbers, lambda n: n) == sorted(numbers)


@pytest.mark.parametrize("release", ["5.10", "6.12"])
def test_a_crashed_kernels_header_is_kept_where_nothing_lies(release: str, tmp_path: Path) -> None:
    """linux,elfcorehdr of /chosen: reserve_elfcorehdr() up to 5.14, then fdt_reserve_elfcorehdr()."""
    owner = "elfcorehdr of the crashed kernel"
    node = Node("fw@48000000", None, {"reg": pairs((0x48000000, 0x200000))})
    for base, overlaps in ((0x50000000, False), (0x481FF000, True)):
        (tmp_path / f"{base:x}").mkdir()
        machine = board(tmp_path / f"{base:x}", [(0x40000000, GIB)], node, linux_elfcorehdr=pairs((base, 0x8000)))
        booted = boot(machine, release)
        [line] = [line.text for line in booted.log.lines if "elfcorehdr" in line.text]
        prefix, unit = ("", "KB") if release == "5.10" else ("OF: fdt: ", " KiB")
        kept = f"Reserving 32{unit} of memory at {base:#x} for elfcorehdr"
        assert line == prefix + ("elfcorehdr is overlapped" if overlaps else kept)
        assert (owner in booted.memblock.ledger.owners) == (not overlaps)
