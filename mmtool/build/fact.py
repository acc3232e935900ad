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

from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from mmtool.regex import regex

Version = tuple[int, int, int]

"""Major, minor, patch level. Of a release candidate, which comes before its release, that is its number less 100."""

_LAST_PATCH = 9999
_BEFORE_CANDIDATES = -100

LAST_OF_MAJOR = {3: 19, 4: 20, 5: 19, 6: 19}
"""Series after which the first number went up."""

_DESCRIBED = regex(r"\d+\.\d+\.0-(\d{5})-g[0-9a-f]{7}")
_MOST_OF_A_MERGE_WINDOW = 10_000
"""Commits after a release from which on all but the last days of the next one's merge window are in; it brings 12,000
to 15,000."""

_CANDIDATE = regex(r"-(?:0\.)?rc(\d{1,2})\b")
_VERSION = regex(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")


def parse_version(text: str) -> Version | None:
    """The first three numbers of a release name: "6.1.0-50-cloud-amd64" is (6, 1, 0); None without two numbers."""
    m = _VERSION.match(text)
    return (int(m[1]), int(m[2]), int(m[3] or 0)) if m else None


def parse_series(text: str) -> Version | None:
    """Like parse_version(), but a release without a third number, "6.12", is the newest of its stable series."""
    m = _VERSION.match(text)
    version = parse_version(text)
    return (*version[:2], _LAST_PATCH) if m and version and not m[3] and "-rc" not in text else version


def parse_candidate(text: str) -> Version | None:
    """Like parse_version(), but a release candidate, "6.12.0-rc3" or Fedora's "6.12.0-0.rc3", comes before 6.12.0.

    What is on its way to the first one, "6.11.0-12340-gcd5a0afbdf80" as git calls it, counts as the next release's.
    """
    version = parse_version(text)
    if "-" not in text:
        return version
    m, described = _CANDIDATE.search(text), _DESCRIBED.match(text)
    if version and described and int(described[1]) >= _MOST_OF_A_MERGE_WINDOW:
        last = version[1] == LAST_OF_MAJOR.get(version[0])
        return (version[0] + last, 0 if last else version[1] + 1, _BEFORE_CANDIDATES)
    return (*version[:2], _BEFORE_CANDIDATES + int(m[1])) if version and m and not version[2] else version


def dotted(version: Version) -> str:
    """A release as people write it: "6.12.3", "6.12-rc3"."""
    major, minor, patch = version
    return f"{major}.{minor}.{patch}" if patch >= 0 else f"{major}.{minor}-rc{patch - _BEFORE_CANDIDATES}"


class Mark(NamedTuple):
    """What shows a fact in a source tree: `text` (spaces count alike) is in `file` where the fact holds.

    With `gone` it is the other way round: the text is not there, though the file is. `inside`: the text is looked for
    in the function of that name alone. A mark speaks of releases from `since` on and before `until`, where they are
    given. A fact holds where one of its marks that speak shows it, so that a file that moved has a mark for each place.
    """

    file: str
    text: str
    gone: bool = False
    inside: str = ""
    since: str = ""
    until: str = ""

    def speaks_of(self, version: Version) -> bool:
        """Does the mark tell anything of a release?"""
        return version >= _known(self.since or "0.0") and not (self.until and version >= _known(self.until))


class Symbol(NamedTuple):
    """What shows a fact in a kernel's image, whatever its release: it has a function `name`.

    That it has none shows that the fact does not hold where it has `beside`, which is built with it; alone it tells
    nothing, since a function may be compiled into another or left out.
    """

    name: str
    beside: str = ""

    def shows(self, symbols: Container[str], members: Mapping[str, Container[str]]) -> bool | None:
        """Does an image with these symbols hold the fact? None where they do not tell."""
        return True if self.name in symbols else False if self.beside and self.beside in symbols else None


class Member(NamedTuple):
    """What shows a fact in a kernel's type information (BTF): `structure` has a member `name`.

    Where there is no such structure it tells nothing.
    """

    structure: str
    name: str

    def shows(self, symbols: Container[str], members: Mapping[str, Container[str]]) -> bool | None:
        """Does a kernel with these structures hold the fact? None where they do not tell."""
        return self.name in members[self.structure] if self.structure in members else None


class Change:
    """One change of the kernel: the mainline release and the stable releases that brought it, and how that is known.

    No dataclass: a command makes three hundred of them before it begins, and looks at few.
    """

    first: str
    """The mainline release that has it first, "6.13", all its candidates too; or a candidate, "6.13-rc3"."""
    title: str
    """The title of the commit, as the stable changelogs list it."""
    stable: str
    """The patch levels from which stable series have it too, "6.6.88 6.12.28"; "6.6.1-129" where it is known of the
    last one only, so that it came somewhere on the way, "6.6.1-60-129" where 6.6.60 is likely."""
    not_in: str
    """Where the evidence leaves an interval open: the last release that is known not to have it; a series as a whole
    ("6.14") with its stable releases."""
    seen_in: str
    """The first release that is known to have it, where `first` is no more than likely."""

    def __init__(self, first: str, title: str = "", stable: str = "", not_in: str = "", seen_in: str = "") -> None:
        self.first, self.title, self.stable, self.not_in, self.seen_in = first, title, stable, not_in, seen_in

    @cached_property
    def _first(self) -> Version:
        return _begin_of_series(self.first)

    @cached_property
    def backports(self) -> tuple[tuple[Version, Version, Version], ...]:
        """Of each stable series that took it: the first release that may, that is likely to and that surely has it."""
        return tuple(_backport(text) for text in self.stable.split())

    @cached_property
    def _open(self) -> tuple[Version, Version]:
        """The releases between which it came, both outside: nothing lies between them where that is known."""
        last = max(self._first, _begin_of_series(self.seen_in)) if self.seen_in else self._first
        return (_end_of_series(self.not_in), last) if self.not_in else (last, last)

    def reached(self, version: Version) -> bool:
        """Does a release have the change?"""
        return version >= self._first or any(
            likely <= version and likely[:2] == version[:2] for _, likely, _ in self.backports
        )

    def open_at(self, version: Version) -> bool:
        """Is it unknown whether a release has the change, since nothing at hand shows it?"""
        if not self.not_in and "-" not in self.stable:
            return False  # as of most, which a boot asks for all
        series = [levels for levels in self.backports if levels[0][:2] == version[:2]]
        if series:
            return any(begin <= version < known for begin, _, known in series)
        return self._open[0] < version < self._open[1]


ImageMark = Symbol | Member
AnyMark = Mark | ImageMark


class Fact:
    """A fact of a release: from `begins` on (None: always) and before `ends` (None: still); kept once worked out."""

    name: str
    owner: type

    def __init__(self, begins: Change | None, ends: Change | None, marks: tuple[AnyMark, ...]) -> None:
        self.begins, self.ends, self._marks = begins, ends, marks

    def __set_name__(self, owner: type, name: str) -> None:
        self.name, self.owner = name, owner

    @cached_property
    def marks(self) -> tuple[Mark, ...]:
        return tuple(mark for mark in self._marks if isinstance(mark, Mark))

    @cached_property
    def image_marks(self) -> tuple[ImageMark, ...]:
        return tuple(mark for mark in self._marks if not isinstance(mark, Mark))

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

    @cached_property
    def open_facts(self) -> tuple[str, ...]:
        """The names of the facts of which nothing at hand tells whether they hold for this release."""
        unsure = (fact.name for fact in self.declared() if fact.open_at(self.version))
        return tuple(name for name in unsure if name not in self.shown)

    @classmethod
    def declared(cls) -> Iterator[Fact]:
        """Every fact of the class, those of its bases first."""
        for base in reversed(cls.__mro__):
            yield from (value for value in vars(base).values() if isinstance(value, Fact))


Marks = AnyMark | tuple[AnyMark, ...]


def since(
    first: str, title: str = "", *, stable: str = "", not_in: str = "", seen_in: str = "", marks: Marks = ()
) -> Any:
    """A fact that holds from mainline release `first` on, and in stable series from the patch levels `stable` on."""
    return Fact(Change(first, title, stable, not_in, seen_in), None, _tuple(marks))


def until(
    first: str, title: str = "", *, stable: str = "", not_in: str = "", seen_in: str = "", marks: Marks = ()
) -> Any:
    """A fact that a change ended: it holds before mainline release `first`, and before `stable` in stable series."""
    return Fact(None, Change(first, title, stable, not_in, seen_in), _tuple(marks))


def between(begins: Change, ends: Change, *, marks: Marks = ()) -> Any:
    """A fact that one change brought and another one ended."""
    return Fact(begins, ends, _tuple(marks))


def _backport(text: str) -> tuple[Version, Version, Version]:
    first, *more = text.split("-")
    begin = _known(first)
    later: list[Version] = [(*begin[:2], int(patch)) for patch in more]
    known = later[-1] if later else begin
    return begin, later[0] if len(later) == 2 else known, known


def _begin_of_series(text: str) -> Version:
    """A release with three numbers or a candidate as it is; "6.13" is all of the series, before its first candidate."""
    version = parse_candidate(text) or _known(text)
    return (*version[:2], _BEFORE_CANDIDATES) if text.count(".") == 1 and version[2] == 0 else version


def _end_of_series(text: str) -> Version:
    major, minor, patch = parse_candidate(text) or _known(text)
    if patch < 0:
        return (major, minor, patch)
    return (major, minor, patch if text.count(".") == 2 else _LAST_PATCH)


def _tuple(marks: Marks) -> tuple[AnyMark, ...]:
    return (marks,) if isinstance(marks, (Mark, Symbol, Member)) else marks


def _known(text: str) -> Version:
    version = parse_version(text)
    if version is None:
        raise ValueError(f"not a release: {text!r}")
    return version
