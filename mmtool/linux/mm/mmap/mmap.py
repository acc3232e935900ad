"""mmap(), brk() and the growth of stacks: mm/mmap.c, mm/vma.c. Addresses and lengths in bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.gup import mm_populate
from mmtool.linux.mm.mmap.hugetlb_vma import hugetlb_reserve_pages
from mmtool.linux.mm.mmap.limits import can_do_mlock, mlock_future_ok
from mmtool.linux.mm.mmap.mm_types import (
    MAP_DROPPABLE,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_LOCKED,
    MAP_NONBLOCK,
    MAP_NORESERVE,
    MAP_POPULATE,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_STACK,
    MAP_TYPE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    STACK_GUARD_GAP_PAGES,
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_DROPPABLE,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_HUGETLB,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYSHARE,
    VM_MAYWRITE,
    VM_NOHUGEPAGE,
    VM_NORESERVE,
    VM_PKEY_EXEC_ONLY,
    VM_SHARED,
    VM_SOFTDIRTY,
    VM_SPECIAL,
    VM_WIPEONFORK,
    VM_WRITE,
    File,
    Inode,
    Refused,
    Vma,
)
from mmtool.linux.mm.mmap.rmap import anon_vma_prepare
from mmtool.linux.mm.mmap.shmem import get_file, shmem_zero_setup
from mmtool.linux.mm.mmap.unmapped_area import get_unmapped_area, thp_get_unmapped_area, vm_start_gap
from mmtool.linux.mm.mmap.util import vm_enough_memory
from mmtool.linux.mm.mmap.vma import (
    Proposal,
    detach_and_free,
    gather_munmap_vmas,
    is_data_mapping,
    unmap_range,
    vm_stat_account,
    vma_merge_new_range,
)

READ_IMPLIES_EXEC = 0x0400000


def may_expand_vm(task: Task, flags: int, pages: int) -> str:
    """may_expand_vm(): "" if `pages` more are within RLIMIT_AS and RLIMIT_DATA, else which limit refuses them."""
    mm, shift = task.mm, task.sys.page_shift
    if mm.total_vm + pages > task.rlimit("AS") >> shift:
        return "RLIMIT_AS"
    if is_data_mapping(flags) and mm.data_vm + pages > task.rlimit("DATA") >> shift:
        if task.rlimit("DATA") == 0 and mm.data_vm + pages <= task.rlimits["DATA"][1] >> shift:
            return ""
        return "RLIMIT_DATA"
    return ""


def calc_vm_prot(task: Task, prot: int) -> int:
    """calc_vm_prot_bits() with the key of an execute-only mapping (x86 with protection keys)."""
    if prot == PROT_EXEC and task.sys.pkeys:
        return VM_EXEC | VM_PKEY_EXEC_ONLY
    return prot & VM_ACCESS_FLAGS


def ksys_mmap(task: Task, addr: int, length: int, prot: int, flags: int, file: File | None, offset: int) -> int:
    """mmap(2): ksys_mmap_pgoff() and do_mmap(), then what MAP_POPULATE asks. Returns the address."""
    page = task.sys.page_size
    if offset & (page - 1):
        raise Refused("EINVAL", "the offset is not a page's")
    if flags & MAP_HUGETLB and file is None:
        size = task.sys.hugetlb.page_size
        length = length + size - 1 & -size
        if not length:
            raise Refused("EINVAL", "the length is 0")
        file = File(Inode("hugetlb", "/anon_hugepage (deleted)", length))
    start = do_mmap(task, addr, length, prot, flags, file, offset // page)
    vma = task.mm.find_vma(start)
    wants = flags & (MAP_POPULATE | MAP_NONBLOCK) == MAP_POPULATE
    if wants or ((flags & MAP_LOCKED or task.mm.def_flags & VM_LOCKED) and vma is not None and vma.flags & VM_LOCKED):
        mm_populate(task, start, length + page - 1 & -page)
    return start


def do_mmap(task: Task, addr: int, length: int, prot: int, flags: int, file: File | None, pgoff: int) -> int:
    """do_mmap(): the checks in the kernel's order, the place, the flags, then mmap_region()."""
    mm, system = task.mm, task.sys
    page = system.page_size
    if not length:
        raise Refused("EINVAL", "the length is 0")
    if prot & PROT_READ and task.personality & READ_IMPLIES_EXEC:
        prot |= PROT_EXEC
    if flags & MAP_FIXED_NOREPLACE:
        flags |= MAP_FIXED
    if not flags & MAP_FIXED:
        addr &= -page
        if addr and addr < system.mmap_min_addr:
            addr = system.mmap_min_addr + page - 1 & -page
    length = length + page - 1 & -page & task.kernel_mask
    if not length:
        raise Refused("ENOMEM", "the length wraps")
    if pgoff + (length // page) > task.kernel_mask:
        raise Refused("EOVERFLOW", "the end of the offset wraps")
    if mm.map_count > system.max_map_count:
        raise Refused("ENOMEM", f"more than vm.max_map_count ({system.max_map_count}) mappings")
    addr = place(task, file, addr, length, pgoff, flags)
    if flags & MAP_FIXED_NOREPLACE:
        taken = mm.find_intersection(addr, addr + length)
        if taken is not None:
            raise Refused("EEXIST", f"{taken.start:#x}-{taken.end:#x} is there")
    vm_flags = calc_vm_prot(task, prot) | mm.def_flags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC
    vm_flags |= (VM_GROWSDOWN if flags & MAP_GROWSDOWN else 0) | (VM_LOCKED if flags & MAP_LOCKED else 0)
    if flags & MAP_STACK and system.facts.stack_means_no_huge_pages:
        vm_flags |= VM_NOHUGEPAGE
    if flags & MAP_LOCKED and not can_do_mlock(task):
        raise Refused("EPERM", "RLIMIT_MEMLOCK is 0")
    if not mlock_future_ok(task, vm_flags, length):
        raise Refused("EAGAIN", "RLIMIT_MEMLOCK")
    vm_flags, pgoff = _flags_of_type(task, flags, prot, vm_flags, file, addr, pgoff, length)
    if flags & MAP_NORESERVE and (system.overcommit_memory != 2 or vm_flags & VM_HUGETLB or flags & MAP_HUGETLB):
        vm_flags |= VM_NORESERVE
    mmap_region(task, file, addr, length, vm_flags, pgoff)
    return addr


def _flags_of_type(
    task: Task, flags: int, prot: int, vm_flags: int, file: File | None, addr: int, pgoff: int, length: int
) -> tuple[int, int]:
    """The switch over MAP_TYPE in do_mmap(): flags and offset of a shared or private mapping, of a file or not."""
    kind = flags & MAP_TYPE
    if file is not None:
        if kind == MAP_SHARED_VALIDATE and flags & ~0x1D7FFF & ~MAP_FIXED_NOREPLACE & ~MAP_TYPE:
            raise Refused("EOPNOTSUPP", "a flag that MAP_SHARED_VALIDATE does not know")
        if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
            if prot & PROT_WRITE and not file.inode.writable:
                raise Refused("EACCES", "the file is open for reading only")
            vm_flags |= VM_SHARED | VM_MAYSHARE
            if not file.inode.writable:
                vm_flags &= ~(VM_MAYWRITE | VM_SHARED)
        elif kind != MAP_PRIVATE:
            raise Refused("EINVAL", "neither shared nor private")
        if vm_flags & VM_GROWSDOWN:
            raise Refused("EINVAL", "a mapping of a file does not grow down")
        return vm_flags, pgoff
    if kind in (MAP_SHARED, MAP_SHARED_VALIDATE):
        if kind == MAP_SHARED_VALIDATE:
            raise Refused("EINVAL", "MAP_SHARED_VALIDATE without a file")
        if vm_flags & VM_GROWSDOWN:
            raise Refused("EINVAL", "a shared mapping does not grow down")
        return vm_flags | VM_SHARED | VM_MAYSHARE, 0
    if kind == MAP_DROPPABLE and task.sys.facts.has_droppable:
        if task.sys.arch.kernel_bits == 32:
            raise Refused("EOPNOTSUPP", "MAP_DROPPABLE needs a 64-bit kernel")
        if flags & (MAP_LOCKED | MAP_HUGETLB):
            raise Refused("EINVAL", "droppable memory is neither locked nor of a pool")
        if vm_flags & VM_GROWSDOWN:
            raise Refused("EINVAL", "droppable memory does not grow down")
        vm_flags |= VM_DROPPABLE | VM_NORESERVE | VM_WIPEONFORK | VM_DONTDUMP
    elif kind != MAP_PRIVATE:
        raise Refused("EINVAL", "neither shared nor private")
    return vm_flags, addr // task.sys.page_size


def place(task: Task, file: File | None, addr: int, length: int, pgoff: int, flags: int) -> int:
    """__get_unmapped_area(): where the mapping goes, and whether it may go there."""
    system = task.sys
    if length > task.task_size:
        raise Refused("ENOMEM", "larger than the address space")
    if file is not None and file.inode.kind == "hugetlb":
        size = system.hugetlb.page_size
        if length & (size - 1) or (flags & MAP_FIXED and addr & (size - 1)):
            raise Refused("EINVAL", "not aligned to a huge page")
        if system.arch.hugetlb_hint_rounds_up or system.facts.hugetlb_hint_rounds_up:
            addr += size - 1
        addr &= -size
    anonymous = file is None and not flags & MAP_SHARED
    found: int | None
    if anonymous and _aligns(task, addr, length):
        found = thp_get_unmapped_area(task, addr, length, 0, flags, None)
    elif file is not None and file.inode.thp_aligned and system.has_thp and system.facts.aligns_files:
        found = thp_get_unmapped_area(task, addr, length, pgoff, flags, file)
    else:
        found = get_unmapped_area(task, file, addr, length, pgoff, flags)
    if found is None:
        raise Refused("ENOMEM", f"no gap of {length:#x} bytes")
    if found > task.task_size - length:
        raise Refused("ENOMEM", f"{found + length:#x} is beyond the end of the address space")
    if found & (system.page_size - 1):
        raise Refused("EINVAL", "the address is not a page's")
    if found < system.dac_mmap_min_addr and not task.privileged:
        raise Refused("EPERM", f"below vm.mmap_min_addr ({system.dac_mmap_min_addr})")
    return found


def _aligns(task: Task, addr: int, length: int) -> bool:
    """Does the release align large anonymous mappings of this length to huge pages?"""
    facts = task.sys.facts
    if not task.sys.has_thp or not facts.aligns_anonymous:
        return False
    if facts.aligns_without_hint_only and addr:
        return False
    return not facts.aligns_multiples_only or not length & (task.mm.tables.geometry.pmd_size - 1)


def mmap_region(task: Task, file: File | None, addr: int, length: int, flags: int, pgoff: int) -> Vma:
    """mmap_region(): limits, what is in the way, the charge, the merge or a new VMA, and the counts."""
    mm, system = task.mm, task.sys
    shift = system.page_shift
    end, pages = addr + length, length >> shift
    gone = gather_munmap_vmas(task, addr, end) if system.facts.mmap_charges_before_unmap else []
    in_the_way = sum((min(v.end, end) - max(v.start, addr)) >> shift for v in mm.each_from(addr, end))
    refused = may_expand_vm(task, flags, pages - in_the_way)
    if refused:
        raise Refused("ENOMEM", f"{refused}: {mm.total_vm} pages are mapped, {mm.data_vm} of them data")
    accountable = not flags & VM_HUGETLB and (file is None or file.inode.kind != "hugetlb")
    accountable = accountable and flags & (VM_NORESERVE | VM_SHARED | VM_WRITE) == VM_WRITE
    if system.facts.mmap_charges_before_unmap:
        if accountable:
            replaced = sum((v.end - v.start) >> shift for v in gone if v.flags & VM_ACCOUNT)
            vm_enough_memory(task, pages - replaced)
            system.committed += replaced
            flags |= VM_ACCOUNT
        if gone:
            detach_and_free(task, gone, addr, end)
    else:
        try:
            unmap_range(task, addr, end)
        except Refused as refusal:
            raise Refused("ENOMEM" if not system.facts.mmap_passes_unmap_error else refusal.name, refusal.why) from None
        if accountable:
            vm_enough_memory(task, pages)
            flags |= VM_ACCOUNT
    next_vma, prev = mm.find_vma_prev(addr)
    if file is not None and file.inode.kind == "hugetlb":
        flags |= VM_HUGETLB | VM_DONTEXPAND
    vma: Vma | None = None
    if flags & VM_SHARED == 0 or file is not None:
        proposal = Proposal(addr, end, flags, pgoff, file, anon_pgoff=addr >> shift if file is not None else pgoff)
        vma = vma_merge_new_range(task, proposal, prev, next_vma)
    if vma is None:
        vma = _new_vma(task, file, addr, end, flags, pgoff)
    vm_stat_account(mm, flags, pages)
    if flags & VM_LOCKED:
        if vma.flags & (VM_SPECIAL | VM_HUGETLB) or flags & VM_DROPPABLE:
            vma.flags &= ~VM_LOCKED_MASK
        else:
            mm.locked_vm += pages
    if system.soft_dirty:
        vma.flags |= VM_SOFTDIRTY
    return vma


def _new_vma(task: Task, file: File | None, addr: int, end: int, flags: int, pgoff: int) -> Vma:
    """__mmap_new_vma(): a VMA of its own, with the file that shared anonymous memory needs."""
    if file is None and flags & VM_SHARED:
        file = shmem_zero_setup(task, end - addr, flags)
    vma = Vma(addr, end, flags, pgoff, file)
    if file is not None:
        vma.anon_pgoff = addr >> task.sys.page_shift
        if file.inode.kind == "hugetlb":
            hugetlb_reserve_pages(task, vma, flags)
        elif file.inode.kind == "zero" and flags & VM_SHARED:
            vma.file = shmem_zero_setup(task, end - addr, flags)
    get_file(vma)
    task.mm.insert(vma)
    return vma


def brk(task: Task, addr: int) -> tuple[int, str]:
    """brk(2): the break afterwards, and why it did not move where it did not."""
    try:
        return _brk(task, addr), ""
    except Refused as refusal:
        return task.mm.brk, refusal.why


def _brk(task: Task, addr: int) -> int:
    mm, page = task.mm, task.sys.page_size
    if addr < mm.start_brk:
        raise Refused("ENOMEM", f"below the start of the heap ({mm.start_brk:#x})")
    limit = task.rlimit("DATA")
    if limit < (1 << 64) - 1 and addr - mm.start_brk + mm.end_data - mm.start_data > limit:
        raise Refused("ENOMEM", f"RLIMIT_DATA ({limit} bytes)")
    new, old = addr + page - 1 & -page, mm.brk + page - 1 & -page
    if new == old:
        mm.brk = addr
        return addr
    if addr <= mm.brk:
        vma = mm.find_intersection(new, old)
        if vma is None:
            raise Refused("ENOMEM", "nothing of the heap is there to give back")
        before = mm.brk
        mm.brk = addr
        try:
            unmap_range(task, new, old)
        except Refused:
            mm.brk = before
            raise
        return addr
    place(task, None, old, new - old, 0, MAP_FIXED)
    if not mlock_future_ok(task, mm.def_flags, new - old):
        raise Refused("EAGAIN", "RLIMIT_MEMLOCK")
    above = mm.find_vma(old)
    if above is not None and new + page > vm_start_gap(above, task.sys.page_shift):
        raise Refused("ENOMEM", f"{above.start:#x}-{above.end:#x} is in the way")
    do_brk_flags(task, old, new - old)
    mm.brk = addr
    if mm.def_flags & VM_LOCKED:
        mm_populate(task, old, new - old)
    return addr


def do_brk_flags(task: Task, addr: int, length: int) -> None:
    """do_brk_flags(): the heap's new pages, charged and merged with the mapping that ends at the break."""
    mm, system = task.mm, task.sys
    pages = length >> system.page_shift
    flags = (
        VM_ACCESS_FLAGS & ~VM_EXEC
        | VM_MAYREAD
        | VM_MAYWRITE
        | VM_MAYEXEC
        | VM_ACCOUNT
        | mm.def_flags
        | system.brk_flags
    )
    if task.personality & READ_IMPLIES_EXEC:
        flags |= VM_EXEC
    refused = may_expand_vm(task, flags, pages)
    if refused:
        raise Refused("ENOMEM", refused)
    if mm.map_count > system.max_map_count:
        raise Refused("ENOMEM", f"more than vm.max_map_count ({system.max_map_count}) mappings")
    vm_enough_memory(task, pages)
    next_vma, prev = mm.find_vma_prev(addr)
    only = system.facts.brk_expands_only
    if only and (prev is None or prev.end <= mm.start_brk):
        prev = None
    pgoff = addr >> system.page_shift
    proposal = Proposal(addr, addr + length, flags, pgoff, None, anon_pgoff=pgoff)
    vma = vma_merge_new_range(task, proposal, prev, next_vma, just_expand=only)
    if vma is None:
        vma = Vma(addr, addr + length, flags, pgoff)
        mm.insert(vma)
    mm.total_vm += pages
    mm.data_vm += pages
    if flags & VM_LOCKED:
        mm.locked_vm += pages
    if system.soft_dirty:
        vma.flags |= VM_SOFTDIRTY


def expand_stack(task: Task, vma: Vma, addr: int) -> None:
    """expand_downwards() with acct_stack_growth(): a mapping that grows down takes in `addr`, or refuses."""
    mm, system = task.mm, task.sys
    shift = system.page_shift
    addr &= -system.page_size
    if addr < system.mmap_min_addr:
        raise Refused("EPERM", f"below vm.mmap_min_addr ({system.mmap_min_addr})")
    prev = mm.prev_of(vma)
    near = prev is not None and addr - prev.end < STACK_GUARD_GAP_PAGES << shift
    if prev is not None and near and not prev.flags & VM_GROWSDOWN and prev.flags & VM_ACCESS_FLAGS:
        raise Refused("ENOMEM", f"{prev.start:#x}-{prev.end:#x} lies within the guard gap")
    anon_vma_prepare(task, vma)
    if addr >= vma.start:
        return
    grow = (vma.start - addr) >> shift
    if grow > vma.pgoff:
        raise Refused("ENOMEM", "the offset would be below 0")
    refused = may_expand_vm(task, vma.flags, grow)
    if refused:
        raise Refused("ENOMEM", refused)
    if vma.end - addr > task.rlimit("STACK"):
        raise Refused("ENOMEM", f"RLIMIT_STACK ({task.rlimit('STACK')} bytes)")
    if not mlock_future_ok(task, vma.flags, grow << shift):
        raise Refused("ENOMEM", "RLIMIT_MEMLOCK")
    vm_enough_memory(task, grow)
    if vma.flags & VM_LOCKED:
        mm.locked_vm += grow
    vm_stat_account(mm, vma.flags, grow)
    vma.pgoff -= grow
    vma.anon_pgoff -= grow
    mm.set_range(vma, addr, vma.end)
