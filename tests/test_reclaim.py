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
from mmtool.errors import InputError
from mmtool.linux.mm.folio import ANON, LRU_NAMES, PG_DIRTY, PG_LRU, PG_PRESENT, folio_is_file_lru
from mmtool.linux.mm.memcontrol.vmstats import CgroupThreshold, GlobalThreshold
from mmtool.linux.mm.memory_state import COUNTERS, MAX_NR_GENS, Memory
from mmtool.linux.mm.mm_inline import folio_lru_gen, gen_head, list_head
from mmtool.report.reclaim import run_tables
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
    for script in ("anon-zram-1", "cluster-2", "high-1", "shrink-1", "twoswaps-2")
}
"""Page table walks depend on when the process was last switched to, and on hashes of kernel addresses."""
ONE_BY_ONE = {("5.10", "classic", "mlock-1")}
"""Locking up to 5.17 puts pages back one by one, through batches that are not modelled in full."""
A_TICK_LATER = {("6.18", "mglru", "store-1"), ("7.2", "mglru", "write-1")}
"""Whether the clock has ticked between two changes of a file's times decides over one page of the inode table."""
RELEASES = ("5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "7.2", "7.3")
KINDS = [(release, lru) for release in RELEASES for lru in ("classic", "mglru") if (release, lru) != ("5.10", "mglru")]


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


def on_list(m: Memory, head: int) -> list[int]:
    slots = []
    slot = m.next[head]
    while slot != head:
        assert m.prev[m.next[slot]] == slot
        slots.append(slot)
        slot = m.next[slot]
    return slots


def check(m: Memory) -> None:
    """Every page is in one place, and the counts are those of the lists."""
    places: list[int] = []
    if m.lru_gen is None:
        for lru in range(4):
            slots = on_list(m, list_head(m, lru))
            assert len(slots) == m.lruvec.size[lru]
            places += slots
    else:
        held = [[0, 0] for _ in range(MAX_NR_GENS)]
        for gen in range(MAX_NR_GENS):
            for file in (0, 1):
                places += on_list(m, gen_head(m, gen, file))
        for slot in places:
            # What a walk promoted is still on the list of the generation that it was found in.
            held[folio_lru_gen(m.flags[slot])][folio_is_file_lru(m.flags[slot])] += 1
        assert held == m.lru_gen.nr_pages
        assert sum(map(sum, held)) == sum(m.lruvec.size[:4])
        assert all(m.lru_gen.max_seq - seq < MAX_NR_GENS for seq in m.lru_gen.min_seq)
    assert len(set(places)) == len(places)
    assert all(m.flags[slot] & PG_LRU for slot in places)
    present = sum(1 for flags in m.flags if flags & PG_PRESENT)
    assert present == m.memcg.usage - m.memcg.stock
    assert present == len(places) + m.lruvec.size[4] + len(m.lru_add)
    assert m.file_dirty == {
        slot for slot, flags in enumerate(m.flags) if flags & PG_DIRTY and not flags & ANON
    }  # fmt: skip
    swapped = [slot for slot in range(len(m.flags)) if m.swap_entry[slot] >= 0]
    assert len({m.swap_entry[slot] for slot in swapped}) == len(swapped)
    # Slots that wait to be given back are still charged.
    assert len(swapped) == m.swap.charged - len(m.swap.slots_ret)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1 << 20),
    st.sampled_from(KINDS),
    st.integers(100, 300),
    st.sampled_from(("none", "zram:500", "disk:300")),
)
def test_no_page_is_lost_and_none_is_twice(seed: int, kind: tuple[str, str], limit: int, swap: str) -> None:
    rng = random.Random(seed)
    anon = max(limit // 3, 1) if swap == "none" else 200
    lines = [f"machine max={limit} swap={swap}", "file A 400", f"anon B {anon}"]
    for _ in range(6):
        op = rng.choice(["read A", "load A", "store A", "write A", "store B", "load B"])
        last = 399 if op.endswith("A") else anon - 1
        lines.append(f"{op} uniform 0-{last} n={rng.randrange(1, 400)} seed={rng.randrange(1 << 20)}")
        lines.append(rng.choice(["sync A", f"advise B pageout 0-{anon // 2}", "reclaim 40", "fadvise A dontneed 0-99"]))
    workload = parse_workload(lines, "-")
    m = workload_memory(workload, facts(kind[0]), kind[1])
    for step in workload.steps:
        perform(m, step)
        check(m)
        assert m.memcg.usage <= limit


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(KINDS), st.integers(40, 200), st.sampled_from(("read", "load")), st.integers(2, 6))
def test_a_working_set_that_fits_stays(kind: tuple[str, str], size: int, op: str, times: int) -> None:
    # A cgroup is charged 64 pages at a time, which its limit has to leave room for.
    workload = parse_workload(
        [f"machine max={size + 64}", f"file A {size}", f"{op} A seq 0-{size - 1} times={times}"], "-"
    )
    run = run_workload(workload, facts(kind[0]), kind[1])
    assert run.lines[0].pages == {"A": f"{size}{'r' if op == 'read' else 'i'}"} or op == "load"
    assert "pgscan_file" not in run.lines[0].counters
    assert run.lines[0].counters.get("pgmajfault", 0) == (size if op == "load" else 0)


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(KINDS), st.integers(150, 250), st.integers(300, 500), st.sampled_from(("read", "load")))
def test_a_cyclic_scan_that_does_not_fit_evicts_what_it_brings_in(
    kind: tuple[str, str], limit: int, size: int, op: str
) -> None:
    """As in the records: each page that comes back had been evicted, and none is evicted that did not come in."""
    workload = parse_workload([f"machine max={limit}", f"file A {size}", *[f"{op} A seq 0-{size - 1}"] * 4], "-")
    m = workload_memory(workload, facts(kind[0]), kind[1])
    for number, step in enumerate(workload.steps):
        before, present = dict(m.vmstat), sum(1 for flags in m.flags if flags & PG_PRESENT)
        perform(m, step)
        came = m.vmstat["workingset_refault_file"] - before["workingset_refault_file"]
        gone = m.vmstat["pgsteal_file"] - before["pgsteal_file"]
        if number and m.facts.lru_gen_counts_all_refaults | (kind[1] == "classic"):
            assert sum(1 for flags in m.flags if flags & PG_PRESENT) == present + came - gone
            assert came >= size - limit
        assert m.vmstat["pgscan_file"] >= m.vmstat["pgsteal_file"]
        check(m)


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


