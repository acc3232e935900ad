"""Huge pages of a pool in a process: the reservations and faults of mm/hugetlb.c, fs/hugetlbfs. 5.10 to 7.3.

Counts are huge pages; addresses in bytes.
"""

from __future__ import annotations

from mmtool.linux.kernel.task import HugetlbPool, Task
from mmtool.linux.mm.mmap.mm_types import VM_MAYSHARE, VM_NORESERVE, VM_WRITE, Folio, Refused, Vma
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG, HugePmd
from mmtool.linux.mm.mmap.rmap import anon_vma_prepare
from mmtool.linux.mm.mmap.signals import SIGBUS, Signal


def hugetlb_reserve_pages(task: Task, vma: Vma, flags: int) -> None:
    """hugetlb_reserve_pages(): set pages of the pool aside for a new mapping, or refuse it with ENOMEM."""
    pool = task.sys.hugetlb
    pages = (vma.end - vma.start) // pool.page_size
    if not flags & VM_MAYSHARE:
        vma.reserved = set()
        vma.hpage_owner = not flags & VM_NORESERVE
    if flags & VM_NORESERVE:
        return
    assert vma.file is not None
    wanted = pages
    if flags & VM_MAYSHARE:
        first = (vma.pgoff << task.sys.page_shift) // pool.page_size
        wanted = sum(i not in vma.file.inode.reserved for i in range(first, first + pages))
    free = pool.free_huge_pages - pool.resv_huge_pages
    if wanted > free:
        raise Refused("ENOMEM", f"{wanted} huge pages must be reserved, {free} of the pool are free for that")
    pool.resv_huge_pages += wanted
    if flags & VM_MAYSHARE:
        vma.file.inode.reserved.update(range(first, first + pages))


def hugetlb_vm_op_close(task: Task, vma: Vma) -> None:
    """hugetlb_vm_op_close(): what a private mapping reserved and did not use goes back to the pool."""
    if vma.reserved is None or not vma.hpage_owner:
        return
    pool = task.sys.hugetlb
    first = _index(task, vma, vma.start)
    pages = (vma.end - vma.start) // pool.page_size
    used = sum(i in vma.reserved for i in range(first, first + pages))
    pool.resv_huge_pages -= pages - used


def _index(task: Task, vma: Vma, addr: int) -> int:
    """vma_hugecache_offset(): the huge page of the file that `addr` shows."""
    offset = (vma.pgoff << task.sys.page_shift) + (addr - vma.start)
    return offset // task.sys.hugetlb.page_size


def _take(pool: HugetlbPool, reserved: bool) -> bool:
    """dequeue_hugetlb_folio(): a page of the pool, one set aside if `reserved`, else one that nobody reserved."""
    if not reserved and pool.free_huge_pages - pool.resv_huge_pages <= 0:
        return False
    if not pool.free_huge_pages:
        return False
    pool.free_huge_pages -= 1
    pool.resv_huge_pages -= reserved
    return True


def hugetlb_fault(task: Task, vma: Vma, addr: int, write: bool) -> None:
    """hugetlb_fault(): hugetlb_no_page() or hugetlb_wp()."""
    tables, pool = task.mm.tables, task.sys.hugetlb
    base = addr & -pool.page_size
    tables.alloc_pmd(base)
    entry = tables.pmd(base)
    if entry is None:
        if not vma.flags & VM_MAYSHARE:
            anon_vma_prepare(task, vma)
        _no_page(task, vma, base, write)
        entry = tables.pmd(base)
        assert entry is not None
    if write and not entry.flags & PTE_WRITE:
        _wp(task, vma, base, entry)
    if write:
        entry.flags |= PTE_DIRTY


def _no_page(task: Task, vma: Vma, base: int, write: bool) -> None:
    """hugetlb_no_page(): a page of the file, or a new one from the pool."""
    pool = task.sys.hugetlb
    assert vma.file is not None
    inode = vma.file.inode
    index = _index(task, vma, base)
    if index * pool.page_size >= inode.size:
        raise Signal(SIGBUS, 2, base, "beyond the end of the file")
    folio = inode.pages.get(index)
    shared = bool(vma.flags & VM_MAYSHARE)
    if folio is None:
        if shared:
            reserved = index in inode.reserved
            if not _take(pool, reserved):
                raise Signal(SIGBUS, 2, base, "the pool has no huge page left")
            inode.reserved.add(index)
            folio = inode.pages[index] = Folio("h", task.mm.tables.geometry.pmd_shift - task.sys.page_shift)
        else:
            assert vma.reserved is not None
            reserved = vma.hpage_owner and index not in vma.reserved
            if not _take(pool, reserved):
                raise Signal(SIGBUS, 2, base, "the pool has no huge page left")
            vma.reserved.add(index)
            folio = Folio("h", task.mm.tables.geometry.pmd_shift - task.sys.page_shift)
            folio.exclusive.add(0)
    folio.add_rmap_pmd(task.mm)
    writable = vma.flags & VM_WRITE and (shared or 0 in folio.exclusive)
    task.mm.tables.set_huge(base, HugePmd(folio, PTE_YOUNG | (PTE_WRITE if writable else 0), False))


def _wp(task: Task, vma: Vma, base: int, entry: HugePmd) -> None:
    """hugetlb_wp(): use the page again or copy it; the owner of the reservation may take pages from its children."""
    pool, folio = task.sys.hugetlb, entry.folio
    if vma.flags & VM_MAYSHARE or folio.entire == 1:
        entry.flags |= PTE_WRITE
        folio.exclusive.add(0)
        return
    if not _take(pool, False):
        if not vma.hpage_owner or vma.reserved is None:
            raise Signal(SIGBUS, 2, base, "the pool has no huge page left for a copy")
        for other in task.others:
            taken = other.mm.tables.pmd(base)
            if taken is not None and taken.folio is folio:
                other.mm.tables.clear_huge(base)
                folio.remove_rmap_pmd(other.mm)
        entry.flags |= PTE_WRITE
        folio.exclusive.add(0)
        return
    folio.remove_rmap_pmd(task.mm)
    new = Folio("h", folio.order)
    new.add_rmap_pmd(task.mm)
    new.exclusive.add(0)
    entry.folio = new
    entry.flags |= PTE_WRITE


def unmap_hugepage_range(task: Task, vma: Vma, start: int, end: int) -> None:
    """__unmap_hugepage_range(): entries go; a private page that nobody maps any more goes back to the pool."""
    tables, pool = task.mm.tables, task.sys.hugetlb
    for n in list(tables.blocks(start, end)):
        base = n << tables.geometry.pmd_shift
        if n in tables.huge and start <= base < end:
            folio = tables.clear_huge(base).folio
            folio.remove_rmap_pmd(task.mm)
            if not vma.flags & VM_MAYSHARE and not folio.entire:
                pool.free_huge_pages += 1


def evict_hugetlb(pool: HugetlbPool, pages: dict[int, Folio], reserved: set[int]) -> None:
    """hugetlbfs_evict_inode(): the pages of a shared mapping's file, and what it reserved and did not use."""
    pool.free_huge_pages += len(pages)
    pool.resv_huge_pages -= len(reserved) - len(pages)
