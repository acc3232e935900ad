"""The OOM killer's choice: what real kernels chose from their tables, and the rules one by one."""

from __future__ import annotations

import json
import lzma
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reports import run

from mmtool.build.facts.oom import OomFacts
from mmtool.linux.mm.oom_kill import (
    OomConstraint,
    OomControl,
    OomTask,
    mem_cgroup_get_max,
    oom_badness,
    out_of_memory,
    printed_score,
    select_bad_process,
)

CASES = Path(__file__).parent.parent / "fixtures" / "oom" / "cases.jsonl.xz"
NEW, OLD = OomFacts((6, 12, 0)), OomFacts((3, 10, 0))


@lru_cache(maxsize=1)
def cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in lzma.decompress(CASES.read_bytes()).decode().splitlines()]


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['release']}-{case['case']}")
def test_the_choice_is_the_kernel_s(case: dict[str, Any]) -> None:
    case["sysctl"].update({"memory.oom.group": 1} if case["case"] == "memcg-group" else {})  # it is in no report
    settings_ = [word for name, value in case["sysctl"].items() for word in ("--sysctl", f"{name}={value}")]
    result = run("-", "--kernel", case["release"], *settings_, "-o", "json", stdin=case["report"])
    oom, answer = json.loads(result.stdout)["reports"][0]["oom"], case["answer"]
    assert oom["panics"] is ("panic" in answer)
    table = "oom_score_adj name" in case["report"] or "vm.oom_kill_allocating_task" in case["sysctl"]
    assert oom["victim"] == (answer.get("victim") if table else None)
    if "victim" in answer:
        assert (oom["constraint"], oom["cgroup"]) == (answer["constraint"], answer.get("oom_memcg"))
    if table and "victim" in answer:
        assert sorted(oom["killed"]) == sorted({pid for pid, _ in answer["killed"]})


def task(pid: int, rss: int = 100, adj: int = 0, **more: Any) -> OomTask:
    return OomTask(pid, f"p{pid}", rss, more.pop("pgtables", 0), more.pop("swapents", 0), adj, **more)


def test_points_are_pages_and_an_adjustment_a_thousandth_of_all() -> None:
    assert oom_badness(task(2, 100, 10, pgtables=3, swapents=7), 50_500, NEW) == 110 + 10 * 50
    assert oom_badness(task(2, 100, -10), 50_000, NEW) == -400
    assert oom_badness(task(2, 100, -10), 50_000, OLD) == 1
    assert oom_badness(task(2, 100, -1000), 50_000, NEW) is None
    assert oom_badness(task(2, 100, unkillable=True), 50_000, NEW) is None


@pytest.mark.parametrize(
    ("release", "points"),
    [((2, 6, 38), 70), ((2, 6, 39), 80), ((3, 4, 0), 80), ((3, 5, 0), 80), ((3, 14, 0), 107), ((4, 17, 0), 110)],
)
def test_root_is_spared_a_little_until_4_17(release: tuple[int, int, int], points: int) -> None:
    facts = OomFacts(release)
    assert oom_badness(task(2, 100, pgtables=10, privileged=True), 1000, facts) == points


def test_whole_thousandths_are_at_most_1000_and_printed_as_they_are() -> None:
    facts = OomFacts((3, 4, 0))
    assert oom_badness(task(2, 900, 500), 1000, facts) == 1000
    assert printed_score(700, 123, facts) == 700
    assert printed_score(700, 1400, OLD) == 500


def test_of_equals_the_last_dies_and_before_5_3_the_first() -> None:
    equal = [task(2), task(3), task(4)]
    assert select_bad_process(equal, 10_000, NEW) == (equal[-1], 100)
    assert select_bad_process(equal, 10_000, OLD) == (equal[0], 100)


def control(constraint: OomConstraint = OomConstraint.NONE, **more: Any) -> OomControl:
    return OomControl(constraint, 100_000, **more)


@pytest.mark.parametrize(
    ("settings_", "panics"),
    [
        ({"panic_on_oom": 1}, True),
        ({"panic_on_oom": 1, "constraint": OomConstraint.CPUSET}, False),
        ({"panic_on_oom": 1, "constraint": OomConstraint.MEMCG}, False),
        ({"panic_on_oom": 2, "constraint": OomConstraint.MEMCG}, True),
        ({"panic_on_oom": 2, "sysrq": True}, False),
    ],
)
def test_panic_on_oom(settings_: dict[str, Any], panics: bool) -> None:
    choice = out_of_memory(control(**settings_), [task(2)], NEW)
    assert (choice.panics, choice.victim) == (panics, None if panics else 2)


def test_who_asked_dies_if_that_is_set_and_it_may() -> None:
    tasks = [task(2, 500), task(3)]
    assert out_of_memory(control(current=3, oom_kill_allocating_task=True), tasks, NEW).victim == 3
    assert out_of_memory(control(current=3, current_adj=-1000, oom_kill_allocating_task=True), tasks, NEW).victim == 2
    memcg = control(OomConstraint.MEMCG, current=3, oom_kill_allocating_task=True)
    assert out_of_memory(memcg, tasks, NEW).victim == 2


def test_without_anybody_to_kill_the_machine_panics_and_a_cgroup_goes_on() -> None:
    nobody = [task(2, adj=-1000)]
    assert out_of_memory(control(), nobody, NEW).panics
    assert not out_of_memory(control(sysrq=True), nobody, NEW).panics
    assert not out_of_memory(control(OomConstraint.MEMCG), nobody, NEW).panics


def test_what_a_cgroup_may_use() -> None:
    assert mem_cgroup_get_max(100, 50, None, 30) == 130
    assert mem_cgroup_get_max(100, 20, None, 30) == 120
    assert mem_cgroup_get_max(100, 0, 120, 30) == 120
    assert mem_cgroup_get_max(100, 0, 1 << 50, 30) == 130


TASKS = st.lists(
    st.builds(
        OomTask, st.integers(2, 99), st.just("p"), st.integers(0, 9999), st.integers(0, 99), st.integers(0, 999),
        st.integers(-1000, 1000), st.booleans(), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(TASKS, st.integers(1, 10**7), st.sampled_from([(2, 6, 36), (3, 5, 0), (3, 14, 0), (4, 17, 0), (5, 9, 0)]))
def test_nobody_has_more_points_than_the_chosen(
    tasks: list[OomTask], total: int, release: tuple[int, int, int]
) -> None:
    facts = OomFacts(release)
    chosen = select_bad_process(tasks, total, facts)
    points = [p for t in tasks if (p := oom_badness(t, total, facts)) is not None]
    assert (chosen is None) == (not points)
    if chosen is not None:
        assert chosen[1] == max(points) and not chosen[0].unkillable
