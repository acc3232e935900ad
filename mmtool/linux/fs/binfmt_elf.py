"""Where exec puts a program: fs/binfmt_elf.c, fs/exec.c and the vdso's arch code. Bytes; 5.10 to 7.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.layout import arch_pick_mmap_layout, mmap_is_legacy
from mmtool.linux.mm.mmap.mm_types import (
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    VM_ACCOUNT,
    VM_EXEC,
    VM_GROWSDOWN,
    VM_MAYEXEC,
    VM_MAYREAD,
    VM_MAYWRITE,
    VM_READ,
    VM_SOFTDIRTY,
    VM_WRITE,
    File,
    Inode,
    Vma,
)
from mmtool.linux.mm.mmap.mmap import do_mmap, place
from mmtool.linux.mm.mmap.vma import do_munmap, vm_stat_account

MMAP_PAGE_ZERO = 0x0100000
STACK_EXPAND = 131072
LARGEST_STACK_SHIFT = 8176
"""What arch_align_stack() takes off the stack's top at most."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A PT_LOAD: protection in letters, place in the file and in memory, alignment."""

    flags: str
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def prot(self) -> int:
        return sum(
            bit for letter, bit in (("r", PROT_READ), ("w", PROT_WRITE), ("x", PROT_EXEC)) if letter in self.flags
        )


@dataclass(frozen=True)
class Program:
    """An ELF file: `kind` is EXEC or DYN, `loads` its segments in order."""

    name: str
    kind: str
    entry: int
    loads: Sequence[Segment]

    def total_mapping_size(self, page: int) -> int:
        """total_mapping_size(): from the first segment's page to the last one's end."""
        return max(s.vaddr + s.memsz for s in self.loads) - (self.loads[0].vaddr & -page)

    @property
    def maximum_alignment(self) -> int:
        """maximum_alignment(): the largest that is a power of two."""
        return max((s.align for s in self.loads if s.align and not s.align & (s.align - 1)), default=0)


@dataclass(frozen=True, slots=True)
class Offsets:
    """What randomisation adds: pages of mmap_base and of the program's base, bytes off the stack's top, of the break.

    `on` is PF_RANDOMIZE; `vdso` the share of its room that the vdso's place above the stack takes (0 to 1).
    """

    on: bool = False
    mmap: int = 0
    stack: int = 0
    shift: int = 0
    exec: int = 0
    brk: int = 0
    vdso: int = 0


@dataclass(slots=True)
class Loaded:
    """Where everything is: addresses as the aux vector and /proc/PID/stat have them."""

    entry: int = 0
    load_bias: int = 0
    base: int = 0
    stack_end: int = 0
    vdso: int = 0
    special: dict[str, int] = field(default_factory=dict)


def stack_top(task: Task) -> int:
    """STACK_TOP: the end of the addresses that are given without being asked for."""
    return task.map_window


def special_sizes(task: Task) -> dict[str, int]:
    """The special mappings of the release, lowest first, and their sizes where nobody says them."""
    arch, page = task.sys.arch, task.sys.page_size
    pages = arch.vvar_pages(datastore=task.sys.facts.vdso_has_datastore) | {"[vdso]": arch.vdso_pages}
    return {name: count * page for name, count in pages.items()}


def load_elf_binary(
    task: Task, program: Program, interpreter: Program | None, strings: int, special: Mapping[str, int], rnd: Offsets
) -> Loaded:
    """load_elf_binary(): lay out an empty address space. `strings`: bytes of arguments, environment and file name."""
    mm, page = task.mm, task.sys.page_size
    limit = task.rlimit("STACK")
    legacy = mmap_is_legacy(task.sys.arch, task.personality, limit, bool(task.sys.legacy_va_layout))
    random_pages = task.sys.arch.stack_rnd_mask(task) * page if rnd.on else 0
    layout = arch_pick_mmap_layout(
        task.sys.arch, task.map_window, page, limit, legacy=legacy, stack_random=random_pages, rnd=rnd.mmap * page
    )
    mm.mmap_base, mm.mmap_legacy_base, mm.topdown = layout.base, layout.legacy_base, layout.topdown
    done = Loaded()
    setup_arg_pages(task, done, strings, limit, rnd)
    bias = _load_bias(task, program, interpreter, rnd)
    bias = _map_program(task, program, bias, fixed=program.kind == "EXEC" or interpreter is not None or bias != 0)
    done.load_bias, done.entry = bias, program.entry + bias
    last = max(program.loads, key=lambda s: s.vaddr + s.memsz)
    elf_brk = last.vaddr + last.memsz + bias
    code = [s for s in program.loads if "x" in s.flags]
    mm.start_code, mm.end_code = min(s.vaddr for s in code) + bias, max(s.vaddr + s.filesz for s in code) + bias
    mm.start_data = max(s.vaddr for s in program.loads) + bias
    mm.end_data = max(s.vaddr + s.filesz for s in program.loads) + bias
    if interpreter is not None:
        done.base = _map_program(task, interpreter, 0, fixed=False)
    _install_vdso(task, done, special, rnd)
    _set_brk(task, program, interpreter, elf_brk, rnd)
    if task.personality & MMAP_PAGE_ZERO:
        do_mmap(task, 0, page, PROT_READ | PROT_EXEC, MAP_FIXED | MAP_PRIVATE, None, 0)
    return done


