"""Where arm64 puts a crash kernel, and how it did up to 6.6: asm/crash_reserve.h, arch/arm64/mm/init.c. Bytes."""

from __future__ import annotations

from mmtool.linux.kernel.crash_reserve import (
    CrashWindow,
    InvalidCrashkernel,
    parse_crashkernel,
    plain_crashkernel,
    reserve_crashkernel_low,
    reserve_requested,
    say_reserved,
    wants_crashkernel,
)
from mmtool.linux.mm.cma import Cma
from mmtool.linux.mm.early import Early
from mmtool.units import round_up

SZ_2M, SZ_128M = 2 << 20, 128 << 20


def crash_window(dma_limit: int, pa_bits: int) -> CrashWindow:
    """Where arm64 looks: 2 MiB steps, below arm64_dma_phys_limit and then below 2**`pa_bits`.

    Models arch/arm64/include/asm/crash_reserve.h.
    """
    return CrashWindow(SZ_2M, dma_limit, 1 << pa_bits, SZ_128M)


def reserve_crashkernel(early: Early, cma: Cma, window: CrashWindow) -> None:
    """arm64's step: reserve_crashkernel() up to 6.6, arch_reserve_crashkernel() from 6.7 on."""
    if not wants_crashkernel(early):
        return
    facts = early.kernel.release
    if facts.crashkernel_arm64_falls_back:
        reserve_requested(early, cma, window)
    elif facts.crashkernel_arm64_knows_high:
        _reserve_high(early, window)
    else:
        _reserve(early, window)


def _reserve(early: Early, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/arm64/mm/init.c, up to 5.18: below the DMA limit, and no suffix."""
    mb, log = early.memblock, early.log
    try:
        size, base = plain_crashkernel(early.cmdline.text, mb.phys_mem_size(), early.kernel.release, log) or (0, 0)
    except InvalidCrashkernel as e:
        log.warn(str(e))
        return
    size = round_up(size, mb.page_size)
    if not size:
        return
    if not base:
        base = mb.find_in_range(0, window.low_max, size, window.align)
        if not base:
            log.warn(f"cannot allocate crashkernel (size:{size:#x})")
            return
    elif not mb.is_region_memory(base, size):
        log.warn("cannot reserve crashkernel: region is not memory")
        return
    elif mb.is_region_reserved(base, size):
        log.warn("cannot reserve crashkernel: region overlaps reserved memory")
        return
    elif base % window.align:
        log.warn("cannot reserve crashkernel: base address is not 2MB aligned")
        return
    mb.reserve(base, size, owner="crashkernel")
    say_reserved(early, base, size)


def _reserve_high(early: Early, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/arm64/mm/init.c from 5.19 to 6.1: ,high and ,low, and no second attempt."""
    mb, log, facts = early.memblock, early.log, early.kernel.release
    request = parse_crashkernel(early.cmdline.text, mb.phys_mem_size(), facts, log)
    if request is None:
        return
    size = round_up(request.size, mb.page_size)
    end = request.base + size if request.base else window.high_max if request.high else window.low_max
    base = mb.phys_alloc_range(size, window.align, request.base, end, owner="crashkernel")
    if not base:
        log.warn(f"cannot allocate crashkernel (size:{size:#x})")
        return
    if base >= window.low_max and request.low_size and not reserve_crashkernel_low(early, window, request.low_size):
        mb.phys_free(base, size)
        return
    say_reserved(early, base, size)
