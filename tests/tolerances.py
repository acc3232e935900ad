"""Where mmtool knowingly differs from a real kernel: every tolerance in comparing with captures, and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class Tolerance:
    """In captures whose name matches `capture` (a shell pattern), `fact` may differ, because of `reason`."""

    capture: str
    fact: str
    reason: str


TOLERANCES: tuple[Tolerance, ...] = ()


def tolerance_for(capture: str, fact: str) -> Tolerance | None:
    """The entry that lets a fact of a capture differ, if there is one."""
    return next((t for t in TOLERANCES if t.fact == fact and fnmatch(capture, t.capture)), None)
