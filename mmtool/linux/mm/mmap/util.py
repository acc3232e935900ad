"""Overcommit: mm/util.c. Counts in pages unless a name says kbytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import SystemMemory, Task
from mmtool.linux.mm.mmap.mm_types import Refused

OVERCOMMIT_GUESS, OVERCOMMIT_ALWAYS, OVERCOMMIT_NEVER = 0, 1, 2


def vm_commit_limit(system: SystemMemory) -> int:
    """vm_commit_limit(): what may be charged with vm.overcommit_memory=2."""
    kib = system.page_shift - 10
    if system.overcommit_kbytes:
        allowed = system.overcommit_kbytes >> kib
    else:
        pool = system.hugetlb
        huge = pool.nr_huge_pages * (pool.page_size >> system.page_shift)
        allowed = (system.totalram - huge) * system.overcommit_ratio // 100
    return allowed + system.total_swap


def vm_unacct_memory(task: Task, pages: int) -> None:
    """vm_unacct_memory(): give `pages` of charge back."""
    task.sys.committed -= pages


def vm_enough_memory(task: Task, pages: int) -> None:
    """__vm_enough_memory(): charge `pages`, or refuse with ENOMEM and charge nothing."""
    system = task.sys
    kib = system.page_shift - 10
    committed = system.committed + pages
    if system.overcommit_memory == OVERCOMMIT_GUESS:
        if pages > system.totalram + system.total_swap:
            raise Refused("ENOMEM", f"{pages} pages are more than all memory and swap (vm.overcommit_memory=0)")
    elif system.overcommit_memory == OVERCOMMIT_NEVER:
        allowed = vm_commit_limit(system)
        if not task.privileged:
            allowed -= system.admin_reserve_kbytes >> kib
        allowed -= min(task.mm.total_vm // 32, system.user_reserve_kbytes >> kib)
        if committed >= allowed:
            raise Refused("ENOMEM", f"the charge would be {committed} pages, {allowed} are allowed")
    system.committed = committed
