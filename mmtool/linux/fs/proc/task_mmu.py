"""A process as /proc/PID/smaps, status and pagemap show it: fs/proc/task_mmu.c. Sizes in KiB; 5.10 to 7.3."""

from __future__ import annotations

from collections import Counter

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
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY

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


def smap(task: Task, vma: Vma) -> Smap:
    """One row of smaps, with its pages."""
    offset = vma.pgoff << task.sys.page_shift if vma.file is not None else 0
    row = Smap(vma.start, vma.end, perms(vma), offset, vma_name(task, vma), " ".join(_flags(task, vma)))
    tables = task.mm.tables
    g = tables.geometry
    per_block = 1 << (g.pmd_shift - g.page_shift)
    page_kib = g.page_size >> 10
    unit = g.page_size << PSS_SHIFT
    first_page, count = vma.start >> g.page_shift, (vma.end - vma.start) >> g.page_shift
    locked = bool(vma.flags & VM_LOCKED)
    pss = rss = anon = private = lazyfree = 0
    runs: list[tuple[int, int, str]] = []
    for n in tables.blocks(vma.start, vma.end):
        entry = tables.huge.get(n)
        if entry is not None:
            folio = entry.folio
            base = n * per_block - first_page
            runs.append((base, per_block, {"a": "t", "f": "t", "Z": "Z", "h": "h"}[folio.kind]))
            if folio.kind == "h":
                row.hugetlb += per_block * page_kib
            elif folio is not HUGE_ZERO:
                rss += per_block
                if folio.kind == "a":
                    row.anon_huge += per_block * page_kib
                    anon += per_block
                    if folio.lazyfree and not entry.flags & PTE_DIRTY:
                        lazyfree += per_block
                else:
                    row.shmem_huge += per_block * page_kib
                if folio.mapcounts or folio.entire > 1:
                    # pages that are mapped alike have alike shares
                    alone = Counter(folio.mapcounts.values())
                    alone[0] += per_block - len(folio.mapcounts)
                    private += sum(n for more, n in alone.items() if folio.entire + more < 2)
                    pss += sum(unit // (folio.entire + more) * n for more, n in alone.items() if n)
                else:
                    private += per_block
                    # one unsigned long in the kernel: on 32 bits a huge page's share is lost
                    pss += unit * per_block & task.kernel_mask
            continue
        table = tables.ptes[n]
        lo, hi = max(n * per_block, first_page), min((n + 1) * per_block, first_page + count)
        if hi - lo == per_block:
            keys = sorted(table)
        elif hi - lo < len(table):
            keys = [p for p in range(lo, hi) if p in table]
        else:
            keys = sorted(p for p in table if lo <= p < hi)
        start = end = -1
        kind = ""
        for p in keys:
            pte = table[p]
            page_folio = pte.folio
            # a guard's mark is neither present nor none, as a swap entry is
            k = "s" if page_folio is None else "t" if page_folio.order else page_folio.kind
            if p != end or k != kind:
                if kind:
                    runs.append((start - first_page, end - start, kind))
                start, kind = p, k
            end = p + 1
            if page_folio is None or page_folio is ZERO_PAGE or page_folio is VVAR_PAGE:
                continue
            rss += 1
            mapped = page_folio.page_mapcount(pte.sub) if page_folio.order else page_folio.mapcount
            if mapped < 2:
                private += 1
                pss += unit
            else:
                pss += unit // mapped
            if page_folio.kind == "a":
                anon += 1
                if page_folio.lazyfree and not pte.flags & PTE_DIRTY:
                    lazyfree += 1
        if kind:
            runs.append((start - first_page, end - start, kind))
    row.rss, row.anon = rss * page_kib, anon * page_kib
    row.private, row.lazyfree = private * page_kib, lazyfree * page_kib
    row.pss = pss >> (10 + PSS_SHIFT)
    if locked:
        row.locked = pss >> (10 + PSS_SHIFT)
    row.thp_eligible = int(thp_eligible(task, vma))
    if not row.name.startswith("[v"):
        row.pages = _text(runs) if count <= LARGEST_LISTED else "?"
    return row


def _text(runs: list[tuple[int, int, str]]) -> str:
    """Runs as text; neighbours of a kind are one."""
    merged: list[list[int | str]] = []
    for first, count, kind in runs:
        if merged and merged[-1][2] == kind and int(merged[-1][0]) + int(merged[-1][1]) == first:
            merged[-1][1] = int(merged[-1][1]) + count
        else:
            merged.append([first, count, kind])
    return ",".join(f"{first}+{count}{kind}" for first, count, kind in merged)


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
