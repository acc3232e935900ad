"""fork() and exit as far as memory goes: kernel/fork.c, mm/memory.c's copying. 5.10 to 7.3."""

from __future__ import annotations

from dataclasses import replace

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import (
    HUGE_ZERO,
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_HUGETLB,
    VM_LOCKED_MASK,
    VM_MAYBE_GUARD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_SHARED,
    VM_WIPEONFORK,
    ZERO_PAGE,
    Mm,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_WRITE, PTE_YOUNG, HugePmd, PageTables, Pte
from mmtool.linux.mm.mmap.rmap import anon_vma_fork
from mmtool.linux.mm.mmap.shmem import get_file
from mmtool.linux.mm.mmap.util import vm_enough_memory
from mmtool.linux.mm.mmap.vma import detach_and_free, vm_stat_account


def fork(task: Task) -> Task:
    """fork(): a child with a copy of the address space; ENOMEM where its charge is refused."""
    mm = task.mm
    new = Mm(PageTables(mm.tables.geometry))
    new.total_vm, new.data_vm, new.exec_vm, new.stack_vm = mm.total_vm, mm.data_vm, mm.exec_vm, mm.stack_vm
    new.def_flags = mm.def_flags & VM_NOHUGEPAGE
    for name in (
        "start_brk", "brk", "start_data", "end_data", "start_code", "end_code", "start_stack", "mmap_base",
        "mmap_legacy_base", "topdown", "disable_thp", "special_sizes", "merge_any",
    ):  # fmt: skip
        setattr(new, name, getattr(mm, name))
    child = replace(task, mm=new, min_flt=0, maj_flt=0, others=[task], rlimits=dict(task.rlimits))
    try:
        dup_mmap(child, task)
    except Refused:
        exit_mmap(child)
        raise
    task.others.append(child)
    return child


def dup_mmap(child: Task, parent: Task) -> None:
    """dup_mmap(): VMA by VMA, each charged again, with its anon_vma and the entries that a fault could not restore."""
    mm = child.mm
    shift = parent.sys.page_shift
    for vma in parent.mm.vmas:
        pages = (vma.end - vma.start) >> shift
        if vma.flags & VM_DONTCOPY:
            vm_stat_account(mm, vma.flags, -pages)
            continue
        if vma.flags & VM_ACCOUNT:
            vm_enough_memory(parent, pages)
        copy = vma.copy()
        if not vma.flags & VM_WIPEONFORK:
            anon_vma_fork(copy, vma)
        copy.flags &= ~VM_LOCKED_MASK
        if vma.flags & VM_HUGETLB and not vma.flags & VM_MAYSHARE:
            copy.reserved, copy.hpage_owner = set(), False
        get_file(copy)
        mm.vmas.append(copy)
        mm.starts.append(copy.start)
        if not vma.flags & VM_WIPEONFORK:
            copy_page_range(child, parent, vma)


def copy_page_range(child: Task, parent: Task, vma: Vma) -> None:
    """copy_page_range(): what a fault in the child could not restore is copied; pages that may be written are shared.

    Upper tables are made where the parent has them.
    """
    hugetlb = vma.flags & VM_HUGETLB and not parent.sys.facts.fork_skips_shared_hugetlb
    if not (vma.flags & (VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD) or vma.anon_vma is not None or hugetlb):
        return
    source, target = parent.mm.tables, child.mm.tables
    g = source.geometry
    cow = vma.flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    if g.pud_shift and not vma.flags & VM_HUGETLB:
        _copy_upper(source, target, vma)
    for n in list(source.blocks(vma.start, vma.end)):
        base = n << g.pmd_shift
        entry = source.huge.get(n)
        if entry is not None:
            if entry.folio.kind == "f" and not vma.is_anonymous:
                continue
            if cow:
                entry.flags &= ~PTE_WRITE
            if entry.folio is not HUGE_ZERO:
                entry.folio.add_rmap_pmd(child.mm)
                entry.folio.exclusive.clear()
            flags = entry.flags if entry.folio.kind == "h" else entry.flags & ~PTE_YOUNG
            target.set_huge(base, HugePmd(entry.folio, flags, entry.deposit))
            continue
        table = target.alloc_pte(base)
        lo, hi = vma.start >> g.page_shift, vma.end >> g.page_shift
        for page, pte in source.ptes[n].items():
            if not lo <= page < hi:
                continue
            if pte.folio is not None:
                if cow:
                    pte.flags &= ~PTE_WRITE
                if pte.folio is not ZERO_PAGE:
                    pte.folio.add_rmap(pte.sub, child.mm)
                    pte.folio.exclusive.discard(pte.sub)
            table[page] = Pte(pte.folio, pte.sub, pte.flags & ~PTE_YOUNG)


def _copy_upper(source: PageTables, target: PageTables, vma: Vma) -> None:
    """copy_p4d_range() and copy_pud_range(): the upper tables over the mapping."""
    g = source.geometry
    for shift, have, make in ((g.pud_shift, source.pmds, target.pmds), (g.p4d_shift, source.puds, target.puds)):
        if shift:
            make.update(n for n in have if vma.start >> shift <= n <= (vma.end - 1) >> shift)


def exit_mmap(task: Task) -> None:
    """exit_mmap(): everything goes back."""
    mm = task.mm
    if mm.vmas:
        detach_and_free(task, list(mm.vmas), 0, mm.vmas[-1].end)
    for other in task.others:
        if task in other.others:
            other.others.remove(task)
