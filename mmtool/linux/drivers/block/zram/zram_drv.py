"""zram: a block device whose pages are kept compressed in memory (drivers/block/zram/zram_drv.c).

How long a page becomes is told, not worked out: no compressor is modelled. Sizes are bytes.
"""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.mm.zsmalloc import Handle, ZsPool


@dataclass(slots=True)
class MmStat:
    """/sys/block/zramN/mm_stat, in its order; bytes, and counts of pages."""

    orig_data_size: int
    compr_data_size: int
    mem_used_total: int
    mem_limit: int
    mem_used_max: int
    same_pages: int
    pages_compacted: int
    huge_pages: int
    huge_pages_since: int | None
    """None on a release that does not count them."""


def table_entry_size(pool: ZsPool, *, actime: bool) -> int | None:
    """sizeof(struct zram_table_entry) on 64 bits, of which zram_meta_alloc() takes one for each page of the device.

    `actime`: CONFIG_ZRAM_TRACK_ENTRY_ACTIME, in older releases CONFIG_ZRAM_MEMORY_TRACKING. None on 32 bits.
    """
    if pool.layout.word_bits != 64:
        return None
    return 24 if actime and not pool.facts.entry_packs_access_time else 16


@dataclass(slots=True)
class Slot:
    """struct zram_table_entry: what is stored for one page; without a handle every word of it is the same."""

    handle: Handle | None = None
    size: int = 0
    huge: bool = False


class Zram:
    """struct zram: the device, its table of pages and its pool; `limit_pages` 0 is no limit."""

    def __init__(self, pool: ZsPool, limit_pages: int = 0) -> None:
        self.pool, self.limit_pages = pool, limit_pages
        self.table: dict[int, Slot] = {}
        self.compr_data_size = 0
        self.max_used_pages = 0
        self.same_pages = 0
        self.huge_pages = 0
        self.huge_pages_since = 0

    def write_same_filled_page(self, index: int) -> None:
        """A page of one word over and over takes no memory (page_same_filled())."""
        self.slot_free(index)
        self.table[index] = Slot()
        self.same_pages += 1

    def write_page(self, index: int, comp_len: int) -> bool:
        """zram_write_page(): store a page that compresses to `comp_len` bytes; False (-ENOMEM) over the limit.

        The new object is allocated before the old one is given back, so that the pool's peak has both.
        """
        page_size = self.pool.layout.page_size
        if comp_len >= self.pool.huge_class_size:
            comp_len = page_size
        handle = self.pool.zs_malloc(comp_len)
        self.max_used_pages = max(self.max_used_pages, self.pool.pages_allocated)
        if self.limit_pages and self.pool.pages_allocated > self.limit_pages:
            self.pool.zs_free(handle)
            return False
        self.slot_free(index)
        huge = comp_len == page_size
        self.table[index] = Slot(handle, comp_len, huge)
        self.compr_data_size += comp_len
        self.huge_pages += huge
        self.huge_pages_since += huge
        return True

    def slot_free(self, index: int) -> None:
        """slot_free() or zram_free_page(): what is stored for a page goes, as a discard asks."""
        slot = self.table.pop(index, None)
        if slot is None:
            return
        self.huge_pages -= slot.huge
        if slot.handle is None:
            self.same_pages -= 1
            return
        self.pool.zs_free(slot.handle)
        self.compr_data_size -= slot.size

    def reset_used_max(self) -> None:
        """mem_used_max_store(): the peak starts anew at what is used now."""
        self.max_used_pages = self.pool.pages_allocated

    def mm_stat(self) -> MmStat:
        """mm_stat_show()."""
        shift = self.pool.layout.page_shift
        return MmStat(
            len(self.table) << shift, self.compr_data_size, self.pool.pages_allocated << shift,
            self.limit_pages << shift, self.max_used_pages << shift, self.same_pages, self.pool.pages_compacted,
            self.huge_pages, self.huge_pages_since if self.pool.facts.counts_huge_pages_since else None,
        )  # fmt: skip
