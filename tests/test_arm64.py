"""arm64: zones and zonelists of real kernels, from the device tree and the log without its answers.

MMTOOL_CAPTURES names a folder of further captures. Where EFI booted and the log lost its beginning, the map is lost.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.blobs import Tree, blob, cells, text
from support.captures import sort_lines

from mmtool.cli.boot import boot
from mmtool.cli.ledger import ledger
from mmtool.errors import InputError, UsageError
from mmtool.firmware.fdt import read_fdt

FIXTURES = Path(__file__).parent.parent / "fixtures"
FOLDERS = [FIXTURES / "arm64", *(Path(more) for more in [os.environ.get("MMTOOL_CAPTURES")] if more)]
BOARDS = [tree.parent for folder in FOLDERS for tree in sorted(folder.glob("*/machine.dtb.gz"))]


def printed(*arguments: str) -> str:
    return CliRunner().invoke(boot, arguments, catch_exceptions=False, standalone_mode=False).stdout


@pytest.mark.parametrize("board", BOARDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_zones_and_zonelists_are_the_kernels(board: Path, tmp_path: Path) -> None:
    inputs, answers = sort_lines((board / "dmesg.txt").read_text(errors="replace"))
    log, tree = tmp_path / "dmesg.txt", board / "machine.dtb.gz"
    log.write_text(inputs)
    if not read_fdt(str(tree)).memory and "Linux version" not in inputs:
        with pytest.raises(InputError, match="no memory node"):
            printed("--dtb", str(tree), "--dmesg", str(log))
        return
    _, got = sort_lines(printed("--dtb", str(tree), "--dmesg", str(log), "-o", "dmesg"))
    assert got["zones"] == answers["zones"]
    assert got["zonelists"] == answers["zonelists"]


def test_a_capture_brings_its_tree() -> None:
    folder = FIXTURES / "arm64" / "arm64-6.12-numa4-ring"
    assert printed("--capture", str(folder), "-o", "json") == printed(
        "--dtb", str(folder / "machine.dtb.gz"), "--dmesg", str(folder / "dmesg.txt"), "-o", "json"
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


def test_ledger_says_that_it_does_not_know_arm64() -> None:
    tree = FIXTURES / "arm64" / "arm64-6.12-numa4-ring" / "machine.dtb.gz"
    with pytest.raises(InputError, match="ledger is x86's"):
        CliRunner().invoke(ledger, ["--dtb", str(tree)], catch_exceptions=False, standalone_mode=False)
