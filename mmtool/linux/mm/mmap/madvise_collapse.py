"""MADV_COLLAPSE: the collapsing half of mm/khugepaged.c, asked for by a process. Addresses in bytes; 6.1 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import huge_memory
from mmtool.linux.mm.mmap.memory import unmap_file_range
from mmtool.linux.mm.mmap.mm_types import VM_HUGETLB, VM_NOHUGEPAGE, VM_SPECIAL, VM_WRITE, Folio, Refused, Vma
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG, HugePmd
from mmtool.linux.mm.mmap.util import vm_enough_memory


def madvise_collapse(task: Task, vma: Vma, start: int, end: int) -> None:
    """madvise_collapse(): every whole block of the range becomes a huge page, or the last failure's error comes."""
    g = task.mm.tables.geometry
    size = g.pmd_size
    fits = huge_memory.suitable(vma, vma.end - size & huge_memory.U64, size, g.page_shift)
    of_shmem = vma.file is not None and vma.file.inode.is_shmem
    if vma.flags & (VM_NOHUGEPAGE | VM_SPECIAL | VM_HUGETLB) or not fits or not (vma.is_anonymous or of_shmem):
        raise Refused("EINVAL", "the mapping may have no huge pages")
    if vma.anon_vma is None and not of_shmem:
        raise Refused("EINVAL", "the mapping has no page yet")
    task.sys.lru_add_drain()
    failure = ""
    for base in range((start + size - 1) & -size, end & -size, size):
        failure = (collapse_file(task, vma, base) if of_shmem else collapse_block(task, vma, base)) or failure
    if failure:
        raise Refused(*failure.split(": ", 1))


def collapse_block(task: Task, vma: Vma, base: int) -> str:
    """hpage_collapse_scan_pmd() and collapse_huge_page() for one block; "" or the error and why."""
    tables = task.mm.tables
    n = base >> tables.geometry.pmd_shift
    if n in tables.huge:
        return ""
    table = tables.ptes.get(n)
    if table is None:
        return "EINVAL: no page of the block is there"
    pages = [pte for pte in table.values() if pte.folio is not None]
    if len(pages) != len(table):
        return "EINVAL: a guard is in the block"
    folio = Folio("a", tables.geometry.pmd_shift - tables.geometry.page_shift)
    for pte in pages:
        if pte.folio is not None and pte.folio.kind != "z":
            pte.folio.remove_rmap(pte.sub, task.mm)
    del tables.ptes[n]
    folio.add_rmap_pmd(task.mm)
    folio.exclusive.add(0)
    flags = PTE_DIRTY | PTE_YOUNG | (PTE_WRITE if vma.flags & VM_WRITE else 0)
    tables.set_huge(base, HugePmd(folio, flags, True))
    return ""


def collapse_file(task: Task, vma: Vma, base: int) -> str:
    """collapse_file() and collapse_pte_mapped_thp(): a block of shared memory becomes one folio, mapped as a whole."""
    tables = task.mm.tables
    g = tables.geometry
    n, count = base >> g.pmd_shift, 1 << (g.pmd_shift - g.page_shift)
    if n in tables.huge:
        return ""
    assert vma.file is not None
    inode = vma.file.inode
    first = vma.pgoff + ((base - vma.start) >> g.page_shift)
    if first << g.page_shift >= inode.size:
        return "EINVAL: beyond the end of the file"
    present = sum(inode.find(i) is not None for i in range(first, first + count))
    if inode.noreserve:
        vm_enough_memory(task, count - present)
        inode.charged += count - present
    unmap_file_range(task, inode, first, first + count - 1, even_cows=False)
    folio = Folio("f", g.pmd_shift - g.page_shift, first)
    inode.pages.update(dict.fromkeys(range(first, first + count), folio))
    if not tables.ptes.get(n):
        tables.ptes.pop(n, None)
    return "" if huge_memory.map_file_pmd(task, vma, base, folio) else "EINVAL: the block is not mapped as a whole"
