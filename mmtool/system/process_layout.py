"""Where a program and its mappings lie after exec: one layout, or the ranges that randomisation gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmtool.late import dataclass
from mmtool.linux.fs.binfmt_elf import (
    LARGEST_STACK_SHIFT,
    Loaded,
    Offsets,
    Program,
    Segment,
    load_elf_binary,
    special_sizes,
)
from mmtool.linux.fs.proc.task_mmu import perms, vma_name
from mmtool.linux.kernel.task import Task
from mmtool.linux.mm.mmap.mm_types import MAP_32BIT, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, Refused
from mmtool.linux.mm.mmap.mmap import do_mmap
from mmtool.linux.mm.mmap.vma import do_munmap
from mmtool.system.process import ARCHITECTURES, new_task, number
from mmtool.units import whole

INTERPRETER = "/ldvm"
Range = tuple[int, int, int]


@dataclass
class Question:
    """What exec is given: machine and settings, the program, and the bytes of its strings."""

    machine: Mapping[str, Any]
    setup: Sequence[str]
    program: Program
    interpreter: Program | None
    strings: int
    special: Mapping[str, int] | None
    page_size: int
    huge_size: int


def question(record: Mapping[str, Any]) -> Question:
    """A record's question."""
    machine = record["machine"]
    argv = list(record["argv"])
    interp = record.get("interp")
    page_size, huge_size = page_sizes(machine)
    # the file's name, then arguments and environment, each with its end
    strings = len(argv[0]) + 1 + sum(len(a) + 1 for a in argv) + int(record.get("env", 0))
    return Question(
        machine, record.get("setup", ()), program(record["elf"], argv[0]),
        program(interp, interp.get("name", INTERPRETER)) if interp else None,
        strings, record.get("special"), page_size, huge_size,
    )  # fmt: skip


