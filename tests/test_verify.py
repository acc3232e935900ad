"""Prediction against report: agreement on real boots, and a report with one thing changed in it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from support.captures import FACTS, Capture, captures

from mmtool.answers.verify import Difference, Verification
from mmtool.cli.verify import verify as command
from mmtool.errors import InputError, UsageError
from mmtool.observed.answers import LOG_FACTS, read_answers
from mmtool.report.verify import differences

FIXTURES = Path(__file__).parent.parent / "fixtures"
PLAIN = FIXTURES / "captures" / "x86-6.1-movablecore"
LOG = FIXTURES / "logs" / "laptop-6.16.txt"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)


def verified(path: str | Path) -> dict[str, Any]:
    done = run(path, "-o", "json")
    document = dict(json.loads(done.stdout))
    assert document["schema"] == "mmtool.verify/1"
    assert document["agrees"] == all(f["exact"] == f["expected"] for f in document["facts"])
    assert bool(document["differences"]) == (not document["agrees"])
    assert done.exit_code == (0 if document["agrees"] else 1)
    return document


def exact(document: dict[str, Any]) -> dict[str, bool]:
    return {f["fact"]: f["exact"] == f["expected"] for f in document["facts"]}


@pytest.mark.parametrize("capture", [c for c in captures() if c.says_where_memory_is], ids=lambda c: c.name)
def test_it_says_what_the_comparison_of_the_tests_says(capture: Capture) -> None:
    """That one takes the answers out of the input and knows nothing of verify. It forgives what a log has lost."""
    said = exact(verified(capture.path))
    wanted = {fact: capture.predicted(fact) == capture.observed(fact) for fact in FACTS if capture.observed(fact)}
    for fact in (*(LOG_FACTS if capture.is_whole else ()), "managed", "min_free_kbytes"):
        assert said.get(fact) == wanted.get(fact)
    if "zoneinfo" in said:
        assert said["zoneinfo"] == all(
            wanted.get(fact, True) for fact in ("spans", "managed", "zoneinfo", "pcp_limits")
        )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PLAIN, tmp_path / "boot"))


def test_the_plain_boot_agrees(copy: Path) -> None:
    document = verified(copy)
    assert (document["agrees"], document["differences"]) == (True, [])
    assert set(exact(document)) == {*LOG_FACTS, "zoneinfo", "managed", "min_free_kbytes"}


@pytest.mark.parametrize(
    ("file", "old", "new", "fact", "step"),
    [
        ("dmesg.txt", "Policy zone: Normal", "Policy zone: DMA", "zonelists", "build_all_zonelists"),
        ("dmesg.txt", r"last_pfn = 0x1c0000 ", "last_pfn = 0x1c0001 ", "e820", "e820__end_of_ram_pfn"),
        ("dmesg.txt", r"  Normal   \[mem 0x00000001", "  Normal   [mem 0x00000011", "zones", "free_area_init"),
        ("dmesg.txt", r"Dentry cache hash table entries: (\d+)", r"Dentry cache hash table entries: 1\1",
         "reservations", "vfs_caches_init_early"),
        ("dmesg.txt", r" reserved.cnt  = 0x", " reserved.cnt  = 0x9", "memblock", "e820__memblock_setup"),
        ("dmesg.txt", r"Memory: (\d+)K", r"Memory: 9\1K", "memory", "mem_init"),
        ("proc/zoneinfo", r"        min      (\d+)", r"        min      9\1", "zoneinfo", "init_per_zone_wmark_min"),
        ("proc/zoneinfo", r"        spanned  (\d+)", r"        spanned  9\1", "zoneinfo", "free_area_init"),
        ("proc/sys/vm/min_free_kbytes", r"(\d+)", r"1\1", "min_free_kbytes", "init_per_zone_wmark_min"),
    ],
)  # fmt: skip
def test_one_thing_changed_is_the_one_difference(
    copy: Path, file: str, old: str, new: str, fact: str, step: str
) -> None:
    text = (copy / file).read_text()
    changed, count = re.subn(old, new, text, count=1)
    assert count == 1
    (copy / file).write_text(changed)
    document = verified(copy)
    assert [name for name, same in exact(document).items() if not same] == [fact]
    assert {d["fact"] for d in document["differences"]} == {fact}
    assert {d["step"] for d in document["differences"]} == {step}
    (kernel,) = [d for d in document["differences"] if d["side"] == "kernel"]
    if file == "dmesg.txt":
        line = changed.splitlines()[kernel["line"] - 1]
        assert line.endswith(kernel["text"]) and line not in text.splitlines()


def test_a_line_too_many_and_one_missing(copy: Path) -> None:
    log = (copy / "dmesg.txt").read_text()
    (copy / "dmesg.txt").write_text(re.sub(r".*Policy zone.*\n", "", log))
    document = verified(copy)
    assert [(d["side"], d["text"], d["line"]) for d in document["differences"]] == [
        ("mmtool", "Policy zone: Normal", None)
    ]
    (copy / "dmesg.txt").write_text(re.sub(r"(.*Policy zone.*\n)", r"\1\1", log))
    document = verified(copy)
    assert [(d["side"], d["text"]) for d in document["differences"]] == [("kernel", "Policy zone: Normal")]
    assert exact(document)["zonelists"] is False


def test_a_managed_page_more(copy: Path) -> None:
    file = copy / "proc/zoneinfo"
    file.write_text(
        re.sub(r"(?s)(zone    DMA32.*?managed  )(\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", file.read_text(), count=1)
    )
    document = verified(copy)
    assert [name for name, same in exact(document).items() if not same] == ["zoneinfo", "managed"]
    kernel, mmtool = document["differences"]
    assert (kernel["side"], mmtool["side"], kernel["step"], mmtool["step"]) == (
        "kernel",
        "mmtool",
        "mem_init",
        "mem_init",
    )
    assert int(kernel["text"].removeprefix("0/DMA32 managed: ")) == int(mmtool["text"].split()[-1]) + 1


def test_of_an_unknown_build_only_the_map_is_compared() -> None:
    """A log without its build's profile: sizes would be estimates."""
    assert set(exact(verified(LOG))) == {"e820", "zones"}


