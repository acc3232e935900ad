"""Zones and CMA of arm64 boards in the field, 4.14 to 6.19, from trees as their logs show them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.boards import board_of_log, write_board

from mmtool.answers.assumed import assumptions
from mmtool.build.choose import kernel_for
from mmtool.build.profile import Option
from mmtool.errors import InputError
from mmtool.firmware.read import read_capture, read_input
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP
from mmtool.report.dmesg import dmesg_lines

BOARDS = Path(__file__).parent.parent / "fixtures/arm64/boards.txt.gz"
ASKED = re.compile(
    r"Zone ranges:|Movable zone start|Early memory node ranges|Initmem setup node|  node +\d+: |On node \d+"
    r"|  (DMA|DMA32|Normal|Movable|Device) +(\[mem|empty)|  \w+ zone: |cma: Reserved|Reserved memory: created CMA"
)


@dataclass
class Board:
    name: str
    tree: list[str] = field(default_factory=list)
    config: dict[str, Option] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


def boards() -> Iterator[Board]:
    board = Board("")
    for line in gzip.decompress(BOARDS.read_bytes()).decode().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "==":
            if board.name:
                yield board
            board = Board(rest)
        elif kind == "tree":
            board.tree = rest.split()
        elif kind == "config":
            pairs = (word.split("=") for word in rest.split())
            board.config = {name: int(value) if value.isdigit() else value == "True" for name, value in pairs}
        else:
            (board.log if kind == "<" else board.said).append(rest)
    yield board


@pytest.mark.parametrize("board", [pytest.param(board, id=board.name) for board in boards()])
def test_board(board: Board, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(board.log) + "\n")
    ranges = [word[7:].split("-") for word in board.tree if word.startswith("memory:")]
    # EFI's map, which then counts and not the tree's, is in none of these logs
    efi = any(line.startswith("efi: EFI v") for line in board.log)
    memory = tuple((int(start, 16), int(end, 16)) for start, end in ranges) if efi else ()
    machine = read_input(board_of_log(tmp_path, board.tree), str(tmp_path / "log"), memory)
    kernel = kernel_for(machine)
    booted = start_kernel(machine, replace(kernel, profile=kernel.profile.nearest(board.config)))
    assert [line for line in dmesg_lines(booted) if ASKED.match(line)] == board.said


def test_the_boards_are_of_many_kinds() -> None:
    found = list(boards())
    releases = {tuple(int(n) for n in re.findall(r"\d+", b.log[1])[:2]) for b in found}
    assert len(found) >= 40 and len(releases) >= 20
    assert sum(any("CMA" in line or "cma:" in line for line in b.said) for b in found) >= 40


EFI = Path(__file__).parent.parent / "fixtures/arm64/arm64-6.18-efi"


def zone_lines(booted: Boot) -> list[str]:
    return [line for line in dmesg_lines(booted) if ASKED.match(line) and not line.startswith("cma")]


def test_a_capture_whose_log_lost_efis_map_shows_memory_in_its_resources(tmp_path: Path) -> None:
    machine = read_capture(str(EFI))
    whole = start_kernel(machine, kernel_for(machine))
    log = [line for line in (EFI / "dmesg.txt").read_text().splitlines() if "efi:   0x" not in line]
    (tmp_path / "machine.dtb.gz").write_bytes((EFI / "machine.dtb.gz").read_bytes())
    (tmp_path / "dmesg.txt").write_text("\n".join(log) + "\n")
    with pytest.raises(InputError, match="no memory node says where memory is"):
        read_capture(str(tmp_path))
    regions = [(r.base, r.end - 1, r.flags & MEMBLOCK_NOMAP) for r in whole.memblock.memory.regions]
    iomem = "".join(f"{a:08x}-{b:08x} : {'reserved' if nomap else 'System RAM'}\n" for a, b, nomap in regions)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/iomem").write_text(iomem + "  00000000-00000fff : reserved\n")
    machine = read_capture(str(tmp_path))
    booted = start_kernel(machine, kernel_for(machine))
    assert zone_lines(booted) == zone_lines(whole)
    assert [a.kind for a in assumptions(booted) if a.kind == "efi_map"] == ["efi_map"]


@pytest.mark.parametrize(("name", "size"), [("6.9.0-mine", 32), ("6.9.7-200.fc40.aarch64", 64)])
def test_cma_of_a_build_that_is_not_known(tmp_path: Path, name: str, size: int) -> None:
    """arm64's defconfig has 32 MiB, distributions 64; that it is taken for granted is said."""
    log = f"Linux version {name} (a@b) (gcc) #1 SMP\nrcu: RCU restricting CPUs from NR_CPUS=256 to nr_cpu_ids=4.\n"
    (tmp_path / "log").write_text(log)
    machine = read_input(board_of_log(tmp_path, ["memory:80000000-100000000"]), str(tmp_path / "log"))
    booted = start_kernel(machine, kernel_for(machine))
    assert [line[:20] for line in dmesg_lines(booted) if line.startswith("cma")] == [f"cma: Reserved {size} MiB"]
    told = [a.what for a in assumptions(booted) if a.kind == "cma"]
    assert told == [f"the build's CMA area has {size} MiB"]
    asked = start_kernel(machine, kernel_for(machine), cmdline="cma=16M")
    assert not [a for a in assumptions(asked) if a.kind == "cma"]


def test_a_tree_that_no_boot_loader_filled_in_hides_the_ram_disk(tmp_path: Path) -> None:
    for number, chosen in enumerate(({}, {"bootargs": b"quiet\0"})):
        folder = tmp_path / str(number)
        folder.mkdir()
        machine = read_input(write_board(folder, [(0x80000000, 0x40000000)], **chosen))
        told = [a.kind for a in assumptions(start_kernel(machine, kernel_for(machine, "6.1"))) if a.kind == "initrd"]
        assert told == ["initrd"] * (not chosen)
