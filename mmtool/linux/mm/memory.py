"""Page faults: what a load or a store through a mapping does (mm/memory.c, and filemap_fault() of mm/filemap.c)."""

from __future__ import annotations

from mmtool.linux.mm.filemap import filemap_add_folio
from mmtool.linux.mm.folio import (
    OF_PTE,
    PG_PRESENT,
    PG_SWAPBACKED,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    PTE_YOUNG,
    PTE_ZERO,
    VM_LOCKED,
)
from mmtool.linux.mm.memcontrol.charge import mem_cgroup_handle_over_high, try_charge
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.mlock import mlock_new_folio
from mmtool.linux.mm.page_writeback import folio_mark_dirty
from mmtool.linux.mm.swap import folio_add_lru

PTE_LOADED = PTE_PRESENT | PTE_YOUNG
PTE_STORED = PTE_LOADED | PTE_DIRTY | PTE_WRITE


def load(m: Memory, obj: Mapped, page: int) -> bool:
    """A byte is loaded through the mapping: the accessed bit, or a fault."""
    slot = obj.base + page
    flags = m.flags[slot]
    if flags & (PTE_PRESENT | PTE_ZERO):
        m.flags[slot] = flags | PTE_YOUNG
        return True
    return handle_mm_fault(m, obj, page, write=False)


def store(m: Memory, obj: Mapped, page: int) -> bool:
    """A word is stored through the mapping: accessed and dirty bits, or a fault."""
    slot = obj.base + page
    flags = m.flags[slot]
    if flags & PTE_WRITE:
        m.flags[slot] = flags | PTE_YOUNG | PTE_DIRTY
        return True
    return handle_mm_fault(m, obj, page, write=True)


def handle_mm_fault(m: Memory, obj: Mapped, page: int, *, write: bool) -> bool:
    """handle_mm_fault(): count the fault, and serve it as what it is."""
    slot = obj.base + page
    m.vmstat["pgfault"] += 1
    m.stats.count(1)
    if not obj.anon:
        done = _file_fault(m, obj, page, write=write)
    elif write:
        done = do_anonymous_page(m, slot)
    else:
        m.flags[slot] |= PTE_ZERO | PTE_YOUNG
        done = True
    if m.memcg.nr_pages_over_high:
        mem_cgroup_handle_over_high(m)
    return done


def do_anonymous_page(m: Memory, slot: int) -> bool:
    """do_anonymous_page(), and wp_page_copy() of the zero page: a new page, inactive at first."""
    if not try_charge(m):
        return False
    m.stats.count(2 if m.facts.memcg_counts_pgpgin else 1)
    m.flags[slot] = m.flags[slot] & ~OF_PTE | PG_PRESENT | PG_SWAPBACKED | PTE_STORED
    folio_add_lru_vma(m, slot)
    return True


def folio_add_lru_vma(m: Memory, slot: int) -> None:
    """folio_add_lru_vma(): queue a new page, for the unevictable list where the mapping is locked."""
    if m.flags[slot] & VM_LOCKED:
        mlock_new_folio(m, slot)
    else:
        folio_add_lru(m, slot)


def _file_fault(m: Memory, obj: Mapped, page: int, *, write: bool) -> bool:
    """do_read_fault(), do_shared_fault() and do_wp_page() of a file that is mapped shared."""
    slot = obj.base + page
    if not m.flags[slot] & PG_PRESENT:
        m.vmstat["pgmajfault"] += 1
        m.stats.count(1)
        if not filemap_add_folio(m, slot):
            return False
    if write:
        folio_mark_dirty(m, slot)
    if not m.flags[slot] & PTE_PRESENT:
        m.stats.count(1)
    m.flags[slot] |= PTE_STORED if write else PTE_LOADED
    return True
