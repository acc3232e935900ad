"""The direct map of all memory and the page tables that it takes: arch/x86/mm/init.c, init_64.c and init_32.c.

Bytes and half-open ranges of physical addresses throughout. Which page tables are shared depends on where the
direct map begins; KASLR shifts that by whole GiB, which the model leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.mm.pgtable import cpu_entry_area_tables, fixmap_tables
from mmtool.linux.arch.x86.page import PAGE_SHIFT, PAGE_SIZE
from mmtool.linux.mm.memblock import Memblock
from mmtool.linux.mm.range_set import RangeSet
from mmtool.units import round_down, round_up

PUD_SHIFT, PGD_SHIFT_4, PGD_SHIFT_5 = 30, 39, 48
ISA_END = 1 << 20
SIZE_1G, SIZE_2M = 1 << 30, 1 << 21


@dataclass
class PageTables:
    """Which tables of the direct map exist, by the number of the range that one covers.

    `alloc` gives pages for so many new ones. `levels` of tables above the last (4 or 5 on x86-64).
    """

    levels: int
    pmd_shift: int
    alloc: Callable[[int], None]
    p4d: RangeSet = field(default_factory=RangeSet)
    pud: RangeSet = field(default_factory=RangeSet)
    pmd: RangeSet = field(default_factory=RangeSet)
    pte: RangeSet = field(default_factory=RangeSet)

    def _ensure(self, tables: RangeSet, first: int, after: int) -> None:
        missing = tables.missing(first, after)
        if missing:
            self.alloc(missing)
            tables.add(first, after)

    def map(self, start: int, end: int, use_1g: bool, use_2m: bool) -> int:
        """kernel_physical_mapping_init(): map [start, end), with pages as large as allowed; the end of what is mapped.

        A page that was begun is mapped to its end, so that the result may lie above `end`. A leaf of 1 GiB or 2 MiB
        is only used where no table is there yet.
        """
        if self.levels < 4:
            return self._map_pmds(start, end, use_2m)
        if self.levels == 5:
            self._ensure(self.p4d, start >> PGD_SHIFT_5, round_up(end, 1 << PGD_SHIFT_5) >> PGD_SHIFT_5)
        self._ensure(self.pud, start >> PGD_SHIFT_4, round_up(end, 1 << PGD_SHIFT_4) >> PGD_SHIFT_4)
        last = end
        for first, after, there in list(self.pmd.pieces(start >> PUD_SHIFT, round_up(end, SIZE_1G) >> PUD_SHIFT)):
            if use_1g and not there:
                last = after << PUD_SHIFT
            else:
                self._ensure(self.pmd, first, after)
                last = self._map_pmds(max(start, first << PUD_SHIFT), min(end, after << PUD_SHIFT), use_2m)
        return last

    def _map_pmds(self, start: int, end: int, use_2m: bool) -> int:
        """phys_pmd_init(): large leaves, else tables of 4 KiB pages."""
        shift, last = self.pmd_shift, end
        for first, after, there in list(self.pte.pieces(start >> shift, round_up(end, 1 << shift) >> shift)):
            if use_2m and not there:
                last = after << shift
            else:
                self._ensure(self.pte, first, after)
                last = round_up(min(end, after << shift), PAGE_SIZE)
        return last


@dataclass(frozen=True, slots=True)
class MapRange:
    """struct map_range: bytes [start, end) and the page sizes that may map it."""

    start: int
    end: int
    use_2m: bool
    use_1g: bool


@dataclass
class _Cuts:
    """The ranges that split_mem_range() has saved so far, up to `at`."""

    at: int
    ranges: list[MapRange] = field(default_factory=list)

    def save(self, stop: int, unit: int, *, use_2m: bool = False, use_1g: bool = False) -> None:
        """save_mr(): from the next multiple of `unit` to `stop`, where there is something between."""
        start = round_up(self.at, unit)
        if start < stop:
            self.ranges.append(MapRange(start, stop, use_2m, use_1g))
            self.at = stop


def split_mem_range(
    mb: Memblock, start: int, end: int, *, pse: bool, gb_pages: bool, pmd_size: int, max_low: int | None
) -> list[MapRange]:
    """split_mem_range(): [start, end) cut into head, large pages and tail, so that each maps with one page size.

    A head or tail whose whole large page is memory may use it all the same (adjust_range_page_size_mask()).
    `max_low` is the end of low memory on i386 (None on x86-64), whose first large page is never used as one.
    """
    cuts, limit = _Cuts(round_down(start, PAGE_SIZE)), round_down(end, PAGE_SIZE)
    large_end = round_down(limit, pmd_size)
    head = pmd_size if max_low is not None and not cuts.at else round_up(cuts.at, pmd_size)
    cuts.save(min(head, limit), PAGE_SIZE)
    if max_low is None:
        cuts.save(min(large_end, round_up(cuts.at, SIZE_1G)), pmd_size, use_2m=pse)
        cuts.save(round_down(limit, SIZE_1G), SIZE_1G, use_2m=pse, use_1g=gb_pages)
    cuts.save(large_end, pmd_size, use_2m=pse)
    cuts.save(limit, PAGE_SIZE)
    return _merge([_adjusted(mb, r, pse, gb_pages, pmd_size, max_low) for r in cuts.ranges])


def _adjusted(mb: Memblock, r: MapRange, pse: bool, gb_pages: bool, pmd_size: int, max_low: int | None) -> MapRange:
    """adjust_range_page_size_mask(): larger pages than the range is made of, where all that they cover is memory."""
    use_2m, use_1g = r.use_2m, r.use_1g
    if pse and not use_2m:
        low, high = round_down(r.start, pmd_size), round_up(r.end, pmd_size)
        use_2m = not (max_low is not None and high > max_low) and mb.is_region_memory(low, high - low)
    if gb_pages and not use_1g:
        low, high = round_down(r.start, SIZE_1G), round_up(r.end, SIZE_1G)
        use_1g = mb.is_region_memory(low, high - low)
    return MapRange(r.start, r.end, use_2m, use_1g)


def _merge(ranges: list[MapRange]) -> list[MapRange]:
    merged: list[MapRange] = []
    for r in ranges:
        if merged and merged[-1].end == r.start and (merged[-1].use_2m, merged[-1].use_1g) == (r.use_2m, r.use_1g):
            merged[-1] = MapRange(merged[-1].start, r.end, r.use_2m, r.use_1g)
        else:
            merged.append(r)
    return merged


def early_pgt_buf_pages(kernel: Kernel) -> int:
    """INIT_PGD_PAGE_COUNT: pages of the brk area that the first page tables come from."""
    if not kernel.is_64bit:
        return 6
    tables = 4 if kernel.release.early_page_tables_for_five_levels else 3
    return (4 if kernel.enabled("RANDOMIZE_MEMORY") else 2) * tables


class DirectMapping:
    """init_mem_mapping(): maps all memory from the top down in growing steps, page tables out of what is mapped."""

    def __init__(self, boot: X86Boot) -> None:
        self.boot, self.mb = boot, boot.memblock
        k = boot.kernel
        self.pse = not boot.cmdline.has("nopse")
        self.gb_pages = k.is_64bit and bool(boot.notes("gb_pages"))
        large = SIZE_2M if k.is_64bit or k.enabled("X86_PAE") else 4 << 20
        self.pmd_size = large
        self.tables = PageTables(boot.levels, large.bit_length() - 1, self._alloc_low_pages)
        if not k.is_64bit:
            # The boot page tables cover the start of the direct map as far as head_32.S went.
            self.tables.pte.add(0, boot.head_mapped >> self.tables.pmd_shift)
        self.pgt_buf_end = boot.pgt_buf_start
        self.pgt_buf_top = boot.pgt_buf_start + early_pgt_buf_pages(boot.kernel) * PAGE_SIZE
        self.can_use_brk = True
        self.min_mapped = self.max_mapped = 0

    def _alloc_low_pages(self, count: int) -> None:
        """alloc_low_pages(), one by one: from the brk area while there is some, else out of memory mapped so far."""
        if self.can_use_brk:
            there = min(count, (self.pgt_buf_top - self.pgt_buf_end) // PAGE_SIZE)
            self.pgt_buf_end += there * PAGE_SIZE
            count -= there
        low, high = self.min_mapped, self.max_mapped
        if low < high:
            owner = "direct-map page tables"
            self.mb.repeat(
                count, PAGE_SIZE, lambda: self.mb.phys_alloc_range(PAGE_SIZE, PAGE_SIZE, low, high, owner=owner),
                low, high, owner=owner,
            )  # fmt: skip

    def _init_memory_mapping(self, start: int, end: int) -> None:
        k = self.boot.kernel
        last = end
        max_low = None if k.is_64bit else self.boot.memblock.max_low_pfn << PAGE_SHIFT
        for r in split_mem_range(
            self.mb, start, end, pse=self.pse, gb_pages=self.gb_pages, pmd_size=self.pmd_size, max_low=max_low
        ):
            last = self.tables.map(r.start, r.end, r.use_1g, r.use_2m)
        self.max_mapped = max(self.max_mapped, last)

    def _init_range(self, start: int, end: int) -> int:
        """init_range_memory_mapping(): map what of [start, end) is memory; how many bytes that was."""
        mapped = 0
        for first, last, _ in self.mb.for_each_mem_pfn_range(self.mb.max_numnodes):
            low, high = max(first << PAGE_SHIFT, start), min(last << PAGE_SHIFT, end)
            if low < high:
                # The page that maps the buffer must not come out of the buffer itself.
                self.can_use_brk = max(low, self.pgt_buf_end) >= min(high, self.pgt_buf_top)
                self._init_memory_mapping(low, high)
                mapped += high - low
                self.can_use_brk = True
        return mapped

    def _memory_end(self, limit: int) -> int:
        """Where the highest memory below `limit` ends, at most there; 0 when there is none."""
        regions = self.mb.memory.regions
        below = self.mb.memory.index_below(limit)
        return min(regions[below - 1].end, limit) if below else 0

    def _memory_start(self, address: int, limit: int) -> int:
        """Where the first memory that ends above `address` begins, `limit` when there is none below."""
        regions = self.mb.memory.regions
        above = self.mb.memory.index_after(address)
        return min(regions[above].base, limit) if above < len(regions) else limit

    def _top_down(self, start: int, end: int) -> None:
        """memory_map_top_down(): the topmost large page first, then steps that grow 256-fold, down to `start`."""
        found = self.mb.find_in_range(start, end, self.pmd_size, self.pmd_size)
        real_end = found + self.pmd_size if found else max(start, round_down(end, self.pmd_size))
        step = self.pmd_size
        self.max_mapped, self.min_mapped = 0, real_end
        last, mapped = real_end, 0
        while last > start:
            if mapped < step:
                # Steps through a hole change nothing; one of TiB, below ACPI tables far up, has millions of them.
                last = self.min_mapped = max(min(last, round_up(self._memory_end(last), step)), start)
            at = max(round_down(last - 1, step), start) if last > step else start
            mapped += self._init_range(at, last)
            last = self.min_mapped = at
            if mapped >= step:
                step <<= self.pmd_size.bit_length() - 1 - PAGE_SHIFT - 1
        if real_end < end:
            self._init_range(real_end, end)

    def _bottom_up(self, start: int, end: int) -> None:
        """memory_map_bottom_up(): for movable_node, so that tables lie near the kernel."""
        at, mapped, step = start, 0, self.pmd_size
        self.min_mapped = start
        while at < end:
            if mapped < step:
                at = max(at, round_down(self._memory_start(at, end), step))
            after = min(round_up(at + 1, step), end) if end - at > step else end
            mapped += self._init_range(at, after)
            at = after
            if mapped >= step:
                step <<= self.pmd_size.bit_length() - 1 - PAGE_SHIFT - 1

    def run(self) -> None:
        boot = self.boot
        end = (boot.memblock.max_pfn if boot.kernel.is_64bit else boot.memblock.max_low_pfn) << PAGE_SHIFT
        self._init_memory_mapping(0, ISA_END)
        if self.mb.bottom_up and boot.kernel_end is not None:
            self._bottom_up(boot.kernel_end, end)
            self._bottom_up(ISA_END, boot.kernel_end)
        else:
            self._top_down(ISA_END, end)
        boot.max_mapped = self.max_mapped
        if not boot.kernel.is_64bit:
            self._alloc_low_pages(fixmap_tables(boot.kernel))
        boot.pgt_buf_left = (self.pgt_buf_top - self.pgt_buf_end) // PAGE_SIZE


def setup_cpu_entry_area_ptes(boot: X86Boot) -> None:
    """setup_cpu_entry_area_ptes() of i386, before it permanent_kmaps_init(): tables above the direct map."""
    tables = cpu_entry_area_tables(boot.kernel) + boot.kernel.enabled("HIGHMEM")
    for _ in range(max(tables - boot.pgt_buf_left, 0)):
        boot.memblock.phys_alloc_range(
            PAGE_SIZE, PAGE_SIZE, ISA_END, boot.max_mapped, owner="page tables of fixed areas"
        )


def init_mem_mapping(boot: X86Boot) -> None:
    """init_mem_mapping() and, after it, memblock's limit at the end of what is mapped (setup_arch())."""
    if boot.kernel.is_64bit and boot.notes("gb_pages"):
        boot.log.info("Using GB pages for direct mapping")
    DirectMapping(boot).run()
    if boot.kernel.is_64bit:
        boot.memblock.max_low_pfn = max(boot.memblock.max_low_pfn, boot.memblock.max_pfn)
    boot.memblock.current_limit = boot.max_mapped
