"""This machine as an input: its kernel's build out of what the kernel shows, and a boot of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.commands import mmtool

from mmtool.capture.build_files import build_of
from mmtool.firmware.capture import CaptureFiles
from mmtool.firmware.read import read_collected
from mmtool.observed.answers import answers_of

CONFIG = b"""\
# Linux/x86 6.12.9 Kernel Configuration
CONFIG_X86_64=y
CONFIG_SPARSEMEM=y
CONFIG_NUMA=y
# CONFIG_MODULES is not set
"""
SYMBOLS = """\
ffffffff81000000 T _text
ffffffff82209988 T _etext
ffffffff83783000 B __init_begin
ffffffffc0001000 t helper\t[module]
"""
IOMEM = b"""\
00100000-bfffffff : System RAM
  01000000-02209987 : Kernel code
  02400000-02e09fff : Kernel rodata
  03000000-0327c0ff : Kernel data
  03b34000-03c57fff : Kernel bss
"""


def machine_at(root: Path, symbols: str = SYMBOLS) -> Path:
    (root / "proc").mkdir()
    (root / "proc/kallsyms").write_text(symbols)
    return root


def test_the_build_that_a_kernel_shows(tmp_path: Path) -> None:
    made = build_of({"config": CONFIG, "proc/iomem": IOMEM}, machine_at(tmp_path), "here")
    assert made is not None
    profile = made.profile
    assert (profile.arch, profile.release) == ("x86_64", "6.12.9")
    assert profile.config["MODULES"] is False and not profile.enabled("MODULES")
    assert profile.image["etext"] == 0x1209988 and profile.image["init_begin"] == 0x2783000
    assert profile.image["bss_start"] == profile.image["init_end"] == 0x2B34000
    assert profile.image["end_of_kernel_reserve"] == 0x2C58000
    assert "helper" not in str(profile)


def test_hidden_addresses_tell_nothing(tmp_path: Path) -> None:
    hidden = "\n".join("0000000000000000 " + line.split(" ", 1)[1] for line in SYMBOLS.splitlines())
    made = build_of({"config": CONFIG}, machine_at(tmp_path, hidden), "here")
    assert made is not None and not made.profile.image
    assert build_of({}, tmp_path, "here") is None


def test_collected_files_are_a_machine() -> None:
    log = (
        b"[    0.000000] Linux version 6.12.9 (a@b) (gcc) #1 SMP\n[    0.000000] Command line: ro\n"
        b"[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x00000000bfffffff] usable\n"
        b"[    0.000000] Zone ranges:\n"
    )
    files = {"dmesg.txt": log, "proc/iomem": IOMEM, "sys/devices/system/cpu/possible": b"0-2,5\n"}
    machine = read_collected(CaptureFiles("here", files.get))
    assert (machine.cpus, machine.kernel_base, machine.release) == (4, 0x1000000, "6.12.9")
    assert answers_of(CaptureFiles("here", files.get)).log == {"zones": [(4, "Zone ranges:")]}


@pytest.mark.skipif(not Path("/sys/firmware/memmap").is_dir(), reason="no machine with a firmware map")
@pytest.mark.parametrize("command", ["boot", "ledger", "verify"])
def test_commands_take_this_machine(command: str) -> None:
    done = mmtool(command, "-o", "json")
    assert done.returncode in (0, 1) and b"Traceback" not in done.stderr
    assert json.loads(done.stdout)["schema"] == f"mmtool.{command}/1"
