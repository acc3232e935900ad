"""A touch by the program: do_user_addr_fault() of arch/x86/mm/fault.c, do_page_fault() of arch/arm64/mm/fault.c."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.memory import handle_mm_fault
from mmtool.linux.mm.mmap.mm_types import (
    VM_ACCESS_FLAGS,
    VM_GROWSDOWN,
    VM_PKEY_EXEC_ONLY,
    VM_WRITE,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.mmap import expand_stack
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, PTE_YOUNG
from mmtool.linux.mm.mmap.signals import SEGV_ACCERR, SEGV_MAPERR, SEGV_PKUERR, SIGSEGV, Signal


def lock_mm_and_find_vma(task: Task, addr: int) -> Vma:
    """lock_mm_and_find_vma(): the mapping of `addr`, a stack grown to it if need be; else SIGSEGV."""
    vma = task.mm.find_vma(addr)
    if vma is None or addr >= task.task_size:
        raise Signal(SIGSEGV, SEGV_MAPERR, addr, "nothing is mapped there")
    if vma.start > addr:
        if not vma.flags & VM_GROWSDOWN:
            raise Signal(SIGSEGV, SEGV_MAPERR, addr, "nothing is mapped there")
        try:
            expand_stack(task, vma, addr)
        except Refused as refusal:
            raise Signal(SIGSEGV, SEGV_MAPERR, addr, f"the stack does not grow: {refusal.why}") from None
    return vma


def check_access(task: Task, vma: Vma, addr: int, write: bool) -> None:
    """access_error(): SIGSEGV where the mapping does not allow the access."""
    if vma.flags & VM_PKEY_EXEC_ONLY:
        raise Signal(SIGSEGV, SEGV_PKUERR, addr, "the mapping is for execution only")
    if write and not vma.flags & VM_WRITE:
        raise Signal(SIGSEGV, SEGV_ACCERR, addr, "the mapping may not be written")
    if not write and not vma.flags & VM_ACCESS_FLAGS:
        raise Signal(SIGSEGV, SEGV_ACCERR, addr, "the mapping may not be accessed")


def touch(task: Task, start: int, length: int, step: int, write: bool) -> int:
    """Touch a byte at `start`, `start + step`, ... below `start + length`; a signal ends it.

    What lies in one huge page is touched at once. Returns how often an entry was looked at.
    """
    tables = task.mm.tables
    g = tables.geometry
    vma: Vma | None = None
    hardware, needed = task.sys.hw_access_bits, PTE_YOUNG | (PTE_DIRTY if write else 0)
    offset = looked = 0
    while offset < length:
        looked += 1
        addr = (start + offset) & task.word_mask
        if vma is None or not vma.start <= addr < vma.end:
            vma = lock_mm_and_find_vma(task, addr)
        check_access(task, vma, addr, write)
        block = addr >> g.pmd_shift
        entry = tables.huge.get(block)
        if entry is not None:
            if (not write or entry.flags & PTE_WRITE) and (hardware or entry.flags & needed == needed):
                entry.flags |= needed
                # an entry that maps a block lies within one mapping
                offset += -(-((block + 1 << g.pmd_shift) - addr) // step) * step
                continue
        else:
            table = tables.ptes.get(block)
            pte = table.get(addr >> g.page_shift) if table else None
            allowed = pte is not None and pte.folio is not None and (not write or pte.flags & PTE_WRITE)
            if pte is not None and allowed and (hardware or pte.flags & needed == needed):
                pte.flags |= needed
                offset += step
                continue
        handle_mm_fault(task, vma, addr, write)
        offset += step
    return looked
