"""Dirty pages of files and their writing back (mm/page-writeback.c, fs/fs-writeback.c).

The files were made outside of the cgroup, so the limits of dirty pages are the machine's and are taken to be far away:
pages are written by fsync(), or when reclaim finds nothing but dirty ones and wakes the flusher. That is a thread of
its own: it runs where the task next offers the CPU, which is within reclaim, or with lazy preemption only when the task
goes back to user space; it is taken to be done at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.linux.mm.folio import PG_DIRTY, PG_RECLAIM, PTE_DIRTY, PTE_WRITE
from mmtool.linux.mm.memory_state import Memory
from mmtool.linux.mm.swap import folio_rotate_reclaimable, lru_add_drain


def folio_mark_dirty(m: Memory, slot: int) -> None:
    """folio_mark_dirty() of a file's page: counted once (NR_FILE_DIRTY); reclaim no longer waits for its writing."""
    m.flags[slot] &= ~PG_RECLAIM
    if not m.flags[slot] & PG_DIRTY:
        m.flags[slot] |= PG_DIRTY
        m.stats.count(1)
        m.file_dirty.add(slot)


def wakeup_flusher_threads(m: Memory) -> None:
    """wakeup_flusher_threads(): all dirty pages of files are to be written."""
    if m.file_dirty:
        m.flusher_woken = True
        if not m.facts.preempt_lazy:
            wb_workfn(m)


def wb_workfn(m: Memory) -> None:
    """wb_workfn(): the flusher's turn, if it was woken.

    Writing a file's pages ends with its inode, which makes the block that it is in dirty again (ext4_write_inode()).
    """
    if m.flusher_woken:
        m.flusher_woken = False
        filemap_fdatawrite(m, sorted(m.file_dirty - {m.inode_block}))


def filemap_fdatawrite(m: Memory, slots: Iterable[int]) -> None:
    """filemap_fdatawrite(): write the dirty pages of a file to a device that is done at once.

    folio_clear_dirty_for_io() makes the mapping read-only again, so that the next store is seen, and marks a page
    dirty that was writable there. A page that reclaim waits for goes to the end of its list. What waits in the CPU's
    batches goes to the lists first, as the dirty pages that were looked up are let go (__folio_batch_release()).
    """
    drained = False
    for slot in slots:
        flags = m.flags[slot]
        if flags & (PG_DIRTY | PTE_DIRTY) and not drained:
            lru_add_drain(m)
            flags, drained = m.flags[slot], True
        if flags & (PTE_DIRTY | PTE_WRITE):
            m.flags[slot] = flags = flags & ~(PTE_DIRTY | PTE_WRITE | PG_RECLAIM)
            folio_mark_dirty(m, slot)
        if m.flags[slot] & PG_DIRTY:
            m.flags[slot] &= ~(PG_DIRTY | PG_RECLAIM)
            m.file_dirty.discard(slot)
            m.stats.count(3)
            if flags & PG_RECLAIM:
                folio_rotate_reclaimable(m, slot)
