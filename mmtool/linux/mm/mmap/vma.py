"""Merging, splitting and removing VMAs: mm/vma.c (up to 6.10 mm/mmap.c). Addresses in bytes, offsets in pages."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.hugetlb_vma import hugetlb_vm_op_close
from mmtool.linux.mm.mmap.memory import unmap_vmas, vma_adjust_trans_huge
from mmtool.linux.mm.mmap.mm_types import (
    VM_ACCOUNT,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_MAYBE_GUARD,
    VM_SEALED,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_SPECIAL,
    VM_WRITE,
    File,
    Mm,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.rmap import anon_vma_clone, unlink_anon_vmas
from mmtool.linux.mm.mmap.shmem import fput, get_file
from mmtool.linux.mm.mmap.util import vm_unacct_memory


def is_data_mapping(flags: int) -> bool:
    """is_data_mapping() of mm/internal.h: private, writable and not a stack."""
    return flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN) == VM_WRITE


def vm_stat_account(mm: Mm, flags: int, pages: int) -> None:
    """vm_stat_account(): count `pages` (negative: fewer) as program, stack or data, as their flags say."""
    mm.total_vm += pages
    if flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN) == VM_EXEC:
        mm.exec_vm += pages
    elif flags & VM_GROWSDOWN:
        mm.stack_vm += pages
    elif is_data_mapping(flags):
        mm.data_vm += pages


class Proposal:
    """A range to merge with its neighbours (vma_merge_struct): what it would be if it were a VMA."""

    __slots__ = ("anon_pgoff", "anon_vma", "copied_from", "end", "file", "flags", "middle", "pgoff", "start")

    def __init__(
        self, start: int, end: int, flags: int, pgoff: int, file: File | None,
        *, anon_pgoff: int, middle: Vma | None = None, copied_from: Vma | None = None,
    ) -> None:  # fmt: skip
        self.start, self.end, self.flags, self.pgoff, self.file = start, end, flags, pgoff, file
        self.anon_pgoff = anon_pgoff
        self.middle, self.copied_from = middle, copied_from
        source = middle or copied_from
        self.anon_vma = source.anon_vma if source is not None else None


def why_not_mergeable(task: Task, p: Proposal, vma: Vma, *, after: bool) -> str:
    """Why `vma` (a neighbour) does not take the proposed range; "" if it does. `after`: the range lies above it.

    Models can_vma_merge_after() and can_vma_merge_before() with all that they ask.
    """
    facts = task.sys.facts
    ignored = VM_SOFTDIRTY | (VM_MAYBE_GUARD if facts.has_sticky_flags else 0)
    if (vma.flags ^ p.flags) & ~ignored:
        return "flags differ"
    if vma.file is not p.file:
        return "another file"
    if not _anon_vma_mergeable(task, p, vma):
        return "anon_vma differs"
    shift = task.mm.tables.geometry.page_shift
    if after:
        pages = (vma.end - vma.start) >> shift
        pgoff, wanted = vma.pgoff + pages, p.pgoff
        anon, anon_wanted = vma.anon_pgoff + pages, p.anon_pgoff
    else:
        pages = (p.end - p.start) >> shift
        pgoff, wanted = p.pgoff + pages, vma.pgoff
        anon, anon_wanted = p.anon_pgoff + pages, vma.anon_pgoff
    if pgoff != wanted:
        return "offsets do not run on"
    if facts.has_anon_pgoff and p.file is not None and not p.flags & VM_SHARED and p.flags & 0x20:
        return "" if anon == anon_wanted else "offsets of anonymous pages do not run on"
    return ""


def _anon_vma_mergeable(task: Task, p: Proposal, target: Vma) -> bool:
    if not task.sys.facts.unfaulted_takes_anon_vma:
        if (p.anon_vma is None or target.anon_vma is None) and len(target.anon_chain) == 1:
            return True
        return p.anon_vma is target.anon_vma
    if target.anon_vma is None and p.anon_vma is not None:
        return not _is_fork_child(p.middle) and not _is_fork_child(p.copied_from)
    if target.anon_vma is not None and p.anon_vma is None:
        return not _is_fork_child(target)
    return p.anon_vma is target.anon_vma


def _is_fork_child(vma: Vma | None) -> bool:
    return vma is not None and vma.anon_vma is not None and len(vma.anon_chain) != 1


def _neighbours_agree(lower: Vma, upper: Vma) -> bool:
    return lower.anon_vma is None or upper.anon_vma is None or lower.anon_vma is upper.anon_vma


def _take_anon_vma(target: Vma, source: Vma | None) -> None:
    """dup_anon_vma(): a target without anon_vma gets the source's."""
    if source is not None and source.anon_vma is not None and target.anon_vma is None:
        anon_vma_clone(target, source)


