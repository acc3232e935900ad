"""mremap(): mm/mremap.c. Addresses and lengths in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap import huge_memory
from mmtool.linux.mm.mmap.gup import mm_populate
from mmtool.linux.mm.mmap.limits import mlock_future_ok
from mmtool.linux.mm.mmap.mm_types import (
    MAP_FIXED,
    MAP_SHARED,
    VM_ACCOUNT,
    VM_DONTEXPAND,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYSHARE,
    VM_PFNMAP,
    VM_SEALED,
    VM_SHARED,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.mmap import may_expand_vm, place
from mmtool.linux.mm.mmap.rmap import anon_vma_clone, unlink_anon_vmas
from mmtool.linux.mm.mmap.shmem import get_file
from mmtool.linux.mm.mmap.util import vm_enough_memory, vm_unacct_memory
from mmtool.linux.mm.mmap.vma import Proposal, do_munmap, split_vma, vm_stat_account, vma_merge_new_range

MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4


def mremap(task: Task, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """mremap(2): the address afterwards."""
    if task.sys.facts.mremap_checks_first:
        return do_mremap(task, addr, old_len, new_len, flags, new_addr)
    mm = task.mm
    _check_arguments(task, addr, old_len, new_len, flags)
    old_len, new_len = _align(task, old_len), _align(task, new_len)
    if not new_len:
        raise Refused("EINVAL", "the new length is 0")
    vma = mm.vma_at(addr)
    if vma is None and task.sys.facts.mremap_looks_up_first:
        raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
    if vma is None or not task.sys.facts.has_mseal:
        pass
    elif task.sys.facts.seals_checked_one_by_one:
        refuse_sealed(vma)
    elif task.sys.facts.has_mseal:
        for other in mm.each_from(addr, addr + old_len):
            refuse_sealed(other)
    if vma is not None and vma.flags & VM_HUGETLB and task.sys.facts.mremap_looks_up_first:
        old_len, new_len = _hugetlb_lengths(task, addr, old_len, new_len, new_addr)
    moves = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)
    if moves:
        result, locked = mremap_to(task, addr, old_len, new_addr, new_len, flags)
    elif old_len >= new_len:
        if old_len != new_len:
            do_munmap(task, addr + new_len, old_len - new_len)
        return addr
    else:
        vma = vma_to_resize(task, addr, old_len, new_len, flags)
        result, locked = _grow(task, vma, addr, old_len, new_len, flags)
    if locked and new_len > old_len:
        mm_populate(task, result + old_len, new_len - old_len)
    return result


def _check_arguments(task: Task, addr: int, old_len: int, new_len: int, flags: int) -> None:
    if flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE:
        raise Refused("EINVAL", "MREMAP_FIXED needs MREMAP_MAYMOVE")
    if flags & MREMAP_DONTUNMAP and (not flags & MREMAP_MAYMOVE or old_len != new_len):
        raise Refused("EINVAL", "MREMAP_DONTUNMAP needs MREMAP_MAYMOVE and the same length")
    if addr & (task.sys.page_size - 1):
        raise Refused("EINVAL", "the address is not a page's")


def _align(task: Task, length: int) -> int:
    return length + task.sys.page_size - 1 & -task.sys.page_size & task.kernel_mask


def _hugetlb_lengths(task: Task, addr: int, old_len: int, new_len: int, new_addr: int) -> tuple[int, int]:
    size = task.sys.hugetlb.page_size
    old_len, new_len = old_len + size - 1 & -size, new_len + size - 1 & -size
    if addr & (size - 1) or new_addr & (size - 1) or new_len > old_len:
        raise Refused("EINVAL", "huge pages of hugetlb are moved by whole pages, and never grow")
    return old_len, new_len


def vma_to_resize(task: Task, addr: int, old_len: int, new_len: int, flags: int) -> Vma:
    """vma_to_resize(): the mapping at `addr`, if it may be moved or resized so."""
    vma = task.mm.vma_at(addr)
    if vma is None:
        raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
    if not old_len and not vma.flags & (VM_SHARED | VM_MAYSHARE):
        raise Refused("EINVAL", "an old length of 0 needs a shared mapping")
    if flags & MREMAP_DONTUNMAP and not task.sys.facts.dontunmap_of_files:
        if not vma.is_anonymous or vma.flags & VM_SHARED:
            raise Refused("EINVAL", "MREMAP_DONTUNMAP is for private anonymous memory")
    elif flags & MREMAP_DONTUNMAP and vma.flags & (VM_DONTEXPAND | VM_PFNMAP):
        raise Refused("EINVAL", "MREMAP_DONTUNMAP of a special mapping")
    if vma.flags & VM_HUGETLB and not task.sys.facts.mremap_looks_up_first:
        raise Refused("EINVAL", "memory of hugetlb is not moved")
    if old_len > vma.end - addr:
        raise Refused("EFAULT", "the range reaches beyond its mapping")
    if new_len == old_len:
        return vma
    if vma.flags & (VM_DONTEXPAND | VM_PFNMAP):
        raise Refused("EFAULT", "a special mapping does not grow")
    if not mlock_future_ok(task, vma.flags, new_len - old_len):
        raise Refused("EAGAIN", "RLIMIT_MEMLOCK")
    refused = may_expand_vm(task, vma.flags, (new_len - old_len) >> task.sys.page_shift)
    if refused:
        raise Refused("ENOMEM", refused)
    return vma


def _grow(task: Task, vma: Vma, addr: int, old_len: int, new_len: int, flags: int) -> tuple[int, bool]:
    """Grow in place where there is room, else move if MREMAP_MAYMOVE allows it."""
    mm, shift = task.mm, task.sys.page_shift
    if old_len == vma.end - addr and _expandable(task, vma, new_len - old_len):
        pages = (new_len - old_len) >> shift
        if vma.flags & VM_ACCOUNT:
            vm_enough_memory(task, pages)
        start = addr + old_len
        delta = (start - vma.start) >> shift
        p = Proposal(start, addr + new_len, vma.flags, vma.pgoff + delta, vma.file, anon_pgoff=vma.anon_pgoff + delta)
        p.anon_vma = vma.anon_vma
        above = mm.next_of(vma) if task.sys.facts.mremap_extension_merges else None
        merged = vma_merge_new_range(task, p, vma, above)
        if merged is None:
            if vma.flags & VM_ACCOUNT:
                vm_unacct_memory(task, pages)
            raise Refused("ENOMEM", "the mapping does not merge with its own extension")
        vm_stat_account(mm, merged.flags, pages)
        if merged.flags & VM_LOCKED:
            mm.locked_vm += pages
        return addr, bool(merged.flags & VM_LOCKED)
    if not flags & MREMAP_MAYMOVE:
        raise Refused("ENOMEM", "there is no room to grow in place, and MREMAP_MAYMOVE is not given")
    map_flags = MAP_SHARED if vma.flags & VM_MAYSHARE else 0
    new_addr = place(task, vma.file, 0, new_len, vma.pgoff + ((addr - vma.start) >> shift), map_flags)
    return move_vma(task, vma, addr, old_len, new_len, new_addr, flags)


def _expandable(task: Task, vma: Vma, delta: int) -> bool:
    """vma_expandable(): is the range above the mapping free and within the address space?"""
    end = vma.end + delta
    if end < vma.end or task.mm.find_intersection(vma.end, end) is not None:
        return False
    return end <= task.task_size


def mremap_to(task: Task, addr: int, old_len: int, new_addr: int, new_len: int, flags: int) -> tuple[int, bool]:
    """mremap_to(): to a given address (or, with MREMAP_DONTUNMAP alone, to any)."""
    mm, shift = task.mm, task.sys.page_shift
    if new_addr & (task.sys.page_size - 1) or new_len > task.task_size or new_addr > task.task_size - new_len:
        raise Refused("EINVAL", "the new address is not a page's, or beyond the end of the address space")
    if addr + old_len > new_addr and new_addr + new_len > addr:
        raise Refused("EINVAL", "old and new range overlap")
    if mm.map_count + 2 >= task.sys.max_map_count - 3:
        raise Refused("ENOMEM", f"too near to vm.max_map_count ({task.sys.max_map_count})")
    if flags & MREMAP_FIXED:
        do_munmap(task, new_addr, new_len)
    if old_len > new_len:
        do_munmap(task, addr + new_len, old_len - new_len)
        old_len = new_len
    vma = vma_to_resize(task, addr, old_len, new_len, flags)
    if flags & MREMAP_DONTUNMAP:
        refused = may_expand_vm(task, vma.flags, old_len >> shift)
        if refused:
            raise Refused("ENOMEM", refused)
    map_flags = (MAP_FIXED if flags & MREMAP_FIXED else 0) | (MAP_SHARED if vma.flags & VM_MAYSHARE else 0)
    found = place(task, vma.file, new_addr, new_len, vma.pgoff + ((addr - vma.start) >> shift), map_flags)
    return move_vma(task, vma, addr, old_len, new_len, new_addr if flags & MREMAP_FIXED else found, flags)


def move_vma(
    task: Task, vma: Vma, addr: int, old_len: int, new_len: int, new_addr: int, flags: int
) -> tuple[int, bool]:
    """move_vma(): a mapping for the new place, the entries over to it, the old one away."""
    mm, shift = task.mm, task.sys.page_shift
    pre_split = bool(flags & MREMAP_DONTUNMAP and vma.flags & VM_LOCKED)
    if task.sys.facts.mremap_counts_worst_case:
        _check_map_count(task, pre_split=pre_split, before_unmaps=False)
    elif mm.map_count >= task.sys.max_map_count - 3:
        raise Refused("ENOMEM", f"too near to vm.max_map_count ({task.sys.max_map_count})")
    if vma.special and task.sys.facts.special_mappings_stay_whole and (vma.start != addr or vma.end != addr + old_len):
        raise Refused("EINVAL", f"{vma.special} cannot be split")
    if task.sys.facts.mremap_counts_worst_case and pre_split:
        if vma.start != addr:
            split_vma(task, vma, addr, new_below=True)
        if vma.end != addr + old_len:
            split_vma(task, vma, addr + old_len, new_below=False)
    vm_flags = vma.flags
    to_account = new_len if flags & MREMAP_DONTUNMAP else new_len - old_len
    if vm_flags & VM_ACCOUNT:
        vm_enough_memory(task, to_account >> shift)
    apart = bool(flags & MREMAP_DONTUNMAP and task.sys.facts.mremap_keeps_source_apart)
    pgoff = vma.pgoff + ((addr - vma.start) >> shift)
    vma, new_vma = copy_vma(task, vma, new_addr, new_len, pgoff, addr, apart=apart)
    move_page_tables(task, addr, new_addr, old_len)
    if vma.special and mm.special_sizes.get(vma.special, new_len) != new_len:
        move_page_tables(task, new_addr, addr, old_len)
        vm_stat_account(mm, vma.flags, new_len >> shift)
        do_munmap(task, new_addr, new_len)
        raise Refused("EINVAL", f"{vma.special} is moved whole or not at all")
    if vma.flags & VM_HUGETLB:
        vma.hpage_owner = False
    pieces: tuple[int, int] | None = None
    if vm_flags & VM_ACCOUNT and not flags & MREMAP_DONTUNMAP:
        vma.flags &= ~VM_ACCOUNT
        pieces = (vma.start, vma.end)
    vm_stat_account(mm, vma.flags, new_len >> shift)
    if flags & MREMAP_DONTUNMAP:
        if task.sys.facts.dontunmap_counts_locked and vma.flags & VM_LOCKED:
            mm.locked_vm += new_len >> shift
        vma.flags &= ~VM_LOCKED_MASK
        if task.sys.facts.dontunmap_marks_next and vm_flags & VM_ACCOUNT and vma.start < addr < vma.end - old_len:
            after = mm.find_vma(vma.end)
            if after is not None:
                after.flags |= VM_ACCOUNT
        if new_vma is not vma and vma.start == addr and vma.end == addr + old_len:
            unlink_anon_vmas(vma)
            if task.sys.facts.mremap_keeps_source_apart:
                vma.anon_pgoff = vma.start >> shift
                if vma.is_anonymous and vma.file is None:
                    vma.pgoff = vma.anon_pgoff
        return new_addr, False
    try:
        do_munmap(task, addr, old_len)
    except Refused:
        if vm_flags & VM_ACCOUNT:
            task.sys.committed += old_len >> shift
    if vm_flags & VM_LOCKED:
        mm.locked_vm += new_len >> shift
    if pieces is not None:
        for piece in mm.each_from(*pieces):
            if piece.start >= pieces[0] and piece.end <= pieces[1] and piece.flags | VM_ACCOUNT == vm_flags:
                piece.flags |= VM_ACCOUNT
    return new_addr, bool(vm_flags & VM_LOCKED)


def copy_vma(
    task: Task, vma: Vma, addr: int, length: int, pgoff: int, old_addr: int, *, apart: bool
) -> tuple[Vma, Vma]:
    """copy_vma(): the mapping at the new place, merged with what is there; and the old one, which may be in it.

    `apart`: it is not merged with its source.
    """
    mm, shift = task.mm, task.sys.page_shift
    anon_pgoff = vma.anon_pgoff + ((old_addr - vma.start) >> shift)
    if vma.anon_vma is None:
        anon_pgoff = addr >> shift
        if vma.is_anonymous:
            pgoff = anon_pgoff
    next_vma, prev = mm.find_vma_prev(addr)
    p = Proposal(addr, addr + length, vma.flags, pgoff, vma.file, anon_pgoff=anon_pgoff, copied_from=vma)
    old_start = vma.start
    if apart and vma.anon_vma is None and (vma.is_anonymous or task.sys.facts.has_anon_pgoff):
        prev = None if prev is vma else prev
        next_vma = None if next_vma is vma else next_vma
    new = vma_merge_new_range(task, p, prev, next_vma)
    if new is not None:
        if new.start <= old_start < new.end:
            vma = new
        return vma, new
    new = vma.copy()
    new.start, new.end, new.pgoff, new.anon_pgoff = addr, addr + length, pgoff, anon_pgoff
    if vma.anon_vma is not None:
        anon_vma_clone(new, vma)
    get_file(new)
    mm.insert(new)
    return vma, new


def move_page_tables(task: Task, old_addr: int, new_addr: int, length: int) -> None:
    """move_page_tables(): the entries of a range to another place, whole tables where both places are aligned."""
    tables = task.mm.tables
    g = tables.geometry
    size, old_end = g.pmd_size, old_addr + length
    if task.sys.facts.mremap_realigns and _can_realign(task, old_addr, new_addr, length):
        old_addr, new_addr = old_addr & -size, new_addr & -size
    while old_addr < old_end:
        extent = min((old_addr + size & -size) - old_addr, old_end - old_addr, (new_addr + size & -size) - new_addr)
        n = old_addr >> g.pmd_shift
        entry, table = tables.huge.get(n), tables.ptes.get(n)
        if task.sys.facts.mremap_looks_at_puds and g.p4d_shift and old_addr >> g.pud_shift in tables.pmds:
            tables.puds.add(new_addr >> g.p4d_shift)
        if entry is not None or table is not None:
            tables.alloc_pmd(new_addr)
            _move_block(task, old_addr, new_addr, extent)
        old_addr += extent
        new_addr += extent


def _can_realign(task: Task, old_addr: int, new_addr: int, length: int) -> bool:
    """can_realign_addr(): both begin alike in a table, reach its end, and nothing lies below them in it."""
    mm, size = task.mm, task.mm.tables.geometry.pmd_size
    offset = old_addr & (size - 1)
    if not offset or offset != new_addr & (size - 1) or length < size - offset:
        return False
    return all(
        (vma := mm.vma_at(addr)) is not None and vma.start == addr and not mm.find_intersection(addr & -size, addr)
        for addr in (old_addr, new_addr)
    )


def _move_block(task: Task, old_addr: int, new_addr: int, extent: int) -> None:
    tables = task.mm.tables
    g = tables.geometry
    n, to = old_addr >> g.pmd_shift, new_addr >> g.pmd_shift
    whole = extent == g.pmd_size
    shift = (new_addr - old_addr) >> g.page_shift
    free = to not in tables.ptes and to not in tables.huge
    if n in tables.huge:
        if whole and free:
            tables.huge[to] = tables.huge.pop(n)
            return
        huge_memory.split_huge_pmd(task, old_addr)
        if n not in tables.ptes:
            return
    elif whole and free:
        tables.ptes[to] = {p + shift: pte for p, pte in tables.ptes.pop(n).items()}
        return
    target = tables.alloc_pte(new_addr)
    table = tables.ptes[n]
    first = old_addr >> g.page_shift
    for p in [p for p in table if first <= p < first + (extent >> g.page_shift)]:
        target[p + shift] = table.pop(p)


def refuse_sealed(vma: Vma) -> None:
    """can_modify_vma(): EPERM if the mapping is sealed."""
    if vma.flags & VM_SEALED:
        raise Refused("EPERM", f"the mapping at {vma.start:#x} is sealed")


def do_mremap(task: Task, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> int:
    """do_mremap() of 6.17 and later: arguments first, then one mapping, or with MREMAP_FIXED several of them."""
    mm = task.mm
    old_len, new_len = _align(task, old_len), _align(task, new_len)
    check_mremap_params(task, addr, old_len, new_len, flags, new_addr)
    if task.sys.facts.mremap_counts_worst_case:
        _check_map_count(task, pre_split=bool(flags & MREMAP_DONTUNMAP), before_unmaps=True)
    if flags & MREMAP_FIXED and old_len == new_len:
        return _remap_move(task, addr, old_len, flags, new_addr)
    vma = mm.vma_at(addr)
    old_len, new_len = check_prep_vma(task, vma, addr, old_len, new_len, flags, new_addr)
    assert vma is not None
    if flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        result, locked = _mremap_to_checked(task, addr, old_len, new_addr, new_len, flags)
    elif old_len >= new_len:
        if old_len != new_len:
            do_munmap(task, addr + new_len, old_len - new_len)
        return addr
    else:
        result, locked = _grow(task, vma, addr, old_len, new_len, flags)
    if locked and new_len > old_len:
        mm_populate(task, result + old_len, new_len - old_len)
    return result


def check_mremap_params(task: Task, addr: int, old_len: int, new_len: int, flags: int, new_addr: int) -> None:
    """check_mremap_params(): EINVAL for what no mapping could make good."""
    page = task.sys.page_size
    if addr & (page - 1):
        raise Refused("EINVAL", "the address is not a page's")
    if not new_len:
        raise Refused("EINVAL", "the new length is 0")
    if new_len > task.task_size:
        raise Refused("EINVAL", "the new length is larger than the address space")
    if not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return
    if new_addr > task.task_size - new_len or new_addr & (page - 1):
        raise Refused("EINVAL", "the new address is not a page's, or beyond the end of the address space")
    if not flags & MREMAP_MAYMOVE:
        raise Refused("EINVAL", "MREMAP_FIXED and MREMAP_DONTUNMAP need MREMAP_MAYMOVE")
    if flags & MREMAP_DONTUNMAP and old_len != new_len:
        raise Refused("EINVAL", "MREMAP_DONTUNMAP needs the same length")
    if addr + old_len > new_addr and new_addr + new_len > addr:
        raise Refused("EINVAL", "old and new range overlap")
    if not task.sys.facts.mremap_counts_worst_case and task.mm.map_count + 2 >= task.sys.max_map_count - 3:
        raise Refused("ENOMEM", f"too near to vm.max_map_count ({task.sys.max_map_count})")


def check_prep_vma(
    task: Task, vma: Vma | None, addr: int, old_len: int, new_len: int, flags: int, new_addr: int
) -> tuple[int, int]:
    """check_prep_vma(): may the mapping be moved or resized so? Returns the lengths, those of hugetlb rounded."""
    if vma is None:
        raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
    refuse_sealed(vma)
    if vma.flags & VM_HUGETLB:
        old_len, new_len = _hugetlb_lengths(task, addr, old_len, new_len, new_addr)
    if new_len <= old_len and not flags & (MREMAP_FIXED | MREMAP_DONTUNMAP):
        return old_len, new_len
    vma_to_resize(task, addr, min(old_len, new_len), new_len, flags)
    return old_len, new_len


def _check_map_count(task: Task, *, pre_split: bool, before_unmaps: bool) -> None:
    """check_map_count_against_split(): room for all mappings that the move may make."""
    if task.mm.map_count + 2 * before_unmaps + 2 + pre_split > task.sys.max_map_count:
        raise Refused("ENOMEM", f"too near to vm.max_map_count ({task.sys.max_map_count})")


def _remap_move(task: Task, addr: int, length: int, flags: int, new_addr: int) -> int:
    """remap_move(): every mapping of the range, the gaps between them kept."""
    mm = task.mm
    end, result = addr + length, -1
    target, last_end = new_addr, 0
    for vma in mm.each_from(addr, end):
        if result < 0 and addr < vma.start:
            raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
        start, stop = max(vma.start, addr), min(vma.end, end)
        to = target + (vma.start - last_end if result >= 0 else 0)
        last_end = vma.end
        if vma.file is not None and not vma.file.inode.multi_move and (result >= 0 or vma.end < end):
            raise Refused("EFAULT", "a mapping whose file places it itself is moved alone")
        part, _ = check_prep_vma(task, vma, start, stop - start, stop - start, flags, to)
        moved, _ = _mremap_to_checked(task, start, part, to, part, flags)
        if result < 0:
            result = moved
        target = moved + part
    if result < 0:
        raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
    return result


def _mremap_to_checked(
    task: Task, addr: int, old_len: int, new_addr: int, new_len: int, flags: int
) -> tuple[int, bool]:
    """mremap_to() of 6.17 and later."""
    mm, shift = task.mm, task.sys.page_shift
    if flags & MREMAP_FIXED:
        do_munmap(task, new_addr, new_len)
    shrinks = max(old_len - new_len, 0)
    if shrinks:
        do_munmap(task, addr + new_len, shrinks)
        old_len = new_len
    vma = mm.vma_at(addr)
    if vma is None:
        raise Refused("EFAULT", f"nothing is mapped at {addr:#x}")
    if flags & MREMAP_DONTUNMAP:
        refused = may_expand_vm(task, vma.flags, old_len >> shift)
        if refused:
            raise Refused("ENOMEM", refused)
    map_flags = (MAP_FIXED if flags & MREMAP_FIXED else 0) | (MAP_SHARED if vma.flags & VM_MAYSHARE else 0)
    found = place(task, vma.file, new_addr, new_len, vma.pgoff + ((addr - vma.start) >> shift), map_flags)
    if vma.flags & VM_ACCOUNT and task.sys.facts.mremap_charges_shrink:
        vm_enough_memory(task, shrinks >> shift)
    return move_vma(task, vma, addr, old_len, new_len, found, flags)
