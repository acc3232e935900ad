"""Advice on memory: madvise(2) of mappings and posix_fadvise(2) of files (mm/madvise.c, mm/fadvise.c)."""

from __future__ import annotations

from mmtool.linux.mm.filemap import filemap_add_folio
from mmtool.linux.mm.folio import (
    OF_PTE,
    PG_ACTIVE,
    PG_DIRTY,
    PG_LRU,
    PG_MLOCKED,
    PG_PRESENT,
    PG_REFERENCED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_WORKINGSET,
    PG_WRITEBACK,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_YOUNG,
    PTE_ZERO,
    VM_LOCKED,
)
from mmtool.linux.mm.memory import read_swap_cache_async
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.mm_inline import lruvec_del_folio
from mmtool.linux.mm.page_writeback import filemap_fdatawrite, folio_mark_dirty
from mmtool.linux.mm.swap import (
    deactivate_file_folio,
    deactivate_page,
    folio_mark_accessed,
    folio_mark_lazyfree,
    lru_add_drain,
    release_folios,
)
from mmtool.linux.mm.swap_state import PTES_PER_PMD, folio_free_swap, is_swapped
from mmtool.linux.mm.swapfile.swap_info import SWAP_HAS_CACHE, SWAPFILE_CLUSTER, swp_offset, swp_type
from mmtool.linux.mm.vmscan.shrink_folio_list import reclaim_pages

EINVAL = -22


def madvise(m: Memory, obj: Mapped, advice: str, start: int, end: int) -> int:
    """madvise(2) of pages `start` to `end` (exclusive) of an object; 0 or a negative error number."""
    slots = range(obj.base + start, obj.base + end)
    if advice == "dontneed":
        return madvise_dontneed(m, obj, slots)
    if advice == "willneed":
        if not obj.anon:
            return fadvise(m, obj, "willneed", start, end)
        for slot in slots:
            if is_swapped(m, slot):
                read_swap_cache_async(m, slot, m.swap_entry[slot], readahead=False)
        lru_add_drain(m)
        return 0
    if advice == "free":
        return madvise_free(m, obj, slots)
    if any(m.flags[slot] & VM_LOCKED for slot in slots):
        return EINVAL
    lru_add_drain(m)
    for pmd in range(start - start % PTES_PER_PMD, end, PTES_PER_PMD):
        first, last = max(start, pmd), min(end, pmd + PTES_PER_PMD)
        madvise_cold_or_pageout(m, range(obj.base + first, obj.base + last), pageout=advice == "pageout")
    return 0


def madvise_cold_or_pageout(m: Memory, slots: range, *, pageout: bool) -> None:
    """madvise_cold_or_pageout_pte_range(): make pages inactive, or reclaim them at once."""
    isolated: list[int] = []
    for slot in slots:
        flags = m.flags[slot]
        if flags & (PTE_PRESENT | PG_LRU) != PTE_PRESENT | PG_LRU:
            continue
        flags &= ~(PTE_YOUNG | PG_REFERENCED)
        if flags & PG_ACTIVE and m.facts.cold_remembers_working_set:
            flags |= PG_WORKINGSET
        m.flags[slot] = flags
        if not pageout:
            deactivate_page(m, slot)
        elif not flags & PG_UNEVICTABLE:
            lruvec_del_folio(m, slot)
            m.flags[slot] &= ~PG_LRU
            isolated.append(slot)
    if isolated:
        reclaim_pages(m, isolated)


def madvise_free(m: Memory, obj: Mapped, slots: range) -> int:
    """MADV_FREE: clean the page table entries of anonymous pages, and queue the pages for the inactive file list."""
    if not obj.anon:
        return EINVAL
    lru_add_drain(m)
    for slot in slots:
        flags = m.flags[slot]
        if is_swapped(m, slot):
            _free_swap_entries(m, [slot])
        elif flags & PTE_PRESENT:
            if flags & PG_SWAPCACHE and not folio_free_swap(m, slot):
                continue
            m.flags[slot] &= ~(PG_DIRTY | PTE_YOUNG | PTE_DIRTY)
            folio_mark_lazyfree(m, slot)
    return 0


