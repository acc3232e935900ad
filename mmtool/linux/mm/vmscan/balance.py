"""How much of which list is scanned, as far as lengths and costs alone decide it (mm/vmscan.c)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from mmtool.linux.mm.vmscan.scan_control import MAX_SWAPPINESS

PAGES_PER_GIB_SHIFT = 18


def inactive_too_few(inactive: int, active: int) -> bool:
    """inactive_is_low() of two lengths."""
    gb = (inactive + active) >> PAGES_PER_GIB_SHIFT
    return inactive * (isqrt(10 * gb) if gb else 1) < active


def scan_balance(swappiness: int, anon_cost: int, file_cost: int) -> tuple[int, int, int]:
    """The shares of anonymous pages and of files by what reclaiming each has cost, and their sum."""
    total = anon_cost + file_cost
    anon_cost, file_cost = total + anon_cost, total + file_cost
    total = anon_cost + file_cost
    ap = swappiness * (total + 1) // (anon_cost + 1)
    fp = (MAX_SWAPPINESS - swappiness) * (total + 1) // (file_cost + 1)
    return ap, fp, ap + fp


def leave_smaller_kind(nr: list[int], targets: Sequence[int]) -> bool:
    """shrink_lruvec() with enough freed: no more of the kind with less left to scan, as large a share of the other.

    `nr` is what is left to scan of `targets`, by list (anon and file, each inactive and active), and is changed; False
    where one kind is done, which ends the round.
    """
    anon, file = nr[0] + nr[1], nr[2] + nr[3]
    if not anon or not file:
        return False
    smaller, larger = (0, 2) if file > anon else (2, 0)
    percentage = min(anon, file) * 100 // (targets[smaller] + targets[smaller + 1] + 1)
    nr[smaller] = nr[smaller + 1] = 0
    for lru in (larger, larger + 1):
        scanned = targets[lru] - nr[lru]
        nr[lru] = targets[lru] * (100 - percentage) // 100
        nr[lru] -= min(nr[lru], scanned)
    return True
