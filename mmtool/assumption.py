"""`Assumption`: something that a boot rests on though nothing shows it, and what would show it."""

from __future__ import annotations

from mmtool.late import dataclass


@dataclass(frozen=True)
class Assumption:
    """What is taken for granted, as `kind` ("cpus", "slit", "profile", ...), and why; what hangs on it, in numbers;
    what to give so that it need not be."""

    kind: str
    what: str
    why: str
    effect: str
    give: str
