"""Would it fit: the answers of real kernels, and what holds of every answer."""

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
from click.testing import CliRunner, Result

from mmtool.cli.reserve import reserve as command
from mmtool.errors import UsageError
from mmtool.units import memparse

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURES = os.environ.get("MMTOOL_CAPTURES", "")
FOLDERS = [FIXTURES / "captures", FIXTURES / "arm64", *([Path(CAPTURES)] if CAPTURES else [])]
CASES = {file.parent: yaml.safe_load(file.read_text()) for d in FOLDERS for file in sorted(d.glob("*/case.yaml"))}
PLAIN = FIXTURES / "captures" / "x86-6.12-64g"
CRASH = FIXTURES / "captures" / "x86-6.18-crashkernel"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


def answer(*arguments: str | Path) -> dict[str, Any]:
    done = run(*arguments, "-o", "json")
    document = dict(json.loads(done.stdout))
    assert document["schema"] == "mmtool.reserve/1"
    assert done.exit_code == (0 if document["fits"] else 1)
    return document


def pieces(document: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {p["for"]: (int(p["start"], 16), int(p["end"], 16) + 1) for p in document["pieces"]}


# --- against real kernels


def asking(option: str) -> list[tuple[Path, str]]:
    return [
        (path, word.partition("=")[2])
        for path, case in CASES.items()
        for word in case["cmdline"].split()
        if word.startswith(f"{option}=")
    ]


def real_crashkernel(log: str) -> dict[str, tuple[int, int]]:
    """What the kernel said that it kept."""
    found = {}
    for name, start, end in re.findall(r"crashkernel (low memory )?reserved: (0x\w+) - (0x\w+)", log):
        found["crashkernel low" if name else "crashkernel"] = (int(start, 16), int(end, 16))
    for size, low, base in re.findall(r"Reserving (\d+)MB of (low )?memory at (\d+)MB for crashkernel", log):
        start = int(base) << 20
        found["crashkernel low" if low else "crashkernel"] = (start, start + (int(size) << 20))
    return found


@pytest.mark.parametrize(("capture", "value"), asking("crashkernel"), ids=lambda value: getattr(value, "name", value))
def test_a_crash_kernel_lies_where_the_real_one_did(capture: Path, value: str) -> None:
    document = answer(capture, "--crashkernel", value)
    wanted = real_crashkernel((capture / "dmesg.txt").read_text(errors="replace"))
    assert pieces(document) == wanted
    assert document["fits"] == bool(wanted)
    assert document["use"] == (f"crashkernel={value}" if wanted else document["largest"])


@pytest.mark.parametrize(("capture", "value"), asking("cma"), ids=lambda value: getattr(value, "name", value))
def test_a_cma_area_lies_where_the_real_one_did(capture: Path, value: str) -> None:
    """Debian's cloud kernels for x86 are built without; they say nothing. Areas of another size are the nodes' own."""
    document = answer(capture, "--cma", value)
    log = (capture / "dmesg.txt").read_text(errors="replace")
    wanted = [(int(m, 16), int(n)) for n, m in re.findall(r"cma: Reserved (\d+) MiB at (0x\w+)", log)]
    mine = [area for area in wanted if area[1] << 20 == memparse(value)[0]]
    assert [(a, b - a >> 20) for a, b in pieces(document).values()] == mine
    assert document["fits"] == bool(mine)


@pytest.mark.parametrize("capture", [p for p in CASES if "hugepages-1g" in p.name], ids=lambda path: path.name)
def test_huge_pages_are_as_many_as_the_real_kernel_got(capture: Path) -> None:
    log = (capture / "dmesg.txt").read_text(errors="replace")
    (got,) = re.findall(r"registered 1.00 GiB page size, pre-allocated (\d+) pages", log)
    asked = re.findall(r"hugepagesz=1G hugepages=(\d+)", CASES[capture]["cmdline"])[0]
    document = answer(capture, "--hugepages", f"1G:{asked}")
    assert len(document["pieces"]) == int(got)
    assert document["fits"] == (got == asked)


# --- what holds of every answer


@pytest.mark.parametrize(
    ("capture", "option", "value"),
    [
        (PLAIN, "--crashkernel", "100G"),
        (PLAIN, "--crashkernel", "3G,high"),
        (FIXTURES / "captures" / "x86-6.1-hotplug-slots", "--crashkernel", "3G"),
        (FIXTURES / "captures" / "i386-6.1-1g-debug", "--crashkernel", "700M"),
        (FIXTURES / "arm64" / "arm64-5.10-reserved-memory", "--crashkernel", "3G"),
        (FIXTURES / "arm64" / "arm64-6.12-numa4-ring", "--cma", "5G"),
        (PLAIN, "--hugepages", "1G:100"),
        (PLAIN, "--memmap", "4G!62G"),
    ],
    ids=str,
)
def test_what_is_called_the_largest_fits(capture: Path, option: str, value: str) -> None:
    document = answer(capture, option, value)
    assert document["largest"] is not None and document["holes"]
    largest = document["largest"]
    if option == "--hugepages":
        value = largest.replace("hugepagesz=", "").replace(" hugepages=", ":")
    else:
        value = largest.partition("=")[2]
    again = answer(capture, option, value)
    assert again["fits"] and again["use"] == largest
    sizes = [int(h["end"], 16) + 1 - int(h["start"], 16) for h in again["holes"]]
    assert all(h["fit"] <= size for h, size in zip(again["holes"], sizes, strict=True))
    if option != "--memmap":
        assert [h["verdict"] for h in again["holes"] if h["verdict"].startswith("taken")]


def test_holes_say_why_they_were_refused() -> None:
    verdicts = [h["verdict"] for h in answer(PLAIN, "--crashkernel", "3G,high")["holes"]]
    assert verdicts[0] == "taken: 1 x crashkernel"
    assert set(verdicts[1:]) <= {"too small", "would do, but another was taken first", "taken: 1 x crashkernel low"}
    verdicts = [h["verdict"] for h in answer(PLAIN, "--hugepages", "1G:100")["holes"]]
    assert verdicts[-1].startswith("too small: ") and verdicts[-1].endswith(" aligned to 1 GiB")
    board = FIXTURES / "arm64" / "arm64-6.12-numa4-ring"
    verdicts = [h["verdict"] for h in answer(board, "--cma", "5G")["holes"]]
    assert "out of reach: the search ends at 0x100000000" in verdicts


def test_an_option_of_the_machine_s_own_does_not_count_twice() -> None:
    """The log asks for 256 MiB already; that memory is there to be asked for."""
    own = pieces(answer(CRASH, "--crashkernel", "256M"))
    assert own == pieces(answer(CRASH, "--crashkernel", "256M", "--cmdline", "console=ttyS0 quiet"))
    assert answer(CRASH, "--crashkernel", "256M", "--cmdline", "mem=200M")["fits"] is False


def test_ranges_that_memmap_takes() -> None:
    assert answer(PLAIN, "--memmap", "4G!12G")["fits"]
    refused = answer(PLAIN, "--memmap", "4G!1G")
    assert not refused["fits"]
    assert [h["verdict"] for h in refused["holes"]] == ["holds 1 GiB of it", "holds 1023.87 MiB of it", "elsewhere"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --crashkernel, --cma, --hugepages, --memmap"),
        (["--cma", "1M", "--crashkernel", "1M"], "give one of"),
        (["--crashkernel", "much"], "asks for no memory"),
        (["--cma", "0"], "asks for no memory"),
        (["--hugepages", "1G"], "write SIZE:COUNT"),
        (["--hugepages", "2M:100"], "only pages larger than the largest free block"),
        (["--memmap", "4G"], "write SIZE!START"),
    ],
)
def test_what_cannot_be_asked(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        run(PLAIN, *arguments)


def test_formats_agree() -> None:
    arguments = (CRASH, "--crashkernel", "512M,high")
    document = answer(*arguments)
    assert document == yaml.safe_load(run(*arguments, "-o", "yaml").stdout)
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "-o", "csv").stdout)))
    assert [(row["start"], row["last"], row["verdict"]) for row in rows] == [
        (h["start"], h["end"], h["verdict"]) for h in document["holes"]
    ]
    lines = run(*arguments).stdout.splitlines()
    assert lines[0] == "crashkernel=512M,high: fits"
    assert f"use: {document['use']}" in lines
