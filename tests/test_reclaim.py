"""`mmtool reclaim run`: what real kernels did with scripts of accesses in a memory cgroup, line by line."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.fact import parse_series
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.cli.reclaim import reclaim
from mmtool.linux.mm.folio import LRU_NAMES, PG_LRU, PG_PRESENT
from mmtool.linux.mm.memcontrol.vmstats import CgroupThreshold, GlobalThreshold
from mmtool.linux.mm.memory_state import COUNTERS, Memory
from mmtool.linux.mm.mm_inline import list_head
from mmtool.system.reclaim_run import perform, run_workload, workload_memory
from mmtool.system.reclaim_script import parse_workload

FIXTURES = Path(__file__).parent.parent / "fixtures" / "reclaim" / "lru"
RECORDS = []
for name in ("runs.jsonl.xz", "recorded.jsonl.xz"):
    with lzma.open(FIXTURES / name, "rt") as lines:
        RECORDS += [json.loads(line) for line in lines]
MGLRU_WITH_SWAP = {
    (release, "mglru", script)
    for release in ("6.1", "6.12", "7.2", "7.3")
    for script in ("anon-zram-1", "cluster-2", "high-1", "mlock-1", "shrink-1", "twoswaps-2")
}
"""Page table walks depend on when the process was last switched to, and on hashes of kernel addresses."""
ONE_BY_ONE = {("5.10", "classic", "mlock-1")}
"""Locking up to 5.17 puts pages back one by one, through batches that are not modelled in full."""
A_TICK_LATER = {("6.18", "mglru", "store-1"), ("7.2", "mglru", "write-1")}
"""Whether the clock has ticked between two changes of a file's times decides over one page of the inode table."""
RELEASES = ("5.10", "6.1", "6.12", "6.18", "7.2", "7.3")


def facts(release: str) -> ReclaimFacts:
    version = parse_series(release)
    assert version is not None
    return ReclaimFacts(version)


def exact_records() -> list[Any]:
    return [
        pytest.param(record, id="-".join((record["release"], record["lru"], record["script"])))
        for record in RECORDS
        if (record["release"], record["lru"], record["script"]) not in {*MGLRU_WITH_SWAP, *ONE_BY_ONE, *A_TICK_LATER}
    ]


@pytest.mark.parametrize("record", exact_records())
def test_as_the_kernel_did(record: dict[str, Any]) -> None:
    script = (FIXTURES / "scripts" / f"{record['script']}.lru").read_text()
    run = run_workload(parse_workload(script.splitlines(), "-"), facts(record["release"]), record["lru"])
    unknown = set(record.get("unknown", ()))
    for want, got in zip(record["lines"], run.lines, strict=True):
        if str(want["line"]) in record.get("differ", {}):
            continue  # The kernel's own second run differs from its first.
        assert (got.line, got.rc) == (want["line"], want.get("rc", 0))
        assert got.pages == want["pages"]
        assert {k: list(map(list, v)) for k, v in got.swap.items()} == want.get("swap", {})
        assert {k: v for k, v in got.lists.items() if v} == want["lists"]
        wanted = {k: v for k, v in want["counters"].items() if k in COUNTERS}
        assert {k: v for k, v in got.counters.items() if k not in unknown} == wanted
        assert got.memory == want["memory"]
    if not record.get("differ"):
        assert run.events == record["events"]


# What always holds


def check(m: Memory) -> None:
    """Every page is in one place, and the counts are those of the lists."""
    seen: set[int] = set()
    for lru in range(4):
        head = list_head(m, lru)
        slots = []
        slot = m.next[head]
        while slot != head:
            slots.append(slot)
            slot = m.next[slot]
        assert len(slots) == m.lruvec.size[lru]
        assert not seen & set(slots)
        assert all(m.flags[slot] & PG_LRU for slot in slots)
        seen |= set(slots)
    present = sum(1 for flags in m.flags if flags & PG_PRESENT)
    assert present == m.memcg.usage - m.memcg.stock
    assert present == len(seen) + m.lruvec.size[4] + len(m.lru_add)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1 << 20), st.sampled_from(RELEASES), st.integers(100, 300))
