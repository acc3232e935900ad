"""What becomes of a page that reclaim has taken off its list: freed, written out, kept or made active."""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    ANON,
    OF_PTE,
    OF_SLOT,
    PG_ACTIVE,
    PG_BUFFERS_BUSY,
    PG_DIRTY,
    PG_MLOCKED,
    PG_RECLAIM,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_YOUNG,
    VM_LOCKED,
    VM_RAND_READ,
    folio_is_file_lru,
)
from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.swap import folio_add_lru
from mmtool.linux.mm.swap_state import (
    add_to_swap,
    complete_writeback,
    delete_from_swap_cache,
    folio_free_swap,
    swap_writepage,
)
from mmtool.linux.mm.vmscan.lru_gen_walk import lru_gen_look_around, lru_gen_set_refs
from mmtool.linux.mm.vmscan.scan_control import ReclaimStat, ScanControl
from mmtool.linux.mm.workingset import workingset_eviction

RECLAIM, RECLAIM_CLEAN, KEEP, ACTIVATE = range(4)
"""enum folio_references."""


def folio_referenced(m: Memory, slot: int) -> int:
    """folio_referenced(): clear the accessed bit; 1 if the page was used through the mapping, -1 if that is locked.

    A use through a mapping that is read at random counts until 6.2 (vma_has_recency()).
    """
    flags = m.flags[slot]
    if not flags & PTE_PRESENT:
        return 0
    if flags & VM_LOCKED:
        m.flags[slot] = flags | PG_MLOCKED
        return -1
    if not flags & PTE_YOUNG:
        return 0
    if m.lru_gen is not None and not flags & VM_RAND_READ:
        return int(lru_gen_look_around(m, m.lru_gen, slot))
    m.flags[slot] = flags & ~PTE_YOUNG
    return 0 if flags & VM_RAND_READ and m.facts.recency_of_mappings else 1


def folio_check_references(m: Memory, slot: int) -> int:
    """folio_check_references(): second chance for what was used through a mapping, the third use makes it active."""
    referenced = folio_referenced(m, slot)
    flags = m.flags[slot]
    if referenced < 0:
        m.flags[slot] = flags & ~PG_REFERENCED
        return ACTIVATE
    if m.lru_gen is not None and m.facts.lru_gen_refs_start_with_referenced:
        if not referenced:
            return RECLAIM
        return ACTIVATE if lru_gen_set_refs(m, slot) else KEEP
    if referenced:
        m.flags[slot] = flags | PG_REFERENCED
        return ACTIVATE if flags & PG_REFERENCED else KEEP
    if not flags & PG_REFERENCED:
        return RECLAIM
    m.flags[slot] = flags & ~PG_REFERENCED
    return RECLAIM if flags & PG_SWAPBACKED else RECLAIM_CLEAN


def shrink_folio_list(
    m: Memory, batch: list[int], sc: ScanControl, stat: ReclaimStat, *, by_root: bool = False
) -> tuple[int, list[int]]:
    """shrink_folio_list(): go through a batch of isolated pages; how many were freed, and those that go back."""
    flags = m.flags
    kept: list[int] = []
    freed: list[int] = []
    for slot in batch:
        sc.nr_scanned += 1
        outcome = _shrink_folio(m, slot, stat, by_root=by_root)
        if outcome is None:
            freed.append(slot)
            flags[slot] &= OF_SLOT
            continue
        if outcome:
            if flags[slot] & PG_SWAPCACHE and (m.swap.vm_swap_full() or flags[slot] & PG_MLOCKED):
                folio_free_swap(m, slot)
            if not flags[slot] & PG_MLOCKED:
                flags[slot] |= PG_ACTIVE
                stat.nr_activate[folio_is_file_lru(flags[slot])] += 1
        kept.append(slot)
    activated = sum(stat.nr_activate)
    m.stats.count(activated)
    m.vmstat["pgactivate"] += activated
    if freed:
        m.memcg.usage -= len(freed)
        if m.facts.memcg_counts_pgpgin:
            m.stats.updated(len(freed))
    return len(freed), kept