def _sticky(task: Task, target: Vma, *others: Vma | None) -> None:
    if task.sys.facts.has_sticky_flags:
        for other in others:
            if other is not None:
                target.flags |= other.flags & (VM_SOFTDIRTY | VM_MAYBE_GUARD)


def vma_merge_new_range(
    task: Task, p: Proposal, prev: Vma | None, next_vma: Vma | None, *, just_expand: bool = False
) -> Vma | None:
    """A new range joins the neighbours that would take it; None: it stays alone.

    Models vma_merge_new_range() (6.12 on), the merging half of mmap_region() (6.1 to 6.11) and vma_merge() before.
    """
    if p.flags & VM_SPECIAL:
        return None
    left = prev is not None and prev.end == p.start and not why_not_mergeable(task, p, prev, after=True)
    right = (
        not just_expand and next_vma is not None and next_vma.start == p.end
        and not why_not_mergeable(task, p, next_vma, after=False)
    )  # fmt: skip
    if not left and not right:
        return None
    if left and right and prev is not None and next_vma is not None and not _neighbours_agree(prev, next_vma):
        if task.sys.facts.mmap_looks_at_next_first and p.copied_from is None:
            left = False
        else:
            right = False
    return _expand(task, p, prev if left else None, next_vma if right else None)


def _expand(task: Task, p: Proposal, prev: Vma | None, next_vma: Vma | None) -> Vma:
    """vma_expand(): `prev` or `next_vma` grows over the range, `prev` over both."""
    mm = task.mm
    shift = mm.tables.geometry.page_shift
    target = prev or next_vma
    assert target is not None
    start, end = target.start if prev else p.start, next_vma.end if next_vma else p.end
    _sticky(task, target, next_vma)
    if task.sys.facts.has_sticky_flags:
        target.flags |= p.flags & (VM_SOFTDIRTY | VM_MAYBE_GUARD)
    if prev is not None and next_vma is not None:
        _take_anon_vma(target, next_vma)
        _remove_merged(task, next_vma)
    _take_anon_vma(target, p.copied_from)
    if prev is None:
        target.pgoff -= (target.start - p.start) >> shift
        target.anon_pgoff -= (target.start - p.start) >> shift
    mm.set_range(target, start, end)
    return target


def _remove_merged(task: Task, vma: Vma) -> None:
    """What vma_complete() does with a VMA that another one took over."""
    task.mm.remove(vma)
    unlink_anon_vmas(vma)
    fput(task, vma.file)


