"""Compare every fact that mmtool knows of kernel releases with the kernels' sources and changelogs.

python tools/check_facts PATH...: unpacked kernel sources (folders with a Makefile), changelogs of Debian's kernel
packages (changelog.Debian.gz), or folders that hold such. Prints what disagrees; exit status 1 if anything does.
--write keeps what the sources show, as fixtures/fact-marks.txt does for those who have none (tests/test_facts.py).
Needs mmtool on the path (an environment where it is installed, or PYTHONPATH).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from changelog import Stable, plain
from source import Source

from mmtool.build.fact import Change, Fact, Version, dotted, parse_version
from mmtool.build.shown import groups


def facts() -> list[tuple[str, Fact]]:
    """Every fact with its name, "zram.ZramFacts.name"."""
    return [
        (f"{group.__module__.rsplit('.', 1)[1]}.{fact.name}", fact)
        for group in groups()
        for fact in vars(group).values()
        if isinstance(fact, Fact)
    ]


def against_source(fact: Fact, source: Source) -> str | None:
    """What is wrong with a fact where a source tree shows it; None when they agree or the tree tells nothing."""
    shown = source.shows(fact)
    if shown is None or shown == fact.holds(source.version):
        return None if shown is None or not fact.open_at(source.version) else f"is open at {dotted(source.version)}"
    return f"{'holds' if shown else 'does not hold'} in the sources of {dotted(source.version)}"


def against_changelogs(change: Change, stable: Stable) -> Iterator[str]:
    """What is wrong with a change's stable releases as the changelogs have them."""
    found = sorted(stable.titles.get(plain(change.title), ())) if change.title else []
    for first, last in found[:1] if len({v[:2] for v, _ in found}) == 1 else found:
        if not change.reached(last):
            yield f"is in {dotted(last)} by its changelog"
        elif first[2] > 1 and change.reached((*first[:2], first[2] - 1)):
            yield f"came with {dotted(first)} only, by its changelog"
    for begin, _, end in change.backports:
        listed = any(a <= version <= b for a, b in found for version in (begin, end))
        if begin == end and stable.covers(end) and change.title and not listed:
            yield f"is said to be in {dotted(end)}, whose changelog does not list it"


def without_evidence(fact: Fact) -> bool:
    changes = [c for c in (fact.begins, fact.ends) if c is not None]
    return not fact.marks and not all(c.title or c.not_in for c in changes)


def found_in(path: Path) -> Iterator[Path]:
    """The source trees and changelogs at or below a path."""
    if path.is_file() or (path / "Makefile").is_file():
        yield path
        return
    for below in sorted(path.iterdir()):
        if below.is_dir() or below.name.startswith("changelog.Debian"):
            yield from found_in(below)


Shown = dict[Version, bool]
"""Whether a fact holds, of each release whose source shows it."""


def shown(fact: Fact, sources: list[Source]) -> Shown:
    return {source.version: answer for source in sources if (answer := source.shows(fact)) is not None}


def runs(of: Shown, newest: Version | None = None) -> str:
    """Where sources show a fact and where not, as runs of releases; without an end where it is the `newest`."""
    found: list[tuple[bool, Version, Version]] = []
    for version, answer in sorted(of.items()):
        begun = found.pop()[1] if found and found[-1][0] == answer else version
        found.append((answer, begun, version))
    ends = [(answer, dotted(a), "" if b == newest else dotted(b)) for answer, a, b in found]
    return " ".join(f"{'+' if answer else '-'}{a}..{b}" for answer, a, b in ends)


def written(text: str) -> tuple[set[Version], dict[str, Shown]]:
    """The releases that a file of --write is of, and what it says of each fact."""
    head, *lines = text.splitlines()
    releases = {known(name) for name in head.removeprefix("# ").split()}
    facts: dict[str, Shown] = {}
    for line in lines:
        name, _, texts = line.partition(": ")
        for run in texts.split():
            begin, _, end = run[1:].partition("..")
            first, last = known(begin), known(end) if end else max(releases)
            facts.setdefault(name, {}).update(dict.fromkeys((v for v in releases if first <= v <= last), run[0] == "+"))
    return releases, facts


def known(text: str) -> Version:
    version = parse_version(text)
    assert version is not None, text
    return version


def write(path: Path, named: list[tuple[str, Fact]], sources: list[Source]) -> None:
    """Keep what sources show of every fact, a line each, beside what the file has of other releases."""
    releases, before = written(path.read_text()) if path.exists() else (set(), {})
    releases |= {source.version for source in sources}
    all_shown = {name: before.get(name, {}) | shown(fact, sources) for name, fact in named}
    lines = [f"{name}: {runs(of, max(releases))}" for name, of in all_shown.items() if of]
    path.write_text("\n".join([f"# {' '.join(map(dotted, sorted(releases)))}", *sorted(lines), ""]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="check_facts", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--all", action="store_true", help="also print where each fact's marks are found")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep it, beside what FILE has of other releases")
    options = parser.parse_args()
    stable, sources = Stable(), []
    for path in (p for given in options.paths for p in found_in(given)):
        if path.is_dir():
            sources.append(Source(path))
        else:
            stable.read(path)
    sources.sort(key=lambda source: source.version)
    wrong = 0
    named = facts()
    for name, fact in named:
        says = [w for source in sources if (w := against_source(fact, source)) is not None]
        for change in (fact.begins, fact.ends):
            says += [] if change is None else against_changelogs(change, stable)
        if without_evidence(fact):
            says.append("has no evidence: neither marks nor the titles of its changes")
        for text in says:
            print(f"{name}: {text}")
        if options.all:
            print(f"{name}: {runs(shown(fact, sources))}")
        wrong += bool(says)
    if options.write is not None:
        write(options.write, named, sources)
    print(f"{len(named)} facts, {len(sources)} source trees, {len(stable.releases)} stable releases: {wrong} disagree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
