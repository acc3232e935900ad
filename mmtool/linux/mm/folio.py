"""What is known of a page, bit by bit: its flags, how the process maps it, and where it belongs (linux/page-flags.h).

Every page of every object of the workload has a slot, a number; its bits are an int in `Memory.flags`. A process and
one mapping a page are enough for what is modelled here, so the page table's bits are kept beside the page's.
"""

from __future__ import annotations

PG_REFERENCED = 1 << 0
PG_DIRTY = 1 << 1
PG_LRU = 1 << 2
PG_ACTIVE = 1 << 3
PG_WORKINGSET = 1 << 4
PG_UNEVICTABLE = 1 << 5
PG_MLOCKED = 1 << 6
PG_SWAPBACKED = 1 << 7
PG_SWAPCACHE = 1 << 8
PG_WRITEBACK = 1 << 9
PG_RECLAIM = 1 << 10
PG_PRESENT = 1 << 11
"""The page is in memory: in the page cache, the swap cache or mapped."""
PG_READAHEAD = 1 << 12
"""The page came with a readahead of swap and was not asked for yet."""
PG_BUFFERS_BUSY = 1 << 13
"""Buffers of the page are in use, as those are that a CPU looked up last, so that it cannot be freed."""

PTE_PRESENT = 1 << 16
PTE_YOUNG = 1 << 17
PTE_DIRTY = 1 << 18
PTE_WRITE = 1 << 19
PTE_ZERO = 1 << 20
"""The entry maps the zero page."""

ANON = 1 << 24
"""The slot belongs to an anonymous mapping."""
VM_LOCKED = 1 << 25
VM_RAND_READ = 1 << 26
"""The mapping is advised MADV_RANDOM."""

OF_SLOT = ANON | VM_LOCKED | VM_RAND_READ
"""What stays when the page goes: bits of the mapping."""
OF_PTE = PTE_PRESENT | PTE_YOUNG | PTE_DIRTY | PTE_WRITE | PTE_ZERO

LRU_GEN_SHIFT = 32
LRU_GEN_MASK = 7 << LRU_GEN_SHIFT
"""The generation plus one that the page lies in; 0 while it lies on no list of the multi-generational LRU."""
LRU_REFS_SHIFT = 35
LRU_REFS_MASK = 3 << LRU_REFS_SHIFT
"""How often a page was read through file descriptors after the first two times."""

LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_UNEVICTABLE = range(5)
NR_LRU_LISTS = 5
LRU_NAMES = ("inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable")


def folio_is_file_lru(flags: int) -> int:
    """folio_is_file_lru(): 1 for a page that belongs on the file lists, lazily freed anonymous ones among them."""
    return 0 if flags & PG_SWAPBACKED else 1


def folio_lru_list(flags: int) -> int:
    """folio_lru_list(): the list that a page of the classic LRU belongs on."""
    if flags & PG_UNEVICTABLE:
        return LRU_UNEVICTABLE
    return (0 if flags & PG_SWAPBACKED else LRU_INACTIVE_FILE) + (1 if flags & PG_ACTIVE else 0)


def folio_evictable(flags: int) -> bool:
    """folio_evictable(): may reclaim take the page (it is not locked in memory)?"""
    return not flags & PG_MLOCKED