def vma_merge_existing_range(task: Task, p: Proposal, prev: Vma | None) -> Vma | None:
    """A range of `p.middle` whose attributes change joins its neighbours; None: it does not.

    Models vma_merge_existing_range() (6.12 on) and vma_merge() before, cases 1 to 8.
    """
    mm, middle = task.mm, p.middle
    assert middle is not None
    left_side, right_side = p.start == middle.start, p.end == middle.end
    if p.flags & VM_SPECIAL or not (left_side or right_side):
        return None
    merge_left = (
        left_side and prev is not None and prev.end == p.start and not why_not_mergeable(task, p, prev, after=True)
    )
    next_vma = mm.next_of(middle) if right_side else None
    merge_right = (
        next_vma is not None and next_vma.start == p.end and not why_not_mergeable(task, p, next_vma, after=False)
    )
    if merge_left and merge_right and prev is not None and next_vma is not None:
        merge_right = _neighbours_agree(prev, next_vma)
    if not merge_left and not merge_right:
        return None
    shift = mm.tables.geometry.page_shift
    whole = left_side and right_side
    if merge_left:
        assert prev is not None
        target, start, end = prev, prev.start, p.end
        if merge_right:
            assert next_vma is not None
            _take_anon_vma(prev, middle if middle.anon_vma is not None else next_vma)
            end = next_vma.end
        else:
            _take_anon_vma(prev, middle)
    else:
        assert next_vma is not None
        target, start, end = next_vma, p.start, next_vma.end
        _take_anon_vma(next_vma, middle)
    _sticky(task, target, next_vma if merge_right else None)
    if task.sys.facts.has_sticky_flags:
        target.flags |= p.flags & (VM_SOFTDIRTY | VM_MAYBE_GUARD)
    if whole:
        _remove_merged(task, middle)
    elif merge_left:
        vma_adjust_trans_huge(task, p.end)
        middle.pgoff += (p.end - middle.start) >> shift
        middle.anon_pgoff += (p.end - middle.start) >> shift
        mm.set_range(middle, p.end, middle.end)
    else:
        vma_adjust_trans_huge(task, p.start)
        mm.set_range(middle, middle.start, p.start)
    if merge_left and merge_right:
        assert next_vma is not None
        _remove_merged(task, next_vma)
    if target is next_vma:
        target.pgoff -= (target.start - start) >> shift
        target.anon_pgoff -= (target.start - start) >> shift
    mm.set_range(target, start, end)
    return target


def split_vma(task: Task, vma: Vma, addr: int, *, new_below: bool, limited: bool = True) -> Vma:
    """split_vma(), __split_vma() (`limited` False): two VMAs out of one at `addr`; returns the new one.

    Refused with ENOMEM at vm.max_map_count, with EINVAL for a special mapping or inside a huge page of hugetlb.
    """
    mm = task.mm
    if limited and mm.map_count >= task.sys.max_map_count:
        raise Refused("ENOMEM", f"vm.max_map_count ({task.sys.max_map_count}) is reached, and a mapping must be split")
    if vma.special and task.sys.facts.special_mappings_stay_whole:
        raise Refused("EINVAL", f"{vma.special} cannot be split")
    if vma.flags & VM_HUGETLB and addr & (task.sys.hugetlb.page_size - 1):
        raise Refused("EINVAL", "the split is inside a huge page of hugetlb")
    new = vma.copy()
    delta = (addr - vma.start) >> mm.tables.geometry.page_shift
    anon_vma_clone(new, vma)
    vma_adjust_trans_huge(task, addr)
    if new_below:
        new.end = addr
        vma.pgoff += delta
        vma.anon_pgoff += delta
        mm.set_range(vma, addr, vma.end)
    else:
        new.start = addr
        new.pgoff += delta
        new.anon_pgoff += delta
        mm.set_range(vma, vma.start, addr)
    get_file(new)
    mm.insert(new)
    return new


def vma_modify(task: Task, prev: Vma | None, vma: Vma, start: int, end: int, flags: int) -> Vma:
    """vma_modify(): [start, end) of `vma` is about to get `flags`: merge it with a neighbour, or cut it out.

    Returns the VMA that then is exactly the changed range, or the larger one that took it. The flags are the caller's
    to set.
    """
    shift = task.mm.tables.geometry.page_shift
    delta = (start - vma.start) >> shift
    p = Proposal(start, end, flags, vma.pgoff + delta, vma.file, anon_pgoff=vma.anon_pgoff + delta, middle=vma)
    merged = vma_merge_existing_range(task, p, prev)
    if merged is not None:
        return merged
    if start > vma.start:
        split_vma(task, vma, start, new_below=True)
    if end < vma.end:
        split_vma(task, vma, end, new_below=False)
    return vma


