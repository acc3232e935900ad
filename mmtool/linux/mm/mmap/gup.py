"""Populating: what mlock(), MAP_POPULATE and MADV_POPULATE fault in (mm/gup.c). 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.memory import handle_mm_fault
from mmtool.linux.mm.mmap.mm_types import (
    VM_ACCESS_FLAGS,
    VM_IO,
    VM_LOCKONFAULT,
    VM_PFNMAP,
    VM_SHARED,
    VM_WRITE,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_WRITE
from mmtool.linux.mm.mmap.signals import Signal


def mm_populate(task: Task, start: int, length: int, *, ignore_errors: bool = True) -> None:
    """__mm_populate(): fault in all pages of [start, start + length); with an error the rest of a VMA is left out."""
    for vma in task.mm.each_from(start, start + length):
        if vma.flags & (VM_IO | VM_PFNMAP):
            continue
        try:
            populate_vma_page_range(task, vma, max(vma.start, start), min(vma.end, start + length))
        except Refused:
            if not ignore_errors:
                raise


def populate_vma_page_range(task: Task, vma: Vma, start: int, end: int) -> None:
    """populate_vma_page_range(): private writable pages as a write would have them, others as a read."""
    if task.sys.facts.populate_drains:
        task.sys.lru_add_drain()
    if vma.flags & VM_LOCKONFAULT:
        return
    if not vma.flags & VM_ACCESS_FLAGS:
        raise Refused("EFAULT", "nothing may be done with the mapping")
    write = vma.flags & (VM_WRITE | VM_SHARED) == VM_WRITE
    fault_in(task, vma, start, end, write)


def fault_in(task: Task, vma: Vma, start: int, end: int, write: bool) -> None:
    """__get_user_pages() for its faults alone: every page that is not there, or not writable where `write` asks."""
    tables = task.mm.tables
    g = tables.geometry
    addr = start
    while addr < end:
        entry = tables.pmd(addr)
        if entry is not None:
            if not write or entry.flags & PTE_WRITE:
                addr = (addr & -g.pmd_size) + g.pmd_size
                continue
        else:
            pte = tables.pte(addr)
            if pte is not None and pte.folio is not None and (not write or pte.flags & PTE_WRITE):
                addr += g.page_size
                continue
        try:
            handle_mm_fault(task, vma, addr, write)
        except Signal as signal:
            raise Refused("EFAULT", signal.why) from None
