"""A process as /proc/PID/smaps, status and pagemap show it: fs/proc/task_mmu.c. Sizes in KiB; 5.10 to 7.3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mmtool.late import dataclass
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.huge_memory import thp_eligible
from mmtool.linux.mm.mmap.mm_types import (
    HUGE_ZERO,
    VM_ACCOUNT,
    VM_DENYWRITE,
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_DROPPABLE,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_LOCKONFAULT,
    VM_MAYBE_GUARD,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_SYNC,
    VM_WIPEONFORK,
    VM_WRITE,
    VVAR_PAGE,
    ZERO_PAGE,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, HugePmd, Pte

MNEMONICS = {
    "rd": VM_READ, "wr": VM_WRITE, "ex": VM_EXEC, "sh": VM_SHARED, "mr": VM_MAYREAD, "mw": VM_MAYWRITE,
    "me": VM_MAYEXEC, "ms": VM_MAYSHARE, "gd": VM_GROWSDOWN, "pf": VM_PFNMAP, "lo": VM_LOCKED, "io": VM_IO,
    "sr": VM_SEQ_READ, "rr": VM_RAND_READ, "dc": VM_DONTCOPY, "de": VM_DONTEXPAND, "lf": VM_LOCKONFAULT,
    "ac": VM_ACCOUNT, "nr": VM_NORESERVE, "ht": VM_HUGETLB, "sf": VM_SYNC, "wf": VM_WIPEONFORK, "dd": VM_DONTDUMP,
    "sd": VM_SOFTDIRTY, "mm": VM_MIXEDMAP, "hg": VM_HUGEPAGE, "nh": VM_NOHUGEPAGE, "mg": VM_MERGEABLE,
    "dp": VM_DROPPABLE, "sl": VM_SEALED, "gu": VM_MAYBE_GUARD, "dw": VM_DENYWRITE,
}  # fmt: skip
"""VmFlags' two letters (show_smap_vma_flags())."""
PSS_SHIFT = 12
LARGEST_LISTED = 32768
"""Pages of a mapping up to which its pages are listed."""


@dataclass(slots=True)
class Smap:
    """A row of smaps, and the pages that pagemap and kpageflags would show, as runs of "FIRST+COUNT KIND"."""

    start: int
    end: int
    perms: str
    offset: int
    name: str
    flags: str
    rss: int = 0
    anon: int = 0
    anon_huge: int = 0
    shmem_huge: int = 0
    hugetlb: int = 0
    lazyfree: int = 0
    pss: int = 0
    locked: int = 0
    private: int = 0
    thp_eligible: int = 0
    pages: str = ""


def vma_name(task: Task, vma: Vma) -> str:
    """What show_map_vma() prints behind a mapping: a path, a special name, [heap], [stack] or nothing."""
    if vma.file is not None:
        return vma.file.inode.name
    if vma.special:
        return vma.special
    mm = task.mm
    if task.sys.facts.heap_is_strict:
        heap = vma.start < mm.brk and vma.end > mm.start_brk
    else:
        heap = vma.start <= mm.brk and vma.end >= mm.start_brk
    if heap:
        return "[heap]"
    return "[stack]" if vma.start <= mm.start_stack <= vma.end else ""


def perms(vma: Vma) -> str:
    """The four letters of a row of maps."""
    f = vma.flags
    return (
        ("r" if f & VM_READ else "-") + ("w" if f & VM_WRITE else "-") + ("x" if f & VM_EXEC else "-")
        + ("s" if f & VM_MAYSHARE else "p")
    )  # fmt: skip


def flag_names(vma: Vma) -> list[str]:
    """The flags that have two letters."""
    return [name for name, bit in MNEMONICS.items() if vma.flags & bit]


def _flags(task: Task, vma: Vma) -> list[str]:
    """VmFlags as the release prints them."""
    names = flag_names(vma)
    if vma.flags & VM_LOCKONFAULT and not task.sys.facts.smaps_names_lockonfault:
        names[names.index("lf")] = "??"
    return names


