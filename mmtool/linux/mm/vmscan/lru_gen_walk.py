"""The multi-generational LRU's view of page tables: walks when it ages, and looks around a page that was used."""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    ANON,
    LRU_GEN_MASK,
    LRU_GEN_SHIFT,
    LRU_REFS_MASK,
    PG_DIRTY,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_WORKINGSET,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_YOUNG,
    VM_LOCKED,
    folio_is_file_lru,
)
from mmtool.linux.mm.memory_state import MAX_NR_GENS, LruGen, Mapped, Memory, MmWalk
from mmtool.linux.mm.mm_inline import folio_lru_gen, folio_lru_refs, lru_gen_is_active, lru_gen_update_size
from mmtool.linux.mm.swap import folio_activate, folio_mark_accessed
from mmtool.linux.mm.swap_state import PTES_PER_PMD

MIN_LRU_BATCH = 64
PTES_PER_CACHE_LINE = 8


def suitable_to_scan(total: int, young: int) -> bool:
    """suitable_to_scan(): was one entry a cache line used, on average?"""
    return young * PTES_PER_CACHE_LINE >= total


def filter_of(g: LruGen, seq: int) -> set[int] | None:
    """The Bloom filter of a generation; hashes are taken to be all different."""
    return g.filters[seq % 2]


def update_bloom_filter(g: LruGen, seq: int, table: int) -> None:
    """update_bloom_filter(): a page table is worth the next walk."""
    found = filter_of(g, seq)
    if found is not None:
        found.add(table)


def folio_update_gen(m: Memory, slot: int, gen: int) -> int:
    """folio_update_gen(): promote a page that was used through a page table; its generation before, -1 for none."""
    flags = m.flags[slot]
    if m.facts.lru_gen_refs_start_with_referenced:
        if not flags & (PG_REFERENCED | PG_WORKINGSET):
            m.flags[slot] = flags & ~LRU_REFS_MASK | PG_REFERENCED
            return -1
        if not flags & LRU_GEN_MASK:
            return -1
        flags = flags & ~(LRU_GEN_MASK | LRU_REFS_MASK | PG_REFERENCED) | PG_WORKINGSET
    else:
        if not flags & LRU_GEN_MASK:
            m.flags[slot] = flags | PG_REFERENCED
            return -1
        flags &= ~(LRU_GEN_MASK | LRU_REFS_MASK | PG_REFERENCED | PG_WORKINGSET)
    old = folio_lru_gen(m.flags[slot])
    m.flags[slot] = flags | (gen + 1) << LRU_GEN_SHIFT
    return old


def lru_gen_set_refs(m: Memory, slot: int) -> bool:
    """lru_gen_set_refs(): note a use through a page table; is it one that promotes the page? (6.14 on)"""
    flags = m.flags[slot]
    if not flags & (PG_REFERENCED | PG_WORKINGSET):
        m.flags[slot] = flags & ~LRU_REFS_MASK | PG_REFERENCED
        return False
    if not m.facts.lru_gen_promotes_second_use or folio_lru_refs(m, flags) > 1:
        m.flags[slot] = flags & ~(LRU_REFS_MASK | PG_REFERENCED) | PG_WORKINGSET
    else:
        folio_mark_accessed(m, slot)
    return True


def update_batch_size(walk: MmWalk, file: int, old: int, new: int) -> None:
    """update_batch_size(): a walk moves a page between generations; the sizes follow later."""
    walk.batched += 1
    walk.nr_pages[old][file] -= 1
    walk.nr_pages[new][file] += 1


def reset_batch_size(m: Memory, g: LruGen, walk: MmWalk) -> None:
    """reset_batch_size(): bring what a walk moved to the generations' sizes."""
    walk.batched = 0
    for gen, deltas in enumerate(walk.nr_pages):
        for file in (0, 1):
            g.nr_pages[gen][file] += deltas[file]
            m.lruvec.size[file * 2 + lru_gen_is_active(g, gen)] += deltas[file]
            deltas[file] = 0


def _note_dirty(m: Memory, slot: int) -> None:
    flags = m.flags[slot]
    plain = flags & ANON and flags & (PG_SWAPBACKED | PG_SWAPCACHE) == PG_SWAPBACKED
    if flags & PTE_DIRTY and not flags & PG_DIRTY and not plain:
        m.flags[slot] |= PG_DIRTY
        if not flags & ANON:
            m.file_dirty.add(slot)


def walk_mm(m: Memory, g: LruGen, walk: MmWalk) -> None:
    """walk_mm(): clear accessed bits, table by table, and promote the pages that had them.

    Files that are read at random say nothing, and are left out; so are locked mappings.
    """
    for obj in m.objects.values():
        if obj.anon and walk.swappiness:
            for first in range(0, obj.pages, PTES_PER_PMD):
                _walk_table(m, g, walk, obj, first)
    if walk.batched:
        reset_batch_size(m, g, walk)


def _walk_table(m: Memory, g: LruGen, walk: MmWalk, obj: Mapped, first: int) -> None:
    table = obj.base + first
    slots = range(table, obj.base + min(first + PTES_PER_PMD, obj.pages))
    if not walk.force_scan:
        if table not in g.pmd_young:
            return
        g.pmd_young.discard(table)
        known = filter_of(g, g.max_seq)
        if known is not None and table not in known:
            return
    if walk_pte_range(m, g, walk, slots):
        update_bloom_filter(g, g.max_seq + 1, table)


