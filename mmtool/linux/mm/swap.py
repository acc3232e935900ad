"""The CPU's batches on the way to the LRU lists, and what a read does to a page (mm/swap.c; mm/folio.c in 7.3)."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.linux.mm.folio import (
    LRU_ACTIVE_ANON,
    LRU_ACTIVE_FILE,
    LRU_INACTIVE_ANON,
    LRU_INACTIVE_FILE,
    LRU_REFS_MASK,
    LRU_REFS_SHIFT,
    OF_SLOT,
    PG_ACTIVE,
    PG_DIRTY,
    PG_LRU,
    PG_MLOCKED,
    PG_RECLAIM,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_WORKINGSET,
    PG_WRITEBACK,
    PTE_PRESENT,
    folio_is_file_lru,
)
from mmtool.linux.mm.memory_state import MAX_NR_GENS, Memory
from mmtool.linux.mm.mlock import mlock_drain_local
from mmtool.linux.mm.mm_inline import folio_lru_gen, lruvec_add_folio, lruvec_add_folio_tail, lruvec_del_folio
from mmtool.linux.mm.vmscan.scan_control import SWAP_CLUSTER_MAX as SWAP_CLUSTER_MAX
from mmtool.linux.mm.workingset import workingset_activation


def folio_add_lru(m: Memory, slot: int) -> None:
    """folio_add_lru(): queue a page for its list; a full batch goes there."""
    flags = m.flags[slot]
    if m.in_lru_fault and m.lru_gen is not None and not m.memalloc and not flags & PG_UNEVICTABLE:
        if m.facts.lru_gen_faults_are_active or flags & PG_WORKINGSET:
            m.flags[slot] = flags | PG_ACTIVE
        elif not flags & PG_REFERENCED:
            lru_gen_inc_refs(m, slot)
    m.lru_add.append(slot)
    if len(m.lru_add) == m.batch_size:
        _move_lru_add(m)


def _move_lru_add(m: Memory) -> None:
    batch, m.lru_add = m.lru_add, []
    flags = m.flags
    for slot in batch:
        f = flags[slot] & ~PG_UNEVICTABLE
        if f & PG_MLOCKED:
            f = f & ~PG_ACTIVE | PG_UNEVICTABLE
        flags[slot] = f | PG_LRU
        lruvec_add_folio(m, slot)


def _move(m: Memory, batch: list[int], move: Callable[[Memory, int], None]) -> None:
    for slot in batch:
        if m.flags[slot] & PG_LRU:
            move(m, slot)
    batch.clear()


def folio_activate(m: Memory, slot: int) -> None:
    """folio_activate(): queue a page on an inactive list for the active one."""
    if m.flags[slot] & (PG_LRU | PG_ACTIVE | PG_UNEVICTABLE) == PG_LRU:
        m.lru_activate.append(slot)
        if len(m.lru_activate) == m.batch_size:
            _move(m, m.lru_activate, _activate)


def _activate(m: Memory, slot: int) -> None:
    if not m.flags[slot] & (PG_ACTIVE | PG_UNEVICTABLE):
        lruvec_del_folio(m, slot)
        m.flags[slot] |= PG_ACTIVE
        lruvec_add_folio(m, slot)
        m.vmstat["pgactivate"] += 1
        m.stats.count(1)


def folio_mark_accessed(m: Memory, slot: int) -> None:
    """folio_mark_accessed(): a page was used by a system call, the second time makes it active.

    A page that is still in the batch of new pages becomes active there.
    """
    if m.lru_gen is not None:
        lru_gen_inc_refs(m, slot)
        return
    flags = m.flags[slot]
    if not flags & PG_REFERENCED:
        m.flags[slot] = flags | PG_REFERENCED
    elif not flags & (PG_UNEVICTABLE | PG_ACTIVE):
        if flags & PG_LRU:
            folio_activate(m, slot)
        elif slot in m.lru_add:
            m.flags[slot] |= PG_ACTIVE
        m.flags[slot] &= ~PG_REFERENCED
        workingset_activation(m)


def lru_gen_inc_refs(m: Memory, slot: int) -> None:
    """lru_gen_inc_refs(): count a use through a file descriptor, as far as there are bits to count with."""
    flags = m.flags[slot]
    if flags & PG_UNEVICTABLE:
        return
    if not flags & PG_REFERENCED:
        if m.facts.lru_gen_refs_start_with_referenced:
            flags &= ~LRU_REFS_MASK
        m.flags[slot] = flags | PG_REFERENCED
    elif m.facts.lru_gen_refs_start_with_referenced:
        if flags & LRU_REFS_MASK == LRU_REFS_MASK:
            m.flags[slot] = flags | PG_WORKINGSET
        else:
            m.flags[slot] = flags + (1 << LRU_REFS_SHIFT)
    elif not flags & PG_WORKINGSET:
        m.flags[slot] = flags | PG_WORKINGSET
    elif flags & LRU_REFS_MASK != LRU_REFS_MASK:
        m.flags[slot] = flags + (1 << LRU_REFS_SHIFT)


def lru_gen_clear_refs(m: Memory, slot: int) -> bool:
    """lru_gen_clear_refs(): forget how a page was used; is there nothing more to do, since it is old already?"""
    g = m.lru_gen
    gen = folio_lru_gen(m.flags[slot])
    if g is None or gen < 0:
        return True
    m.flags[slot] &= ~(LRU_REFS_MASK | PG_REFERENCED | PG_WORKINGSET)
    return gen == g.min_seq[folio_is_file_lru(m.flags[slot])] % MAX_NR_GENS


def deactivate_page(m: Memory, slot: int) -> None:
    """folio_deactivate(): queue an active page for the inactive list (MADV_COLD)."""
    flags = m.flags[slot]
    if flags & (PG_LRU | PG_UNEVICTABLE) != PG_LRU:
        return
    if m.lru_gen is None:
        if not flags & PG_ACTIVE:
            return
    elif m.facts.lru_gen_refs_start_with_referenced and lru_gen_clear_refs(m, slot):
        return
    m.lru_deactivate.append(slot)
    if len(m.lru_deactivate) == m.batch_size:
        _move(m, m.lru_deactivate, _deactivate)


def _deactivate(m: Memory, slot: int) -> None:
    flags = m.flags[slot]
    if not flags & PG_UNEVICTABLE and (flags & PG_ACTIVE or m.lru_gen is not None):
        lruvec_del_folio(m, slot)
        m.flags[slot] &= ~(PG_ACTIVE | PG_REFERENCED)
        lruvec_add_folio(m, slot)
        m.vmstat["pgdeactivate"] += 1
        m.stats.count(1)


def deactivate_file_folio(m: Memory, slot: int) -> None:
    """deactivate_file_folio(): queue a file's page that could not be dropped for where reclaim finds it soon."""
    if m.flags[slot] & PG_UNEVICTABLE:
        return
    if m.lru_gen is not None and m.facts.lru_gen_refs_start_with_referenced and lru_gen_clear_refs(m, slot):
        return
    m.lru_deactivate_file.append(slot)
    if len(m.lru_deactivate_file) == m.batch_size:
        _move(m, m.lru_deactivate_file, _deactivate_file)


