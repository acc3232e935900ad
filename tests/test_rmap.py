"""How often pages are mapped over forks, sharing and KSM, against what real kernels counted (fixtures/rmap)."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.report.rmap import words_text
from mmtool.system.rmap_script import run_rmap

FIXTURE = Path(__file__).parent.parent / "fixtures" / "rmap" / "rmap.jsonl.xz"


def records() -> list[Any]:
    lines = lzma.decompress(FIXTURE.read_bytes()).decode().splitlines()
    return [pytest.param(r, id=f"{r['script']}-{r['release']}") for r in map(json.loads, lines)]


@pytest.mark.parametrize("record", records())
def test_every_line_is_the_kernels(record: dict[str, Any]) -> None:
    done = list(run_rmap(record["text"].splitlines(), "script", record["release"]))
    assert [line.line for line in done] == [line["line"] for line in record["lines"]]
    for line, want in zip(done, record["lines"], strict=True):
        assert {w: {o: words_text(x) for o, x in objs.items()} for w, objs in line.pages.items()} == want["pages"]
        assert line.pss_kb == want["pss"]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    script = tmp_path / "bad.rmap"
    script.write_text("anon A 4\nstore B 0-1\n")
    result = CliRunner().invoke(cli, ["reclaim", "rmap", str(script)])
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"{script}:2: ")
