"""Dirty pages of files and their writing back (mm/page-writeback.c, fs/fs-writeback.c)."""

from __future__ import annotations

from mmtool.linux.mm.folio import PG_DIRTY
from mmtool.linux.mm.memory_state import Memory


def folio_mark_dirty(m: Memory, slot: int) -> None:
    """folio_mark_dirty() of a file's page: counted once (NR_FILE_DIRTY)."""
    if not m.flags[slot] & PG_DIRTY:
        m.flags[slot] |= PG_DIRTY
        m.stats.count(1)