def _deactivate_file(m: Memory, slot: int) -> None:
    flags = m.flags[slot]
    if flags & (PG_UNEVICTABLE | PTE_PRESENT):
        return
    lruvec_del_folio(m, slot)
    m.flags[slot] &= ~(PG_ACTIVE | PG_REFERENCED)
    if flags & (PG_WRITEBACK | PG_DIRTY):
        lruvec_add_folio(m, slot)
        m.flags[slot] |= PG_RECLAIM
    else:
        lruvec_add_folio_tail(m, slot)
    if flags & PG_ACTIVE or (m.lru_gen is not None and m.facts.lru_gen_refs_start_with_referenced):
        m.vmstat["pgdeactivate"] += 1
        m.stats.count(1)


def folio_mark_lazyfree(m: Memory, slot: int) -> None:
    """folio_mark_lazyfree(): queue an anonymous page for the inactive file list (MADV_FREE)."""
    if m.flags[slot] & (PG_LRU | PG_SWAPBACKED | PG_SWAPCACHE | PG_UNEVICTABLE) == PG_LRU | PG_SWAPBACKED:
        m.lru_lazyfree.append(slot)
        if len(m.lru_lazyfree) == m.batch_size:
            _move(m, m.lru_lazyfree, _lazyfree)


def _lazyfree(m: Memory, slot: int) -> None:
    if m.flags[slot] & (PG_SWAPBACKED | PG_SWAPCACHE | PG_UNEVICTABLE) == PG_SWAPBACKED:
        lruvec_del_folio(m, slot)
        m.flags[slot] &= ~(PG_ACTIVE | PG_REFERENCED | PG_SWAPBACKED)
        lruvec_add_folio(m, slot)
        m.vmstat["pglazyfree"] += 1
        m.stats.count(1)


