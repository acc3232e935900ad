"""An address level by level through a process's page tables: mm/pagewalk.c. Addresses and sizes in bytes."""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import HUGE_ZERO, VVAR_PAGE, ZERO_PAGE, Folio
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG

KINDS = {"a": "anonymous", "f": "file or shared memory", "h": "hugetlb", "v": "the vdso's data"}


@dataclass(frozen=True)
class Level:
    """One level: its name, bits below an entry, the address's index, and what the entry leads to."""

    name: str
    shift: int
    index: int
    entry: str


@dataclass(frozen=True)
class Leaf:
    """What is mapped: how much by one entry, what it is, the entry's flags, and how often it is mapped."""

    size: int
    kind: str
    flags: tuple[str, ...]
    mapcount: int


@dataclass(frozen=True)
class Walk:
    """All levels from the top, the leaf (None: nothing is mapped), and the mapping that the address lies in."""

    levels: tuple[Level, ...]
    leaf: Leaf | None
    mapping: str


def level_shifts(task: Task) -> list[tuple[str, int, int]]:
    """Name, bits below an entry, and bits of an index of each level, from the top."""
    g = task.mm.tables.geometry
    bits = g.pmd_shift - g.page_shift
    shifts = [("pte", g.page_shift, bits), ("pmd", g.pmd_shift, bits)]
    if g.pud_shift:
        shifts.append(("pud", g.pud_shift, g.pud_shift - g.pmd_shift if g.p4d_shift else 2))
    if g.p4d_shift:
        top = task.task_size.bit_length() if task.task_size & (task.task_size - 1) else task.task_size.bit_length() - 1
        if top > g.p4d_shift + bits:
            shifts.append(("p4d", g.p4d_shift, bits))
            shifts.append(("pgd", g.p4d_shift + bits, bits))
        else:
            shifts.append(("pgd", g.p4d_shift, bits))
    elif not g.pud_shift:
        shifts[-1] = ("pgd", g.pmd_shift, 32 - g.pmd_shift)
    else:
        shifts[-1] = ("pgd", g.pud_shift, 2)
    return shifts[::-1]


def walk(task: Task, addr: int) -> Walk:
    """walk_page_range() for one address: which tables are there, and what the last entry maps."""
    tables = task.mm.tables
    g = tables.geometry
    levels, there = [], True
    n = addr >> g.pmd_shift
    leaf: Leaf | None = None
    for name, shift, bits in level_shifts(task):
        index = addr >> shift & ((1 << bits) - 1)
        if not there:
            entry = "no table"
        elif shift == g.page_shift:
            pte = tables.ptes[n].get(addr >> g.page_shift)
            there = pte is not None
            entry = "none" if pte is None else "a guard" if pte.folio is None else "a page"
            if pte is not None and pte.folio is not None:
                leaf = _leaf(g.page_size, pte.folio, pte.sub, pte.flags)
        elif shift == g.pmd_shift:
            huge = tables.huge.get(n)
            there = n in tables.ptes and huge is None
            entry = "a huge page" if huge is not None else "a table" if there else "none"
            if huge is not None:
                leaf = _leaf(g.pmd_size, huge.folio, 0, huge.flags)
        else:
            have = tables.pmds if shift == g.pud_shift else tables.puds if shift == g.p4d_shift else None
            there = any(p << g.p4d_shift >> shift == addr >> shift for p in tables.puds) if have is None else (
                addr >> shift in have
            )  # fmt: skip
            entry = "a table" if there else "none"
        levels.append(Level(name, shift, index, entry))
        if leaf is not None:
            break
    vma = task.mm.vma_at(addr)
    return Walk(tuple(levels), leaf, f"{vma.start:#x}-{vma.end:#x}" if vma is not None else "")


def _leaf(size: int, folio: Folio, sub: int, flags: int) -> Leaf:
    if folio is ZERO_PAGE or folio is HUGE_ZERO:
        kind = "the zero page"
    elif folio is VVAR_PAGE:
        kind = KINDS["v"]
    else:
        kind = KINDS[folio.kind]
    names = [n for bit, n in ((PTE_WRITE, "writable"), (PTE_DIRTY, "dirty"), (PTE_YOUNG, "accessed")) if flags & bit]
    return Leaf(size, kind, tuple(names), folio.page_mapcount(sub))
