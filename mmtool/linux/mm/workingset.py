"""Refault distance: was a page that comes back evicted too early (mm/workingset.c)?"""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_REFS_MASK,
    LRU_REFS_SHIFT,
    PG_ACTIVE,
    PG_SWAPBACKED,
    PG_WORKINGSET,
)
from mmtool.linux.mm.memcontrol.vmstats import WORKINGSET_ACTIVATE_BASE, WORKINGSET_RESTORE_BASE
from mmtool.linux.mm.memory_state import MAX_NR_GENS, LruGen, Memory
from mmtool.linux.mm.mm_inline import folio_lru_refs, lru_tier_from_refs

REFAULT = ("workingset_refault_anon", "workingset_refault_file")
ACTIVATE = ("workingset_activate_anon", "workingset_activate_file")
RESTORE = ("workingset_restore_anon", "workingset_restore_file")


def workingset_eviction(m: Memory, slot: int, *, by_root: bool = False) -> int:
    """workingset_eviction(): what the page's place keeps of it: the lists' age and whether it was part of the set.

    `by_root`: the age is that of the root cgroup, as where a system call evicts a page.
    """
    if m.lru_gen is not None:
        return lru_gen_eviction(m, m.lru_gen, slot)
    workingset = 1 if m.flags[slot] & PG_WORKINGSET else 0
    own = 1 if m.facts.eviction_counts_itself else 0
    m.root_age += 1
    if by_root:
        return m.root_age - 1 + own << 2 | 2 | workingset
    m.lruvec.nonresident_age += 1
    return m.lruvec.nonresident_age - 1 + own << 2 | workingset


def workingset_activation(m: Memory) -> None:
    """workingset_activation(): a page that becomes active ages those that are not in memory."""
    workingset_age_nonresident(m)


def workingset_age_nonresident(m: Memory) -> None:
    """workingset_age_nonresident(): the cgroup's age and its parent's."""
    m.lruvec.nonresident_age += 1
    m.root_age += 1


def workingset_test_recent(m: Memory, shadow: int, file: int, swap_left: int) -> bool:
    """workingset_test_recent(): is the distance to the eviction within what memory could hold?"""
    elsewhere = 0 if file else m.pages_elsewhere
    if shadow & 2 and m.facts.memcg_stats_flushed_by_cgroup:
        # The root's statistics are as old as the last periodic flush: those of the cgroup are not in them yet.
        return m.root_age - (shadow >> 2) <= elsewhere
    stats = m.stats
    size = stats.page_state(LRU_ACTIVE_FILE)
    if not file:
        size += stats.page_state(LRU_INACTIVE_FILE)
    if swap_left > 0:
        size += stats.page_state(LRU_ACTIVE_ANON)
        if file:
            size += stats.page_state(LRU_INACTIVE_ANON)
    if shadow & 2:
        return m.root_age - (shadow >> 2) <= size + elsewhere
    return m.lruvec.nonresident_age - (shadow >> 2) <= size


def workingset_refault(m: Memory, slot: int, shadow: int, file: int, swap_left: int) -> bool:
    """workingset_refault(): count the refault, and make the page active if it is recent; is it to be noted as cost?

    `swap_left` are the pages that can still be swapped out. The caller notes the cost (lru_note_cost_refault())
    where that is due: the page is part of the working set.
    """
    if m.lru_gen is not None:
        lru_gen_refault(m, m.lru_gen, slot, shadow, file)
        return False
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


def lru_gen_eviction(m: Memory, g: LruGen, slot: int) -> int:
    """lru_gen_eviction(): count the page in its tier; its place keeps the oldest generation and how it was used."""
    flags = m.flags[slot]
    file = 0 if flags & PG_SWAPBACKED else 1
    if not flags & (PG_WORKINGSET | LRU_REFS_MASK):
        g.evicted[file][0] += 1
        return g.min_seq[file] << 3
    refs = folio_lru_refs(m, flags)
    workingset = bool(flags & PG_WORKINGSET)
    g.evicted[file][lru_tier_from_refs(m, refs, workingset)] += 1
    if not m.facts.lru_gen_refs_start_with_referenced:
        workingset = refs > 0
    return g.min_seq[file] << 3 | max(refs - 1, 0) << 1 | workingset


def lru_gen_refault(m: Memory, g: LruGen, slot: int, shadow: int, file: int) -> None:
    """lru_gen_refault(): count a refault in the tier of its eviction, if that was recent; and mark the page for it."""
    facts = m.facts
    vmstat = m.vmstat
    seq, refs, workingset = shadow >> 3, shadow >> 1 & 3, bool(shadow & 1)
    rework = facts.lru_gen_refs_start_with_referenced
    recent = abs(g.max_seq - seq) < MAX_NR_GENS if rework else seq == g.min_seq[file]
    if recent or facts.lru_gen_counts_all_refaults:
        vmstat[REFAULT[file]] += 1
    if not recent:
        return
    if rework:
        refs += 1
        g.refaulted[file][lru_tier_from_refs(m, refs, workingset)] += 1
        if m.in_lru_fault and facts.lru_gen_faults_are_active:
            vmstat[ACTIVATE[file]] += 1
        if not workingset:
            m.flags[slot] = m.flags[slot] & ~LRU_REFS_MASK | (refs - 1) << LRU_REFS_SHIFT
            return
        if m.in_lru_fault and not facts.lru_gen_faults_are_active:
            vmstat[ACTIVATE[file]] += 1
        m.flags[slot] |= PG_WORKINGSET
        vmstat[RESTORE[file]] += 1
        return
    refs += workingset
    g.refaulted[file][lru_tier_from_refs(m, refs, workingset)] += 1
    if facts.lru_gen_counts_all_refaults:
        vmstat[ACTIVATE[file]] += 1
    if m.in_lru_fault or refs >= 3:
        m.flags[slot] |= LRU_REFS_MASK | PG_WORKINGSET
        vmstat[RESTORE[file]] += 1