def test_no_page_is_lost_and_none_is_twice(seed: int, release: str, limit: int) -> None:
    rng = random.Random(seed)
    lines = [f"machine max={limit}", "file A 400", f"anon B {max(limit // 3, 1)}"]
    for _ in range(6):
        op = rng.choice(["read A", "load A", "store B", "load B"])
        last = 399 if op.endswith("A") else max(limit // 3, 1) - 1
        lines.append(f"{op} uniform 0-{last} n={rng.randrange(1, 500)} seed={rng.randrange(1 << 20)}")
    workload = parse_workload(lines, "-")
    m = workload_memory(workload, facts(release))
    for step in workload.steps:
        assert perform(m, step) == 0
        check(m)
        assert m.memcg.usage <= limit


@pytest.mark.parametrize("release", RELEASES)
def test_a_working_set_that_fits_stays(release: str) -> None:
    workload = parse_workload(["machine max=300", "file A 200", "read A seq 0-199 times=9"], "-")
    run = run_workload(workload, facts(release))
    assert run.lines[0].pages == {"A": "200r"}
    assert "pgscan_file" not in run.lines[0].counters


@given(st.integers(0, 64), st.lists(st.integers(0, 500), max_size=8))
def test_updates_that_are_counted_at_once_count_as_those_one_by_one(start: int, times: list[int]) -> None:
    for make in (
        lambda: GlobalThreshold(64),
        lambda: CgroupThreshold(64, stops_counting=False),
        lambda: CgroupThreshold(64, stops_counting=True),
    ):
        one, many = make(), make()
        one.count(start), many.count(start)
        for n in times:
            many.count(n)
            for _ in range(n):
                one.updated(1)
            assert vars(one) == vars(many)


# The command


def test_tables_name_the_lines() -> None:
    result = CliRunner().invoke(reclaim, ["run", str(FIXTURES / "scripts" / "scan-read-1.lru"), "--kernel", "6.12"])
    assert result.exit_code == 0
    assert "8: read A seq 0-399" in result.output


def test_memory_max_replaces_the_limit_of_the_script() -> None:
    script = "machine max=10\nfile A 50\nread A seq 0-49\n"
    result = CliRunner().invoke(reclaim, ["run", "-", "--memory-max", "100", "-o", "json"], input=script)
    assert json.loads(result.output)["lines"][0]["pages"] == {"A": "50r"}


def test_the_document_has_the_five_lists() -> None:
    script = "machine max=100\nfile A 50\nread A seq 0-49\n"
    document = json.loads(CliRunner().invoke(reclaim, ["run", "-", "-o", "json"], input=script).output)
    assert document["schema"] == "mmtool.reclaim-run/1"
    assert list(document["lines"][0]["lists"]) == list(LRU_NAMES)


@pytest.mark.parametrize(
    ("script", "place"),
    [
        ("file A 5\n", "-: "),
        ("machine max=x\n", "-:1: "),
        ("machine max=5\nfile AB 5\n", "-:2: "),
        ("machine max=5\nfile A 5\nread B seq 0-4\n", "-:3: "),
        ("machine max=5\nfile A 5\nread A seq 0-5\n", "-:3: "),
        ("machine max=5\nfile A 5\nread A zipf 0-4 n=5\n", "-:3: "),
        ("machine max=5\nanon A 5\nread A seq 0-4\n", "-:3: "),
        ("machine max=5\nfile A 5\nfly A seq 0-4\n", "-:3: "),
        ("machine max=5\nfile A 5\nread A seq 0-4 times=99999999\n", "-:3: "),
        ("machine max=5 swap=tape:9\n", "-:1: "),
    ],
)
def test_bad_scripts_are_refused_at_their_line(script: str, place: str) -> None:
    result = CliRunner().invoke(reclaim, ["run", "-"], input=script)
    assert str(result.exception).startswith(place)
