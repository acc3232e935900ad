"""arm64: what only these machines have; the comparison with real kernels is in test_captures.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.captures import Capture, captures

from mmtool.cli.boot import boot
from mmtool.errors import InputError, UsageError

FIXTURES = Path(__file__).parent.parent / "fixtures"
LOST = [c for c in captures() if not c.says_where_memory_is]


def printed(*arguments: str) -> str:
    return CliRunner().invoke(boot, arguments, catch_exceptions=False, standalone_mode=False).stdout


@pytest.mark.parametrize("capture", LOST, ids=lambda c: c.name)
def test_a_log_that_lost_the_efi_map_is_refused(capture: Capture) -> None:
    with pytest.raises(InputError, match="no memory node"):
        capture.run()


def test_a_capture_brings_its_tree_and_the_image() -> None:
    folder = FIXTURES / "arm64" / "arm64-6.12-numa4-ring"
    files = ("--dtb", str(folder / "machine.dtb.gz"), "--dmesg", str(folder / "dmesg.txt"))
    assert printed("--capture", str(folder), "-o", "json") == printed(
        *files, "--kernel-base", "0x40200000", "-o", "json"
    )


@pytest.mark.parametrize("arguments", [["--dmesg", "x"], ["--dtb", "x", "--e820", "y"]])
def test_sources_do_not_mix(arguments: list[str]) -> None:
    with pytest.raises(UsageError, match="--"):
        printed(*arguments)
