"""Refault distance: was a page that comes back evicted too early (mm/workingset.c)?"""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    PG_ACTIVE,
    PG_WORKINGSET,
)
from mmtool.linux.mm.memcontrol.vmstats import WORKINGSET_ACTIVATE_BASE, WORKINGSET_RESTORE_BASE
from mmtool.linux.mm.memory_state import Memory


def workingset_eviction(m: Memory, slot: int, *, by_root: bool = False) -> int:
    """workingset_eviction(): what the page's place keeps of it: the lists' age and whether it was part of the set.

    `by_root`: the age is that of the root cgroup, as where a system call evicts a page.
    """
    workingset = 1 if m.flags[slot] & PG_WORKINGSET else 0
    if by_root:
        m.root_age += 1
        return m.root_age - 1 << 2 | 2 | workingset
    age = m.lruvec.nonresident_age
    m.lruvec.nonresident_age = age + 1
    m.root_age += 1
    return age << 2 | workingset


def workingset_activation(m: Memory) -> None:
    """workingset_activation(): a page that becomes active ages those that are not in memory."""
    workingset_age_nonresident(m)


def workingset_age_nonresident(m: Memory) -> None:
    """workingset_age_nonresident(): the cgroup's age and its parent's."""
    m.lruvec.nonresident_age += 1
    m.root_age += 1


def workingset_test_recent(m: Memory, shadow: int, file: int, swap_left: int) -> bool:
    """workingset_test_recent(): is the distance to the eviction within what memory could hold?"""
    stats = m.stats
    size = stats.page_state(LRU_ACTIVE_FILE)
    if not file:
        size += stats.page_state(LRU_INACTIVE_FILE)
    if swap_left > 0:
        size += stats.page_state(LRU_ACTIVE_ANON)
        if file:
            size += stats.page_state(LRU_INACTIVE_ANON)
    age = m.root_age if shadow & 2 else m.lruvec.nonresident_age
    return age - (shadow >> 2) <= size


def workingset_refault(m: Memory, slot: int, shadow: int, file: int, swap_left: int) -> bool:
    """workingset_refault(): count the refault, and make the page active if it is recent; is it to be noted as cost?

    `swap_left` are the pages that can still be swapped out. The caller notes the cost (lru_note_cost_refault())
    where that is due: the page is part of the working set.
    """
    kind = "file" if file else "anon"
    m.vmstat[f"workingset_refault_{kind}"] += 1
    m.stats.count(1)
    if not workingset_test_recent(m, shadow, file, swap_left):
        return False
    m.flags[slot] |= PG_ACTIVE
    workingset_age_nonresident(m)
    m.vmstat[f"workingset_activate_{kind}"] += 1
    m.stats.mod(WORKINGSET_ACTIVATE_BASE + file, 1)
    if not shadow & 1:
        return False
    m.flags[slot] |= PG_WORKINGSET
    m.vmstat[f"workingset_restore_{kind}"] += 1
    m.stats.mod(WORKINGSET_RESTORE_BASE + file, 1)
    return True
