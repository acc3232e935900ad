"""mprotect(): mm/mprotect.c. Addresses and lengths in bytes; 5.10 to 7.3."""

from __future__ import annotations

from contextlib import suppress

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import huge_memory
from mmtool.linux.mm.mmap.gup import populate_vma_page_range
from mmtool.linux.mm.mmap.memory import wants_writenotify
from mmtool.linux.mm.mmap.mm_types import (
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_READ,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_MAYEXEC,
    VM_NORESERVE,
    VM_PKEY_EXEC_ONLY,
    VM_SEALED,
    VM_SHARED,
    VM_WRITE,
    Folio,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.mmap import READ_IMPLIES_EXEC, calc_vm_prot, may_expand_vm
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE
from mmtool.linux.mm.mmap.util import vm_enough_memory, vm_unacct_memory
from mmtool.linux.mm.mmap.vma import vm_stat_account, vma_modify


def do_mprotect(task: Task, start: int, length: int, prot: int) -> None:
    """do_mprotect_pkey() without a key: VMA by VMA; what was changed before a hole stays changed."""
    mm, page = task.mm, task.sys.page_size
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start & (page - 1):
        raise Refused("EINVAL", "not a page's address, or both PROT_GROWS flags")
    if not length:
        return
    length = length + page - 1 & -page & task.kernel_mask
    end = start + length & task.kernel_mask
    if end <= start:
        raise Refused("ENOMEM", "the end wraps")
    vma = mm.find_vma(start)
    if vma is None:
        raise Refused("ENOMEM", f"nothing is mapped at or above {start:#x}")
    if grows & PROT_GROWSDOWN:
        if vma.start >= end:
            raise Refused("ENOMEM", f"nothing is mapped at {start:#x}")
        start = vma.start
        if not vma.flags & VM_GROWSDOWN:
            raise Refused("EINVAL", "the mapping does not grow down")
    elif vma.start > start:
        raise Refused("ENOMEM", f"nothing is mapped at {start:#x}")
    elif grows & PROT_GROWSUP:
        raise Refused("EINVAL", "the mapping does not grow up")
    if task.sys.facts.has_mseal and not task.sys.facts.seals_checked_one_by_one:
        for other in mm.each_from(start, end):
            if other.flags & VM_SEALED:
                raise Refused("EPERM", f"the mapping at {other.start:#x} is sealed")
    prev = vma if start > vma.start else mm.prev_of(vma)
    at = start
    while True:
        this_prot = prot
        if task.personality & READ_IMPLIES_EXEC and prot & PROT_READ and vma.flags & VM_MAYEXEC:
            this_prot |= PROT_EXEC
        flags = vma.flags & ~(VM_ACCESS_FLAGS | VM_PKEY_EXEC_ONLY) | calc_vm_prot(task, this_prot)
        if flags & ~(flags >> 4) & VM_ACCESS_FLAGS:
            raise Refused("EACCES", "more than the mapping's file allows")
        stop = min(vma.end, end)
        prev = mprotect_fixup(task, prev, vma, at, stop, flags)
        at = max(stop, prev.end) if not task.sys.facts.mprotect_goes_by_iterator else stop
        if at >= end:
            return
        following = mm.vma_at(at) if task.sys.facts.mprotect_goes_by_iterator else mm.find_vma(prev.end)
        if following is None or (following.start != at and not task.sys.facts.mprotect_goes_by_iterator):
            raise Refused("ENOMEM", f"nothing is mapped at {at:#x}")
        vma = following


def mprotect_fixup(task: Task, prev: Vma | None, vma: Vma, start: int, end: int, flags: int) -> Vma:
    """mprotect_fixup(): limits and charge of a range that changes, the merge or the split, the entries, the counts."""
    mm, old = task.mm, vma.flags
    pages = (end - start) >> task.sys.page_shift
    if vma.flags & VM_SEALED:
        raise Refused("EPERM", f"the mapping at {vma.start:#x} is sealed")
    if flags == old:
        return vma
    charged = 0
    if flags & VM_WRITE:
        refused = may_expand_vm(task, flags, pages)
        if refused and not may_expand_vm(task, old, pages):
            raise Refused("ENOMEM", refused)
        if not old & (VM_ACCOUNT | VM_WRITE | VM_HUGETLB | VM_SHARED | VM_NORESERVE):
            charged = pages
            vm_enough_memory(task, charged)
            flags |= VM_ACCOUNT
    elif old & VM_ACCOUNT and vma.is_anonymous and vma.anon_vma is None and task.sys.facts.mprotect_uncharges:
        flags &= ~VM_ACCOUNT
    try:
        vma = vma_modify(task, prev, vma, start, end, flags)
    except Refused:
        vm_unacct_memory(task, charged)
        raise
    if task.sys.facts.has_sticky_flags:
        flags |= vma.flags & task.sys.facts_sticky
    vma.flags = flags
    upgrade = bool(not flags & VM_SHARED and flags & VM_WRITE and task.sys.facts.mprotect_makes_writable)
    change_protection(task, vma, start, end, upgrade)
    if old & VM_ACCOUNT and not flags & VM_ACCOUNT:
        vm_unacct_memory(task, pages)
    if old & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and flags & VM_WRITE:
        with suppress(Refused):
            populate_vma_page_range(task, vma, start, end)
    vm_stat_account(mm, old, -pages)
    vm_stat_account(mm, flags, pages)
    return vma


def change_protection(task: Task, vma: Vma, start: int, end: int, upgrade: bool) -> None:
    """change_protection(): every entry loses its write bit, unless the mapping is shared and writable.

    With `upgrade` pages that are the process's alone keep or get it (6.0 on; huge ones from 6.2 on). A huge page of
    which only a part changes is split.
    """
    tables = task.mm.tables
    g = tables.geometry
    shared = vma.flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE
    notified = shared and wants_writenotify(vma)
    for n in list(tables.blocks(start, end)):
        base = n << g.pmd_shift
        entry = tables.huge.get(n)
        if entry is None:
            continue
        if entry.folio.kind != "h" and (start > base or base + g.pmd_size > end):
            huge_memory.split_huge_pmd(task, base)
            continue
        keeps = upgrade and task.sys.facts.mprotect_makes_huge_writable and _is_own(entry.folio, 0)
        if entry.folio.kind == "h":
            keeps = False
        entry.flags = entry.flags | PTE_WRITE if shared or keeps else entry.flags & ~PTE_WRITE
    for _, pte in tables.entries(start, end):
        if pte.folio is None:
            continue
        if (shared and (not notified or pte.flags & PTE_DIRTY)) or (upgrade and _is_own(pte.folio, pte.sub)):
            pte.flags |= PTE_WRITE
        else:
            pte.flags &= ~PTE_WRITE


def _is_own(folio: Folio, sub: int) -> bool:
    return folio.kind == "a" and sub in folio.exclusive
