"""`mmtool ledger` and `boot --explain`: every byte has a taker, and the rest is what the kernel calls MemTotal."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from click.testing import CliRunner
from support.captures import Capture, booted, captures

from mmtool.answers.ledger import memory_ledger
from mmtool.build.choose import kernel_for
from mmtool.cli.boot import boot
from mmtool.cli.ledger import ledger
from mmtool.errors import InputError, UsageError
from mmtool.firmware.machine import E820Entry, Machine
from mmtool.linux.init.main import start_kernel
from mmtool.report.boot import document as boot_document
from mmtool.report.ledger import document as ledger_document

MOST_APART = 0.001
"""Of MemTotal: what KASLR and unknown places of firmware tables may cost."""

CAPTURES = [c for c in captures() if c.says_where_memory_is]
each_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda c: c.name)


def document(*arguments: str, command: Any = ledger) -> dict[str, Any]:
    result = CliRunner().invoke(command, [*arguments, "-o", "json"], catch_exceptions=False, standalone_mode=False)
    return dict(json.loads(result.stdout))


@each_capture
def test_closes_on_the_kernels_memtotal(capture: Capture) -> None:
    machine = booted(capture.path)
    doc = ledger_document(machine, memory_ledger(machine))
    ram = sum(
        int(e["end"], 16) - int(e["start"], 16) + 1
        for e in boot_document(machine, ("firmware",))["firmware"]["map"]
        if e["type"] in ("usable", "System RAM", "ACPI data", "ACPI NVS")
    )
    assert doc["installed"] == ram
    assert doc["installed"] - sum(t["bytes"] for t in doc["takers"]) == doc["memtotal"]
    assert not [t for t in doc["takers"] if t["taker"].startswith(("not accounted", "reserved, owner not"))]
    told = re.search(r"MemTotal: +(\d+) kB", (capture.path / "proc/meminfo").read_text())
    assert told is not None
    assert abs(doc["memtotal_kbytes"] - int(told[1])) <= MOST_APART * int(told[1])


def test_the_command_prints_that_ledger() -> None:
    machine = booted(CAPTURES[0].path)
    assert document("--capture", str(CAPTURES[0].path)) == ledger_document(machine, memory_ledger(machine))


def test_an_option_is_named_for_what_it_moves() -> None:
    machine = Machine("table", (E820Entry(0, 0x9FC00, 1), E820Entry(0x100000, 4 << 30, 1)), origin="map")
    booted = start_kernel(machine, kernel_for(machine, "6.1"), cmdline="crashkernel=256M")
    lines = {line.taker: line for line in memory_ledger(booted).lines}
    taken = lines["crashkernel"]
    assert (taken.amount, taken.step, taken.option) == (256 << 20, "reserve_crashkernel", "crashkernel=")


def test_memory_that_the_user_keeps_out_is_a_line() -> None:
    machine = Machine("table", (E820Entry(0, 0x9FC00, 1), E820Entry(0x100000, 4 << 30, 1)), origin="map")
    sums = memory_ledger(start_kernel(machine, kernel_for(machine, "6.1"), cmdline="mem=1G"))
    kept = [line for line in sums.lines if line.taker.startswith("kept out")]
    assert [(line.amount, line.option) for line in kept] == [(3 << 30, "mem=, memmap=")]
    assert sums.unexplained == 0


def test_memory_that_the_kernel_cannot_reach_is_a_line() -> None:
    ram = (E820Entry(0, 0x9FC00, 1), E820Entry(0x100000, 3 << 30, 1), E820Entry(4 << 30, 5 << 30, 1))
    machine = Machine("table", ram, origin="map")
    sums = memory_ledger(start_kernel(machine, kernel_for(machine, "debian-6.1-686")))
    assert {line.taker: line.amount for line in sums.lines}["out of the kernel's reach"] == 1 << 30
    assert sums.unexplained == 0


def test_an_address_is_explained_stage_by_stage() -> None:
    capture = next(c for c in captures() if c.name == "x86-6.18-crashkernel")
    told = re.search(r"crashkernel reserved: (0x[0-9a-f]+)", "\n".join(capture.observed("reservations")))
    assert told is not None
    doc = document("--capture", str(capture.path), "--explain", told[1], command=boot)
    says = {f["stage"]: f for f in doc["findings"]}
    assert doc["schema"] == "mmtool.explain-address/1" and int(doc["address"], 16) == int(told[1], 16)
    assert says["memblock.reserved"]["says"] == "crashkernel, reserved in reserve_crashkernel"
    assert says["page allocator"]["says"] == "not free when init starts"


def test_an_address_in_a_hole_is_no_memory() -> None:
    capture = next(c for c in captures() if c.name == "x86-6.18-crashkernel")
    doc = document("--capture", str(capture.path), "--explain", "0xfec00000", command=boot)
    assert [f["says"] for f in doc["findings"]][-1] == "not memory to the kernel"


@pytest.mark.parametrize("extra", [["--only", "zones"], ["-o", "dmesg"]])
def test_explain_is_an_answer_of_its_own(extra: list[str]) -> None:
    with pytest.raises(UsageError, match="--explain"):
        CliRunner().invoke(boot, ["--explain", "0x1000", *extra], catch_exceptions=False, standalone_mode=False)


def test_a_folder_without_a_log_is_no_capture(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"it has no dmesg\.txt"):
        document("--capture", str(tmp_path))
