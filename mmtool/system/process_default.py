"""A process of the model's own choice, for scripts that come without one: a small program right after exec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmtool.linux.fs.binfmt_elf import Offsets, Program, Segment
from mmtool.linux.mm.mmap.fault import touch
from mmtool.linux.mm.mmap.mm_types import VM_READ, VM_WRITE
from mmtool.system.process import Process, number, script_files
from mmtool.system.process_layout import Question, page_sizes, run_exec

DEBIAN = ("TRANSPARENT_HUGEPAGE", "TRANSPARENT_HUGEPAGE_ALWAYS", "KSM", "HUGETLBFS", "COMPAT")
"""Options that Debian's kernels of every architecture are built with."""
OF_ARCH: dict[str, dict[str, str]] = {
    "x86_64": {
        "CONFIG_MEM_SOFT_DIRTY": "y", "CONFIG_PGTABLE_LEVELS": "5", "CONFIG_X86_5LEVEL": "y",
        "CONFIG_LSM_MMAP_MIN_ADDR": "65536", "CONFIG_ARCH_MMAP_RND_BITS": "28", "CONFIG_ARCH_MMAP_RND_COMPAT_BITS": "8",
    },
    "i386": {"CONFIG_X86_PAE": "y", "CONFIG_PGTABLE_LEVELS": "3", "CONFIG_ARCH_MMAP_RND_BITS": "8"},
    "arm64": {
        "CONFIG_ARM64_VA_BITS": "48", "CONFIG_PGTABLE_LEVELS": "4", "CONFIG_ARM64_MTE": "y",
        "CONFIG_LSM_MMAP_MIN_ADDR": "32768",
        "CONFIG_ARCH_MMAP_RND_BITS": "18", "CONFIG_ARCH_MMAP_RND_COMPAT_BITS": "11",
    },
}  # fmt: skip
MMAP_MIN_ADDR = {"x86_64": "65536", "i386": "65536", "arm64": "4096"}
BASE = {"x86_64": 0x400000, "i386": 0x8048000, "arm64": 0x400000}
ALIGN = 0x10000
MOST_ENVIRONMENT = 6 << 20
"""Bytes of arguments and environment that exec takes at most: three quarters of _STK_LIM."""


def machine(
    release: str,
    arch: str,
    task: str,
    memory: int,
    *,
    va_bits: int | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A machine as a record describes one; `memory` is MemTotal in bytes, `config` the build's options by name."""
    if config is None:
        options = {f"CONFIG_{name}": "y" for name in DEBIAN} | OF_ARCH[arch]
    else:
        options = {f"CONFIG_{k}": "y" if v is True else str(v) for k, v in config.items() if v is not False}
    flags = ["la57"] if arch == "x86_64" and va_bits == 57 else []
    if arch == "arm64" and va_bits is not None:
        options["CONFIG_ARM64_VA_BITS"] = str(va_bits)
    thp = "always" if "CONFIG_TRANSPARENT_HUGEPAGE_ALWAYS" in options else "madvise"
    kib = memory >> 10
    return {
        "release": release, "arch": arch, "task": task, "mem_total_kb": kib, "cpu_flags": flags, "config": options,
        "sysctl": {
            "vm.mmap_min_addr": MMAP_MIN_ADDR[arch],
            # what subsys_initcalls take of the free memory
            "vm.user_reserve_kbytes": str(min(kib // 32, 1 << 17)),
            "vm.admin_reserve_kbytes": str(min(kib // 32, 1 << 13)),
            "vm.mmap_rnd_bits": options.get("CONFIG_ARCH_MMAP_RND_BITS", "0"),
            "vm.mmap_rnd_compat_bits": options.get("CONFIG_ARCH_MMAP_RND_COMPAT_BITS", "0"),
        },
        "thp": {"enabled": thp},
        "rlimits": {
            "STACK": ["8388608", "unlimited"], "MEMLOCK": ["8388608", "8388608"],
            "DATA": ["unlimited", "unlimited"], "AS": ["unlimited", "unlimited"],
        },
    }  # fmt: skip


def default_program(arch: str, kind: str) -> tuple[Program, Program | None]:
    """A program of 64 KiB of text and data and as much uninitialised: "fixed", "pie" or "static-pie"."""
    base = BASE[arch] if kind == "fixed" else 0
    loads = [
        Segment("r", 0, base, 0x1000, 0x1000, ALIGN),
        Segment("rx", ALIGN, base + ALIGN, ALIGN, ALIGN, ALIGN),
        Segment("rw", 2 * ALIGN, base + 2 * ALIGN, ALIGN, 2 * ALIGN, ALIGN),
    ]
    program = Program("/bin/program", "EXEC" if kind == "fixed" else "DYN", base + ALIGN, loads)
    return program, Program("/lib/ld.so", "DYN", ALIGN, loads) if kind == "pie" else None


def ask(machine: Mapping[str, Any], setup: Sequence[str]) -> Question:
    """exec of the program that the setup names, with its environment."""
    kind, env = "fixed", 0
    for line in setup:
        match line.split():
            case ["exec", name]:
                kind = {"vmrun-pie": "pie", "vmrun-spie": "static-pie"}.get(name.rpartition("/")[2], "fixed")
            case ["env", size]:
                env = number(size)
                if not 0 <= env <= MOST_ENVIRONMENT:
                    raise ValueError(f"an environment has up to {MOST_ENVIRONMENT} bytes, not {size[:40]}")
    program, interpreter = default_program(machine["arch"], kind)
    page, huge = page_sizes(machine)
    return Question(machine, setup, program, interpreter, 2 * len(program.name) + 2 + env, None, page, huge)


def default_process(machine: Mapping[str, Any], setup: Sequence[str]) -> Process:
    """The process right after exec, its own pages touched."""
    asked = ask(machine, setup)
    task, done = run_exec(asked, Offsets())
    page = task.sys.page_size
    image = [v for v in task.mm.vmas if v.file is not None and v.file.inode.name == asked.program.name]
    end = max((v.end for v in task.mm.vmas if v.start <= task.mm.start_brk and v.start >= image[0].start), default=0)
    bounds = image[0].start, max(end, image[-1].end) if asked.program.kind == "EXEC" else image[-1].end
    for vma in [v for v in task.mm.vmas if v.start < bounds[1] and v.end > bounds[0]]:
        if vma.flags & (VM_READ | VM_WRITE):
            touch(task, vma.start, vma.end - vma.start, page, bool(vma.flags & VM_WRITE))
    touch(task, (task.mm.start_stack & -page) - 3 * page, 4 * page, page, True)
    shift = task.sys.page_shift
    task.sys.committed = sum((v.end - v.start) >> shift for v in task.mm.vmas if v.flags & 0x100000)
    task.min_flt = task.maj_flt = 0
    names = {"BRK": task.mm.brk, "STACK": done.stack_end, "VDSO": done.vdso}
    return Process(task, names, script_files(page), bounds)