def test_tables_say_what_was_scanned_and_why() -> None:
    script = ["machine max=96 swap=zram:128", "file A 200", "anon B 64", "store B seq 0-63", "read A seq 0-199"]
    run = run_workload(parse_workload(script, "-"), facts("6.12"))
    tables = {table.name: table for table in run_tables(run)}
    (row,) = tables["reclaim"].rows
    counters = run.lines[1].counters
    assert row[:4] == ("5", run.lines[1].events["max"], counters["pgscan_file"], counters["pgscan_anon"])
    assert sum(run.lines[1].balances.values()) > 0 and "by what each has cost" in row[-1]
    pictures = [row[:3] for row in tables["places"].rows]
    assert pictures[:2] == [("4", "A", "." * 40), ("4", "B", "i" * 13)]
    assert set(pictures[2][2]) == {".", "r"} and pictures[2][2].endswith("rrr")
    assert "generations" not in tables
    without_swap = ["machine max=96", "file A 200", "read A seq 0-199"]
    bare = run_workload(parse_workload(without_swap, "-"), facts("6.12"))
    assert {balance.name for line in bare.lines for balance in line.balances} == {"NO_SWAP"}
    young = run_workload(parse_workload(script, "-"), facts("6.12"), "mglru")
    rows = next(table for table in run_tables(young) if table.name == "generations").rows
    assert [sum(row[2:]) for row in rows] == [sum(g[1:]) for line in young.lines for g in line.generations or ()]


def test_a_script_that_finds_no_memory_any_more_is_given_up(tmp_path: Path) -> None:
    script = tmp_path / "full.lru"
    script.write_text("machine max=4\nanon A 2000\nstore A seq 0-3\nmlock A 0-3\nstore A seq 4-1999\n")
    done = CliRunner().invoke(reclaim, ["run", str(script)])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith(f"{script}:5: 50 accesses found no memory")
