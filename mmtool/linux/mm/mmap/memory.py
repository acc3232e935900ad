"""Faults and what takes entries away again: mm/memory.c. Addresses in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import huge_memory
from mmtool.linux.mm.mmap.hugetlb_vma import hugetlb_fault, unmap_hugepage_range
from mmtool.linux.mm.mmap.mm_types import (
    VM_HUGETLB,
    VM_SHARED,
    VM_WRITE,
    VVAR_PAGE,
    ZERO_PAGE,
    Folio,
    TooManyFaults,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG, Pte, PteTable
from mmtool.linux.mm.mmap.rmap import anon_vma_prepare
from mmtool.linux.mm.mmap.shmem import get_folio
from mmtool.linux.mm.mmap.signals import SIGBUS, SIGSEGV, Signal


def handle_mm_fault(task: Task, vma: Vma, addr: int, write: bool) -> None:
    """handle_mm_fault(): make `addr` present, and writable where `write` asks; one fault is counted.

    Raises `Signal` where the kernel would send one; such a fault is not counted.
    """
    task.sys.faults_left -= 1
    if task.sys.faults_left < 0:
        raise TooManyFaults
    if vma.flags & VM_HUGETLB:
        hugetlb_fault(task, vma, addr, write)
    elif _handle_mm_fault(task, vma, addr, write):
        task.maj_flt += 1
        return
    task.min_flt += 1


def _handle_mm_fault(task: Task, vma: Vma, addr: int, write: bool) -> bool:
    """__handle_mm_fault(): the tables above, then a huge page if there may be one, then the entry.

    True: the fault was done twice, and so counts as a major one.
    """
    tables = task.mm.tables
    tables.alloc_pmd(addr)
    n = addr >> tables.geometry.pmd_shift
    entry = tables.huge.get(n)
    if entry is None and n not in tables.ptes:
        if huge_memory.create_huge_pmd(task, vma, addr, write):
            return False
    elif entry is not None:
        if not write or entry.flags & PTE_WRITE:
            entry.flags |= PTE_YOUNG | (PTE_DIRTY if write else 0)
            return False
        if huge_memory.wp_huge_pmd(task, vma, addr):
            return False
    return handle_pte_fault(task, vma, addr, write)


def handle_pte_fault(task: Task, vma: Vma, addr: int, write: bool) -> bool:
    """handle_pte_fault(): nothing there, a guard, or a page that may not be written; True: done twice."""
    tables = task.mm.tables
    table = tables.ptes.get(addr >> tables.geometry.pmd_shift)
    pte = table.get(addr >> tables.geometry.page_shift) if table else None
    if pte is None:
        if vma.is_anonymous:
            do_anonymous_page(task, vma, addr, write)
        else:
            do_fault(task, vma, addr, write)
            return write and bool(vma.flags & VM_SHARED) and fault_dirty_shared_page(task, vma, addr)
    elif pte.folio is None:
        raise Signal(SIGSEGV, 1, addr, "a guard page")
    elif write and not pte.flags & PTE_WRITE:
        do_wp_page(task, vma, addr, pte)
        return bool(vma.flags & VM_SHARED) and fault_dirty_shared_page(task, vma, addr)
    else:
        pte.flags |= PTE_YOUNG | (PTE_DIRTY if write else 0)
    return False


def fault_dirty_shared_page(task: Task, vma: Vma, addr: int) -> bool:
    """fault_dirty_shared_page(): a shared page becomes dirty; up to 5.19 a page that was not is faulted twice."""
    pte = task.mm.tables.pte(addr)
    if pte is None or pte.folio is None:
        return False
    again = task.sys.facts.shared_write_retries and (not pte.folio.dirty or wants_writenotify(vma))
    pte.folio.dirty = True
    return bool(again)


def do_anonymous_page(task: Task, vma: Vma, addr: int, write: bool) -> None:
    """do_anonymous_page(): the zero page for a read, a new page (or a larger folio, 6.8 on) for a write."""
    if vma.flags & VM_SHARED:
        raise Signal(SIGBUS, 2, addr, "a shared mapping without a file")
    tables = task.mm.tables
    table = tables.alloc_pte(addr)
    page = addr >> tables.geometry.page_shift
    if not write:
        table[page] = Pte(ZERO_PAGE, 0, PTE_YOUNG)
        return
    anon_vma_prepare(task, vma)
    order = huge_memory.anon_folio_order(task, vma, addr, table)
    flags = PTE_DIRTY | PTE_YOUNG | (PTE_WRITE if vma.flags & VM_WRITE else 0)
    map_anon_folio(task, table, page & -(1 << order), Folio("a", order), flags)


def map_anon_folio(task: Task, table: PteTable, page: int, folio: Folio, flags: int) -> None:
    """map_anon_folio_pte_nopf(): all pages of a new folio, from page number `page` on."""
    for sub in range(1 << folio.order):
        folio.add_rmap(sub, task.mm)
        folio.exclusive.add(sub)
        table[page + sub] = Pte(folio, sub, flags)


def do_fault(task: Task, vma: Vma, addr: int, write: bool) -> None:
    """do_fault(): a page of a file; do_read_fault(), do_cow_fault() or do_shared_fault()."""
    if vma.special:
        do_special_fault(task, vma, addr)
        return
    tables = task.mm.tables
    shift = tables.geometry.page_shift
    assert vma.file is not None
    inode = vma.file.inode
    index = vma.pgoff + ((addr - vma.start) >> shift)
    if write and not vma.flags & VM_SHARED:
        anon_vma_prepare(task, vma)
        if get_folio(task, inode, index) is None:
            raise Signal(SIGBUS, 2, addr, "beyond the end of the file")
        table = tables.alloc_pte(addr)
        flags = PTE_DIRTY | PTE_YOUNG | (PTE_WRITE if vma.flags & VM_WRITE else 0)
        map_anon_folio(task, table, addr >> shift, Folio("a"), flags)
        return
    if not write and do_fault_around(task, vma, addr, index):
        return
    folio = get_folio(task, inode, index)
    if folio is None:
        raise Signal(SIGBUS, 2, addr, "beyond the end of the file")
    if folio.order and huge_memory.map_file_pmd(task, vma, addr, folio):
        return
    table = tables.alloc_pte(addr)
    set_file_pte(task, table, vma, addr >> shift, folio, index, write)


def set_file_pte(task: Task, table: PteTable, vma: Vma, page: int, folio: Folio, index: int, write: bool) -> None:
    """set_pte_range() of a page of a file: writable where the mapping is shared and writable."""
    writable = vma.flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE and (write or not wants_writenotify(vma))
    sub = index - folio.index
    folio.add_rmap(sub, task.mm)
    table[page] = Pte(folio, sub, PTE_YOUNG | (PTE_WRITE if writable else 0) | (PTE_DIRTY if write else 0))


def wants_writenotify(vma: Vma) -> bool:
    """vma_wants_writenotify(): the file system wants to hear of the first write to a page (ramfs does, tmpfs not)."""
    return vma.file is not None and vma.file.inode.kind == "ramfs"


def do_fault_around(task: Task, vma: Vma, addr: int, index: int) -> bool:
    """do_fault_around() with filemap_map_pages(): map what the cache has around `addr`; is it there then?

    The window is fault_around_bytes, aligned, within the mapping and the table.
    """
    tables = task.mm.tables
    g = tables.geometry
    around = task.sys.fault_around_pages
    if around <= 1:
        return False
    assert vma.file is not None
    inode = vma.file.inode
    page, first_of_table = addr >> g.page_shift, addr >> g.pmd_shift << (g.pmd_shift - g.page_shift)
    in_table = 1 << (g.pmd_shift - g.page_shift)
    first = max(first_of_table + ((page - first_of_table) & -around), vma.start >> g.page_shift)
    last = min(first + around, first_of_table + in_table, vma.end >> g.page_shift) - 1
    last = min(last, page - index + ((inode.size + g.page_size - 1) >> g.page_shift) - 1)
    if first == last < page and inode.kind == "ramfs" and task.sys.facts.lone_last_page_stays_out:
        return False
    found = [(p, f) for p in range(first, last + 1) if (f := inode.find(index + p - page)) is not None]
    if not found:
        return False
    if found[0][1].order and huge_memory.map_file_pmd(task, vma, addr, found[0][1]):
        return True
    table = tables.alloc_pte(addr)
    for p, folio in found:
        if p not in table:
            set_file_pte(task, table, vma, p, folio, index + p - page, False)
    return page in table


def do_special_fault(task: Task, vma: Vma, addr: int) -> None:
    """special_mapping_fault(): a page of the vdso or of its data."""
    g = task.mm.tables.geometry
    index = (addr - vma.start) >> g.page_shift
    pages = vma.special == "[vdso]" or (task.sys.facts.vvar_inserts_pages and vma.special == "[vvar]")
    facts = task.sys.facts
    there = index in (0, 2) if facts.vdso_has_datastore else not index
    there = there or facts.vvar_has_every_page or vma.special == "[vdso]"
    if vma.special == "[vvar_vclock]" or not there:
        raise Signal(SIGBUS, 2, addr, "a page of the vdso's data that this machine does not have")
    table = task.mm.tables.alloc_pte(addr)
    folio = Folio("f") if pages else VVAR_PAGE
    folio.add_rmap(0, task.mm)
    table[addr >> g.page_shift] = Pte(folio, 0, PTE_YOUNG)


def do_wp_page(task: Task, vma: Vma, addr: int, pte: Pte) -> None:
    """do_wp_page(): a write to a page that is present and not writable: use it again, or copy it."""
    folio = pte.folio
    assert folio is not None
    writable = PTE_WRITE if vma.flags & VM_WRITE else 0
    if vma.flags & VM_SHARED:
        pte.flags |= writable | PTE_DIRTY
        return
    if folio.kind == "a" and _may_reuse(task, folio, pte.sub):
        folio.exclusive.add(pte.sub)
        pte.flags |= writable | PTE_DIRTY
        return
    anon_vma_prepare(task, vma)
    if folio is not ZERO_PAGE:
        folio.remove_rmap(pte.sub, task.mm)
    new = Folio("a")
    new.add_rmap(0, task.mm)
    new.exclusive.add(0)
    pte.folio, pte.sub, pte.flags = new, 0, writable | PTE_DIRTY | PTE_YOUNG


def _may_reuse(task: Task, folio: Folio, sub: int) -> bool:
    """wp_can_reuse_anon_folio(): is the page this process's alone?"""
    facts = task.sys.facts
    if folio.ksm:
        return False
    if facts.has_anon_exclusive and sub in folio.exclusive:
        return True
    if folio.order and facts.large_folios_track_owner:
        return folio.mapcount > 1 and not folio.entire and len(folio.mms) == 1
    return folio.mapcount + folio.entire == 1


