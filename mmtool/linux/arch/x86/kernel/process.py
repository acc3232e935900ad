"""What processes ask of x86: asm/elf.h, asm/page_64_types.h, asm/page_32_types.h, kernel/process.c, entry/vdso/vma.c.

Sizes in bytes unless a name says pages; 5.10 to 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtool.linux.arch.x86.kernel.sys_x86_64 import arch_get_unmapped_area
from mmtool.linux.arch.x86.page import PAGE_SHIFT, PAGE_SIZE
from mmtool.linux.kernel.task import Processor, Task, TaskArch
from mmtool.linux.mm.mmap.pgtable import Geometry
from mmtool.linux.mm.mmap.unmapped_area import generic_get_unmapped_area

ADDR_LIMIT_3GB = 0x8000000


class _X86(TaskArch):
    def processor(self, flags: Sequence[str], hwcap: int | None) -> Processor:
        return Processor(large_addresses="la57" in flags)

    def brk_range(self, task: Task) -> int:
        return 1 << 30 if task.word_bits == 64 else 32 << 20

    def stack_rnd_mask(self, task: Task) -> int:
        return 0x3FFFFF if task.word_bits == 64 else 0x7FF

    def vvar_pages(self, *, datastore: bool) -> dict[str, int]:
        return {"[vvar]": 4, "[vvar_vclock]": 2} if datastore else {"[vvar]": 4}


class X86_64(_X86):
    """The 64-bit kernel, also for 32-bit programs (compat)."""

    def geometry(self, config: Mapping[str, str], page_shift: int) -> Geometry:
        return Geometry(page_shift, 21, 30, 39, 1 << page_shift)

    def task_size(
        self, config: Mapping[str, str], page_shift: int, processor: Processor, *, compat: bool, personality: int
    ) -> tuple[int, int]:
        if compat:
            end = 0xC0000000 if personality & ADDR_LIMIT_3GB else 0xFFFFE000
            return end, end
        window = (1 << 47) - PAGE_SIZE
        return ((1 << 56) - PAGE_SIZE if processor.large_addresses else window), window

    def elf_et_dyn_base(self, task: Task) -> int:
        if task.compat:
            return (task.map_window // 3 + task.sys.page_size - 1 & -task.sys.page_size) + 0x1000000
        return task.map_window // 3 * 2

    def vdso_above_stack(self, task: Task) -> bool:
        return not task.compat and task.sys.facts.vdso_above_stack

    def get_unmapped_area(self, task: Task, addr: int, length: int, flags: int, align: int) -> int | None:
        return arch_get_unmapped_area(task, addr, length, flags, align)


class I386(_X86):
    """The 32-bit kernel."""

    kernel_bits = 32

    def geometry(self, config: Mapping[str, str], page_shift: int) -> Geometry:
        if "CONFIG_X86_PAE" in config:
            return Geometry(PAGE_SHIFT, 21, 30, 0, PAGE_SIZE, preallocated=3)
        return Geometry(PAGE_SHIFT, 22, 0, 0, PAGE_SIZE)

    def task_size(
        self, config: Mapping[str, str], page_shift: int, processor: Processor, *, compat: bool, personality: int
    ) -> tuple[int, int]:
        return 0xC0000000, 0xC0000000

    def elf_et_dyn_base(self, task: Task) -> int:
        return 0x400000

    def vdso_above_stack(self, task: Task) -> bool:
        return False

    def get_unmapped_area(self, task: Task, addr: int, length: int, flags: int, align: int) -> int | None:
        return generic_get_unmapped_area(task, addr, length, align)
