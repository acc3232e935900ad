"""Where mappings begin: arch_pick_mmap_layout() of mm/util.c (arm64) and arch/x86/mm/mmap.c. Bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.linux.kernel.task import TaskArch
from mmtool.linux.mm.mmap.mm_types import UNLIMITED

ADDR_COMPAT_LAYOUT = 0x0200000
GAP_MIN = 128 << 20


@dataclass(frozen=True, slots=True)
class MmapLayout:
    """`base` is where the first mapping ends (`topdown`) or begins; `legacy_base` where bottom-up ones begin."""

    base: int
    legacy_base: int
    topdown: bool


def mmap_is_legacy(arch: TaskArch, personality: int, rlim_stack: int, legacy_va_layout: bool) -> bool:
    """mmap_is_legacy(): bottom-up if the personality or the sysctl says so; on arm64 also with an unlimited stack."""
    if personality & ADDR_COMPAT_LAYOUT or legacy_va_layout:
        return True
    return arch.unlimited_stack_is_legacy and rlim_stack == UNLIMITED


def arch_pick_mmap_layout(
    arch: TaskArch, window: int, page_size: int, rlim_stack: int, *, legacy: bool, stack_random: int = 0, rnd: int = 0
) -> MmapLayout:
    """arch_pick_mmap_layout(): `window` is the end of addresses that need no asking for (TASK_SIZE of 47 bits).

    The gap below the stack is its limit with the guard gap and what randomisation may add (`stack_random`), at least
    128 MiB, at most five sixths; `rnd` is the random offset.
    """
    start = window // arch.unmapped_fraction
    legacy_base = (start + page_size - 1 & -page_size) + rnd
    if legacy:
        return MmapLayout(legacy_base, legacy_base, False)
    gap = rlim_stack
    pad = stack_random + 256 * page_size
    if gap + pad <= UNLIMITED:
        gap += pad
    gap = max(min(gap, window // 6 * 5), GAP_MIN)
    base = window - gap - rnd + page_size - 1 & -page_size
    return MmapLayout(base, legacy_base, True)
