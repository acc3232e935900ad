"""The LRU lists of a cgroup, page by page (linux/mm_inline.h)."""

from __future__ import annotations

from mmtool.linux.mm.folio import (
    LRU_GEN_MASK,
    LRU_GEN_SHIFT,
    LRU_REFS_MASK,
    LRU_REFS_SHIFT,
    LRU_UNEVICTABLE,
    NR_LRU_LISTS,
    PG_ACTIVE,
    PG_DIRTY,
    PG_RECLAIM,
    PG_REFERENCED,
    PG_SWAPBACKED,
    PG_SWAPCACHE,
    PG_UNEVICTABLE,
    PG_WORKINGSET,
    PG_WRITEBACK,
    folio_lru_list,
)
from mmtool.linux.mm.memory_state import MAX_NR_GENS, MAX_NR_TIERS, MIN_NR_GENS, LruGen, Memory


def list_add(m: Memory, slot: int, head: int) -> None:
    """list_add(): put a page behind the head of a list."""
    nxt, prev = m.next, m.prev
    first = nxt[head]
    nxt[slot] = first
    prev[slot] = head
    prev[first] = slot
    nxt[head] = slot


def list_add_tail(m: Memory, slot: int, head: int) -> None:
    """list_add_tail(): put a page at the end of a list, from where pages are taken."""
    nxt, prev = m.next, m.prev
    last = prev[head]
    prev[slot] = last
    nxt[slot] = head
    nxt[last] = slot
    prev[head] = slot


def list_del(m: Memory, slot: int) -> None:
    """list_del(): take a page off its list."""
    before, after = m.prev[slot], m.next[slot]
    m.next[before] = after
    m.prev[after] = before


def list_head(m: Memory, lru: int) -> int:
    """The head of an LRU list."""
    return len(m.flags) + lru


def lruvec_add_folio(m: Memory, slot: int) -> None:
    """lruvec_add_folio(): put a page at the head of the list that its flags say."""
    if m.lru_gen is not None and lru_gen_add_folio(m, m.lru_gen, slot, reclaiming=False):
        return
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] += 1
    m.stats.mod(lru, 1)
    if lru != LRU_UNEVICTABLE:
        list_add(m, slot, len(m.flags) + lru)


def lruvec_add_folio_tail(m: Memory, slot: int) -> None:
    """lruvec_add_folio_tail(): put a page where it is taken next."""
    if m.lru_gen is not None and lru_gen_add_folio(m, m.lru_gen, slot, reclaiming=True):
        return
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] += 1
    m.stats.mod(lru, 1)
    list_add_tail(m, slot, len(m.flags) + lru)


def lruvec_del_folio(m: Memory, slot: int) -> None:
    """lruvec_del_folio(): take a page off the list that its flags say."""
    if m.lru_gen is not None and lru_gen_del_folio(m, m.lru_gen, slot, reclaiming=False):
        return
    lru = folio_lru_list(m.flags[slot])
    m.lruvec.size[lru] -= 1
    m.stats.mod(lru, -1)
    if lru != LRU_UNEVICTABLE:
        list_del(m, slot)


def gen_head(m: Memory, gen: int, file: int) -> int:
    """The head of the list of a generation and a type."""
    return len(m.flags) + NR_LRU_LISTS + gen * 2 + file


def folio_lru_gen(flags: int) -> int:
    """folio_lru_gen(): the generation that a page lies in, -1 for none."""
    return ((flags & LRU_GEN_MASK) >> LRU_GEN_SHIFT) - 1


def folio_lru_refs(m: Memory, flags: int) -> int:
    """folio_lru_refs(): how often a page was read through file descriptors; until 6.13 less the first time."""
    refs = (flags & LRU_REFS_MASK) >> LRU_REFS_SHIFT
    if m.facts.lru_gen_refs_start_with_referenced:
        return refs + 1 if flags & PG_REFERENCED else 0
    return refs + (1 if flags & PG_WORKINGSET else 0)


