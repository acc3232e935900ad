"""What processes ask of arm64: asm/elf.h, asm/processor.h, kernel/process.c, kernel/vdso.c. Bytes; 5.10 to 7.3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmtool.linux.kernel.task import Processor, Task, TaskArch
from mmtool.linux.mm.mmap.pgtable import Geometry
from mmtool.linux.mm.mmap.unmapped_area import generic_get_unmapped_area
from mmtool.units import whole

HWCAP_ATOMICS, HWCAP_DIT = 1 << 8, 1 << 24
"""What processors of ARMv8.1 on (LSE) and of ARMv8.4 on have."""


class Arm64(TaskArch):
    """64-bit programs of an arm64 kernel."""

    unmapped_fraction = 4
    unlimited_stack_is_legacy = True
    hugetlb_hint_rounds_up = True
    vdso_pages = 1

    def processor(self, flags: Sequence[str], hwcap: int | None) -> Processor | None:
        return None if hwcap is None else Processor(bool(hwcap & HWCAP_ATOMICS), bool(hwcap & HWCAP_DIT))

    def geometry(self, config: Mapping[str, str], page_shift: int) -> Geometry:
        bits = page_shift - 3
        pmd = page_shift + bits
        levels = int(config.get("CONFIG_PGTABLE_LEVELS", 4))
        pud, p4d = pmd + bits if levels >= 3 else 0, pmd + 2 * bits if levels >= 4 else 0
        return Geometry(page_shift, pmd, pud, p4d, 1 << page_shift)

    def task_size(
        self, config: Mapping[str, str], page_shift: int, processor: Processor, *, compat: bool, personality: int
    ) -> tuple[int, int]:
        bits = whole(str(config.get("CONFIG_ARM64_VA_BITS", 48)), most=52)
        window = min(bits, 47 if page_shift == 14 else 48) if bits > 48 else bits
        return 1 << (bits if processor.large_addresses else window), 1 << window

    def stack_rnd_mask(self, task: Task) -> int:
        return 0x3FFFF >> (task.sys.page_shift - 12)

    def elf_et_dyn_base(self, task: Task) -> int:
        return 2 * task.map_window // 3

    def brk_range(self, task: Task) -> int:
        return 1 << 30

    def vvar_pages(self, *, datastore: bool) -> dict[str, int]:
        return {"[vvar]": 4 if datastore else 2}

    def vdso_above_stack(self, task: Task) -> bool:
        return False

    def get_unmapped_area(self, task: Task, addr: int, length: int, flags: int, align: int) -> int | None:
        return generic_get_unmapped_area(task, addr, length, align)