def do_munmap(task: Task, start: int, length: int) -> None:
    """do_vmi_munmap() (before 6.3 do_mas_munmap(), before 6.1 __do_munmap()): take away what lies in a range."""
    mm = task.mm
    page = mm.tables.geometry.page_size
    if start & (page - 1) or start > task.task_size or length > task.task_size - start:
        raise Refused("EINVAL", "not a page's address, or beyond the end of the address space")
    end = start + (length + page - 1 & -page)
    if end == start:
        raise Refused("EINVAL", "the length is 0")
    unmap_range(task, start, end)


def unmap_range(task: Task, start: int, end: int) -> None:
    """do_vmi_align_munmap(): cut [start, end) out of the VMAs, and give its pages, tables and charge back."""
    gone = gather_munmap_vmas(task, start, end)
    if gone:
        detach_and_free(task, gone, start, end)


def gather_munmap_vmas(task: Task, start: int, end: int) -> list[Vma]:
    """vms_gather_munmap_vmas(): the VMAs of [start, end), cut at its ends; Refused where one may not be unmapped."""
    mm = task.mm
    first = mm.find_intersection(start, end)
    if first is None:
        return []
    facts = task.sys.facts
    if facts.has_mseal and not facts.seals_checked_one_by_one:
        for vma in mm.each_from(start, end):
            if vma.flags & VM_SEALED:
                raise Refused("EPERM", f"the mapping at {vma.start:#x} is sealed")
    if start > first.start:
        if end < first.end and mm.map_count >= task.sys.max_map_count:
            raise Refused("ENOMEM", "a hole in the middle makes one mapping more than vm.max_map_count")
        if first.flags & VM_SEALED:
            raise Refused("EPERM", f"the mapping at {first.start:#x} is sealed")
        split_vma(task, first, start, new_below=True, limited=False)
    gone = []
    for vma in mm.each_from(start, end):
        if vma.flags & VM_SEALED:
            raise Refused("EPERM", f"the mapping at {vma.start:#x} is sealed")
        if vma.end > end:
            split_vma(task, vma, end, new_below=False, limited=False)
        gone.append(vma)
    return gone


def detach_and_free(task: Task, gone: list[Vma], start: int, end: int) -> None:
    """unmap_region() and remove_vma() for a row of VMAs: entries, tables, charge, counts."""
    mm = task.mm
    shift = mm.tables.geometry.page_shift
    i = mm.index_of(gone[0])
    floor = mm.vmas[i - 1].end if i else 0
    above = mm.vmas[i + len(gone)] if i + len(gone) < len(mm.vmas) else None
    del mm.vmas[i : i + len(gone)], mm.starts[i : i + len(gone)]
    if task.sys.facts.unmap_drains:
        task.sys.lru_add_drain()
    unmap_vmas(task, gone, start, end)
    free_pgtables(mm, gone, floor, above.start if above is not None else 0)
    accounted = 0
    for vma in gone:
        pages = (vma.end - vma.start) >> shift
        if vma.flags & VM_ACCOUNT:
            accounted += pages
        if vma.flags & VM_LOCKED:
            mm.locked_vm -= pages
        vm_stat_account(mm, vma.flags, -pages)
        unlink_anon_vmas(vma)
        hugetlb_vm_op_close(task, vma)
        fput(task, vma.file)
    vm_unacct_memory(task, accounted)


def free_pgtables(mm: Mm, gone: list[Vma], floor: int, ceiling: int) -> None:
    """free_pgtables(): the tables of VMAs that went, neighbours within a PMD's reach in one go."""
    i, pmd_size = 0, mm.tables.geometry.pmd_size
    while i < len(gone):
        addr, last = gone[i].start, gone[i]
        if not last.flags & VM_HUGETLB:
            while i + 1 < len(gone) and gone[i + 1].start <= last.end + pmd_size and not gone[i + 1].flags & VM_HUGETLB:
                i += 1
                last = gone[i]
        i += 1
        mm.tables.free_pgd_range(addr, last.end, floor, gone[i].start if i < len(gone) else ceiling)
