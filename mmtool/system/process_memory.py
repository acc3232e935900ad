"""Where a process's pages come from: the page allocator of a booted system, asked as they come and given back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.kernel.fork import exit_mmap
from mmtool.linux.mm.mmap.mm_types import Folio, Inode
from mmtool.linux.mm.vmstat import zone_page_state_snapshot
from mmtool.system.process import Process
from mmtool.system.system import System

PAGE = "GFP_HIGHUSER_MOVABLE"
LARGE = "GFP_TRANSHUGE_LIGHT"
TABLE = "GFP_KERNEL|__GFP_ZERO"
COUNTED = {"a": "anonymous", "f": "of files", "t": "page tables"}


@dataclass
class Backing:
    """The blocks of a system that a process and its child hold.

    Compared step by step with what is there: a large folio that has been split has new pages afterwards. What a file
    held before the process began, huge pages of the pool and the zero pages are not the process's.
    """

    system: System
    folios: dict[Folio, int] = field(default_factory=dict)
    """The first page of each folio."""
    tables: list[int] = field(default_factory=list)
    refused: int = 0
    """How many blocks the system did not have; there the OOM killer would come."""
    free: list[list[int]] = field(default_factory=list)
    """Free pages of every zone at the begin and whenever `note` was called."""

    def note(self) -> None:
        """Keep how many pages are free, those on the lists of the CPUs too."""
        self.free.append(
            [
                zone_page_state_snapshot(zone) + sum(pcp.count for pcp in zone.per_cpu_pageset.values())
                for zone in self.system.zones()
            ]
        )

    def follow(self, process: Process) -> None:
        """Take and give back what the process has got and lost since the last time."""
        members = [p for p in (process, process.child) if p is not None]
        now = dict.fromkeys(_folios(members))
        for folio in [f for f in self.folios if f not in now]:
            self.system.free_pages(self.folios.pop(folio), folio.order)
        tables = sum(p.task.mm.tables.count for p in members)
        while len(self.tables) > tables:
            self.system.free_pages(self.tables.pop(), 0)
        parse = self.system.gfp.parse
        while len(self.tables) < tables and (pfn := self._take(parse(TABLE), 0)) is not None:
            self.tables.append(pfn)
        for folio in now:
            if folio not in self.folios:
                pfn = self._take(parse(LARGE if folio.order else PAGE), folio.order)
                if pfn is not None:
                    self.folios[folio] = pfn

    def _take(self, gfp: int, order: int) -> int | None:
        pfn = self.system.alloc_pfn(gfp, order)
        self.refused += pfn is None
        return pfn

    def exit(self, process: Process) -> None:
        """The process and its child end, and with them the files that they made."""
        for member in (process.child, process):
            if member is not None:
                exit_mmap(member.task)
        for folio, pfn in self.folios.items():
            self.system.free_pages(pfn, folio.order)
        for pfn in self.tables:
            self.system.free_pages(pfn, 0)
        self.folios, self.tables = {}, []

    def pages(self) -> dict[str, int]:
        """How many pages are held, by what they are for."""
        answer = dict.fromkeys(COUNTED.values(), 0)
        for folio in self.folios:
            answer[COUNTED[folio.kind]] += 1 << folio.order
        answer[COUNTED["t"]] = len(self.tables)
        return answer


def _folios(members: Iterable[Process]) -> Iterator[Folio]:
    """The folios that processes and their files hold and that are not another's."""
    inodes: dict[Inode, None] = {}
    for process in members:
        inodes |= dict.fromkeys(file.inode for file in process.files.values())
        inodes |= dict.fromkeys(vma.file.inode for vma in process.task.mm.vmas if vma.file is not None)
    old = {
        folio for inode in inodes for index, folio in inode.pages.items() if index < inode.prefilled or _other(inode)
    }
    for inode in inodes:
        yield from (folio for folio in inode.pages.values() if folio not in old and folio.kind in COUNTED)
    for process in members:
        tables = process.task.mm.tables
        for table in tables.ptes.values():
            for entry in table.values():
                if entry.folio is not None and entry.folio.kind in COUNTED and entry.folio not in old:
                    yield entry.folio
        yield from (entry.folio for entry in tables.huge.values() if entry.folio.kind in COUNTED)


def _other(inode: Inode) -> bool:
    return inode.kind in ("exe", "hugetlb")