def unmap_vmas(task: Task, vmas: list[Vma], start: int, end: int) -> None:
    """unmap_vmas(): take the entries of [start, end) away, guard marks too."""
    for vma in vmas:
        zap_range(task, vma, max(vma.start, start), min(vma.end, end), guards=True)


def zap_range(task: Task, vma: Vma, start: int, end: int, *, guards: bool = False, reclaim: bool = False) -> None:
    """unmap_single_vma(), zap_pmd_range(), zap_pte_range(): entries go, and what they map is mapped once less.

    A huge page is split where only part of it goes. Tables stay, but those that `reclaim` (MADV_DONTNEED with
    CONFIG_PT_RECLAIM) finds empty over their whole range.
    """
    if vma.flags & VM_HUGETLB:
        unmap_hugepage_range(task, vma, start, end)
        return
    tables = task.mm.tables
    g = tables.geometry
    per_page = g.pmd_shift - g.page_shift
    for n in list(tables.blocks(start, end)):
        base = n << g.pmd_shift
        entry = tables.huge.get(n)
        if entry is not None:
            if start <= base and base + g.pmd_size <= end:
                huge_memory.zap_huge_pmd(task, base)
                continue
            huge_memory.split_huge_pmd(task, base)
            if n not in tables.ptes:
                continue
        table = tables.ptes[n]
        lo, hi = max(start, base) >> g.page_shift, min(end, base + g.pmd_size) >> g.page_shift
        whole = lo == n << per_page and hi == (n + 1) << per_page
        pages = list(table) if whole else [p for p in range(lo, hi) if p in table]
        for p in pages:
            pte = table[p]
            if pte.folio is None:
                if not guards:
                    continue
            elif pte.folio is not ZERO_PAGE:
                pte.folio.dirty |= bool(pte.flags & PTE_DIRTY)
                pte.folio.remove_rmap(pte.sub, task.mm)
            del table[p]
        if reclaim and whole and not table:
            del tables.ptes[n]


