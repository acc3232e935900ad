"""The swap cache: on the way out, on the way in, and what is read ahead (mm/swap_state.c, mm/page_io.c)."""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    PG_DIRTY,
    PG_PRESENT,
    PG_READAHEAD,
    PG_RECLAIM,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_WRITEBACK,
    PTE_PRESENT,
)
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.swap import folio_add_lru, folio_rotate_reclaimable, lru_note_cost
from mmtool.linux.mm.swapfile.swap_info import SWAP_HAS_CACHE, SwapInfo, swp_entry, swp_offset, swp_type
from mmtool.linux.mm.swapfile.swapfile import SwapAreas
from mmtool.linux.mm.workingset import workingset_refault

SWAP_RA_ORDER_CEILING = 5
SWAP_RA_HITS_MAX = 63
PTES_PER_PMD = 512


def add_to_swap(m: Memory, slot: int) -> bool:
    """add_to_swap(): give an anonymous page a slot of swap and put it in the swap cache."""
    entry = m.swap.folio_alloc_swap()
    if entry < 0:
        return False
    m.swap.charge(entry, slot)
    m.swap_entry[slot] = entry
    m.flags[slot] |= PG_SWAPCACHE | PG_DIRTY
    m.stats.count(1)
    return True


def delete_from_swap_cache(m: Memory, slot: int, shadow: int = -1) -> None:
    """delete_from_swap_cache(): a page leaves the swap cache, with `shadow` in its place; an unused slot is freed."""
    entry = m.swap_entry[slot]
    m.flags[slot] &= ~PG_SWAPCACHE
    m.stats.count(1)
    if shadow >= 0:
        m.swap.areas[swp_type(entry)].shadow[swp_offset(entry)] = shadow
    if m.swap.put(entry, SWAP_HAS_CACHE):
        m.swap_entry[slot] = -1


def folio_free_swap(m: Memory, slot: int) -> bool:
    """folio_free_swap(): free the slot of a page that no page table entry refers to; the page must be written anew."""
    flags = m.flags[slot]
    if not flags & PG_SWAPCACHE or flags & PG_WRITEBACK or m.swap.swap_count(m.swap_entry[slot]):
        return False
    delete_from_swap_cache(m, slot)
    m.flags[slot] |= PG_DIRTY
    return True


def reclaim_swap_cache(m: Memory, si: SwapInfo, offset: int) -> bool:
    """__try_to_reclaim_swap(): take a page out of the swap cache for its slot, mapped or not."""
    slot = si.owner[offset]
    if slot < 0 or not m.flags[slot] & PG_SWAPCACHE or m.swap_entry[slot] != swp_entry(si.type, offset):
        return False
    return folio_free_swap(m, slot)


def swap_writepage(m: Memory, slot: int) -> None:
    """swap_writepage(): write a page out; on a device that takes its time it is under writeback until later."""
    m.vmstat["pswpout"] += 1
    if m.facts.memcg_counts_swap_io:
        m.stats.count(1)
    m.stats.count(1)
    if m.swap.areas[swp_type(m.swap_entry[slot])].synchronous:
        m.stats.count(1)
        return
    m.flags[slot] |= PG_WRITEBACK
    m.writeback.append(slot)


def complete_writeback(m: Memory) -> None:
    """The device has written what was submitted: folio_end_writeback() of each, in order."""
    if m.plugged:
        return
    done, m.writeback = m.writeback, []
    for slot in done:
        flags = m.flags[slot]
        m.flags[slot] = flags & ~(PG_WRITEBACK | PG_RECLAIM)
        m.stats.count(1)
        if flags & PG_RECLAIM:
            folio_rotate_reclaimable(m, slot)


def swap_readpage(m: Memory) -> None:
    """swap_readpage(): read a page in."""
    m.vmstat["pswpin"] += 1
    if m.facts.memcg_counts_swap_io:
        m.stats.count(1)


def note_refault(m: Memory, slot: int, entry: int, *, forget: bool) -> None:
    """The page of a slot comes back: weigh the refault by what the slot keeps of its eviction."""
    shadows = m.swap.areas[swp_type(entry)].shadow
    shadow = shadows.pop(swp_offset(entry), -1) if forget else shadows.get(swp_offset(entry), -1)
    if shadow >= 0 and workingset_refault(m, slot, shadow, 0, m.swap_left()) and not m.facts.costs_are_counters:
        lru_note_cost(m, 0, 1, 0)


