"""Traces of real programs, done again on the model (x86-64, 6.18.44, under setarch -R)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmtool.cli import cli
from mmtool.errors import InputError
from mmtool.observed.strace import is_strace, parse_strace

DIR = Path("fixtures/process/strace")
TRACES = sorted(p.name.partition(".")[0] for p in DIR.glob("*.strace.xz"))


def replay(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(cli, ["process", "run", "--root", str(DIR / "root"), "-o", "json", *arguments])
    assert result.exit_code == 0, result.output
    answer: dict[str, object] = json.loads(result.output)
    return answer


@pytest.mark.parametrize("name", TRACES)
def test_every_call_returns_what_the_kernel_returned(name: str) -> None:
    answer = replay(str(DIR / f"{name}.strace.xz"), "--kernel", "6.18.44")
    assert isinstance(answer["compared"], int) and answer["compared"] > 100
    assert answer["agree"] == answer["compared"]


def test_another_release_places_a_library_elsewhere() -> None:
    answer = replay(str(DIR / "python.strace.xz"), "--kernel", "5.10.200")
    assert answer["agree"] != answer["compared"]


STDERR = """\
brk(NULL)                               = 0x4ac000
mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7ffff7ff5000 <0.000012>
clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD <unfinished ...>
strace: Process 17 attached
[pid 17] munmap(0x7ffff7ff5000, 4096) = 0
[pid 16] <... clone resumed>) = 17
[pid 16] munmap(0x7ffff7ff6000, 4096 <unfinished ...>
[pid 17] mmap(0x7ffff7ff6000, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED_NOREPLACE, -1, 0) \
= -1 EEXIST (File exists)
[pid 16] <... munmap resumed>)          = 0
--- SIGCHLD {si_signo=SIGCHLD} ---
+++ exited with 0 +++
"""


def test_processes_and_threads(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(STDERR)
    calls = list(parse_strace(STDERR, "trace"))
    assert [(c.pid, c.name, c.result) for c in calls] == [
        (0, "brk", "0x4ac000"),
        (0, "mmap", "0x7ffff7ff5000"),
        (0, "clone", None),
        (17, "munmap", "0"),
        (0, "clone", "17"),
        (17, "mmap", "EEXIST"),
        (0, "munmap", "0"),
    ]
    answer = replay(str(trace), "--kernel", "6.18.44", "--exe", "/s")
    assert answer["compared"] == answer["agree"] == 5, answer
    moved = tmp_path / "moved"
    moved.write_text(re.sub("0x7ffff7ff", "0x7f00000", STDERR))
    answer = replay(str(moved), "--kernel", "6.18.44", "--exe", "/s")
    assert (answer["compared"], answer["agree"]) == (5, 4), answer


def test_bad_traces_are_one_line(tmp_path: Path) -> None:
    assert not is_strace("mmap A 0 P rw private,anon")
    with pytest.raises(InputError, match="no system call"):
        list(parse_strace("brk(NULL) = 0x1000\nwhat is this", "trace"))
    for text, what in (
        ("brk(NULL) = 0x4ac000\n", "program is not known"),
        ('execve("/none", ["none"], 0x0) = 0\n', "No such file"),
        ('execve("/s", ["s"], 0x0) = 0\nmmap(NULL, 1, PROT_ODD, 2, 3, 0) = 0x1000\n', "neither a number nor a name"),
    ):
        trace = tmp_path / "trace"
        trace.write_text(text)
        result = CliRunner().invoke(cli, ["process", "run", "--root", str(DIR / "root"), str(trace)])
        assert result.exit_code and what in str(result.exception or result.output), result.output
