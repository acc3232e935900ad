"""Every log of a folder of real ones (named by MMTOOL_LOGS) gives up its whole map."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from mmtool.firmware.read import read_machine

FOLDER = os.environ.get("MMTOOL_LOGS")
LOGS = [p for p in sorted(Path(FOLDER).glob("*.txt")) if p.name.startswith(("x86", "i386"))] if FOLDER else []

pytestmark = pytest.mark.skipif(not FOLDER, reason="MMTOOL_LOGS names no folder of boot logs")


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_a_whole_map(path: Path) -> None:
    machine = read_machine(str(path))
    printed = re.findall(r"(?:BIOS-e820|Xen): (?:\[mem|[0-9a-f]{16} -)", path.read_text(errors="replace"))
    assert len(machine.e820) == len(printed)
    assert machine.arch == ("i386" if path.name.startswith("i386") else "x86_64")
    assert machine.release and machine.cmdline is not None
