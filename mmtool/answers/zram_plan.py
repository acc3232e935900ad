"""What a zram of a machine would hold and cost, from how its pages compress: drivers/block/zram, mm/zsmalloc.c.

Pages that are written once fill zspages whatever their order, all but one of each class; so their memory follows from
their sizes alone. What writing and freeing over and over leaves half empty does not: that a device in use tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.drivers.block.zram.zram_drv import MmStat, table_entry_size
from mmtool.linux.mm.zsmalloc import SizeClass, ZsPool
from mmtool.regex import regex

SAME = 0
"""Stands for the size of a page of one word over and over, which takes no memory."""
MOST_PAGES = 1 << 40
_LENGTH = regex(r"(same|\d{1,9})(?:\*(\d{1,12}))?")
_MM_STAT = ("orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages")


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known of the pages: how many, the bytes they hold and compress to, and the memory that they take.

    `pool` is what a device in use takes for them, or None where `sizes` tell; bytes.
    """

    pages: int
    same_pages: int
    huge_pages: int | None
    compressed: int
    pool: int | None = None
    sizes: Mapping[int, int] | None = None
    """Pages by the bytes that each compresses to."""


@dataclass(frozen=True, slots=True)
class ZramPlan:
    """A device of `disksize` bytes, full of pages like those of the sample; bytes."""

    disksize: int
    holds: int
    """Less than disksize where the limit is met first."""
    pool: int
    pool_least: int
    """Below which no packing of the compressed bytes can come."""
    table: int | None
    """The table of entries, taken when the size is set; None where the entry's size is not known."""
    handles: int

    @property
    def cost(self) -> int:
        """All that it takes of the machine's memory."""
        return self.pool + (self.table or 0) + self.handles

    @property
    def gain(self) -> int:
        """What the machine can hold beyond its memory."""
        return self.holds - self.cost


def read_sizes(lines: Iterable[str], source: str, pool: ZsPool) -> Sample:
    """Compressed lengths of a sample of pages, LEN[*N] or same[*N], several a line if wanted; # starts a comment."""
    sizes: Counter[int] = Counter()
    top = pool.layout.page_size
    for number, line in enumerate(lines, 1):
        for word in line.split("#")[0].replace(",", " ").split():
            m = _LENGTH.fullmatch(word)
            size = SAME if m is None or m[1] == "same" else int(m[1])
            if m is None or (m[1] != "same" and not 0 < size <= top) or not int(m[2] or 1):
                raise InputError(source, number, f"{word[:40]!r} is neither a length from 1 to {top} nor same, LEN[*N]")
            sizes[top if size >= pool.huge_class_size else size] += int(m[2] or 1)
    pages = sizes.total()
    if not pages:
        raise InputError(source, None, "no lengths of pages in it")
    if pages > MOST_PAGES:
        raise InputError(source, None, "more pages than a device can have")
    same = sizes.pop(SAME, 0)
    compressed = sum(size * count for size, count in sizes.items())
    return Sample(pages, same, sizes[top], compressed, sizes=dict(sizes))


def read_mm_stat(text: str, source: str, pool: ZsPool) -> Sample:
    """/sys/block/zramN/mm_stat of a device in use."""
    words = text.split()
    if not len(_MM_STAT) < len(words) <= 9 or not all(w.isascii() and w.isdecimal() and len(w) < 20 for w in words):
        raise InputError(source, 1, "not what /sys/block/zramN/mm_stat holds, a line of 7 to 9 numbers")
    stat = MmStat(*([*map(int, words), 0, 0][:9]))
    pages = stat.orig_data_size >> pool.layout.page_shift
    huge = stat.huge_pages if len(words) > 7 else None
    if not pages or not stat.mem_used_total:
        raise InputError(source, 1, "the device is empty, and so tells nothing; take it when it is in use")
    if stat.same_pages + (huge or 0) > pages or stat.compr_data_size > min(stat.orig_data_size, stat.mem_used_total):
        raise InputError(source, 1, "its numbers contradict each other; or the page size is another, see --page-size")
    return Sample(pages, stat.same_pages, huge, stat.compr_data_size, stat.mem_used_total)


def plan(sample: Sample, pool: ZsPool, disksize: int, limit: int, *, actime: bool) -> ZramPlan:
    """A device of `disksize` bytes; `limit` bytes of memory at most, 0 for no limit."""
    page = pool.layout.page_size
    slots = disksize // page
    entry = table_entry_size(pool, actime=actime)
    table = None if entry is None else _pages_up(slots * entry, page)
    pages = slots
    if limit and _pool(sample, pool, slots) > limit:
        low, high = 0, slots
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _pool(sample, pool, middle) <= limit else (low, middle)
        pages = low
    stored = pages - sample.same_pages * pages // sample.pages
    return ZramPlan(
        disksize, pages * page, _pool(sample, pool, pages), _pages_up(sample.compressed * pages // sample.pages, page),
        table, _pages_up(stored * pool.layout.handle_size, page),
    )  # fmt: skip


def _pages_up(size: int, page: int) -> int:
    return -(-size // page) * page


def _pool(sample: Sample, pool: ZsPool, pages: int) -> int:
    """Bytes that the pool takes for so many pages like the sample's."""
    page = pool.layout.page_size
    if sample.pool is not None:
        return _pages_up(sample.pool * pages // sample.pages, page)
    objects: Counter[SizeClass] = Counter()
    for size, count in (sample.sizes or {}).items():
        objects[pool.class_of(size)] += count
    # Of each class as many objects as its share of the sample; the last zspage of a class may be half empty.
    return page * sum(
        -(-(count * pages // sample.pages) // size_class.objs_per_zspage) * size_class.pages_per_zspage
        for size_class, count in objects.items()
    )