def madvise_dontneed(m: Memory, obj: Mapped, slots: range) -> int:
    """MADV_DONTNEED (zap_page_range_single()): anonymous pages and swap are freed, a file's pages unmapped."""
    if any(m.flags[slot] & VM_LOCKED for slot in slots):
        return EINVAL
    if m.facts.zap_drains_lru or not slots_apart(m.lru_add, slots):
        lru_add_drain(m)
    gone: list[int] = []
    swapped: list[int] = []
    for slot in slots:
        flags = m.flags[slot]
        if is_swapped(m, slot):
            if swapped and not _is_next_entry(m, swapped[-1], slot):
                _free_swap_entries(m, swapped)
                swapped = []
            swapped.append(slot)
            continue
        if swapped:
            _free_swap_entries(m, swapped)
            swapped = []
        if flags & PTE_ZERO:
            m.flags[slot] = flags & ~OF_PTE
        elif flags & PTE_PRESENT:
            m.stats.count(1)
            m.flags[slot] = flags & ~OF_PTE
            if obj.anon:
                gone.append(slot)
                continue
            if flags & PTE_DIRTY:
                folio_mark_dirty(m, slot)
            if flags & PTE_YOUNG and not m.facts.recency_of_mappings:
                folio_mark_accessed(m, slot)
    if swapped:
        _free_swap_entries(m, swapped)
    for slot in gone:
        folio_free_swap(m, slot)
    release_folios(m, gone)
    return 0


def slots_apart(batch: list[int], slots: range) -> bool:
    """Does a batch hold none of these pages? One that it holds would only be freed when the batch is emptied."""
    return not any(slot in slots for slot in batch)


def _is_next_entry(m: Memory, slot: int, following: int) -> bool:
    return following == slot + 1 and m.swap_entry[following] == m.swap_entry[slot] + 1


def _free_swap_entries(m: Memory, slots: list[int]) -> None:
    """free_swap_and_cache_nr(): the page table forgets neighbouring slots of swap, and pages that only wait there go.

    From 6.11 on neighbours of one cluster that nothing else holds go back to their area at once.
    """
    entries = [m.swap_entry[slot] for slot in slots]
    if m.facts.swap_entries_freed_together and len(slots) > 1 and _alone_in_a_cluster(m, entries):
        for slot in slots:
            m.swap_entry[slot] = -1
        m.swap.free_entries_at_once(entries)
        return
    waiting = []
    for slot, entry in zip(slots, entries, strict=True):
        if m.swap.put(entry, 1):
            m.swap_entry[slot] = -1
        else:
            waiting.append(slot)
    for slot in waiting:
        if folio_free_swap(m, slot):
            release_folios(m, [slot])


def _alone_in_a_cluster(m: Memory, entries: list[int]) -> bool:
    swap_map = m.swap.areas[swp_type(entries[0])].swap_map
    first, last = swp_offset(entries[0]), swp_offset(entries[-1])
    return first // SWAPFILE_CLUSTER == last // SWAPFILE_CLUSTER and not any(
        swap_map[swp_offset(entry)] & SWAP_HAS_CACHE for entry in entries
    )


def fadvise(m: Memory, obj: Mapped, advice: str, start: int, end: int) -> int:
    """posix_fadvise(2): read pages ahead, or drop those that are clean and not mapped."""
    slots = range(obj.base + start, obj.base + end)
    if advice == "willneed":
        for slot in slots:
            if not m.flags[slot] & PG_PRESENT and not filemap_add_folio(m, slot, retries=False):
                break
        return 0
    filemap_fdatawrite(m, slots)
    lru_add_drain(m)
    if not _invalidate(m, slots):
        lru_add_drain(m)
        _invalidate(m, slots)
    return 0


def _invalidate(m: Memory, slots: range) -> bool:
    """invalidate_mapping_pages(): drop pages that nothing holds, queue others for the end of the list; did all go?"""
    all_gone = True
    batch: list[int] = []
    waiting = {*m.lru_add, *m.lru_activate, *m.lru_deactivate_file, *m.lru_rotate}
    for slot in slots:
        flags = m.flags[slot]
        if not flags & PG_PRESENT:
            continue
        if flags & (PG_DIRTY | PG_WRITEBACK | PTE_PRESENT | PG_MLOCKED) or slot in waiting:
            deactivate_file_folio(m, slot)
            all_gone = False
            continue
        m.stats.count(1)
        batch.append(slot)
        if len(batch) == m.batch_size:
            release_folios(m, batch)
            batch = []
    release_folios(m, batch)
    return all_gone
