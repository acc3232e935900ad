"""madvise(): mm/madvise.c. Addresses and lengths in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import huge_memory, madvise_collapse
from mmtool.linux.mm.mmap.gup import fault_in
from mmtool.linux.mm.mmap.memory import unmap_file_range, zap_range
from mmtool.linux.mm.mmap.mm_types import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_DROPPABLE,
    VM_HUGEPAGE,
    VM_HUGETLB,
    VM_IO,
    VM_LOCKED,
    VM_MAYBE_GUARD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_MERGEABLE,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_PKEY_EXEC_ONLY,
    VM_RAND_READ,
    VM_READ,
    VM_SEALED,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WIPEONFORK,
    VM_WRITE,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.pgtable import PTE_DIRTY, PTE_YOUNG, Pte
from mmtool.linux.mm.mmap.rmap import anon_vma_prepare
from mmtool.linux.mm.mmap.shmem import drop_pages
from mmtool.linux.mm.mmap.vma import vma_modify

FLAGS = {
    "normal": (0, VM_RAND_READ | VM_SEQ_READ), "sequential": (VM_SEQ_READ, VM_RAND_READ),
    "random": (VM_RAND_READ, VM_SEQ_READ), "dontfork": (VM_DONTCOPY, 0), "dofork": (0, VM_DONTCOPY),
    "wipeonfork": (VM_WIPEONFORK, 0), "keeponfork": (0, VM_WIPEONFORK),
    "dontdump": (VM_DONTDUMP, 0), "dodump": (0, VM_DONTDUMP),
    "mergeable": (VM_MERGEABLE, 0), "unmergeable": (0, VM_MERGEABLE),
    "hugepage": (VM_HUGEPAGE, VM_NOHUGEPAGE), "nohugepage": (VM_NOHUGEPAGE, VM_HUGEPAGE),
}  # fmt: skip
"""Advice that is kept in a mapping's flags: what it sets and what it clears."""
OTHERS = ("willneed", "dontneed", "free", "remove", "cold", "pageout")
DISCARDS = ("free", "dontneed", "dontneed_locked", "remove", "dontfork", "wipeonfork", "guard_install")


def known(task: Task, advice: str) -> bool:
    """madvise_behavior_valid(): does the release know the advice?"""
    facts = task.sys.facts
    if advice in ("populate_read", "populate_write"):
        return bool(facts.has_populate)
    if advice == "dontneed_locked":
        return bool(facts.has_dontneed_locked)
    if advice == "collapse":
        return bool(facts.has_collapse and task.sys.has_thp)
    if advice in ("guard_install", "guard_remove"):
        return bool(facts.has_guards)
    if advice in ("hugepage", "nohugepage"):
        return task.sys.has_thp
    return advice in FLAGS or advice in OTHERS


def do_madvise(task: Task, start: int, length: int, advice: str) -> None:
    """do_madvise(): the checks, then every mapping of the range; holes are ENOMEM in the end, not at once."""
    mm, page = task.mm, task.sys.page_size
    if not known(task, advice):
        raise Refused("EINVAL", f"the release does not know MADV_{advice.upper()}")
    if start & (page - 1):
        raise Refused("EINVAL", "the address is not a page's")
    rounded = length + page - 1 & -page & task.kernel_mask
    if (length and not rounded) or start + rounded > task.kernel_mask + 1:
        raise Refused("EINVAL", "the end wraps")
    end = start + rounded
    if end == start:
        return
    facts = task.sys.facts
    if facts.has_mseal and not facts.seals_checked_one_by_one and advice in DISCARDS:
        for other in mm.each_from(start, end):
            if other.flags & VM_SEALED and other.is_anonymous and not other.flags & VM_WRITE:
                raise Refused("EPERM", f"the mapping at {other.start:#x} is sealed and may not be written")
    if advice in ("populate_read", "populate_write") and facts.populate_stops_at_holes:
        _populate(task, start, end, advice)
        return
    prev: Vma | None
    vma, prev = mm.find_vma_prev(start)
    if vma is not None and start > vma.start:
        prev = vma
    hole = ""
    while True:
        if vma is None:
            raise Refused("ENOMEM", f"nothing is mapped at or above {start:#x}")
        if start < vma.start:
            hole = f"nothing is mapped at {start:#x}"
            start = vma.start
            if start >= end:
                break
        stop = min(vma.end, end)
        try:
            vma = madvise_vma_behavior(task, prev, vma, start, stop, advice)
        except Refused as refusal:
            if refusal.name == "ENOMEM" and advice in FLAGS:
                raise Refused("EAGAIN", refusal.why) from None
            raise
        prev, start = vma, max(stop, vma.end)
        if start >= end:
            break
        vma = mm.find_vma(vma.end)
    if hole:
        raise Refused("ENOMEM", hole)