def setup_arg_pages(task: Task, done: Loaded, strings: int, limit: int, rnd: Offsets) -> None:
    """setup_arg_pages(): the stack's mapping, the strings' pages and 128 KiB more within the limit."""
    mm, page = task.mm, task.sys.page_size
    top = stack_top(task) - rnd.stack * page - rnd.shift
    end = top + page - 1 & -page
    size = task.word_bits // 8 + strings + page - 1 & -page
    size = min(size + STACK_EXPAND, max(limit & -page, size))
    flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_GROWSDOWN | VM_ACCOUNT | task.sys.brk_flags
    start = end - size
    mm.insert(Vma(start, end, flags, start >> task.sys.page_shift))
    vm_stat_account(mm, flags, size >> task.sys.page_shift)
    mm.start_stack = end - 8 - strings
    done.stack_end = end


def _load_bias(task: Task, program: Program, interpreter: Program | None, rnd: Offsets) -> int:
    """What is added to a program's addresses: 0 for a fixed one, and for one that mmap() is to place."""
    page, first = task.sys.page_size, program.loads[0].vaddr
    if program.kind == "EXEC":
        return 0
    alignment = program.maximum_alignment
    if interpreter is not None:
        bias = task.sys.arch.elf_et_dyn_base(task) + rnd.exec * page
        if alignment:
            bias &= -alignment
        return bias - first & -page
    if task.sys.facts.static_pie_is_aligned and alignment > page:
        size = program.total_mapping_size(page)
        found = place(task, None, 0, size + page - 1 & -page, 0, MAP_PRIVATE)
        return (found & -alignment) - first & -page
    return 0


def _map_program(task: Task, program: Program, bias: int, *, fixed: bool) -> int:
    """The segments by elf_load(), before 6.6 elf_map() and set_brk(); returns the load bias."""
    page = task.sys.page_size
    file = File(Inode("exe", program.name, 1 << 62, writable=False, noreserve=True), held=True)
    bss_start = bss_end = 0
    for i, segment in enumerate(program.loads):
        offset = segment.vaddr & (page - 1)
        size = segment.filesz + offset + page - 1 & -page
        if not segment.filesz and not segment.memsz:
            continue
        if i == 0 and not fixed:
            total = program.total_mapping_size(page) + page - 1 & -page
            start = do_mmap(task, 0, total, segment.prot, MAP_PRIVATE, file, (segment.offset - offset) // page)
            if total > size:
                do_munmap(task, start + size, total - size)
            bias = start - (segment.vaddr & -page)
        elif size:
            flags = MAP_PRIVATE | (MAP_FIXED if i else MAP_FIXED_NOREPLACE)
            at = segment.vaddr - offset + bias
            do_mmap(task, at, size, segment.prot, flags, file, (segment.offset - offset) // page)
        if segment.memsz > segment.filesz:
            bss_start = segment.vaddr + segment.filesz + bias + page - 1 & -page
            bss_end = segment.vaddr + segment.memsz + bias + page - 1 & -page
    if bss_end > bss_start:
        vm_brk(task, bss_start, bss_end)
    return bias


def vm_brk(task: Task, start: int, end: int) -> None:
    """vm_brk_flags(): anonymous memory of a program that is filled with zeros."""
    flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_ACCOUNT | task.sys.brk_flags
    if task.personality & 0x0400000:
        flags |= VM_EXEC
    if task.sys.soft_dirty:
        flags |= VM_SOFTDIRTY
    task.mm.insert(Vma(start, end, flags, start >> task.sys.page_shift))
    vm_stat_account(task.mm, flags, (end - start) >> task.sys.page_shift)


def _install_vdso(task: Task, done: Loaded, special: Mapping[str, int], rnd: Offsets) -> None:
    """arch_setup_additional_pages(): data and code of the vdso in one place; on x86-64 up to 6.13 above the stack."""
    size = sum(special.values())
    hint = 0
    if task.sys.arch.vdso_above_stack(task):
        hint = _vdso_addr(task, size, rnd)
    start = place(task, None, hint, size, 0, MAP_PRIVATE)
    for name, length in special.items():
        flags = VM_READ | VM_MAYREAD | (VM_EXEC | VM_MAYWRITE | VM_MAYEXEC if name == "[vdso]" else 0)
        vma = Vma(start, start + length, flags, 0)
        vma.special, vma.closes = name, True
        task.mm.insert(vma)
        vm_stat_account(task.mm, flags, length >> task.sys.page_shift)
        task.mm.special_sizes[name] = length
        done.special[name] = start
        start += length
    done.vdso = done.special.get("[vdso]", 0)


def _vdso_addr(task: Task, size: int, rnd: Offsets) -> int:
    """vdso_addr(): a hint in the rest of the huge page above the stack."""
    page, huge = task.sys.page_size, task.mm.tables.geometry.pmd_size
    start = task.mm.start_stack + page - 1 & -page
    end = min(start + size + huge - 1 & -huge, task.map_window) - size
    return start + ((end - start) * rnd.vdso & -page) if end > start else start


def _set_brk(task: Task, program: Program, interpreter: Program | None, elf_brk: int, rnd: Offsets) -> None:
    """The heap's start: behind the program, or for a static PIE where other programs lie; then randomised."""
    mm, page = task.mm, task.sys.page_size
    facts = task.sys.facts
    moved = program.kind == "DYN" and interpreter is None and (facts.static_pie_brk_moves or rnd.on)
    if moved:
        elf_brk = task.sys.arch.elf_et_dyn_base(task)
    start = elf_brk + page - 1 & -page
    if rnd.on:
        if not moved and facts.static_pie_brk_moves:
            start += page
        start += rnd.brk
    mm.start_brk = mm.brk = start