def swap_cache_alloc(m: Memory, slot: int, entry: int) -> None:
    """__read_swap_cache_async() of a page that is charged already: into the swap cache, and read."""
    si = m.swap.areas[swp_type(entry)]
    si.swap_map[swp_offset(entry)] |= SWAP_HAS_CACHE
    m.flags[slot] |= PG_PRESENT | PG_SWAPBACKED | PG_SWAPCACHE
    m.stats.count(2 if m.facts.memcg_counts_pgpgin else 1)
    note_refault(m, slot, entry, forget=True)
    folio_add_lru(m, slot)
    swap_readpage(m)


def swap_cache_hit(m: Memory, obj: Mapped, slot: int, page: int) -> None:
    """swap_cache_get_folio(): a page is found; one that was read ahead counts as a hit."""
    hit = bool(m.flags[slot] & PG_READAHEAD)
    m.flags[slot] &= ~PG_READAHEAD
    by_vma = not m.swap.nr_rotate_swap
    if by_vma:
        _, win, hits = obj.swap_readahead_info
        obj.swap_readahead_info = (page, win, min(hits + 1, SWAP_RA_HITS_MAX) if hit else hits)
    if hit:
        m.vmstat["swap_ra_hit"] += 1
        if not by_vma:
            m.swapin_readahead_hits += 1


def swapin_nr_pages(prev: int, offset: int, hits: int, max_pages: int, prev_win: int) -> int:
    """__swapin_nr_pages(): pages to read, by how many of the last readahead were used."""
    pages = hits + 2
    if pages == 2:
        if offset not in (prev + 1, prev - 1):
            pages = 1
    else:
        roundup = 4
        while roundup < pages:
            roundup <<= 1
        pages = roundup
    return max(min(pages, max_pages), prev_win // 2)


def cluster_window(m: Memory, entry: int) -> range | None:
    """swap_cluster_readahead(): the offsets around a slot that are read with it; None for the slot alone."""
    offset, max_pages = swp_offset(entry), 1 << m.page_cluster
    if max_pages <= 1:
        return None
    hits, m.swapin_readahead_hits = m.swapin_readahead_hits, 0
    pages = swapin_nr_pages(m.swap_prev_offset, offset, hits, max_pages, m.last_readahead_pages)
    if not hits:
        m.swap_prev_offset = offset
    m.last_readahead_pages = pages
    mask = pages - 1
    if not mask:
        return None
    end = min(offset | mask, m.swap.areas[swp_type(entry)].max - 1)
    return range(max(offset & ~mask, 1), end + 1)


def vma_window(m: Memory, obj: Mapped, page: int) -> range | None:
    """swap_vma_readahead(): the pages of the mapping that are read with one; None for that alone."""
    max_win = 1 << min(m.page_cluster, SWAP_RA_ORDER_CEILING)
    if max_win == 1:
        return None
    prev, prev_win, hits = obj.swap_readahead_info
    win = swapin_nr_pages(prev, page, hits, max_win, prev_win)
    obj.swap_readahead_info = (page, win, 0)
    if win == 1:
        return None
    if page == prev + 1:
        start, end = page, page + win
    elif prev == page + 1:
        start, end = page - win + 1, page + 1
    else:
        left = (win - 1) // 2
        start, end = page - left, page + win - left
    low = page - page % PTES_PER_PMD
    return range(max(start, low, 0), min(end, low + PTES_PER_PMD, obj.pages))


def owned_slots(m: Memory, areas: SwapAreas, entry: int, offsets: range) -> list[tuple[int, int]]:
    """The pages of the workload, and their entries, that lie at these offsets of an entry's area."""
    si = areas.areas[swp_type(entry)]
    return [(si.owner[offset], swp_entry(si.type, offset)) for offset in offsets if si.owner[offset] >= 0]


def is_swapped(m: Memory, slot: int) -> bool:
    """Does the page table have a swap entry for the slot?"""
    return m.swap_entry[slot] >= 0 and not m.flags[slot] & PTE_PRESENT