def _shrink_folio(m: Memory, slot: int, stat: ReclaimStat, *, by_root: bool) -> bool | None:
    """One page: None when it was freed, else whether it becomes active."""
    flags = m.flags[slot]
    if flags & PG_MLOCKED:
        return True
    if not flags & PG_SWAPBACKED and flags & (PG_DIRTY | PG_WRITEBACK) and not flags & ANON:
        stat.nr_dirty += 1
        if not flags & PG_WRITEBACK:
            stat.nr_unqueued_dirty += 1
    if flags & PG_WRITEBACK:
        m.flags[slot] = flags | PG_RECLAIM
        stat.nr_writeback += 1
        return True
    if m.lru_gen is not None and flags & PTE_PRESENT and flags & PG_REFERENCED and _promoted_while_isolated(m):
        return False
    references = RECLAIM if by_root and m.facts.pageout_ignores_references else folio_check_references(m, slot)
    if references == ACTIVATE:
        return True
    if references == KEEP:
        stat.nr_ref_keep += 1
        return False
    if flags & PG_SWAPBACKED and not flags & PG_SWAPCACHE and not add_to_swap(m, slot):
        return True
    if m.flags[slot] & PTE_PRESENT and not try_to_unmap(m, slot):
        stat.nr_unmap_fail += 1
        return True
    if m.flags[slot] & PG_DIRTY:
        if not flags & PG_SWAPBACKED:
            m.flags[slot] |= PG_RECLAIM
            return True
        if slot in m.lru_activate:
            return False
        stat.nr_pageout += 1
        if not _pageout(m, slot):
            return False
    if m.flags[slot] & PG_BUFFERS_BUSY:
        return True
    if slot in m.lru_activate:
        # A look around queued it after it was isolated: the batch holds it, so it cannot be freed.
        return False
    if flags & ANON and not flags & PG_SWAPBACKED:
        m.vmstat["pglazyfreed"] += 1
        m.stats.count(1)
    elif flags & ANON:
        delete_from_swap_cache(m, slot, workingset_eviction(m, slot, by_root=by_root))
    else:
        m.shadow[slot] = workingset_eviction(m, slot, by_root=by_root)
        m.stats.count(1)
    return None


def _promoted_while_isolated(m: Memory) -> bool:
    """Does PG_referenced of an isolated page mean that a look around another one found it used? (until 6.13)"""
    return not m.facts.lru_gen_refs_start_with_referenced


def _pageout(m: Memory, slot: int) -> bool:
    """pageout() of a page in the swap cache: write it; can it be freed at once?"""
    m.flags[slot] = m.flags[slot] & ~PG_DIRTY | PG_RECLAIM
    swap_writepage(m, slot)
    if m.flags[slot] & PG_WRITEBACK:
        return False
    m.flags[slot] &= ~PG_RECLAIM
    return True


def try_to_unmap(m: Memory, slot: int) -> bool:
    """try_to_unmap(): take a page out of the page table; the dirty bit goes over to the page.

    A lazily freed page that was written to since goes back to being an anonymous page as any other, and stays.
    """
    flags = m.flags[slot]
    if flags & PTE_DIRTY:
        if not flags & (ANON | PG_DIRTY):
            m.file_dirty.add(slot)
        flags |= PG_DIRTY
    if flags & ANON:
        if flags & PG_SWAPBACKED:
            m.swap.swap_duplicate(m.swap_entry[slot])
        elif flags & PG_DIRTY:
            m.flags[slot] = flags | PG_SWAPBACKED
            return False
    m.flags[slot] = flags & ~OF_PTE
    m.stats.count(1)
    return True


def reclaim_pages(m: Memory, batch: list[int]) -> None:
    """reclaim_pages(): reclaim isolated pages for MADV_PAGEOUT; what stays is queued for its list."""
    for slot in batch:
        m.flags[slot] &= ~PG_ACTIVE
    sc = ScanControl(nr_to_reclaim=len(batch), swappiness=m.swappiness, priority=0)
    m.memalloc = True
    _, kept = shrink_folio_list(m, batch, sc, ReclaimStat(), by_root=True)
    m.memalloc = False
    complete_writeback(m)
    for slot in kept:
        folio_add_lru(m, slot)