def lru_tier_from_refs(m: Memory, refs: int, workingset: bool) -> int:
    """lru_tier_from_refs(): pages of a tier were used about as often as each other."""
    if m.facts.lru_gen_refs_start_with_referenced:
        return MAX_NR_TIERS - 1 if workingset else (refs - 1).bit_length() if refs else 0
    return refs.bit_length()


def lru_gen_is_active(g: LruGen, gen: int) -> bool:
    """lru_gen_is_active(): the two youngest generations count as active."""
    return (g.max_seq - gen) % MAX_NR_GENS < MIN_NR_GENS


def lru_gen_update_size(m: Memory, g: LruGen, file: int, old: int, new: int) -> None:
    """lru_gen_update_size(): a page goes from one generation to another, -1 being none."""
    size = m.lruvec.size
    if old >= 0:
        g.nr_pages[old][file] -= 1
        size[file * 2 + lru_gen_is_active(g, old)] -= 1
    if new >= 0:
        g.nr_pages[new][file] += 1
        size[file * 2 + lru_gen_is_active(g, new)] += 1


def lru_gen_folio_seq(m: Memory, g: LruGen, flags: int, *, reclaiming: bool) -> int:
    """The generation, as a sequence number, that a page is added to."""
    file = 0 if flags & PG_SWAPBACKED else 1
    swapped_in = flags & PG_SWAPCACHE
    to_write = flags & PG_RECLAIM and flags & (PG_DIRTY | PG_WRITEBACK)
    if m.facts.lru_gen_refs_start_with_referenced:
        if flags & PG_ACTIVE:
            gen = MIN_NR_GENS - bool(flags & PG_WORKINGSET)
        elif reclaiming:
            gen = MAX_NR_GENS
        elif (not file and not swapped_in) or to_write:
            gen = MIN_NR_GENS
        else:
            used = PG_WORKINGSET | PG_REFERENCED if m.facts.lru_gen_referenced_is_younger else PG_WORKINGSET
            gen = MAX_NR_GENS - bool(flags & used)
        return max(g.max_seq - gen + 1, g.min_seq[file])
    if flags & PG_ACTIVE:
        return g.max_seq
    if (not file and not swapped_in) or to_write:
        return g.max_seq - 1
    if reclaiming or g.min_seq[file] + MIN_NR_GENS >= g.max_seq:
        return g.min_seq[file]
    return g.min_seq[file] + 1


def lru_gen_add_folio(m: Memory, g: LruGen, slot: int, *, reclaiming: bool) -> bool:
    """lru_gen_add_folio(): put a page into a generation; False where it is unevictable."""
    flags = m.flags[slot]
    if flags & PG_UNEVICTABLE:
        return False
    file = 0 if flags & PG_SWAPBACKED else 1
    gen = lru_gen_folio_seq(m, g, flags, reclaiming=reclaiming) % MAX_NR_GENS
    mask = LRU_GEN_MASK | PG_ACTIVE
    if flags & PG_ACTIVE and m.facts.lru_gen_activation_clears_refs:
        mask |= LRU_REFS_MASK | PG_REFERENCED
    m.flags[slot] = flags & ~mask | (gen + 1) << LRU_GEN_SHIFT
    g.nr_pages[gen][file] += 1
    m.lruvec.size[file * 2 + ((g.max_seq - gen) % MAX_NR_GENS < MIN_NR_GENS)] += 1
    add = list_add_tail if reclaiming else list_add
    add(m, slot, gen_head(m, gen, file))
    return True


def lru_gen_del_folio(m: Memory, g: LruGen, slot: int, *, reclaiming: bool) -> bool:
    """lru_gen_del_folio(): take a page out of its generation; False where it is in none."""
    flags = m.flags[slot]
    gen = ((flags & LRU_GEN_MASK) >> LRU_GEN_SHIFT) - 1
    if gen < 0:
        return False
    file = 0 if flags & PG_SWAPBACKED else 1
    active = (g.max_seq - gen) % MAX_NR_GENS < MIN_NR_GENS
    m.flags[slot] = flags & ~LRU_GEN_MASK | (PG_ACTIVE if active and not reclaiming else 0)
    g.nr_pages[gen][file] -= 1
    m.lruvec.size[file * 2 + active] -= 1
    list_del(m, slot)
    return True
