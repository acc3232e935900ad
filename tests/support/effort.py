"""How much work something is, by what this machine does here and now: seconds depend on it and on its load."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

SECOND = 100
"""Millions of turns of a loop: one to two seconds of CPU time. What others do slows a short loop down least."""
TRIES = 3


def is_within(most: float, work: Callable[[], object]) -> bool:
    """Does `work` take at most the CPU time of `most` million turns of a loop? One of three tries will do."""
    return any(_cpu(work) <= most * _cpu(_turns) for _ in range(TRIES))


def _turns() -> None:
    for _ in range(1_000_000):
        pass


def _cpu(work: Callable[[], object]) -> float:
    before = process_time()
    work()
    return process_time() - before
