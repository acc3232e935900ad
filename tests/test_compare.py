"""Two boots side by side: against pairs of real boots, and the sums that hold of every pair."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.captures import zoneinfo

from mmtool.cli.diff import diff
from mmtool.cli.whatif import whatif

FIXTURES = Path(__file__).parent.parent / "fixtures"
PLAIN = FIXTURES / "captures" / "x86-6.18-crashkernel"
CAPTURES = os.environ.get("MMTOOL_CAPTURES", "")


def compared(command: Any, *arguments: str | Path) -> str:
    done = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return done.stdout


def document(command: Any, *arguments: str | Path) -> dict[str, Any]:
    return dict(json.loads(compared(command, *arguments, "-o", "json")))


# --- against real kernels: two boots of one machine that differ in an option


ORDINARY = {"console=ttyS0", "console=ttyAMA0", "memblock=debug", "mminit_loglevel=4", "ignore_loglevel"}
"""Options that move no memory."""


def kernel_base(capture: Path) -> str:
    """Where KASLR put the kernel, as an option; nothing where /proc/iomem does not say."""
    code = re.search(r"^ *([0-9a-f]+)-[0-9a-f]+ : Kernel code", (capture / "proc" / "iomem").read_text(), re.M)
    return f"0x{code[1]}" if code else "0x0"


def families() -> list[tuple[Path, Path, str]]:
    """(a plain boot, one of the same machine and kernel, the options that it has more)."""
    found = []
    cases = {file.parent: yaml.safe_load(file.read_text()) for file in sorted(Path(CAPTURES).glob("*/case.yaml"))}
    for plain, case in cases.items() if CAPTURES else ():
        special = plain.name.endswith(("reserved-memory", "52bit"))
        if case["efi"] or special or set(case["cmdline"].split()) - ORDINARY:
            continue
        for other, its in cases.items():
            same = all(case[key] == its[key] for key in ("kernel", "machine", "qemu", "efi"))
            more = [word for word in its["cmdline"].split() if word not in case["cmdline"].split()]
            if same and more and "reserved-memory" not in other.name:
                found.append((plain, other, " ".join(more)))
    return found


@pytest.mark.skipif(not CAPTURES, reason="MMTOOL_CAPTURES does not name a folder of captures")
@pytest.mark.parametrize(("plain", "other", "more"), families(), ids=lambda value: getattr(value, "name", None) or "")
def test_whatif_says_what_real_kernels_do(plain: Path, other: Path, more: str) -> None:
    """Zones to the page; what they manage in all to 8, as the pair does not share where KASLR put the kernel."""
    doc = document(whatif, plain, "--cmdline+", more, "--kernel-base", kernel_base(other))
    changes = {c["what"]: c["by"] for c in doc["changes"]}
    before, after = (zoneinfo((path / "proc" / "zoneinfo").read_text()) for path in (plain, other))
    for name in {**before, **after}:
        for field in ("start_pfn", "spanned", "present"):
            real = after.get(name, {}).get(field, 0) - before.get(name, {}).get(field, 0)
            assert changes.get(f"{name} {field}", 0) == real
    managed = sum(zone["managed"] for zone in after.values()) - sum(zone["managed"] for zone in before.values())
    assert abs(sum(by for what, by in changes.items() if what.endswith(" managed")) - managed) <= 8


# --- what holds of every pair

PAIRS = [
    (FIXTURES / "captures" / "x86-6.1-numa4-ring", FIXTURES / "captures" / "x86-6.1-movablecore"),
    (FIXTURES / "captures" / "x86-5.10-swiotlb", FIXTURES / "captures" / "x86-7.3-reserve-mem"),
    (FIXTURES / "captures" / "i386-6.1-1g-debug", FIXTURES / "logs" / "laptop-6.16.txt"),
    (FIXTURES / "arm64" / "arm64-6.12-numa4-ring", FIXTURES / "arm64" / "arm64-6.18-16k-reserved-memory"),
]


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda path: path.name)
def test_the_changes_add_up_to_memtotal(before: Path, after: Path) -> None:
    doc = document(diff, before, after)
    by = {section: sum(c["by"] for c in doc["changes"] if c["section"] == section) for section in ("memory", "takers")}
    assert doc["memtotal"]["by"] == by["memory"] - by["takers"] != 0
    assert doc["memtotal"]["by"] == doc["memtotal"]["after"] - doc["memtotal"]["before"]
    for c in doc["changes"]:
        assert c["by"] == (c["after"] or 0) - (c["before"] or 0) != 0
    backwards = document(diff, after, before)
    assert {(c["what"], c["before"], c["after"]) for c in backwards["changes"]} == {
        (c["what"], c["after"], c["before"]) for c in doc["changes"]
    }


@pytest.mark.parametrize("path", [path for pair in PAIRS for path in pair], ids=lambda path: path.name)
def test_nothing_differs_from_itself(path: Path) -> None:
    doc = document(diff, path, path)
    assert (doc["changes"], doc["moves"], doc["memtotal"]["by"]) == ([], [], 0)
    lines = compared(diff, path, path).splitlines()
    assert lines[-3] == "nothing differs"
    assert lines[-1].startswith("MemTotal stays the same: ")


def test_whatif_is_the_diff_with_another_command_line() -> None:
    more = "crashkernel=64M mem=3G"
    doc = document(whatif, PLAIN, "--cmdline+", more)
    assert doc["after"]["cmdline"] == doc["before"]["cmdline"] + " " + more
    takers = {c["what"]: c["by"] for c in doc["changes"] if c["section"] == "takers"}
    assert takers["crashkernel"] == (64 - 256) << 20
    assert takers["kept out by mem= or memmap="] == 1 << 30
    assert [m for m in doc["moves"] if m["owner"] == "crashkernel"] != []
    assert doc["memtotal"]["by"] == -sum(takers.values())


def test_options_hold_for_both_sides() -> None:
    doc = document(diff, *PAIRS[0], "--kernel", "debian-6.12-cloud-amd64", "--cmdline", "quiet")
    assert {doc[side]["kernel"] for side in ("before", "after")} == {"6.12.117"}
    assert {doc[side]["cmdline"] for side in ("before", "after")} == {"quiet"}


def test_formats_agree() -> None:
    arguments = (PLAIN, "--cmdline+", "mem=3G")
    doc = document(whatif, *arguments)
    assert doc["schema"] == "mmtool.diff/1"
    assert doc == yaml.safe_load(compared(whatif, *arguments, "-o", "yaml"))
    rows = list(csv.DictReader(io.StringIO(compared(whatif, *arguments, "-o", "csv"))))
    as_text = [{k: "" if v is None else str(v) for k, v in c.items()} for c in doc["changes"]]
    assert rows == as_text
    table = compared(whatif, *arguments)
    assert f"MemTotal shrinks by 943.24 MiB ({doc['memtotal']['by']} bytes): " in table
