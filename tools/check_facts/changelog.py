"""Debian's changelogs of its kernel packages: which stable release brought which patch."""

from __future__ import annotations

import gzip
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from mmtool.build.fact import Version, parse_version

_STABLE = re.compile(r"ChangeLog-(\d+\.\d+(?:\.\d+)?)\s*$")
_TITLE = re.compile(r"    - (.*)")
_GOES_ON = re.compile(r"      (\S.*)")
_ENTRY = re.compile(r"  ?[*\[-]|\S")
# What the package's maintainers put before and behind a title.
_ARCHITECTURES = re.compile(r"^(?:\[[^\]]*\] )+")
_PREFIX = re.compile(r"^(?:x86|arm64)(?:/|: )")
_NOTE = re.compile(r"\s*\((?:CVE-|[Cc]loses|regression)[^)]*\)")


@dataclass
class Stable:
    """The patches of stable releases, by title, and which releases the changelogs tell of.

    A changelog that lists several releases before their patches leaves open which of them brought a patch: the first
    and the last of them are kept.
    """

    titles: dict[str, set[tuple[Version, Version]]] = field(default_factory=lambda: defaultdict(set))
    releases: set[Version] = field(default_factory=set)

    def read(self, path: Path) -> None:
        """Add what one changelog tells."""
        group: list[Version] = []
        title = ""

        def end_title() -> None:
            nonlocal title
            if title and group:
                self.titles[plain(title)].add((group[0], group[-1]))
            title = ""

        listing = False
        with gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                release, begun, more = _STABLE.search(line), _TITLE.match(line), _GOES_ON.match(line)
                if release is not None:
                    end_title()
                    if listing:
                        group, listing = [], False
                    version = parse_version(release[1])
                    assert version is not None
                    group.append(version)
                    self.releases.add(version)
                elif begun is not None:
                    end_title()
                    title, listing = begun[1], True
                elif more is not None and title:
                    title += " " + more[1]
                elif _ENTRY.match(line):
                    end_title()
                    group, listing = [], False
        end_title()

    def covers(self, version: Version) -> bool:
        """Do the changelogs tell of a stable release?"""
        return version in self.releases


def plain(title: str) -> str:
    """A title as it is compared: without what the changelog adds to it or puts in an architecture's place."""
    return _PREFIX.sub("", " ".join(_NOTE.sub("", _ARCHITECTURES.sub("", title)).split()).lower())
