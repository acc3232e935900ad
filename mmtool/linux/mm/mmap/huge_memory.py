"""Transparent huge pages: mm/huge_memory.c, include/linux/huge_mm.h. Addresses in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import (
    HUGE_ZERO,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_NOHUGEPAGE,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
    ZERO_PAGE,
    Folio,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG, HugePmd, Pte, PteTable
from mmtool.linux.mm.mmap.rmap import anon_vma_prepare

U64 = (1 << 64) - 1


def suitable(vma: Vma, addr: int, size: int, page_shift: int) -> bool:
    """thp_vma_suitable_order(), before 6.8 transhuge_vma_suitable(): the block of `size` bytes at `addr` lies within.

    Of a file the offsets must be aligned too. Arithmetic is the kernel's, modulo 2**64: an address below zero wraps,
    so that a mapping that ends below `size` passes.
    """
    if not vma.is_anonymous and ((vma.start >> page_shift) - vma.pgoff) & ((size >> page_shift) - 1):
        return False
    block = addr & -size & U64
    return not (block < vma.start or (block + size & U64) > vma.end)


def enabled_orders(task: Task, vma: Vma) -> int:
    """The orders that the settings allow for an anonymous mapping, as a bit mask.

    Models the mask in thp_vma_allowable_orders() (6.8 on) and hugepage_flags_always() before, where the PMD's order
    is the only one.
    """
    thp = task.sys.thp
    g = task.mm.tables.geometry
    pmd_order = g.pmd_shift - g.page_shift
    wanted = bool(vma.flags & VM_HUGEPAGE)
    inherited = thp.enabled == "always" or (wanted and thp.enabled == "madvise")
    mask = 0
    for kib, mode in {g.pmd_size >> 10: "inherit", **thp.sizes}.items():
        if mode == "always" or (mode == "madvise" and wanted) or (mode == "inherit" and inherited):
            mask |= 1 << (kib.bit_length() - 1 + 10 - g.page_shift)
    return mask if task.sys.facts.has_mthp else mask & 1 << pmd_order


def disabled(task: Task, vma: Vma) -> bool:
    """Is the mapping kept from huge pages by MADV_NOHUGEPAGE, prctl() or its kind?"""
    return bool(not task.sys.has_thp or vma.flags & VM_NOHUGEPAGE or task.mm.disable_thp)


def thp_eligible(task: Task, vma: Vma) -> bool:
    """THPeligible of smaps: would any size of huge page be used, settings and bounds allowing?"""
    if disabled(task, vma) or not vma.is_anonymous:
        return False
    if vma.flags & (VM_SPECIAL | VM_HUGETLB) or vma.flags & VM_SHARED:
        return False
    g = task.mm.tables.geometry
    mask = enabled_orders(task, vma)
    for order in range(mask.bit_length() - 1, 1, -1):
        if mask >> order & 1:
            size = g.page_size << order
            if suitable(vma, vma.end - size & U64, size, g.page_shift):
                return True
    return False


def create_huge_pmd(task: Task, vma: Vma, addr: int, write: bool) -> bool:
    """create_huge_pmd(), do_huge_pmd_anonymous_page(): a huge page for the first touch of a block; False: none."""
    g = task.mm.tables.geometry
    if not vma.is_anonymous or disabled(task, vma) or vma.flags & VM_SHARED:
        return False
    if not enabled_orders(task, vma) >> (g.pmd_shift - g.page_shift) & 1:
        return False
    base = addr & -g.pmd_size
    if not suitable(vma, base, g.pmd_size, g.page_shift):
        return False
    anon_vma_prepare(task, vma)
    if not write and task.sys.thp.use_zero_page:
        task.mm.tables.set_huge(base, HugePmd(HUGE_ZERO, PTE_YOUNG, True))
        return True
    _map_huge_page(task, vma, base)
    return True


def _map_huge_page(task: Task, vma: Vma, base: int) -> None:
    """map_anon_folio_pmd_nopf(): a new huge page at `base`."""
    g = task.mm.tables.geometry
    folio = Folio("a", g.pmd_shift - g.page_shift)
    folio.add_rmap_pmd(task.mm)
    folio.exclusive.add(0)
    flags = PTE_DIRTY | PTE_YOUNG | (PTE_WRITE if vma.flags & VM_WRITE else 0)
    task.mm.tables.set_huge(base, HugePmd(folio, flags, True))


def wp_huge_pmd(task: Task, vma: Vma, addr: int) -> bool:
    """do_huge_pmd_wp_page(): a write to a huge page that is not writable; False: it was split, go on with its entry."""
    tables = task.mm.tables
    entry = tables.huge[addr >> tables.geometry.pmd_shift]
    base = addr & -tables.geometry.pmd_size
    folio = entry.folio
    if vma.flags & VM_SHARED:
        entry.flags |= PTE_DIRTY | (PTE_WRITE if vma.flags & VM_WRITE else 0)
        return True
    if folio is HUGE_ZERO:
        if task.sys.facts.huge_zero_write_allocates:
            tables.clear_huge(base)
            _map_huge_page(task, vma, base)
            return True
    elif folio.kind == "a":
        alone = folio.entire == 1 and not folio.mapcount
        if alone or (task.sys.facts.has_anon_exclusive and 0 in folio.exclusive):
            folio.exclusive.add(0)
            entry.flags |= PTE_DIRTY | (PTE_WRITE if vma.flags & VM_WRITE else 0)
            return True
    split_huge_pmd(task, base)
    return False


def split_huge_pmd(task: Task, addr: int) -> None:
    """__split_huge_pmd(): a huge entry becomes a table of entries; of a file it just goes."""
    tables = task.mm.tables
    g = tables.geometry
    n = addr >> g.pmd_shift
    if n not in tables.huge:
        return
    entry = tables.clear_huge(addr)
    folio = entry.folio
    if folio.kind == "f":
        folio.remove_rmap_pmd(task.mm)
        return
    first, count = n << (g.pmd_shift - g.page_shift), 1 << (g.pmd_shift - g.page_shift)
    if folio is HUGE_ZERO:
        tables.ptes[n] = {first + i: Pte(ZERO_PAGE, 0, PTE_YOUNG) for i in range(count)}
        return
    table: PteTable = {}
    if 0 in folio.exclusive:
        folio.exclusive = set(range(count))
    for i in range(count):
        folio.add_rmap(i, task.mm)
        table[first + i] = Pte(folio, i, entry.flags)
    folio.remove_rmap_pmd(task.mm)
    tables.ptes[n] = table


def zap_huge_pmd(task: Task, base: int) -> None:
    """zap_huge_pmd(): a huge entry goes as a whole, with the table kept for its split."""
    entry = task.mm.tables.clear_huge(base)
    if entry.folio is not HUGE_ZERO:
        entry.folio.remove_rmap_pmd(task.mm)


def anon_folio_order(task: Task, vma: Vma, addr: int, table: PteTable) -> int:
    """alloc_anon_folio(): the largest order below the PMD's that is enabled, lies within, and finds no entry there."""
    if not task.sys.facts.has_mthp or not task.sys.thp.sizes or disabled(task, vma):
        return 0
    g = task.mm.tables.geometry
    mask = enabled_orders(task, vma) & (1 << (g.pmd_shift - g.page_shift)) - 1
    for order in range(mask.bit_length() - 1, 0, -1):
        size = g.page_size << order
        if mask >> order & 1 and suitable(vma, addr, size, g.page_shift):
            first = (addr & -size) >> g.page_shift
            if not any(p in table for p in range(first, first + (1 << order))):
                return order
    return 0


