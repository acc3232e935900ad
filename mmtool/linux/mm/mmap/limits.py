"""Limits on locked memory: can_do_mlock() of mm/mlock.c and mlock_future_ok() of mm/mmap.c. 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import VM_LOCKED


def can_do_mlock(task: Task) -> bool:
    """can_do_mlock(): RLIMIT_MEMLOCK is not 0, or the task is privileged."""
    return task.rlimit("MEMLOCK") != 0 or task.privileged


def mlock_future_ok(task: Task, flags: int, length: int) -> bool:
    """mlock_future_ok(): may `length` bytes more be locked, if the flags lock them?"""
    if not flags & VM_LOCKED or task.privileged:
        return True
    shift = task.sys.page_shift
    return task.mm.locked_vm + (length >> shift) <= task.rlimit("MEMLOCK") >> shift