def walk_pte_range(m: Memory, g: LruGen, walk: MmWalk, slots: range) -> bool:
    """walk_pte_range(): the entries of one table; were enough of them used to come again?"""
    total = young = 0
    new = g.max_seq % MAX_NR_GENS
    for slot in slots:
        flags = m.flags[slot]
        if flags & VM_LOCKED:
            continue
        total += 1
        if not _is_used_folio(m, flags):
            continue
        m.flags[slot] = flags & ~PTE_YOUNG
        young += 1
        _promote(m, slot, new, walk)
    return suitable_to_scan(total, young)


def _promote(m: Memory, slot: int, new: int, walk: MmWalk) -> None:
    _note_dirty(m, slot)
    old = folio_update_gen(m, slot, new)
    if old >= 0 and old != new:
        update_batch_size(walk, folio_is_file_lru(m.flags[slot]), old, new)


def _is_used_folio(m: Memory, flags: int) -> bool:
    """get_pte_pfn() and get_pfn_folio(): was the page used? From 6.14 on one that is isolated is passed over."""
    if flags & (PTE_PRESENT | PTE_YOUNG) != PTE_PRESENT | PTE_YOUNG:
        return False
    return bool(flags & LRU_GEN_MASK) or not m.facts.lru_gen_refs_start_with_referenced


def around(m: Memory, obj: Mapped, page: int) -> range:
    """The pages around one that lru_gen_look_around() looks at: within the page table and the area, 64 at most."""
    start = page - page % PTES_PER_PMD
    end = min(start + PTES_PER_PMD, obj.pages)
    if obj.split:
        locked = [flags & VM_LOCKED for flags in m.flags[obj.base + start : obj.base + end]]
        other = VM_LOCKED - locked[page - start]
        before, behind = locked[: page - start], locked[page - start :]
        end = start + len(before) + behind.index(other) if other in behind else end
        start += len(before) - before[::-1].index(other) if other in before else 0
    if end - start > MIN_LRU_BATCH:
        if page - start < MIN_LRU_BATCH // 2:
            end = start + MIN_LRU_BATCH
        elif end - page < MIN_LRU_BATCH // 2:
            start = end - MIN_LRU_BATCH
        else:
            start, end = page - MIN_LRU_BATCH // 2, page + MIN_LRU_BATCH // 2
    return range(start, end)


def lru_gen_look_around(m: Memory, g: LruGen, slot: int) -> bool:
    """lru_gen_look_around(): was a page used? Then its neighbours that were used too are promoted with it."""
    if not m.flags[slot] & PTE_YOUNG:
        return False
    obj = next(o for o in m.objects.values() if o.base <= slot < o.base + o.pages)
    itself = m.facts.lru_gen_looks_around_itself
    m.flags[slot] &= ~(0 if itself else PTE_YOUNG)
    pages = around(m, obj, slot - obj.base)
    young = 0 if itself else 1
    new = g.max_seq % MAX_NR_GENS
    promote: list[int] = []
    for other in range(obj.base + pages.start, obj.base + pages.stop):
        flags = m.flags[other]
        if not _is_used_folio(m, flags):
            continue
        m.flags[other] = flags & ~PTE_YOUNG
        young += 1
        if itself:
            _note_dirty(m, other)
            old = folio_lru_gen(flags)
            if old < 0:
                m.flags[other] |= PG_REFERENCED
            elif old != new:
                promote.append(other)
        elif g.walk is not None:
            _promote(m, other, new, g.walk)
        else:
            _note_dirty(m, other)
            _activate_used(m, other, new)
    if suitable_to_scan(len(pages), young):
        update_bloom_filter(g, g.max_seq, obj.base + pages.start - pages.start % PTES_PER_PMD)
    if promote:
        _promote_all(m, g, promote, new)
    return True


def _activate_used(m: Memory, slot: int, new: int) -> None:
    """Without a walk a neighbour that was used is queued for the youngest generation."""
    old = folio_lru_gen(m.flags[slot])
    if m.facts.lru_gen_refs_start_with_referenced:
        if lru_gen_set_refs(m, slot) and old >= 0 and old != new:
            folio_activate(m, slot)
    elif old < 0:
        m.flags[slot] |= PG_REFERENCED
    elif old != new:
        m.flags[slot] &= ~(LRU_REFS_MASK | PG_REFERENCED | PG_WORKINGSET)
        folio_activate(m, slot)


def _promote_all(m: Memory, g: LruGen, slots: list[int], new: int) -> None:
    """6.1: few neighbours are queued, many promoted at once."""
    if g.walk is None and len(slots) < m.batch_size:
        for slot in slots:
            folio_activate(m, slot)
        return
    for slot in slots:
        old = folio_update_gen(m, slot, new)
        if old >= 0 and old != new:
            file = folio_is_file_lru(m.flags[slot])
            if g.walk is not None:
                update_batch_size(g.walk, file, old, new)
            else:
                lru_gen_update_size(m, g, file, old, new)
