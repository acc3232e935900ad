"""Merging of equal pages: mm/ksm.c, one full scan at a time. 5.10 to 7.3.

What a page holds is a value that equals another's where the bytes do (`Contents`). One node, no page shared so often
that the stable tree needs chains; pages are not skipped for having failed before (smart scan).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.memory import do_wp_page
from mmtool.linux.mm.mmap.mm_types import VM_MERGEABLE, VM_WRITE, Folio, Vma
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_WRITE, Pte

Contents = dict[Folio, Hashable]
"""What each page of a folio that somebody wrote to holds."""


@dataclass
class Ksmd:
    """ksmd's memory: the processes it knows in order, checksums of earlier scans, and the stable tree."""

    tasks: list[Task] = field(default_factory=list)
    checksums: dict[tuple[int, int], Hashable] = field(default_factory=dict)
    stable: dict[Hashable, Folio] = field(default_factory=dict)

    def enter(self, task: Task) -> None:
        """__ksm_enter(): a process with mergeable memory is looked at from now on."""
        if task not in self.tasks:
            self.tasks.append(task)

    def exit(self, task: Task) -> None:
        """__ksm_exit()."""
        if task in self.tasks:
            self.tasks.remove(task)


def scan(ksmd: Ksmd, contents: Contents) -> None:
    """A full scan: every anonymous page of every mergeable mapping, process by process, in address order."""
    unstable: dict[Hashable, tuple[Task, Pte, Folio]] = {}
    for task in list(ksmd.tasks):
        shift = task.sys.page_shift
        for vma in task.mm.vmas:
            if not vma.flags & VM_MERGEABLE or vma.anon_vma is None:
                continue
            for page, pte in list(task.mm.tables.entries(vma.start, vma.end)):
                if pte.folio is not None and pte.folio.kind == "a" and not pte.folio.order:
                    cmp_and_merge_page(ksmd, contents, unstable, task, page << shift, pte)


def cmp_and_merge_page(
    ksmd: Ksmd, contents: Contents, unstable: dict[Hashable, tuple[Task, Pte, Folio]], task: Task, addr: int, pte: Pte
) -> None:
    """cmp_and_merge_page(): with a stable page; else, if unchanged since the last scan, with one of the same scan."""
    folio = pte.folio
    assert folio is not None
    if folio.ksm:
        return
    holds = contents.get(folio)
    stable = ksmd.stable.get(holds)
    if stable is not None and stable.mapcount:
        replace_page(task, pte, stable)
        return
    if ksmd.checksums.get((id(task), addr), unstable) != holds:
        ksmd.checksums[id(task), addr] = holds
        return
    found = unstable.get(holds)
    if found is None:
        unstable[holds] = (task, pte, folio)
        return
    other_task, other_pte, other = found
    if other is folio or other_pte.folio is not other:
        return
    folio.ksm = True
    folio.exclusive.clear()
    pte.flags &= ~(PTE_WRITE | PTE_DIRTY)
    ksmd.stable[holds] = folio
    del unstable[holds]
    replace_page(other_task, other_pte, folio)


def replace_page(task: Task, pte: Pte, ksm_page: Folio) -> None:
    """replace_page(): the entry maps the shared page, read only, in place of its own."""
    assert pte.folio is not None
    pte.folio.remove_rmap(pte.sub, task.mm)
    ksm_page.add_rmap(0, task.mm)
    pte.folio, pte.sub = ksm_page, 0
    pte.flags &= ~(PTE_WRITE | PTE_DIRTY)


def unmerge_ksm_pages(task: Task, vma: Vma, contents: Contents) -> None:
    """unmerge_ksm_pages(): every shared page of a mapping gets a copy of its own, as if it were written."""
    for page, pte in list(task.mm.tables.entries(vma.start, vma.end)):
        if pte.folio is not None and pte.folio.ksm:
            before = pte.folio
            do_wp_page(task, vma, page << task.sys.page_shift, pte)
            if not vma.flags & VM_WRITE:
                pte.flags &= ~PTE_WRITE
            contents[pte.folio] = contents.get(before)
