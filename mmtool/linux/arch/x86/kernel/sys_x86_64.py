"""Where x86-64 puts a mapping without a fixed address: arch/x86/kernel/sys_x86_64.c. Bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import MAP_32BIT
from mmtool.linux.mm.mmap.unmapped_area import Search, free_at, vm_unmapped_area


def arch_get_unmapped_area(task: Task, addr: int, length: int, flags: int, align: int) -> int | None:
    """arch_get_unmapped_area_topdown() and arch_get_unmapped_area() of x86-64."""
    mm = task.mm
    page = task.sys.page_size
    low32 = bool(flags & MAP_32BIT) and not task.compat
    if mm.topdown and not low32:
        if length > task.task_size:
            return None
        hint = addr & -page
        valid = task.task_size - length >= hint and (hint > task.map_window) == (hint + length > task.map_window)
        if hint and valid and free_at(task, hint, length):
            return hint
        high = mm.mmap_base
        if hint > task.map_window and not task.compat:
            high += task.task_size - task.map_window
        low = task.sys.mmap_min_addr if task.sys.facts.unmapped_area_knows_min_addr else page
        found = vm_unmapped_area(mm, Search(length, max(page, low), high, True, align))
        if found is not None:
            return found
    if low32:
        begin, end = 0x40000000, 0x80000000
    else:
        begin = mm.mmap_legacy_base
        end = task.task_size if task.compat or addr > task.map_window else min(task.map_window, task.task_size)
    if length > end:
        return None
    if addr:
        hint = addr + page - 1 & -page
        if end - length >= hint and free_at(task, hint, length):
            return hint
    return vm_unmapped_area(mm, Search(length, begin, end, False, align))
