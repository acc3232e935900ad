"""What a run of reclaim is after and has come to (struct scan_control of mm/vmscan.c)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from mmtool.late import dataclass

DEF_PRIORITY = 12
"""Reclaim starts with a 4096th of each list and doubles its share from round to round."""
SWAP_CLUSTER_MAX = 32
"""The pages that reclaim takes off a list at once, and that it is content with."""
MAX_SWAPPINESS = 200
SWAPPINESS_ANON_ONLY = MAX_SWAPPINESS + 1


class Balance(Enum):
    """Why a round of reclaim scans which kinds of pages (get_scan_count())."""

    NO_SWAP = "files only: nothing can be swapped out"
    SWAPPINESS = "one kind only, by swappiness"
    LAST_PRIORITY = "all lists alike: little is left"
    TRIM = "files only: many are inactive"
    COSTS = "both kinds, by what each has cost"


@dataclass(slots=True)
class ScanControl:
    """struct scan_control: pages wanted, how far it went, what it may do."""

    nr_to_reclaim: int
    swappiness: int
    priority: int = DEF_PRIORITY
    nr_reclaimed: int = 0
    nr_scanned: int = 0
    may_swap: bool = True
    proactive: bool = False
    anon_cost: int = 0
    file_cost: int = 0
    may_deactivate: list[bool] = field(default_factory=lambda: [False, False])
    """May active pages, anonymous and of files, be made inactive?"""
    force_deactivate: bool = False
    skipped_deactivate: bool = False
    cache_trim_mode: bool = False
    memcg_full_walk: bool = False
    nr_unqueued_dirty: int = 0
    nr_file_taken: int = 0
    """Pages of files that were taken, and those of them that were dirty and not being written."""


@dataclass(slots=True)
class ReclaimStat:
    """struct reclaim_stat: what became of the pages of one batch."""

    nr_dirty: int = 0
    nr_unqueued_dirty: int = 0
    nr_writeback: int = 0
    nr_pageout: int = 0
    nr_ref_keep: int = 0
    nr_unmap_fail: int = 0
    nr_activate: list[int] = field(default_factory=lambda: [0, 0])