def page_sizes(machine: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes of a page, and of a huge page of the PMD's level."""
    release, config = machine["release"], machine.get("config", {})
    shift = 14 if "16k" in release or "CONFIG_ARM64_16K_PAGES" in config else 16 if "64k" in release else 12
    said = machine.get("thp", {}).get("hpage_pmd_size")
    geometry = ARCHITECTURES[machine["arch"]].geometry(config, shift)
    return geometry.page_size, int(said) if said else geometry.pmd_size


def program(elf: Mapping[str, Any], name: str) -> Program:
    loads = [
        Segment(p["flags"], *(number(p[k]) for k in ("offset", "vaddr", "filesz", "memsz", "align")))
        for p in elf["phdrs"]
        if p["type"] == "LOAD"
    ]
    return Program(name, elf["type"], number(elf["entry"]), loads)


def run_exec(q: Question, rnd: Offsets) -> tuple[Task, Loaded]:
    """exec: an address space with the program, its interpreter, the vdso and the stack."""
    task = new_task(q.machine, q.setup, q.page_size, q.huge_size)
    special = q.special
    if special is None:
        special = special_sizes(task)
    order = {name: special[name] for name in ("[vvar]", "[vvar_vclock]", "[vdso]") if name in special}
    return task, load_elf_binary(task, q.program, q.interpreter, q.strings, order, rnd)


def picture(task: Task) -> list[tuple[int, int, str, int, str]]:
    """The rows of /proc/PID/maps."""
    shift = task.sys.page_shift
    return [
        (v.start, v.end, perms(v), v.pgoff << shift if v.file is not None else 0, vma_name(task, v))
        for v in task.mm.vmas
    ]


def layout(q: Question) -> tuple[list[tuple[int, int, str, int, str]], dict[str, int | str]]:
    """The picture after exec without randomisation, and where further mappings would go."""
    task, done = run_exec(q, Offsets())
    rows = picture(task)
    page, huge = q.page_size, q.huge_size
    answer: dict[str, int | str] = {"task_size": task.task_size}
    answer["first_mmap"] = _would_map(task, 0, page, 0, 0)
    answer["first_big"] = _would_map(task, 0, 4 * huge + page, PROT_READ | PROT_WRITE, 0)
    if task.word_bits == 64:
        for name, hint, flags in (
            ("hint56", 1 << 56, 0),
            ("hint_top", (1 << 64) - page, 0),
            ("map32bit", 0, MAP_32BIT),
        ):
            answer[name] = _would_map(task, hint, page, PROT_READ | PROT_WRITE, flags)
    answer["min_addr"] = task.sys.dac_mmap_min_addr + page - 1 & -page
    if q.program.kind == "EXEC" or q.interpreter is not None:
        answer["mmap_base"] = task.mm.mmap_base
    answer["grows"] = "down" if task.mm.topdown else "up"
    answer |= {
        "stack_end": done.stack_end, "start_brk": task.mm.start_brk, "entry": done.entry, "base": done.base
    }  # fmt: skip
    return rows, answer


def _would_map(task: Task, hint: int, length: int, prot: int, flags: int) -> int:
    """Where a private anonymous mapping would go; it is taken away again. 0 where it is refused."""
    try:
        start = do_mmap(task, hint, length, prot, flags | MAP_PRIVATE | MAP_ANONYMOUS, None, 0)
    except Refused:
        return 0
    do_munmap(task, start, length)
    return start


def ranges(q: Question) -> dict[str, Range]:
    """With randomisation on: lowest and highest address (inclusive) and the step, of each place."""
    task = new_task(q.machine, q.setup, q.page_size, q.huge_size)
    page = q.page_size
    bits = whole(str(q.machine["sysctl"]["vm.mmap_rnd_compat_bits" if task.compat else "vm.mmap_rnd_bits"]), most=64)
    arch, pages = task.sys.arch, (1 << bits) - 1
    most = Offsets(True, pages, arch.stack_rnd_mask(task), LARGEST_STACK_SHIFT, pages, arch.brk_range(task) - page, 1)
    low, high = Offsets(on=True), most
    first, last = _places(q, low), _places(q, high)
    # the vdso follows the stack, up to the end of its huge page
    apart = _places(q, Offsets(True, 0, most.stack, most.shift, 0, 0, 0)), _places(q, Offsets(on=True, vdso=1))
    step = page
    if q.interpreter is not None and q.program.kind == "DYN":
        step = max(page, q.program.maximum_alignment)
    answer = {}
    for name in ("mmap", "stack_end", "brk", "exec", "vdso"):
        values = [first[name], last[name]]
        if name == "vdso":
            values += [place["vdso"] for place in apart]
            task, _ = run_exec(q, low)
            if not task.sys.arch.vdso_above_stack(task):
                values = values[:2]
            else:
                values = [_vdso_bounds(q, most)[0], _vdso_bounds(q, most)[1]]
        unit = step if name == "exec" and q.interpreter is not None else page
        answer[name] = (min(values), max(values), unit if min(values) != max(values) else 0)
    return answer


def _vdso_bounds(q: Question, most: Offsets) -> tuple[int, int]:
    """Where the vdso's code lies at least and at most, above the lowest and the highest stack."""
    task, done = run_exec(q, Offsets(True, 0, most.stack, most.shift, 0, 0, 0))
    size = sum(task.mm.special_sizes.values())
    before = size - task.mm.special_sizes["[vdso]"]
    return done.stack_end + before, task.map_window - task.mm.special_sizes["[vdso]"]


def _places(q: Question, rnd: Offsets) -> dict[str, int]:
    task, done = run_exec(q, rnd)
    moved = q.program.kind == "DYN" and q.interpreter is None
    return {
        "mmap": _would_map(task, 0, q.page_size, 0, 0),
        "stack_end": done.stack_end,
        "brk": task.mm.start_brk - (0 if moved else done.load_bias),
        "exec": done.entry,
        "vdso": done.vdso,
    }
