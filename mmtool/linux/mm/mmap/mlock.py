"""Locked memory: mm/mlock.c. Addresses and lengths in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.gup import mm_populate
from mmtool.linux.mm.mmap.limits import can_do_mlock
from mmtool.linux.mm.mmap.mm_types import (
    VM_DROPPABLE,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_SPECIAL,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.vma import vma_modify

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


def _mlock_fixup(task: Task, prev: Vma | None, vma: Vma, start: int, end: int, flags: int) -> Vma:
    """mlock_fixup(): [start, end) of a VMA gets new lock flags; returns the VMA that holds it then."""
    old = vma.flags
    if flags == old or old & (VM_SPECIAL | VM_HUGETLB | VM_DROPPABLE):
        return vma
    vma = vma_modify(task, prev, vma, start, end, flags)
    pages = (end - start) >> task.sys.page_shift
    if not flags & VM_LOCKED:
        pages = -pages
    elif old & VM_LOCKED:
        pages = 0
    task.mm.locked_vm += pages
    if pages and task.sys.facts.populate_drains:
        task.sys.lru_add_drain()
    vma.flags = flags
    return vma


def apply_vma_lock_flags(task: Task, start: int, length: int, flags: int) -> None:
    """apply_vma_lock_flags(): VMA by VMA; a hole stops it with ENOMEM, and what was done stays done."""
    mm, end = task.mm, start + length
    if end < start:
        raise Refused("EINVAL", "the end wraps")
    if end == start:
        return
    vma = mm.vma_at(start)
    if vma is None:
        raise Refused("ENOMEM", f"nothing is mapped at {start:#x}")
    prev = vma if start > vma.start else mm.prev_of(vma)
    at = start
    while True:
        stop = min(vma.end, end)
        prev = _mlock_fixup(task, prev, vma, at, stop, vma.flags & ~VM_LOCKED_MASK | flags)
        at = max(stop, prev.end)
        if at >= end:
            return
        following = mm.find_vma(prev.end)
        if following is None or following.start != at:
            raise Refused("ENOMEM", f"nothing is mapped at {at:#x}")
        vma = following


def do_mlock(task: Task, start: int, length: int, flags: int) -> None:
    """do_mlock(): RLIMIT_MEMLOCK, the flags, then all pages are faulted in."""
    mm, page = task.mm, task.sys.page_size
    if not can_do_mlock(task):
        raise Refused("EPERM", "RLIMIT_MEMLOCK is 0")
    length = length + (start & (page - 1)) + page - 1 & -page & task.kernel_mask
    start &= -page
    limit = task.rlimit("MEMLOCK") // page
    locked = length // page + mm.locked_vm
    if locked > limit and not task.privileged:
        locked -= sum(
            (min(v.end, start + length) - max(v.start, start)) // page
            for v in mm.each_from(start, start + length)
            if v.flags & VM_LOCKED
        )
    if locked > limit and not task.privileged:
        raise Refused("ENOMEM", f"RLIMIT_MEMLOCK: {locked} pages would be locked, {limit} may be")
    apply_vma_lock_flags(task, start, length, flags)
    try:
        mm_populate(task, start, length, ignore_errors=False)
    except Refused as refusal:
        name = {"EFAULT": "ENOMEM", "ENOMEM": "EAGAIN"}.get(refusal.name, refusal.name)
        raise Refused(name, refusal.why) from None


def munlock(task: Task, start: int, length: int) -> None:
    """munlock(2)."""
    page = task.sys.page_size
    length = length + (start & (page - 1)) + page - 1 & -page & task.kernel_mask
    apply_vma_lock_flags(task, start & -page, length, 0)


def apply_mlockall_flags(task: Task, flags: int) -> None:
    """apply_mlockall_flags(): what later mappings get, and all that are there."""
    mm = task.mm
    mm.def_flags &= ~VM_LOCKED_MASK
    lock = VM_LOCKED | (VM_LOCKONFAULT if flags & MCL_ONFAULT else 0)
    if flags & MCL_FUTURE:
        mm.def_flags |= lock
        if not flags & MCL_CURRENT:
            return
    add = lock if flags & MCL_CURRENT else 0
    prev: Vma | None = None
    vma = mm.find_vma(0)
    while vma is not None:
        try:
            prev = _mlock_fixup(task, prev, vma, vma.start, vma.end, vma.flags & ~VM_LOCKED_MASK | add)
        except Refused:
            prev = vma
        vma = mm.find_vma(prev.end)


def mlockall(task: Task, flags: int) -> None:
    """mlockall(2)."""
    if not flags or flags == MCL_ONFAULT:
        raise Refused("EINVAL", "neither current nor future mappings")
    if not can_do_mlock(task):
        raise Refused("EPERM", "RLIMIT_MEMLOCK is 0")
    limit = task.rlimit("MEMLOCK") // task.sys.page_size
    if flags & MCL_CURRENT and task.mm.total_vm > limit and not task.privileged:
        raise Refused("ENOMEM", f"RLIMIT_MEMLOCK: {task.mm.total_vm} pages are mapped, {limit} may be locked")
    apply_mlockall_flags(task, flags)
    if flags & MCL_CURRENT:
        mm_populate(task, 0, task.task_size)


def munlockall(task: Task) -> None:
    """munlockall(2)."""
    apply_mlockall_flags(task, 0)