def madvise_vma_behavior(task: Task, prev: Vma | None, vma: Vma, start: int, end: int, advice: str) -> Vma:
    """madvise_vma_behavior(): one mapping; returns it, or what it was merged into."""
    if vma.flags & VM_SEALED and advice in DISCARDS and vma.is_anonymous and not vma.flags & VM_WRITE:
        raise Refused("EPERM", f"the mapping at {vma.start:#x} is sealed and may not be written")
    if advice in FLAGS:
        return _change_flags(task, prev, vma, start, end, advice)
    if advice in ("dontneed", "dontneed_locked", "free"):
        _dontneed_free(task, vma, start, end, advice)
    elif advice in ("populate_read", "populate_write"):
        _populate(task, start, end, advice)
    elif advice in ("cold", "pageout"):
        if vma.flags & (VM_LOCKED | VM_PFNMAP | VM_HUGETLB):
            raise Refused("EINVAL", "locked, special or hugetlb memory")
        task.sys.lru_add_drain()
        _cold(task, start, end)
    elif advice == "willneed":
        task.sys.lru_add_drain()
    elif advice == "remove":
        _remove(task, vma, start, end)
    elif advice == "collapse":
        madvise_collapse.madvise_collapse(task, vma, start, end)
    elif advice == "guard_install":
        _guard_install(task, vma, start, end)
    elif advice == "guard_remove":
        if vma.flags & (VM_SPECIAL | VM_HUGETLB):
            raise Refused("EINVAL", "no guards in special or hugetlb memory")
        _guard_remove(task, start, end)
    return vma


def _change_flags(task: Task, prev: Vma | None, vma: Vma, start: int, end: int, advice: str) -> Vma:
    """The advice that changes flags: what may not be, then madvise_update_vma()."""
    flags = vma.flags
    sets, clears = FLAGS[advice]
    if advice == "dofork" and flags & (VM_SPECIAL if task.sys.facts.dofork_refuses_special else VM_IO):
        raise Refused("EINVAL", "a special mapping is never copied")
    if advice == "wipeonfork" and (vma.file is not None or flags & VM_SHARED):
        raise Refused("EINVAL", "only private anonymous memory is wiped")
    if advice == "keeponfork" and flags & VM_DROPPABLE:
        raise Refused("EINVAL", "droppable memory is always wiped")
    if advice == "dodump" and ((not flags & VM_HUGETLB and flags & VM_SPECIAL) or flags & VM_DROPPABLE):
        raise Refused("EINVAL", "a special mapping is never dumped")
    if advice == "mergeable":
        never = VM_MERGEABLE | VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_HUGETLB | VM_MIXEDMAP
        if flags & (never | VM_DROPPABLE):
            sets = 0
    new = flags & ~clears | sets
    if new == flags:
        return vma
    vma = vma_modify(task, prev, vma, start, end, new)
    vma.flags = new | (vma.flags & task.sys.facts_sticky)
    return vma


def _dontneed_free(task: Task, vma: Vma, start: int, end: int, advice: str) -> None:
    """madvise_dontneed_free()."""
    if vma.flags & VM_HUGETLB:
        size = task.sys.hugetlb.page_size
        if not task.sys.facts.hugetlb_dontneed or advice == "free" or start & (size - 1):
            raise Refused("EINVAL", "hugetlb memory")
        end = end & -size
        if start >= end:
            return
    else:
        forbidden = VM_PFNMAP | (0 if advice == "dontneed_locked" else VM_LOCKED)
        if vma.flags & forbidden:
            raise Refused("EINVAL", "locked or special memory")
    task.sys.lru_add_drain()
    if advice != "free":
        zap_range(task, vma, start, end, reclaim=task.sys.pt_reclaim)
        return
    if not vma.is_anonymous:
        raise Refused("EINVAL", "not anonymous memory")
    _free(task, start, end)


