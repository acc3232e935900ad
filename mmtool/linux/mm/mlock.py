"""Locking pages in memory (mm/mlock.c): a batch of its own, and the unevictable list."""

from __future__ import annotations

from mmtool.linux.mm.folio import PG_ACTIVE, PG_LRU, PG_MLOCKED, PG_UNEVICTABLE
from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.mm_inline import lruvec_add_folio, lruvec_del_folio

LRU_FOLIO, NEW_FOLIO, MUNLOCK = range(3)
"""What a page in the batch waits for."""


def mlock_folio(m: Memory, slot: int) -> None:
    """mlock_folio(): a page that is on its list, or on its way there, is locked."""
    m.flags[slot] |= PG_MLOCKED
    _mlock_batch_add(m, slot, LRU_FOLIO)


def mlock_new_folio(m: Memory, slot: int) -> None:
    """mlock_new_folio(): a new page of a locked mapping goes straight to the unevictable list."""
    m.flags[slot] |= PG_MLOCKED
    _mlock_batch_add(m, slot, NEW_FOLIO)


def munlock_folio(m: Memory, slot: int) -> None:
    """munlock_folio(): a page is locked no more."""
    _mlock_batch_add(m, slot, MUNLOCK)


def _mlock_batch_add(m: Memory, slot: int, what: int) -> None:
    m.mlock_batch.append((slot, what))
    if len(m.mlock_batch) == m.batch_size:
        mlock_drain_local(m)


def mlock_drain_local(m: Memory) -> None:
    """mlock_drain_local(): move what waits in the batch."""
    batch, m.mlock_batch = m.mlock_batch, []
    for slot, what in batch:
        if what == NEW_FOLIO:
            if m.flags[slot] & PG_MLOCKED:
                m.flags[slot] |= PG_UNEVICTABLE
            lruvec_add_folio(m, slot)
            m.flags[slot] |= PG_LRU
        elif what == LRU_FOLIO:
            _mlock(m, slot)
        else:
            _munlock(m, slot)


def _mlock(m: Memory, slot: int) -> None:
    flags = m.flags[slot]
    if flags & PG_LRU and flags & PG_MLOCKED and not flags & PG_UNEVICTABLE:
        lruvec_del_folio(m, slot)
        m.flags[slot] = m.flags[slot] & ~PG_ACTIVE | PG_UNEVICTABLE
        lruvec_add_folio(m, slot)


def _munlock(m: Memory, slot: int) -> None:
    flags = m.flags[slot] = m.flags[slot] & ~PG_MLOCKED
    if flags & PG_LRU and flags & PG_UNEVICTABLE:
        lruvec_del_folio(m, slot)
        m.flags[slot] &= ~PG_UNEVICTABLE
        lruvec_add_folio(m, slot)
