"""What a map of a process's mappings tells: gaps, neighbours that do not merge and why, huge pages, limits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mmtool.late import dataclass
from mmtool.observed.process_maps import MapsRow

HUGE = 2 << 20
DEFAULT_MAX_MAP_COUNT = 65530
GUARD_GAP = 1 << 20
"""Kept free below a stack (stack_guard_gap of 256 pages)."""


@dataclass(frozen=True)
class Gap:
    """Free addresses between two mappings; `usable` is what mmap() may take of them."""

    start: int
    end: int
    usable: int


@dataclass(frozen=True)
class Neighbours:
    """Two mappings without a gap that are not one, and why."""

    lower: MapsRow
    upper: MapsRow
    why: str


@dataclass(frozen=True)
class MapsAnswer:
    """All of it; `huge_kib` of `anon_kib` lie in huge pages (None: smaps is needed), `blocks` could in all."""

    rows: Sequence[MapsRow]
    gaps: Sequence[Gap]
    neighbours: Sequence[Neighbours]
    largest: int
    mapped: int
    max_map_count: int
    anon_kib: int | None
    huge_kib: int | None
    blocks: int


def answer_maps(rows: Sequence[MapsRow], max_map_count: int = DEFAULT_MAX_MAP_COUNT) -> MapsAnswer:
    """Work out what a map tells. The program's own part of the address space ends with its last mapping."""
    user = [r for r in rows if r.name not in ("[vsyscall]", "[vectors]")]
    gaps = []
    for lower, upper in itertools.pairwise(user):
        if upper.start > lower.end:
            stack = upper.name == "[stack]" or "gd" in (upper.flags or ())
            usable = max(upper.start - lower.end - (GUARD_GAP if stack else 0), 0)
            gaps.append(Gap(lower.end, upper.start, usable))
    known = [r for r in user if "Rss" in r.sizes]
    return MapsAnswer(
        rows,
        sorted(gaps, key=lambda g: -g.usable),
        [
            Neighbours(a, b, why_apart(a, b))
            for a, b in itertools.pairwise(user)
            if a.end == b.start and related(a, b)
        ],
        max((g.usable for g in gaps), default=0),
        sum(r.size for r in user),
        max_map_count,
        sum(r.sizes.get("Anonymous", 0) for r in known) if known else None,
        sum(r.sizes.get("AnonHugePages", 0) for r in known) if known else None,
        sum(max((r.end & -HUGE) - (r.start + HUGE - 1 & -HUGE), 0) // HUGE for r in user if is_anonymous(r)),
    )  # fmt: skip


def is_anonymous(row: MapsRow) -> bool:
    """A mapping of no file, as far as the map shows."""
    return row.inode == 0 and (not row.name or row.name in ("[heap]", "[stack]") or row.name.startswith("[anon:"))


def related(lower: MapsRow, upper: MapsRow) -> bool:
    """Might the two be one mapping: of one file, or both of none?"""
    return (lower.device, lower.inode) == (upper.device, upper.inode) and is_anonymous(lower) == is_anonymous(upper)


def why_apart(lower: MapsRow, upper: MapsRow) -> str:
    """Why the kernel keeps two neighbours apart: the first condition of a merge that the map shows to fail."""
    if lower.name.startswith("[v") or upper.name.startswith("[v"):
        return "special mappings never merge"
    if lower.perms != upper.perms:
        return f"protection differs: {lower.perms} {upper.perms}"
    if lower.flags is not None and upper.flags is not None:
        differing = set(lower.flags) ^ set(upper.flags)
        if differing - {"sd"}:
            return f"flags differ: {' '.join(sorted(differing - {'sd'}))}"
    if lower.inode and upper.offset != lower.offset + lower.size:
        return "the offsets in the file do not run on"
    if lower.perms.endswith("p") and is_anonymous(lower):
        return "flags agree: each has pages of its own from before they met (anon_vma), or one was moved there"
    return "nothing that the map shows keeps them apart" + ("" if lower.flags is not None else "; smaps shows flags")
