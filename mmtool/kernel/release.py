"""What differs between kernel releases: one named fact a difference.

The model asks for a fact by its name and never compares versions. A fact that is a plain "from release
X on" is declared with `_since`; the comment beside it says what changed, with the kernel's commit where
it is known. Distribution kernels are taken as the mainline release that they are built from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

Version = tuple[int, int, int]

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def parse_version(text: str) -> Version | None:
    """The first three numbers of a release name: "6.1.0-50-cloud-amd64" is (6, 1, 0); None without two numbers."""
    m = _VERSION.match(text)
    return (int(m[1]), int(m[2]), int(m[3] or 0)) if m else None


def _since(major: int, minor: int) -> Any:
    """A fact that holds from release major.minor on."""
    return field(default=False, metadata={"since": (major, minor, 0)})


def _until(major: int, minor: int) -> Any:
    """A fact that holds before release major.minor."""
    return field(default=False, metadata={"until": (major, minor, 0)})


@dataclass(frozen=True)
class Release:
    """What differs between kernel releases, one field a difference."""

    version: Version

    # mm/memblock.c
    memblock_merges_around_change: bool = _since(6, 11)
    """memblock_merge_regions() looks only at the indices that changed, not at the whole list."""


@lru_cache(maxsize=64)
def release_facts(version: Version) -> Release:
    """The facts of a kernel release (major, minor, patch)."""
    known: dict[str, bool] = {}
    for f in fields(Release):
        if "since" in f.metadata:
            known[f.name] = version >= f.metadata["since"]
        elif "until" in f.metadata:
            known[f.name] = version < f.metadata["until"]
    return Release(version, **known)
