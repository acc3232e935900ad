"""Where a mapping without a fixed address goes: vm_unmapped_area() and its callers of mm/mmap.c, mm/vma.c.

Addresses in bytes; a result of None is -ENOMEM. 5.10 to 7.3.
"""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import (
    MAP_FIXED,
    STACK_GUARD_GAP_PAGES,
    VM_GROWSDOWN,
    File,
    Mm,
    Vma,
)

U64 = (1 << 64) - 1


def vm_start_gap(vma: Vma, page_shift: int) -> int:
    """vm_start_gap(): where a mapping begins for its lower neighbour, a stack with its guard gap."""
    if vma.flags & VM_GROWSDOWN:
        return max(vma.start - (STACK_GUARD_GAP_PAGES << page_shift), 0)
    return vma.start


@dataclass
class Search:
    """A vm_unmapped_area_info: the space to search, bottom-up or top-down, and the alignment asked for."""

    length: int
    low: int
    high: int
    topdown: bool = False
    align_mask: int = 0
    align_offset: int = 0


def vm_unmapped_area(mm: Mm, s: Search) -> int | None:
    """vm_unmapped_area(): the lowest or highest gap that holds `length` bytes and the worst of the alignment."""
    length = s.length + s.align_mask
    shift = mm.tables.geometry.page_shift
    if s.topdown and s.high <= s.low:
        return None
    if s.topdown:
        end = s.high
        i = mm.index_after(end - 1) if end else 0
        if i < len(mm.vmas) and mm.vmas[i].start < end:
            end = vm_start_gap(mm.vmas[i], shift)
        elif i < len(mm.vmas):
            end = min(end, vm_start_gap(mm.vmas[i], shift))
        vmas, start = mm.vmas, s.low
        # most of them lie one right below the other
        while i and (below := vmas[i - 1]).end > s.low:
            if end - below.end >= length and end > below.end:
                start = below.end
                break
            if end <= s.low:
                return None
            i -= 1
            end = vm_start_gap(below, shift) if below.flags & VM_GROWSDOWN else below.start
        if end - start < length or end <= start:
            return None
        gap = end - s.length
        return gap - ((gap - s.align_offset) & s.align_mask)
    i = mm.index_after(s.low)
    start = s.low
    while start < s.high:
        end = min(vm_start_gap(mm.vmas[i], shift), s.high) if i < len(mm.vmas) else s.high
        if end - start >= length:
            return start + ((s.align_offset - start) & s.align_mask)
        if i >= len(mm.vmas):
            return None
        start = max(start, mm.vmas[i].end)
        i += 1
    return None


def get_unmapped_area(task: Task, file: File | None, addr: int, length: int, pgoff: int, flags: int) -> int | None:
    """mm_get_unmapped_area(): arch_get_unmapped_area() or its top-down form, as the process's layout says."""
    if flags & MAP_FIXED:
        return addr
    huge = file is not None and file.inode.kind == "hugetlb"
    align = task.sys.hugetlb.page_size - 1 if huge else 0
    return task.sys.arch.get_unmapped_area(task, addr, length, flags, align)


def free_at(task: Task, addr: int, length: int) -> bool:
    """Is [addr, addr + length) free, with the gap below a stack above it?"""
    vma = task.mm.find_vma(addr)
    return vma is None or addr + length <= vm_start_gap(vma, task.sys.page_shift)


def generic_get_unmapped_area(task: Task, addr: int, length: int, align: int) -> int | None:
    """generic_get_unmapped_area() and generic_get_unmapped_area_topdown() (i386, arm64)."""
    mm, page = task.mm, task.sys.page_size
    end = task.task_size if addr > task.map_window else task.map_window
    if length > end - task.sys.mmap_min_addr:
        return None
    if addr:
        hint = addr + page - 1 & -page
        if end - length >= hint >= task.sys.mmap_min_addr and free_at(task, hint, length):
            return hint
    if mm.topdown:
        base = mm.mmap_base + (task.task_size - task.map_window if addr > task.map_window else 0)
        found = vm_unmapped_area(mm, Search(length, max(page, task.sys.mmap_min_addr), base, True, align))
        if found is not None:
            return found
        return vm_unmapped_area(mm, Search(length, mm.mmap_legacy_base, end, False, align))
    return vm_unmapped_area(mm, Search(length, mm.mmap_base, end, False, align))


def thp_get_unmapped_area(task: Task, addr: int, length: int, pgoff: int, flags: int, file: File | None) -> int | None:
    """thp_get_unmapped_area(): look for room to align to a huge page, and take it without where there is none."""
    size = task.mm.tables.geometry.pmd_size
    off = pgoff << task.sys.page_shift
    aligned = off + size - 1 & -size
    if task.word_bits == 64 and off + length - aligned >= size:
        found = get_unmapped_area(task, file, addr, length + size, pgoff, flags)
        if found is not None:
            if found == addr:
                return addr
            rest = (off - found) & (size - 1)
            if task.mm.topdown and not rest and task.sys.facts.thp_aligns_to_top:
                return found + size
            return found + rest
    return get_unmapped_area(task, file, addr, length, pgoff, flags)