def folio_rotate_reclaimable(m: Memory, slot: int) -> None:
    """folio_rotate_reclaimable(): queue a page whose writing has ended for the end of the inactive list."""
    if m.flags[slot] & (PG_LRU | PG_DIRTY | PG_UNEVICTABLE) == PG_LRU:
        m.lru_rotate.append(slot)
        if len(m.lru_rotate) == m.batch_size:
            _move(m, m.lru_rotate, _move_tail)


def _move_tail(m: Memory, slot: int) -> None:
    if not m.flags[slot] & PG_UNEVICTABLE:
        lruvec_del_folio(m, slot)
        m.flags[slot] &= ~PG_ACTIVE
        lruvec_add_folio_tail(m, slot)


def lru_add_drain(m: Memory) -> None:
    """lru_add_drain(): bring what waits in the CPU's batches to the lists, new pages first."""
    if m.lru_add:
        _move_lru_add(m)
    if m.lru_rotate:
        _move(m, m.lru_rotate, _move_tail)
    if m.lru_deactivate_file:
        _move(m, m.lru_deactivate_file, _deactivate_file)
    if m.lru_deactivate:
        _move(m, m.lru_deactivate, _deactivate)
    if m.lru_lazyfree:
        _move(m, m.lru_lazyfree, _lazyfree)
    if m.lru_activate:
        _move(m, m.lru_activate, _activate)
    if m.mlock_batch:
        mlock_drain_local(m)


def lru_note_cost(m: Memory, file: int, nr_io: int, nr_rotated: int) -> None:
    """lru_note_cost(): remember what reclaim of a kind of pages cost, older costs ever less (5.8 to before 7.3)."""
    cost = nr_io * SWAP_CLUSTER_MAX + nr_rotated if m.facts.cost_of_rotations else nr_io
    if not cost and m.facts.nothing_spent_decays_no_cost:
        return
    v, stats = m.lruvec, m.stats
    if file:
        v.file_cost += cost
    else:
        v.anon_cost += cost
    lists = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE)
    if v.file_cost + v.anon_cost > sum(stats.page_state(lru) for lru in lists) // 4:
        v.file_cost //= 2
        v.anon_cost //= 2


def release_folios(m: Memory, slots: list[int]) -> None:
    """release_pages(): free pages that nobody uses any more: off their lists, and uncharged together."""
    for slot in slots:
        if m.flags[slot] & PG_LRU:
            lruvec_del_folio(m, slot)
        m.flags[slot] &= OF_SLOT
    m.memcg.usage -= len(slots)
    if m.facts.memcg_counts_pgpgin:
        m.stats.updated(len(slots))
