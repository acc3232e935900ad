"""Reports of failed allocations: those of fixtures/reports, and of the folder that MMTOOL_REPORTS names."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmtool.cli.explain import explain

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "reports"

_ZONE = r"(DMA32|DMA|Normal|HighMem|Movable|Device)"


def folder() -> Path | None:
    """Where the recorded reports lie that do not fit into fixtures/."""
    more = os.environ.get("MMTOOL_REPORTS")
    return Path(more) if more else None


def real_reports() -> list[tuple[Path, dict[str, str]]]:
    """The reports from public logs, each with its row of the index."""
    root = folder()
    if root is None:
        return []
    with (root / "index.tsv").open() as index:
        return [(root / "real" / row["file"], row) for row in csv.DictReader(index, delimiter="\t")]


def lab_reports() -> list[Path]:
    """The reports of a kernel that was driven into failure."""
    root = folder()
    return sorted((root / "lab").glob("*.txt")) if root is not None else []


def all_reports() -> list[Path]:
    return [*sorted(FIXTURES.glob("*.txt")), *(path for path, _ in real_reports()), *lab_reports()]


def run(*arguments: str, stdin: str | bytes | None = None) -> Any:
    return CliRunner().invoke(explain, arguments, input=stdin)


def free_in_text(text: str) -> list[int]:
    """What the text itself says of each zone's free memory, in kB, in order."""
    return [int(kb) for kb in re.findall(rf"{_ZONE} free:(\d+)kB", text) for kb in [kb[1]]]


def sums_in_text(text: str) -> list[int]:
    """What the text itself says of the sum of each zone's blocks, in kB, in order."""
    return [int(m[2]) for m in re.finditer(rf"{_ZONE}: \d+\*\d+kB[^=\n]*= (\d+)kB", text)]
