"""Files that live in memory as mappings see them: mm/shmem.c (tmpfs, memfd, shared anonymous memory), ramfs.

Offsets and counts in pages; 5.10 to 7.3.
"""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.hugetlb_vma import evict_hugetlb
from mmtool.linux.mm.mmap.mm_types import VM_NORESERVE, File, Folio, Inode, Vma
from mmtool.linux.mm.mmap.util import vm_enough_memory, vm_unacct_memory


def get_file(vma: Vma) -> None:
    """get_file(): one VMA more shows the file."""
    if vma.file is not None:
        vma.file.count += 1


def fput(task: Task, file: File | None) -> None:
    """fput(): one VMA less shows it; shared anonymous memory goes with its last one."""
    if file is None:
        return
    file.count -= 1
    if file.count == 0 and not file.held:
        evict_inode(task, file.inode)


def evict_inode(task: Task, inode: Inode) -> None:
    """shmem_evict_inode(): all pages and the whole charge go."""
    if inode.kind == "hugetlb":
        evict_hugetlb(task.sys.hugetlb, inode.pages, inode.reserved)
    else:
        vm_unacct_memory(task, inode.charged)
    inode.pages.clear()
    inode.charged = 0


def shmem_zero_setup(task: Task, length: int, flags: int) -> File:
    """shmem_zero_setup(): the file behind a shared anonymous mapping of `length` bytes, charged as a whole.

    With VM_NORESERVE its pages are charged one by one as they come.
    """
    inode = Inode("shmem", "/dev/zero (deleted)", length, noreserve=bool(flags & VM_NORESERVE))
    if not inode.noreserve:
        pages = length >> task.sys.page_shift
        vm_enough_memory(task, pages)
        inode.charged = pages
    return File(inode)


def get_folio(task: Task, inode: Inode, index: int) -> Folio | None:
    """shmem_get_folio(), or a look at the page cache: the folio at `index`, made if need be; None beyond the end."""
    if index << task.sys.page_shift >= inode.size:
        return None
    folio = inode.find(index)
    if folio is None:
        if inode.is_shmem and inode.noreserve:
            vm_enough_memory(task, 1)
            inode.charged += 1
        folio = inode.pages[index] = Folio("f", index=index)
    return folio


def drop_pages(task: Task, inode: Inode, first: int, last: int) -> None:
    """shmem_undo_range(): the pages `first` to `last` leave the file."""
    gone = [i for i in inode.pages if first <= i <= last]
    kept = [i for i in range(first, min(last + 1, inode.prefilled)) if i not in inode.pages]
    for i in gone:
        del inode.pages[i]
    if kept and inode.prefilled:
        for i in range(inode.prefilled):
            if i not in inode.pages and not first <= i <= last:
                inode.pages[i] = Folio("f", index=i)
        inode.prefilled = 0
    if inode.is_shmem and inode.noreserve:
        freed = len(gone) + len(kept)
        inode.charged -= freed
        vm_unacct_memory(task, freed)
