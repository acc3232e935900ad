"""A process's page tables as a tree: mm/pgtable-generic.c and the table parts of mm/memory.c.

The lowest tables are kept with their entries, the upper ones as the set of those that exist; the size of all that
mm_struct counts is VmPTE. Addresses and sizes in bytes; 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.late import dataclass
from mmtool.linux.mm.mmap.folio import Folio

PTE_WRITE, PTE_DIRTY, PTE_YOUNG = 1, 2, 4


class Pte:
    """An entry: the page `sub` of `folio` and the entry's flags; a marker without a folio is a guard."""

    __slots__ = ("flags", "folio", "sub")

    def __init__(self, folio: Folio | None, sub: int, flags: int) -> None:
        self.folio, self.sub, self.flags = folio, sub, flags


class HugePmd:
    """An entry of the PMD that maps a folio as a whole; `deposit` says that a table is kept for its split."""

    __slots__ = ("deposit", "flags", "folio")

    def __init__(self, folio: Folio, flags: int, deposit: bool) -> None:
        self.folio, self.flags, self.deposit = folio, flags, deposit


PteTable = dict[int, Pte]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How an architecture's tables divide an address; a level that is folded away has no shift (0).

    `pud_shift`: bits below a PUD entry, `p4d_shift`: bits below a P4D (or PGD) entry, that is what one PUD table maps.
    `preallocated` PMD tables are there from the start (i386 with PAE).
    """

    page_shift: int
    pmd_shift: int
    pud_shift: int
    p4d_shift: int
    table_size: int
    preallocated: int = 0

    @property
    def page_size(self) -> int:
        return 1 << self.page_shift

    @property
    def pmd_size(self) -> int:
        return 1 << self.pmd_shift


class PageTables:
    """The tables of one mm: `ptes` and `huge` by the number of the PMD entry, `pmds` and `puds` those that exist."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.ptes: dict[int, PteTable] = {}
        self.huge: dict[int, HugePmd] = {}
        self.pmds: set[int] = set(range(geometry.preallocated))
        self.puds: set[int] = set()
        self.deposited = 0
        self.unseen = 0
        """Tables that are known to exist and not where (a start state's remainder)."""

    @property
    def count(self) -> int:
        """Tables of all counted levels."""
        return len(self.ptes) + self.deposited + len(self.pmds) + len(self.puds) + self.unseen

    @property
    def entries_count(self) -> int:
        """Entries of the lowest tables."""
        return sum(map(len, self.ptes.values()))

    @property
    def bytes(self) -> int:
        """mm_pgtables_bytes()."""
        return self.count * self.geometry.table_size

    def alloc_pmd(self, addr: int) -> None:
        """p4d_alloc(), pud_alloc(), pmd_alloc(): the tables above the entry of the PMD for `addr`."""
        g = self.geometry
        if g.pud_shift:
            self.pmds.add(addr >> g.pud_shift)
            if g.p4d_shift:
                self.puds.add(addr >> g.p4d_shift)

    def alloc_pte(self, addr: int) -> PteTable:
        """pte_alloc(): the lowest table for `addr`."""
        n = addr >> self.geometry.pmd_shift
        table = self.ptes.get(n)
        if table is None:
            self.alloc_pmd(addr)
            table = self.ptes[n] = {}
        return table

    def pte(self, addr: int) -> Pte | None:
        """The entry for `addr`, if there is one."""
        g = self.geometry
        table = self.ptes.get(addr >> g.pmd_shift)
        return table.get(addr >> g.page_shift) if table else None

    def pmd(self, addr: int) -> HugePmd | None:
        """The huge entry for `addr`, if there is one."""
        return self.huge.get(addr >> self.geometry.pmd_shift)

    def set_huge(self, addr: int, entry: HugePmd) -> None:
        """set_pmd_at() of a huge page, with the table that is kept for its split."""
        self.alloc_pmd(addr)
        self.huge[addr >> self.geometry.pmd_shift] = entry
        self.deposited += entry.deposit

    def clear_huge(self, addr: int) -> HugePmd:
        """Take a huge entry away, and the table that was kept for it."""
        entry = self.huge.pop(addr >> self.geometry.pmd_shift)
        self.deposited -= entry.deposit
        return entry

    def blocks(self, start: int, end: int) -> Iterator[int]:
        """The numbers of the PMD entries in [start, end) that lead anywhere, ascending."""
        shift = self.geometry.pmd_shift
        first, last = start >> shift, (end - 1) >> shift
        if last - first < len(self.ptes) + len(self.huge):
            for n in range(first, last + 1):
                if n in self.ptes or n in self.huge:
                    yield n
        else:
            yield from sorted(n for d in (self.ptes, self.huge) for n in d if first <= n <= last)

    def entries(self, start: int, end: int) -> Iterator[tuple[int, Pte]]:
        """Page numbers and entries of [start, end), ascending; huge entries are left out."""
        g = self.geometry
        first, last = start >> g.page_shift, (end - 1) >> g.page_shift
        for n in self.blocks(start, end):
            table = self.ptes.get(n)
            if not table:
                continue
            lo = max(first, n << (g.pmd_shift - g.page_shift))
            hi = min(last, ((n + 1) << (g.pmd_shift - g.page_shift)) - 1)
            if hi - lo < len(table):
                for p in range(lo, hi + 1):
                    pte = table.get(p)
                    if pte is not None:
                        yield p, pte
            else:
                for p in sorted(k for k in table if lo <= k <= hi):
                    yield p, table[p]

    def free_pgd_range(self, addr: int, end: int, floor: int, ceiling: int) -> None:
        """Give back the tables that map only [floor, ceiling) and touch [addr, end); a ceiling of 0 is the top.

        Models free_pgd_range() of mm/memory.c and what it calls, level by level.
        """
        g = self.geometry
        size = g.pmd_size
        addr &= -size
        if addr < floor:
            addr += size
        top = ceiling & -size if ceiling else 1 << 64
        if ceiling and not top:
            return
        if end > top:
            end -= size
        if addr >= end:
            return
        first, last = addr >> g.pmd_shift, (end - 1) >> g.pmd_shift
        if last - first < len(self.ptes):
            for n in range(first, last + 1):
                self.ptes.pop(n, None)
        else:
            for n in [n for n in self.ptes if first <= n <= last]:
                del self.ptes[n]
        for shift, tables in ((g.pud_shift, self.pmds), (g.p4d_shift, self.puds)):
            if not shift:
                continue
            for n in [n for n in tables if addr >> shift <= n <= (end - 1) >> shift]:
                if n << shift >= floor and (not ceiling or (n + 1) << shift <= ceiling):
                    tables.discard(n)
