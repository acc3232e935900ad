"""Reading files: the page cache, page by page (mm/filemap.c)."""

from __future__ import annotations

from mmtool.linux.mm.folio import PG_PRESENT
from mmtool.linux.mm.memcontrol.charge import mem_cgroup_handle_over_high, try_charge
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.page_writeback import folio_mark_dirty
from mmtool.linux.mm.swap import folio_add_lru, folio_mark_accessed, lru_note_cost
from mmtool.linux.mm.workingset import workingset_refault


def filemap_add_folio(m: Memory, slot: int, *, retries: bool = True, note_refault: bool = True) -> bool:
    """filemap_add_folio(): charge a new page of a file, put it in the page cache and queue it for its list."""
    if not try_charge(m, retries=retries):
        return False
    m.stats.count(2 if m.facts.memcg_counts_pgpgin else 1)
    m.flags[slot] |= PG_PRESENT
    shadow = m.shadow[slot]
    if shadow >= 0:
        m.shadow[slot] = -1
        if note_refault and workingset_refault(m, slot, shadow, 1, m.swap_left()) and not m.facts.costs_are_counters:
            lru_note_cost(m, 1, 1, 0)
    folio_add_lru(m, slot)
    return True


def filemap_read(m: Memory, obj: Mapped, page: int) -> bool:
    """filemap_read() of one whole page; reading the page again that was read last does not mark it as used."""
    slot = obj.base + page
    if not m.flags[slot] & PG_PRESENT and not (filemap_add_folio(m, slot, retries=False) or filemap_add_folio(m, slot)):
        return False
    if obj.prev_page != page:
        folio_mark_accessed(m, slot)
        obj.prev_page = page
    if m.memcg.nr_pages_over_high:
        mem_cgroup_handle_over_high(m)
    return True


def generic_perform_write(m: Memory, obj: Mapped, page: int) -> bool:
    """generic_perform_write() of one whole page: it is made dirty; a refault does not count, nor does it as a use."""
    slot = obj.base + page
    if not m.flags[slot] & PG_PRESENT and not filemap_add_folio(m, slot, note_refault=False):
        return False
    folio_mark_dirty(m, slot)
    if m.memcg.nr_pages_over_high:
        mem_cgroup_handle_over_high(m)
    return True
