"""A process's memory against what real kernels answered step by step (fixtures/process)."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.report.process import step_json
from mmtool.system import process_layout
from mmtool.system.process import from_start
from mmtool.system.process_script import run

FIXTURES = sorted((Path(__file__).parent.parent / "fixtures" / "process").glob("*.jsonl.xz"))
STATUS = ("VmSize", "VmLck", "VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "HugetlbPages")
ROW = (
    "start", "end", "perms", "offset", "name", "rss", "anon", "anon_huge", "shmem_huge", "hugetlb", "lazyfree",
    "locked", "thp_eligible", "pages",
)  # fmt: skip


def records() -> list[Any]:
    found = []
    for path in FIXTURES:
        for line in lzma.decompress(path.read_bytes()).decode().splitlines():
            record = json.loads(line)
            found.append(pytest.param(record, id=record["id"]))
    return found


def said(step: dict[str, Any], own: set[str]) -> dict[str, Any]:
    """What is compared of a step; the sharing of the program's own image after a fork is chance."""
    return {
        "ret": step["ret"],
        "count": step.get("count"),
        "signal": step.get("signal"),
        "faults": None if step["line"] < 0 or step["ret"] == "skip" else (step["minflt"], step["majflt"]),
        "status": {k: step["status"][k] for k in STATUS},
        "meminfo": step["meminfo"],
        "rows": [
            {k: v[k] for k in ROW if v.get(k)}
            | {"flags": sorted(v["flags"].split()), "private": 0 if v["start"] in own else v.get("private", 0)}
            for v in step["vmas"]
        ],
    }


@pytest.mark.parametrize("record", records())
def test_every_step_is_the_kernels(record: dict[str, Any]) -> None:
    own = {v["start"] for v in record["start"]["vmas"]}
    made = from_start(record["machine"], record["setup"], record["start"])
    steps = [json.loads(json.dumps(step_json(s))) for s in run(made, record["script"])]
    kernel = [s for s in record["steps"] if "line" in s]
    assert len(steps) == len(kernel)
    for step, want in zip(steps, kernel, strict=True):
        line = record["script"][want["line"]] if want["line"] >= 0 else "child"
        if line in ("fork", "wait"):
            step |= {"minflt": 0, "majflt": 0}
            want |= {"minflt": 0, "majflt": 0}
        assert said(step, own) == said(want, own), line


def layouts() -> list[Any]:
    text = lzma.decompress((FIXTURES[0].parent / "layout" / "layout.jsonl.xz").read_bytes()).decode()
    return [pytest.param(r, id=r["id"]) for r in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("record", layouts())
def test_a_layout_is_the_kernels(record: dict[str, Any]) -> None:
    asked = process_layout.question(record)
    if "ranges" in record:
        for name, (low, high, step) in process_layout.ranges(asked).items():
            seen = record["ranges"][name]
            assert low <= int(seen["min"], 16) <= int(seen["max"], 16) <= high
            assert step == seen["align"]
            assert int(seen["max"], 16) - int(seen["min"], 16) >= 0.9 * (high - low)
        return
    rows, where = process_layout.layout(asked)
    assert [[hex(a), hex(b), p, hex(o), n] for a, b, p, o, n in rows] == record["vmas"]
    said = {k: hex(v) if isinstance(v, int) else v for k, v in where.items()}
    assert said == {k: record["layout"][k] for k in said}


def test_a_bad_record_is_one_line(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"script": []}'):
        path = tmp_path / "bad.jsonl"
        path.write_text(text + "\n")
        result = CliRunner().invoke(cli, ["process", "run", str(path)])
        assert isinstance(result.exception, InputError)
        assert str(result.exception).startswith(f"{path}:1: ")


def test_a_script_for_people(tmp_path: Path) -> None:
    script = tmp_path / "script.vma"
    script.write_text("% rlimit STACK 256K\nmmap A 0 4P rw private,anon  # four pages\nwrite A 4P\nmunmap A+1 P\n")
    result = CliRunner().invoke(cli, ["process", "run", str(script), "--kernel", "6.1", "-o", "json"])
    document = json.loads(result.output)
    assert document["schema"] == "mmtool.process-run/1"
    assert [s["ret"] for s in document["steps"]][1:] == ["0", "EINVAL"]
    assert document["steps"][1]["minflt"] == 4
    assert document["steps"][2]["why"]
    shown = CliRunner().invoke(cli, ["process", "run", str(script), "--explain", "3"]).output
    assert "0+4a" in shown


def test_a_bad_line_of_a_script_is_named(tmp_path: Path) -> None:
    script = tmp_path / "script.vma"
    for line in ("mmap A 0 4P rw privat,anon", "munmap", "frob 1", "mmap A 0 4Q rw private,anon"):
        script.write_text(f"# a comment\n{line}\n")
        result = CliRunner().invoke(cli, ["process", "run", str(script)])
        assert isinstance(result.exception, InputError), line
        assert str(result.exception).startswith(f"{script}:2: ")
