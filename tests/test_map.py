"""The firmware's map in the words of others reads back as the same map, and QEMU's arguments are those of the boot."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support.dts import compile_dts

from mmtool.build.release import release_facts
from mmtool.cli.map import map as command
from mmtool.errors import UsageError
from mmtool.firmware.fdt import parse_fdt
from mmtool.firmware.machine import E820Type
from mmtool.firmware.read import read_machine
from mmtool.linux.arch.x86.kernel.e820 import E820Table, parse_memmap_opt
from mmtool.linux.kernel.printk import KernelLog

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURES = os.environ.get("MMTOOL_CAPTURES", "")
FOLDERS = [FIXTURES / "captures", *([Path(CAPTURES)] if CAPTURES else [])]
PCS = [file.parent for folder in FOLDERS for file in sorted(folder.glob("*/memmap.txt"))]
MAPS = list({(path / "memmap.txt").read_bytes(): path for path in PCS}.values())
"""One of those that have the same map."""
CASES = [file.parent for folder in (*FOLDERS, FIXTURES / "arm64") for file in sorted(folder.glob("*/case.yaml"))]
EFI = FIXTURES / "captures" / "x86-6.12-efi-8g-debug"
ARM64 = FIXTURES / "arm64" / "arm64-6.12-numa4-ring"

Entry = tuple[int, int, str]


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return done.stdout


@cache
def shown(path: Path) -> list[Entry]:
    """The map as `-o json` shows it, with the names that sysfs has."""
    document = json.loads(run(path, "-o", "json"))
    assert document["schema"] == "mmtool.map/1"
    return [(int(e["start"], 16), int(e["end"], 16), e["name"]) for e in document["map"]]


@pytest.mark.parametrize("capture", PCS, ids=lambda path: path.name)
def test_it_is_the_map_of_sysfs(capture: Path) -> None:
    """/sys/firmware/memmap of the running kernel, whose first entry it may have cut for itself."""
    entries: dict[int, dict[str, str]] = {}
    for number, name, value in re.findall(r"memmap/(\d+)/(start|end|type):(.*)", (capture / "memmap.txt").read_text()):
        entries.setdefault(int(number), {})[name] = value
    sysfs = sorted((int(e["start"], 16), int(e["end"], 16), e["type"]) for e in entries.values())
    assert shown(capture) == sysfs


@pytest.mark.parametrize("capture", MAPS, ids=lambda path: path.name)
def test_memmap_options_give_the_same_map(capture: Path) -> None:
    option = run(capture, "--to", "memmap")
    assert option.startswith("memmap=exactmap,") and option.count("\n") == 1 and " " not in option
    table = E820Table(release_facts((6, 1, 0)), KernelLog(), 1000)
    assert parse_memmap_opt(table, option.strip().partition("=")[2])
    table.update_table()
    document = json.loads(run(capture, "-o", "json"))
    wanted = [(int(e["start"], 16), int(e["end"], 16) + 1, e["type"]) for e in document["map"]]
    assert [(e.start, e.end, e.type) for e in table.snapshot()] == wanted


def test_memmap_option_of_an_efi_machine() -> None:
    """Booted with this option, 6.1.176 and 7.3.4 print these entries as their user-defined map."""
    parts = run(EFI, "--to", "memmap").strip().split(",")
    assert parts[:5] == ["memmap=exactmap", "640K@0x0", "7M@1M", "32K%8M+4", "12K@8224K"]
    assert {"72K#2092468K", "256M$2816M", "6G@4G"} < set(parts)


@pytest.mark.parametrize("capture", MAPS, ids=lambda path: path.name)
def test_iomem_reads_back(capture: Path, tmp_path: Path) -> None:
    file = tmp_path / "iomem"
    file.write_text(run(capture, "--to", "iomem"))
    machine = read_machine(str(file), kind="iomem")
    names = [line.partition(" : ")[2] for line in file.read_text().splitlines()]
    assert [(e.start, e.end - 1, n) for e, n in zip(machine.e820, names, strict=True)] == shown(capture)


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")
@pytest.mark.parametrize("path", [*MAPS, ARM64], ids=lambda path: path.name)
def test_device_trees_read_back(path: Path) -> None:
    tree = parse_fdt(compile_dts(run(path, "--to", "dts")), "F")
    assert tree.problems == ()
    ram = [(start, end + 1) for start, end, name in shown(path) if name == "System RAM"]
    merged: list[tuple[int, int]] = []
    for node in tree.memory:
        joins = bool(merged) and merged[-1][1] == node.start and (node.start, node.end) not in ram
        merged[-1:] = [(merged[-1][0], node.end)] if joins else [*merged[-1:], (node.start, node.end)]
    assert merged == ram


def test_a_device_tree_has_the_firmware_s_nodes() -> None:
    source = run(FIXTURES / "captures" / "x86-5.10-numa2-memless-cpu", "--to", "dts")
    assert re.findall(r"memory@(\w+) |numa-node-id = <(\d)>", source) == [
        ("0", ""), ("", "0"), ("100000", ""), ("", "0"), ("100000000", ""), ("", "2")
    ]  # fmt: skip


def normal(arguments: str) -> tuple[set[str], dict[tuple[int, int], int]]:
    """QEMU's arguments without what no map tells (slots, how memory is allocated), and the distances that they mean."""
    text = re.sub(r",(slots|maxmem|reserve)=\w+|-object memory-backend-ram,id=(dimm|big)\S+|-device \S+", "", arguments)
    text = re.sub(r"(cpus=(\d+))-\2\b", r"\1", text.replace("\\\n", ""))
    text = re.sub(r"(-m |size=)(\d+)G", lambda m: f"{m[1]}{int(m[2]) << 10}M", text)
    given = {
        (int(a), int(b)): int(value) for a, b, value in re.findall(r"-numa dist,src=(\d+),dst=(\d+),val=(\d+)", text)
    }
    distances = {(b, a): value for (a, b), value in given.items()} | given
    distances |= {(a, a): 10 for pair in given for a in pair}
    return {part for part in re.split(r"\s+(?=-)", text.strip()) if "dist," not in part}, distances