def _free(task: Task, start: int, end: int) -> None:
    """madvise_free_pte_range(): pages that are the process's alone become clean and lazily freed."""
    tables = task.mm.tables
    g = tables.geometry
    for n in list(tables.blocks(start, end)):
        entry, base = tables.huge.get(n), n << g.pmd_shift
        if entry is None or entry.folio.kind != "a":
            continue
        if start <= base and base + g.pmd_size <= end:
            if entry.folio.entire + entry.folio.mapcount == 1:
                entry.flags &= ~(PTE_DIRTY | PTE_YOUNG)
                task.sys.folio_mark_lazyfree(entry.folio)
        elif entry.folio.entire + entry.folio.mapcount == 1:
            huge_memory.split_folio(task, entry.folio, base)
    for page, pte in list(tables.entries(start, end)):
        folio = pte.folio
        if folio is None or folio.kind != "a":
            continue
        if folio.order and _mapped_within(folio.order, pte.sub, page, start >> g.page_shift, end >> g.page_shift):
            if len(folio.mms) > 1:
                continue
        elif folio.order:
            if len(folio.mms) > 1 or folio.entire:
                continue
            huge_memory.split_folio_ptes(task, folio, page - pte.sub)
            folio = pte.folio
            assert folio is not None
        if folio.mapcount != 1 << folio.order and not folio.lazyfree:
            continue
        pte.flags &= ~(PTE_DIRTY | PTE_YOUNG)
        if not folio.lazyfree and folio not in task.sys.lazyfree_batch:
            task.sys.folio_mark_lazyfree(folio)


def _mapped_within(order: int, sub: int, page: int, first: int, last: int) -> bool:
    return first <= page - sub and page - sub + (1 << order) <= last


def _populate(task: Task, start: int, end: int, advice: str) -> None:
    """madvise_populate()."""
    task.sys.lru_add_drain()
    write = advice == "populate_write"
    at = start
    while at < end:
        vma = task.mm.vma_at(at)
        if vma is None:
            raise Refused("ENOMEM", f"nothing is mapped at {at:#x}")
        needed = VM_WRITE if write else VM_READ
        if vma.flags & (VM_IO | VM_PFNMAP | VM_PKEY_EXEC_ONLY) or not vma.flags & needed:
            raise Refused("EINVAL", f"the mapping at {vma.start:#x} may not be {'written' if write else 'read'}")
        fault_in(task, vma, at, min(vma.end, end), write)
        at = vma.end


def _cold(task: Task, start: int, end: int) -> None:
    """madvise_cold_or_pageout_pte_range(): without swap pages stay; a huge page of which a part is meant is split."""
    tables = task.mm.tables
    g = tables.geometry
    for n in list(tables.blocks(start, end)):
        entry, base = tables.huge.get(n), n << g.pmd_shift
        if entry is None or entry.folio.kind != "a" or (start <= base and base + g.pmd_size <= end):
            continue
        if entry.folio.entire + entry.folio.mapcount == 1:
            huge_memory.split_folio(task, entry.folio, base)


def _remove(task: Task, vma: Vma, start: int, end: int) -> None:
    """madvise_remove(): a hole is punched into the file."""
    if vma.flags & VM_LOCKED:
        raise Refused("EINVAL", "locked memory")
    if vma.file is None or vma.special:
        raise Refused("EINVAL", "not a mapping of a file")
    if vma.flags & (VM_SHARED | VM_MAYWRITE) != VM_SHARED | VM_MAYWRITE:
        raise Refused("EACCES", "not a shared mapping that may be written")
    inode = vma.file.inode
    if not inode.is_shmem:
        raise Refused("EOPNOTSUPP", "the file system punches no holes")
    shift = task.sys.page_shift
    first = vma.pgoff + ((start - vma.start) >> shift)
    last = first + ((end - start) >> shift) - 1
    unmap_file_range(task, inode, first, last, even_cows=False)
    drop_pages(task, inode, first, last)


def _guard_remove(task: Task, start: int, end: int) -> None:
    """madvise_guard_remove(): the marks go."""
    tables, shift = task.mm.tables, task.sys.page_shift
    for n in list(tables.blocks(start, end)):
        table = tables.ptes.get(n, {})
        for p in [p for p, e in table.items() if e.folio is None and start >> shift <= p < end >> shift]:
            del table[p]


def _guard_install(task: Task, vma: Vma, start: int, end: int) -> None:
    """madvise_guard_install(): the range is emptied and every page of it marked."""
    facts = task.sys.facts
    bad = VM_SPECIAL | VM_HUGETLB | VM_LOCKED
    if vma.flags & bad or (not vma.is_anonymous and not facts.guards_in_files):
        raise Refused("EINVAL", "no guards in special, locked or hugetlb memory")
    if not facts.guards_in_files and vma.flags & (VM_MAYWRITE | VM_WRITE) != VM_MAYWRITE | VM_WRITE:
        raise Refused("EINVAL", "the mapping may not be written")
    if facts.has_sticky_flags:
        vma.flags |= VM_MAYBE_GUARD
    if vma.is_anonymous:
        anon_vma_prepare(task, vma)
    zap_range(task, vma, start, end)
    g = task.mm.tables.geometry
    for page in range(start >> g.page_shift, end >> g.page_shift):
        table = task.mm.tables.alloc_pte(page << g.page_shift)
        if page not in table:
            table[page] = Pte(None, 0, 0)
