"""Every fact agrees with what kernel sources show of it, by the list that `tools/check_facts --write` made of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from mmtool.build.fact import LAST_OF_MAJOR, Change, Fact, Version, dotted, parse_version
from mmtool.build.shown import groups

KEPT = Path(__file__).parent.parent / "fixtures" / "fact-marks.txt"
Run = tuple[bool, Version, Version]
"""Whether a fact holds, and the first and the last source that show it."""


def facts() -> dict[str, Fact]:
    return {
        f"{group.__module__.rsplit('.', 1)[1]}.{fact.name}": fact
        for group in groups()
        for fact in vars(group).values()
        if isinstance(fact, Fact)
    }


def version(text: str) -> Version:
    found = parse_version(text)
    assert found is not None, text
    return found


@cache
def marks() -> tuple[tuple[Version, ...], dict[str, tuple[Run, ...]]]:
    """The releases whose sources were looked at, and what they show of each fact, runs from the oldest on."""
    head, *lines = KEPT.read_text().splitlines()
    releases = head.removeprefix("# ").split()
    newest = releases[-1]
    runs = {}
    for line in lines:
        name, _, texts = line.partition(": ")
        ends = [(text[0] == "+", *text[1:].split("..")) for text in texts.split()]
        runs[name] = tuple((shown, version(first), version(last or newest)) for shown, first, last in ends)
    return tuple(version(text) for text in releases), runs


def next_series(series: tuple[int, int]) -> tuple[int, int]:
    major, minor = series
    return (major + 1, 0) if minor == LAST_OF_MAJOR.get(major) else (major, minor + 1)


def rests_on_sources(change: Change, begins: bool, runs: tuple[Run, ...]) -> bool:
    """Do sources of neighbouring series, or of one, show both sides of a change?"""
    first = version(change.first)[:2]
    before = [last for shown, _, last in runs if shown != begins and last[:2] < first]
    after = [start for shown, start, end in runs if shown == begins and end[:2] >= first]
    # what a stable series took is in the runs before as well
    return bool(before and after) and max(first, min(after)[:2]) <= next_series(max(before)[:2])


@pytest.mark.parametrize("name", sorted(facts()))
def test_a_fact_is_what_the_sources_show(name: str) -> None:
    releases, runs = marks()
    fact = facts()[name]
    for shown, first, last in runs.get(name, ()):
        for release in (r for r in releases if first <= r <= last):
            assert fact.holds(release) == shown, dotted(release)
            assert not fact.open_at(release), f"{dotted(release)} is not open"


def test_the_list_has_every_fact_that_has_marks_and_no_other() -> None:
    _, runs = marks()
    with_marks = {name for name, fact in facts().items() if fact.marks}
    assert set(runs) <= with_marks
    assert with_marks - set(runs) == set()


def test_a_boundary_has_a_title_or_sources_on_both_sides_or_is_said_to_be_open() -> None:
    _, runs = marks()
    bare = [
        name
        for name, fact in facts().items()
        for change, begins in ((fact.begins, True), (fact.ends, False))
        if change is not None and not change.title and not change.not_in
        if not rests_on_sources(change, begins, runs.get(name, ()))
    ]
    assert bare == []