@pytest.mark.parametrize("capture", CASES, ids=lambda path: path.name)
def test_qemu_arguments_are_those_of_the_boot(capture: Path) -> None:
    """EFI keeps some MiB without saying that they are memory; on arm64 its log has lost the map."""
    case = yaml.safe_load((capture / "case.yaml").read_text())
    if capture.name.startswith("arm64") and case["efi"]:
        return
    got, wanted = run(capture, "--to", "qemu"), case["qemu"]
    if case["efi"]:
        given = int(re.findall(r"-m (\d+)M", got)[0])
        assert 8 * 1024 - 64 < given <= 8 * 1024
        got = got.replace(f"-m {given}M", "-m 8G")
    assert normal(got) == normal(wanted)


def test_qemu_arguments_of_four_nodes() -> None:
    lines = run(ARM64, "--to", "qemu").splitlines()
    assert lines[0] == "-m 4096M -smp 4 \\"
    assert lines[1:3] == [
        "  -object memory-backend-ram,id=m0,size=1024M \\",
        "  -numa node,nodeid=0,memdev=m0,cpus=0 \\",
    ]
    assert lines[-1] == "  -numa dist,src=3,dst=3,val=10"
    assert len(lines) == 1 + 2 * 4 + 16


def test_formats_agree() -> None:
    document = json.loads(run(EFI, "-o", "json"))
    assert document == yaml.safe_load(run(EFI, "-o", "yaml"))
    rows = list(csv.DictReader(io.StringIO(run(EFI, "-o", "csv"))))
    assert [(row["start"], row["last"], row["name"]) for row in rows] == [
        (e["start"], e["end"], e["name"]) for e in document["map"]
    ]
    assert run(EFI).splitlines()[0] == "Firmware map (BIOS-e820)"
    assert {e["type"] for e in document["map"]} == {E820Type.RAM, E820Type.RESERVED, E820Type.ACPI, E820Type.NVS}


def test_a_conversion_has_a_format_of_its_own() -> None:
    with pytest.raises(UsageError, match="--to has a format of its own"):
        run(EFI, "--to", "dts", "-o", "json")