def unmap_file_range(task: Task, inode: object, first: int, last: int, *, even_cows: bool) -> None:
    """unmap_mapping_range(): the entries of a file's pages go in every process; private copies only `even_cows`."""
    shift = task.sys.page_shift
    for owner in [task, *task.others]:
        for vma in list(owner.mm.vmas):
            if vma.file is None or vma.file.inode is not inode:
                continue
            pages = (vma.end - vma.start) >> shift
            lo, hi = max(first, vma.pgoff), min(last, vma.pgoff + pages - 1)
            if lo > hi:
                continue
            start = vma.start + ((lo - vma.pgoff) << shift)
            end = vma.start + ((hi - vma.pgoff + 1) << shift)
            if even_cows or vma.flags & VM_SHARED:
                zap_range(owner, vma, start, end)
                continue
            for n in list(owner.mm.tables.blocks(start, end)):
                table = owner.mm.tables.ptes.get(n)
                for p in [p for p in table or {} if start >> shift <= p < end >> shift]:
                    pte = table[p] if table else None
                    if pte is not None and pte.folio is not None and pte.folio.kind == "f":
                        pte.folio.remove_rmap(pte.sub, owner.mm)
                        if table:
                            del table[p]


def vma_adjust_trans_huge(task: Task, addr: int) -> None:
    """vma_adjust_trans_huge() for one new boundary: a huge page that it would cut is split."""
    tables = task.mm.tables
    g = tables.geometry
    if addr & (g.pmd_size - 1) and (addr >> g.pmd_shift) in tables.huge:
        entry = tables.huge[addr >> g.pmd_shift]
        if entry.folio.kind != "h":
            huge_memory.split_huge_pmd(task, addr)
