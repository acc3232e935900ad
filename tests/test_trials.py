"""alloc_pages() of a real kernel, called on purpose until it fails: the model's answers from /proc beside the kernel's.

A count is right within 1% or 64 blocks: /proc does not say what the CPUs' lists hold, and the kernel's own allocations
go on meanwhile. MMTOOL_TRIALS names a folder of further series.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmtool.cli.alloc import alloc

FIXTURES = Path(__file__).parent.parent / "fixtures" / "trials"


def series() -> list[Path]:
    more = os.environ.get("MMTOOL_TRIALS")
    folders = [FIXTURES, *([Path(more)] if more else [])]
    return sorted(path.parent for folder in folders for path in folder.glob("*/script"))


def answers(folder: Path) -> list[dict[str, Any]]:
    arguments = ["--proc", str(folder), "--script", str(folder / "script"), "-o", "json"]
    done = CliRunner().invoke(alloc, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
    return lines


def agrees(mine: dict[str, Any], kernel: str) -> bool:
    words = kernel.split()
    if words[0] == "NULL":
        return mine["allocated"] == 0 and bool(mine["stopped"])
    if words[0] == "ok":
        zones = {zone.split("/")[1] for zone in mine["zones"]}
        return mine["allocated"] == 1 and zones == {words[1]} and mine["stopped"] is None
    if len(words) == 2:
        return bool(mine["freed"] + mine["kept"] > 0)
    count = int(words[0])
    return bool(abs(mine["allocated"] - count) <= max(64, count / 100))


@pytest.mark.parametrize("folder", series(), ids=lambda path: path.name)
def test_the_kernels_answers(folder: Path) -> None:
    kernel = (folder / "answers").read_text().splitlines()
    mine = answers(folder)
    assert [line["line"] for line in mine] == list(range(1, len(kernel) + 1))
    apart = [(line, answer) for line, answer in zip(mine, kernel, strict=True) if not agrees(line, answer)]
    assert apart == []
