"""The inode table's pages, which come into the cgroup of whoever changes a file first (fs/ext4/inode.c, fs/buffer.c).

A file that is written has its times changed, in its block of the inode table. Where the caches were dropped before,
that block is read, the group's inode bitmap is looked for, and a stretch of the table is read ahead: all of them pages
of the block device, charged to the task that writes.
"""

from __future__ import annotations

from mmtool.linux.mm.filemap import filemap_add_folio, generic_perform_write
from mmtool.linux.mm.folio import PG_BUFFERS_BUSY, PG_REFERENCED
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.page_writeback import folio_mark_dirty
from mmtool.linux.mm.swap import folio_mark_accessed

INODE_READAHEAD_BLKS = 32
"""s_inode_readahead_blks, the default of the mount option inode_readahead_blks."""
BH_LRU_SIZE = 16
"""Buffers that a CPU remembers: here the file's block, which is looked up again and again, and those read last."""
INODE_TABLE_PAGES = INODE_READAHEAD_BLKS + 2
"""The file's block, the bitmap's, and the rest of the table's blocks from the first up to and with the 32nd after."""


def ext4_dirty_inode(m: Memory) -> None:
    """ext4_dirty_inode(): the first time, __ext4_get_inode_loc() brings in the blocks; later they are there."""
    slots, m.unread_inode_table = m.unread_inode_table, range(0)
    if not slots:
        return
    for slot in slots:
        _bdev_getblk(m, slot)
    m.inode_block = slots[0]
    folio_mark_dirty(m, slots[0])
    for slot in (slots[0], *slots[1 - BH_LRU_SIZE :]):
        m.flags[slot] |= PG_BUFFERS_BUSY


def _bdev_getblk(m: Memory, slot: int) -> None:
    """bdev_getblk() of a block that is not cached: made with FGP_ACCESSED, and touched when it is found."""
    m.flags[slot] |= PG_REFERENCED
    if filemap_add_folio(m, slot):
        folio_mark_accessed(m, slot)


def ext4_buffered_write_iter(m: Memory, obj: Mapped, page: int) -> bool:
    """ext4_buffered_write_iter(): write(2) of one whole page; the file's times come first."""
    ext4_dirty_inode(m)
    return generic_perform_write(m, obj, page)