@dataclass(slots=True)
class _Sizes:
    """struct mem_size_stats: what the entries of a mapping come to, in pages; `pss` in parts of a byte."""

    unit: int
    """A page's share where nothing else maps it."""
    rss: int = 0
    anon: int = 0
    private: int = 0
    lazyfree: int = 0
    pss: int = 0

    def pmd_entry(self, entry: HugePmd, pages: int, row: Smap, page_kib: int, mask: int) -> None:
        """smaps_pmd_entry(), smaps_hugetlb_range(): a huge page of `pages`; `mask` is the kernel's unsigned long."""
        folio = entry.folio
        if folio.kind == "h":
            row.hugetlb += pages * page_kib
            return
        if folio is HUGE_ZERO:
            return
        self.rss += pages
        if folio.kind == "a":
            row.anon_huge += pages * page_kib
            self.anon += pages
            if folio.lazyfree and not entry.flags & PTE_DIRTY:
                self.lazyfree += pages
        else:
            row.shmem_huge += pages * page_kib
        if folio.mapcounts or folio.entire > 1:
            # pages that are mapped alike have alike shares
            alone = Counter(folio.mapcounts.values())
            alone[0] += pages - len(folio.mapcounts)
            self.private += sum(n for more, n in alone.items() if folio.entire + more < 2)
            self.pss += sum(self.unit // (folio.entire + more) * n for more, n in alone.items() if n)
        else:
            self.private += pages
            # one unsigned long in the kernel: on 32 bits a huge page's share is lost
            self.pss += self.unit * pages & mask

    def pte_entry(self, pte: Pte) -> None:
        """smaps_pte_entry() and smaps_account(): one page."""
        folio = pte.folio
        if folio is None or folio is ZERO_PAGE or folio is VVAR_PAGE:
            return
        self.rss += 1
        mapped = folio.page_mapcount(pte.sub) if folio.order else folio.mapcount
        if mapped < 2:
            self.private += 1
            self.pss += self.unit
        else:
            self.pss += self.unit // mapped
        if folio.kind == "a":
            self.anon += 1
            if folio.lazyfree and not pte.flags & PTE_DIRTY:
                self.lazyfree += 1


def smap(task: Task, vma: Vma) -> Smap:
    """One row of smaps, with its pages."""
    offset = vma.pgoff << task.sys.page_shift if vma.file is not None else 0
    row = Smap(vma.start, vma.end, perms(vma), offset, vma_name(task, vma), " ".join(_flags(task, vma)))
    tables = task.mm.tables
    g = tables.geometry
    per_block, page_kib = 1 << (g.pmd_shift - g.page_shift), g.page_size >> 10
    first_page, count = vma.start >> g.page_shift, (vma.end - vma.start) >> g.page_shift
    sizes, runs = _Sizes(g.page_size << PSS_SHIFT), _Runs()
    for n in tables.blocks(vma.start, vma.end):
        entry = tables.huge.get(n)
        if entry is not None:
            kind = {"a": "t", "f": "t", "Z": "Z", "h": "h"}[entry.folio.kind]
            runs.add(n * per_block - first_page, per_block, kind)
            sizes.pmd_entry(entry, per_block, row, page_kib, task.kernel_mask)
            continue
        table = tables.ptes[n]
        for p in _keys(table, max(n * per_block, first_page), min((n + 1) * per_block, first_page + count)):
            pte = table[p]
            # a guard's mark is neither present nor none, as a swap entry is
            runs.add(p - first_page, 1, "s" if pte.folio is None else "t" if pte.folio.order else pte.folio.kind)
            sizes.pte_entry(pte)
    row.rss, row.anon = sizes.rss * page_kib, sizes.anon * page_kib
    row.private, row.lazyfree = sizes.private * page_kib, sizes.lazyfree * page_kib
    row.pss = sizes.pss >> (10 + PSS_SHIFT)
    if vma.flags & VM_LOCKED:
        row.locked = row.pss
    row.thp_eligible = int(thp_eligible(task, vma))
    if not row.name.startswith("[v"):
        row.pages = str(runs) if count <= LARGEST_LISTED else "?"
    return row


def _keys(table: Mapping[int, Pte], low: int, high: int) -> list[int]:
    """The pages of a table in [low, high), ascending."""
    if high - low < len(table):
        return [p for p in range(low, high) if p in table]
    return sorted(p for p in table if low <= p < high)


class _Runs:
    """Pages by what they are; neighbours of a kind are one run."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, int, str]] = []
        self.first = self.end = 0
        self.kind = ""

    def add(self, first: int, count: int, kind: str) -> None:
        if first != self.end or kind != self.kind:
            if self.kind:
                self.ended.append((self.first, self.end - self.first, self.kind))
            self.first, self.kind = first, kind
        self.end = first + count

    def __str__(self) -> str:
        last = [(self.first, self.end - self.first, self.kind)] if self.kind else []
        return ",".join(f"{first}+{count}{kind}" for first, count, kind in [*self.ended, *last])


def status(task: Task) -> dict[str, int]:
    """The sizes of /proc/PID/status that task_mem() prints, KiB."""
    mm = task.mm
    kib = task.sys.page_shift - 10
    page = task.sys.page_size
    text = (mm.end_code + page - 1 & -page) - (mm.start_code & -page)
    text = min(text, mm.exec_vm << task.sys.page_shift) >> 10
    huge = sum(e.folio.kind == "h" for e in mm.tables.huge.values())
    return {
        "VmSize": mm.total_vm << kib,
        "VmLck": mm.locked_vm << kib,
        "VmData": mm.data_vm << kib,
        "VmStk": mm.stack_vm << kib,
        "VmExe": text,
        "VmLib": (mm.exec_vm << kib) - text,
        "VmPTE": mm.tables.bytes >> 10,
        "HugetlbPages": huge * (task.sys.hugetlb.page_size >> 10),
    }
