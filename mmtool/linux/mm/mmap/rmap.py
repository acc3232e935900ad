"""anon_vmas: how anonymous pages are found, and so which mappings may merge: mm/rmap.c. 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import VM_ACCESS_FLAGS, VM_SOFTDIRTY, AnonVma, Vma


def anon_vma_clone(dst: Vma, src: Vma, *, fork: bool = False) -> None:
    """anon_vma_clone(): `dst` is linked to every anon_vma that `src` is linked to.

    In a fork an anon_vma without a VMA of its own and with one child at most is used again.
    """
    dst.anon_chain = list(src.anon_chain)
    for link in dst.anon_chain:
        link.vmas += 1
    if fork:
        for anon_vma in reversed(dst.anon_chain):
            if dst.anon_vma is None and anon_vma.num_children < 2 and anon_vma.num_active_vmas == 0:
                dst.anon_vma = anon_vma
    elif dst.anon_vma is None:
        dst.anon_vma = src.anon_vma
    if dst.anon_vma is not None:
        dst.anon_vma.num_active_vmas += 1


def unlink_anon_vmas(vma: Vma) -> None:
    """unlink_anon_vmas(): the VMA leaves its anon_vmas; those that nobody is left of go, children first."""
    if vma.anon_vma is not None:
        vma.anon_vma.num_active_vmas -= 1
    for anon_vma in vma.anon_chain:
        anon_vma.vmas -= 1
        if not anon_vma.vmas and anon_vma.parent is not None:
            anon_vma.parent.num_children -= 1
    vma.anon_vma, vma.anon_chain = None, []


def anon_vma_prepare(task: Task, vma: Vma) -> None:
    """__anon_vma_prepare(): the VMA gets an anon_vma before its first anonymous page, a neighbour's if it may share."""
    if vma.anon_vma is not None:
        return
    anon_vma = find_mergeable_anon_vma(task, vma)
    if anon_vma is None:
        anon_vma = AnonVma()
    vma.anon_vma = anon_vma
    vma.anon_chain.insert(0, anon_vma)
    anon_vma.num_active_vmas += 1
    anon_vma.vmas += 1


def find_mergeable_anon_vma(task: Task, vma: Vma) -> AnonVma | None:
    """find_mergeable_anon_vma() of mm/vma.c: the upper neighbour's anon_vma, else the lower one's, if compatible."""
    shift = task.mm.tables.geometry.page_shift
    above, below = task.mm.next_of(vma), task.mm.prev_of(vma)
    if above is not None and _compatible(vma, above, shift) and len(above.anon_chain) == 1:
        return above.anon_vma
    if below is not None and _compatible(below, vma, shift) and len(below.anon_chain) == 1:
        return below.anon_vma
    return None


def _compatible(a: Vma, b: Vma, page_shift: int) -> bool:
    """anon_vma_compatible(): neighbours that differ in nothing but what mprotect() changes."""
    return (
        a.end == b.start and a.file is b.file and not (a.flags ^ b.flags) & ~(VM_ACCESS_FLAGS | VM_SOFTDIRTY)
        and b.pgoff == a.pgoff + ((b.start - a.start) >> page_shift)
    )  # fmt: skip


def anon_vma_fork(vma: Vma, parent: Vma) -> None:
    """anon_vma_fork(): a child's VMA is linked to the parent's anon_vmas and gets one of its own."""
    vma.anon_vma, vma.anon_chain = None, []
    if parent.anon_vma is None:
        return
    anon_vma_clone(vma, parent, fork=True)
    if vma.anon_vma is not None:
        return
    own = AnonVma(parent.anon_vma)
    parent.anon_vma.num_children += 1
    own.num_active_vmas = own.vmas = 1
    vma.anon_vma = own
    vma.anon_chain.append(own)
