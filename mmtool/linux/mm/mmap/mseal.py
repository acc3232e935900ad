"""mseal(): mm/mseal.c. Addresses and lengths in bytes; 6.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import VM_SEALED, Refused
from mmtool.linux.mm.mmap.vma import vma_modify


def do_mseal(task: Task, start: int, length: int) -> None:
    """do_mseal(): all of a range without holes is sealed."""
    mm, page = task.mm, task.sys.page_size
    if not task.sys.facts.has_mseal:
        raise Refused("ENOSYS", "the release has no mseal()")
    if task.sys.arch.kernel_bits == 32:
        raise Refused("ENOSYS", "sealing needs a 64-bit kernel")
    if start & (page - 1):
        raise Refused("EINVAL", "the address is not a page's")
    rounded = length + page - 1 & -page & task.kernel_mask
    if (length and not rounded) or start + rounded > task.kernel_mask + 1:
        raise Refused("EINVAL", "the end wraps")
    end = start + rounded
    at = start
    while at < end:
        vma = mm.vma_at(at)
        if vma is None:
            raise Refused("ENOMEM", f"nothing is mapped at {at:#x}")
        at = vma.end
    at = start
    while at < end:
        vma = mm.vma_at(at)
        assert vma is not None
        prev = vma if at > vma.start else mm.prev_of(vma)
        stop = min(vma.end, end)
        flags = vma.flags | VM_SEALED
        if flags != vma.flags:
            vma = vma_modify(task, prev, vma, at, stop, flags)
            vma.flags |= VM_SEALED
        at = max(stop, vma.end)
