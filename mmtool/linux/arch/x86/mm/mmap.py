"""Where mappings begin: arch_pick_mmap_layout() of arch/x86/mm/mmap.c and mm/util.c (arm64). Bytes; 5.10 to 7.3."""

from __future__ import annotations

from mmtool.late import dataclass

ADDR_COMPAT_LAYOUT = 0x0200000
UNLIMITED = (1 << 64) - 1
GAP_MIN = 128 << 20


@dataclass(frozen=True, slots=True)
class MmapLayout:
    """`base` is where the first mapping ends (`topdown`) or begins; `legacy_base` where bottom-up ones begin."""

    base: int
    legacy_base: int
    topdown: bool


def mmap_is_legacy(arch: str, personality: int, rlim_stack: int, legacy_va_layout: bool) -> bool:
    """mmap_is_legacy(): bottom-up if the personality or the sysctl says so; on arm64 also with an unlimited stack."""
    if personality & ADDR_COMPAT_LAYOUT or legacy_va_layout:
        return True
    return arch == "arm64" and rlim_stack == UNLIMITED


def arch_pick_mmap_layout(
    arch: str, window: int, page_size: int, rlim_stack: int, *, legacy: bool, stack_random: int = 0, rnd: int = 0
) -> MmapLayout:
    """arch_pick_mmap_layout(): `window` is the end of addresses that need no asking for (TASK_SIZE of 47 bits).

    The gap below the stack is its limit with the guard gap and what randomisation may add (`stack_random`), at least
    128 MiB, at most five sixths; `rnd` is the random offset.
    """
    third = window // (4 if arch == "arm64" else 3)
    legacy_base = (third + page_size - 1 & -page_size) + rnd
    if legacy:
        return MmapLayout(legacy_base, legacy_base, False)
    gap = rlim_stack
    pad = stack_random + 256 * page_size
    if gap + pad <= UNLIMITED:
        gap += pad
    gap = max(min(gap, window // 6 * 5), GAP_MIN)
    base = window - gap - rnd + page_size - 1 & -page_size
    return MmapLayout(base, legacy_base, True)