def test_answers_are_those_of_the_boot_that_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    text = (PLAIN / "dmesg.txt").read_text()
    log.write_text(text + text.replace("Policy zone: Normal", "Policy zone: DMA"))
    assert read_answers(str(log), 1).log == read_answers(str(PLAIN / "dmesg.txt")).log
    last = [line for _, line in read_answers(str(log)).log["zonelists"]]
    assert last == [line.replace("Normal", "DMA") for _, line in read_answers(str(log), 1).log["zonelists"]]


def test_a_log_whose_spaces_were_made_one_agrees(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    text = (PLAIN / "dmesg.txt").read_text()
    log.write_text("\n".join(" ".join(line.split()) for line in text.splitlines()))
    spaced, collapsed = read_answers(str(PLAIN / "dmesg.txt")).log, read_answers(str(log)).log
    assert {fact: len(lines) for fact, lines in collapsed.items() if fact != "memblock"} == {
        fact: len(lines) for fact, lines in spaced.items() if fact != "memblock"
    }


def test_formats_agree() -> None:
    document = verified(PLAIN)
    assert document == yaml.safe_load(run(PLAIN, "-o", "yaml").stdout)
    rows = list(csv.DictReader(io.StringIO(run(PLAIN, "-o", "csv").stdout)))
    assert [(row["fact"], row["exact"], row["expected"]) for row in rows] == [
        (f["fact"], str(f["exact"]), str(f["expected"])) for f in document["facts"]
    ]
    assert "\x1b" not in run(LOG).stdout


def test_colours_tell_the_sides_apart() -> None:
    result = Verification((), (Difference("zones", "kernel", "a", "s", 1), Difference("zones", "mmtool", "b", "s")))
    heading = "\nzones: - the kernel's, + mmtool's\n"
    assert differences(result, False) == [heading, "- a  (s)\n", "+ b  (s)\n"]
    assert differences(result, True) == [heading, "\x1b[31m- a\x1b[0m  (s)\n", "\x1b[32m+ b\x1b[0m  (s)\n"]


def test_input_that_cannot_be(copy: Path) -> None:
    with pytest.raises(UsageError, match="give a file, not -"):
        run("-")
    (copy / "proc/sys/vm/min_free_kbytes").write_text("many\n")
    with pytest.raises(InputError, match="'many' is no whole number"):
        run(copy)
