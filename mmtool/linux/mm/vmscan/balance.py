"""How much of which list is scanned, as far as lengths and costs alone decide it (mm/vmscan.c)."""

from __future__ import annotations

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
