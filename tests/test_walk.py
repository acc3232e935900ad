"""An address through a process's page tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmtool.cli import cli
from mmtool.errors import UsageError


def walked(tmp_path: Path, *args: str) -> Any:
    script = tmp_path / "script.vma"
    script.write_text("mmap A 0 4*H rw private,anon\nwrite A+H P\nmadvise A H nohugepage\nwrite A 2P\n")
    result = CliRunner().invoke(cli, ["walk", *args, "--name", "A", "--script", str(script), "-o", "json"])
    return json.loads(result.output)


def test_a_page_a_huge_page_and_nothing(tmp_path: Path) -> None:
    page = walked(tmp_path, "0x1000")
    assert [level["level"] for level in page["levels"]] == ["pgd", "pud", "pmd", "pte"]
    assert page["levels"][-1]["index"] == 1
    assert page["leaf"]["size"] == 4096
    huge = walked(tmp_path, "0x200000")
    assert [level["level"] for level in huge["levels"]] == ["pgd", "pud", "pmd"]
    assert huge["leaf"] == {
        "size": 2 << 20,
        "kind": "anonymous",
        "flags": ["writable", "dirty", "accessed"],
        "mapcount": 1,
    }
    nothing = walked(tmp_path, "0x600000")
    assert nothing["leaf"] is None
    assert nothing["mapping"]


def test_levels_of_architectures(tmp_path: Path) -> None:
    assert [v["level"] for v in walked(tmp_path, "0", "--va-bits", "57")["levels"]][:2] == ["pgd", "p4d"]
    assert [v["level"] for v in walked(tmp_path, "0", "--arch", "i386")["levels"]] == ["pgd", "pmd", "pte"]
    assert len(walked(tmp_path, "0", "--arch", "arm64")["levels"]) == 4


def test_a_name_that_the_script_does_not_give(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["walk", "0", "--name", "Z"])
    assert isinstance(result.exception, UsageError)
