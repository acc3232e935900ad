"""Compare every fact that mmtool knows of kernel releases with the kernels' sources and changelogs.

python tools/check_facts PATH...: unpacked kernel sources (folders with a Makefile), changelogs of Debian's kernel
packages (changelog.Debian.gz), or folders that hold such. Prints what disagrees; exit status 1 if anything does.
Needs mmtool on the path (an environment where it is installed, or PYTHONPATH).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from changelog import Stable, plain
from source import Source

from mmtool.build.fact import Change, Fact, dotted
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


def brackets(fact: Fact, sources: list[Source]) -> str:
    """Where sources show a fact and where not, as runs of releases."""
    runs: list[tuple[bool, str, str]] = []
    for source in sources:
        shown = source.shows(fact)
        if shown is None:
            continue
        name = dotted(source.version)
        if runs and runs[-1][0] == shown:
            runs[-1] = (shown, runs[-1][1], name)
        else:
            runs.append((shown, name, name))
    return " ".join(f"{'+' if shown else '-'}{a}..{b}" for shown, a, b in runs)


def main() -> int:
    parser = argparse.ArgumentParser(prog="check_facts", description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--all", action="store_true", help="also print where each fact's marks are found")
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
            print(f"{name}: {brackets(fact, sources)}")
        wrong += bool(says)
    print(f"{len(named)} facts, {len(sources)} source trees, {len(stable.releases)} stable releases: {wrong} disagree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