def map_file_pmd(task: Task, vma: Vma, addr: int, folio: Folio) -> bool:
    """do_set_pmd(): a folio of the PMD's size in the cache is mapped as a whole where it fits."""
    g = task.mm.tables.geometry
    n = addr >> g.pmd_shift
    if folio.order < g.pmd_shift - g.page_shift or n in task.mm.tables.ptes or n in task.mm.tables.huge:
        return False
    base = addr & -g.pmd_size
    if vma.flags & VM_NOHUGEPAGE or not suitable(vma, base, g.pmd_size, g.page_shift):
        return False
    folio.add_rmap_pmd(task.mm)
    writable = vma.flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE
    task.mm.tables.set_huge(base, HugePmd(folio, PTE_YOUNG | (PTE_WRITE if writable else 0), False))
    return True


def split_folio(task: Task, folio: Folio, base: int) -> None:
    """split_folio() of a huge page that is mapped as a whole by this process alone: single pages afterwards."""
    g = task.mm.tables.geometry
    split_huge_pmd(task, base)
    split_folio_ptes(task, folio, base >> g.page_shift)


def split_folio_ptes(task: Task, folio: Folio, first: int) -> None:
    """split_folio() of a folio that this process alone maps page by page, its first page at page number `first`."""
    g = task.mm.tables.geometry
    for page, pte in task.mm.tables.entries(first << g.page_shift, first + (1 << folio.order) << g.page_shift):
        if pte.folio is folio:
            single = Folio(folio.kind)
            single.add_rmap(0, task.mm)
            single.lazyfree = folio.lazyfree
            if pte.sub in folio.exclusive:
                single.exclusive.add(0)
            folio.remove_rmap(pte.sub, task.mm)
            pte.folio, pte.sub = single, 0
        del page
