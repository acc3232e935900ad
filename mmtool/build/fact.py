"""A fact: one named difference between kernel releases, with the evidence for it as data.

A subsystem declares its facts in a class of its own (`mmtool.build.facts`); the model asks for a fact by its name and
never compares versions:

    class SlabFacts(Facts):
        has_sheaves: bool = since("6.18", "slab: add opt-in caching layer of percpu sheaves",
                                  marks=Mark("mm/slub.c", "slub_percpu_sheaves"))
        "Caches may keep arrays of objects for each CPU."

`tools/check_facts` compares every fact with the kernel's sources and changelogs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

Version = tuple[int, int, int]

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def parse_version(text: str) -> Version | None:
    """The first three numbers of a release name: "6.1.0-50-cloud-amd64" is (6, 1, 0); None without two numbers."""
    m = _VERSION.match(text)
    return (int(m[1]), int(m[2]), int(m[3] or 0)) if m else None


class Mark(NamedTuple):
    """What shows a fact in a source tree: `text` is in `file` where the fact holds; with `gone`, where it does not."""

    file: str
    text: str
    gone: bool = False


@dataclass(eq=False)
class Change:
    """One change of the kernel: the mainline release and the stable releases that brought it, and how that is known."""

    first: str
    """The mainline release that has it first, "6.13"."""
    title: str = ""
    """The title of the commit, as the stable changelogs list it."""
    stable: str = ""
    """The patch levels from which stable series have it too, "6.6.88 6.12.28"."""
    not_in: str = ""
    """Where the evidence leaves an interval open: the last release that is known not to have it."""

    @cached_property
    def _first(self) -> Version:
        return _known(self.first)

    @cached_property
    def _stable(self) -> tuple[Version, ...]:
        return tuple(_known(text) for text in self.stable.split())

    def reached(self, version: Version) -> bool:
        """Does a release have the change?"""
        return version >= self._first or any(version[:2] == p[:2] and version >= p for p in self._stable)

    def open_at(self, version: Version) -> bool:
        """Is it unknown whether a release has the change, since nothing at hand shows it?"""
        return bool(self.not_in) and _known(self.not_in) < version < self._first and not self.reached(version)


class Fact:
    """A fact of a release: from `begins` on (None: always) and before `ends` (None: still); kept once worked out."""

    name: str

    def __init__(self, begins: Change | None, ends: Change | None, marks: tuple[Mark, ...]) -> None:
        self.begins, self.ends, self.marks = begins, ends, marks

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def holds(self, version: Version) -> bool:
        begun = self.begins is None or self.begins.reached(version)
        return begun and not (self.ends is not None and self.ends.reached(version))

    def open_at(self, version: Version) -> bool:
        """Does nothing at hand tell whether the fact holds for this release?"""
        return any(change is not None and change.open_at(version) for change in (self.begins, self.ends))

    def __get__(self, facts: Facts | None, owner: type) -> Any:
        if facts is None:
            return self
        shown = facts.shown.get(self.name)
        value = facts.__dict__[self.name] = self.holds(facts.version) if shown is None else shown
        return value


class Facts:
    """The facts of one subsystem for one release; `shown` are those that the kernel's own image proves, by name."""

    def __init__(self, version: Version, shown: Mapping[str, bool] | None = None) -> None:
        self.version = version
        self.shown = shown or {}

    @classmethod
    def declared(cls) -> Iterator[Fact]:
        """Every fact of the class, those of its bases first."""
        for base in reversed(cls.__mro__):
            yield from (value for value in vars(base).values() if isinstance(value, Fact))


Marks = Mark | tuple[Mark, ...]


def since(first: str, title: str = "", *, stable: str = "", not_in: str = "", marks: Marks = ()) -> Any:
    """A fact that holds from mainline release `first` on, and in stable series from the patch levels `stable` on."""
    return Fact(Change(first, title, stable, not_in), None, _tuple(marks))


def until(first: str, title: str = "", *, stable: str = "", not_in: str = "", marks: Marks = ()) -> Any:
    """A fact that a change ended: it holds before mainline release `first`, and before `stable` in stable series."""
    return Fact(None, Change(first, title, stable, not_in), _tuple(marks))


def between(begins: Change, ends: Change, *, marks: Marks = ()) -> Any:
    """A fact that one change brought and another one ended."""
    return Fact(begins, ends, _tuple(marks))


def _tuple(marks: Marks) -> tuple[Mark, ...]:
    return (marks,) if isinstance(marks, Mark) else marks


def _known(text: str) -> Version:
    version = parse_version(text)
    if version is None:
        raise ValueError(f"not a release: {text!r}")
    return version
