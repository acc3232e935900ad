"""The array of all struct pages, mapped where there is memory: mm/sparse-vmemmap.c. Bytes; section numbers say so."""

from __future__ import annotations

from functools import partial

from mmtool.late import dataclass
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_NOLEAKTRACE
from mmtool.units import round_down, round_up

VMEMMAP, TABLES = "struct pages", "page tables of struct pages"


@dataclass(frozen=True, slots=True)
class VmemmapLayout:
    """How the array of all struct pages is mapped. `leaf` bytes a page of it; a table of each of `table_shifts`, from
    the top down, covers 2**shift bytes and is allocated; `first_byte` is the place, in the array's addresses modulo
    what the largest table covers, of the struct page of pfn 0. `max_dma_address`: what vmemmap_alloc_block() takes is
    not below it, as a physical address."""

    leaf: int
    table_shifts: tuple[int, ...]
    first_byte: int = 0
    max_dma_address: int = 0


class Vmemmap:
    """vmemmap_populate(): struct pages in pages of their own, and the page tables that map them, of one boot."""

    def __init__(self, early: Early, layout: VmemmapLayout) -> None:
        kernel = early.kernel
        self.mb, self.layout = early.memblock, layout
        self.limit = MEMBLOCK_ALLOC_NOLEAKTRACE if kernel.release.vmemmap_not_leak_traced else MEMBLOCK_ALLOC_ACCESSIBLE
        self.goal = layout.max_dma_address
        self.per_section = kernel.profile.sizes["struct_page"] << (kernel.section_size_bits - kernel.page_shift)
        self.mapped = dict.fromkeys(self.layout.table_shifts, -(1 << 63))
        """How far there are tables of each kind, as the number of the first one that there is not."""

    def blocks(self, count: int, size: int, nid: int, owner: str) -> int | None:
        """vmemmap_alloc_block(), so many times: from the node where possible. Where the last one lies."""
        take = partial(self.mb.alloc_try_nid_raw, size, size, self.goal, self.limit, nid, owner=owner)
        return self.mb.repeat(count, size, take, self.goal, self.mb.current_limit, owner=owner)

    def map_tables(self, start: int, end: int, nid: int) -> int | None:
        """Page tables for bytes [start, end) of the map, as far as they are not there; asked for in ascending order.

        Where the last one of the lowest kind lies, where there is a new one.
        """
        last = None
        for shift in self.layout.table_shifts:
            after = ((end - 1) >> shift) + 1
            missing = after - max(start >> shift, self.mapped[shift])
            last = self.blocks(missing, self.mb.page_size, nid, TABLES)
            self.mapped[shift] = max(after, self.mapped[shift])
        return last

    def bytes_of(self, first: int, last: int) -> tuple[int, int]:
        """Where the struct pages of sections [first, last) lie in the map, in whole leaves: [start, end)."""
        leaf, base = self.layout.leaf, self.layout.first_byte
        start, end = base + first * self.per_section, base + last * self.per_section
        return round_down(start, leaf), round_up(end, leaf)

    def populate(self, first: int, last: int, nid: int) -> None:
        """The struct pages of sections [first, last), each leaf by itself when its tables are there."""
        at, end = self.bytes_of(first, last)
        shift, leaf = self.layout.table_shifts[-1], self.layout.leaf
        while at < end:
            stop = min(((at >> shift) + 1) << shift, end)
            table = self.map_tables(at, stop, nid)
            block = self.blocks((stop - at) // leaf, leaf, nid, VMEMMAP)
            if many := self._alike(table, block, stop, end):
                self.map_tables(stop, stop + (many << shift), nid)
                self.blocks((many << shift) // leaf, leaf, nid, VMEMMAP)
                stop += many << shift
            at = stop

    def _alike(self, table: int | None, block: int | None, at: int, end: int) -> int:
        """How many tables with all that they map, of [at, end), go on beside the last `table` and the last `block`.

        For so many it is the same to take all tables and then all leaves: no leaf fits where the tables are taken, and
        nothing else is asked for, neither a table above them nor room for memblock's list.
        """
        mb, page, leaf = self.mb, self.mb.page_size, self.layout.leaf
        if table is None or block is None or mb.reserved.cnt >= mb.reserved.max:
            return 0
        place = mb.free_beside(table, page, self.goal, mb.current_limit)
        if place >= leaf:
            return 0
        *upper, shift = self.layout.table_shifts
        room = min(mb.free_beside(block, leaf, self.goal, mb.current_limit), end - at)
        if upper:
            room = min(room, round_up(at, 1 << upper[-1]) - at)
        return min(place // page, room >> shift)
