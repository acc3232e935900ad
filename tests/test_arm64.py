"""arm64: what only these machines have; the comparison with real kernels is in test_captures.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.blobs import Tree, blob, cells, text
from support.captures import Capture, captures

from mmtool.build.choose import kernel_for
from mmtool.cli.boot import boot
from mmtool.errors import InputError, UsageError
from mmtool.firmware.machine import Machine

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOST = [c for c in captures() if not c.says_where_memory_is]


def printed(*arguments: str) -> str:
    return CliRunner().invoke(boot, arguments, catch_exceptions=False, standalone_mode=False).stdout


@pytest.mark.parametrize("capture", LOST, ids=lambda c: c.name)
def test_a_log_that_lost_the_efi_map_is_refused(capture: Capture) -> None:
    with pytest.raises(InputError, match="no memory node"):
        capture.run()


def test_a_capture_brings_its_tree_and_the_image() -> None:
    folder = FIXTURES / "arm64" / "arm64-6.12-numa4-ring"
    files = ("--dtb", str(folder / "machine.dtb.gz"), "--dmesg", str(folder / "dmesg.txt"))
    kernel = (folder / "proc/version").read_text().split()[2]
    shown = ("--only", "firmware,memblock,nodes", "-o", "json")
    assert printed("--capture", str(folder), *shown) == printed(
        *files, "--kernel", kernel, "--kernel-base", "0x40200000", *shown
    )


def test_memory_can_be_given_where_the_boot_loader_fills_it_in(tmp_path: Path) -> None:
    """The answer is that of a tree with these memory nodes."""
    tree = tmp_path / "board.dtb"
    root: Tree = {"#address-cells": cells(2), "#size-cells": cells(2)}
    empty: Tree = {"device_type": text("memory"), "reg": cells(0, 0x40000000, 0, 0)}
    full: Tree = {"device_type": text("memory"), "reg": cells(0, 0x40000000, 0, 0x80000000, 2, 0, 1, 0)}
    tree.write_bytes(blob({**root, "memory@40000000": full}))
    wanted = printed("--dtb", str(tree), "--only", "zones,memblock")
    tree.write_bytes(blob({**root, "memory@40000000": empty}))
    with pytest.raises(InputError, match=r"/: no memory node says where memory is.*--memory 0x40000000-0xbfffffff"):
        printed("--dtb", str(tree))
    memory = ("--memory", "0x40000000-0xbfffffff", "--memory", "8G-0x2ffffffff")
    assert printed("--dtb", str(tree), *memory, "--only", "zones,memblock") == wanted


@pytest.mark.parametrize(
    "arguments",
    [["--dmesg", "x"], ["--memory", "0-1"], ["--memory", "0-1", "--e820", "x"], ["--dtb", "x", "--e820", "y"]],
)
def test_sources_do_not_mix(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="--"):
        printed(*arguments)


FAULTS = FIXTURES / "fdt"
RESERVED = re.compile(r"OF: (?:fdt|reserved mem): |Reserved memory: |\S+ \(0x[0-9a-f]+--.* overlaps with ")


@pytest.mark.parametrize("release", ["5.10", "6.1", "6.12", "6.18", "7.3"])
def test_every_mistake_in_reserved_memory_gets_the_kernels_lines(release: str) -> None:
    version, *lines = (FAULTS / f"faults-{release}.txt").read_text().splitlines()
    said = printed("--dtb", str(FAULTS / "faults.dtb.gz"), "--kernel", version.split()[2], "-o", "dmesg").splitlines()
    assert [line for line in said if RESERVED.match(line)] == [line for line in lines if RESERVED.match(line)]


@pytest.mark.parametrize(
    ("release", "page_shift", "order"),
    [
        ("6.1.9-arm64-16k", 14, 11),
        ("5.15.0-25-generic-64k", 16, 13),
        ("6.12.0-1.el10.aarch64+64k", 16, 13),
        ("6.9.1", 12, 10),
    ],
)
def test_a_build_with_large_pages_is_known_by_its_name(release: str, page_shift: int, order: int) -> None:
    kernel = kernel_for(Machine("device tree", (), arch="arm64", release=release))
    assert (kernel.page_shift, kernel.max_page_order) == (page_shift, order)
