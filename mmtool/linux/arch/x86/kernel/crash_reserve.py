"""Where x86 puts a crash kernel, and how it did up to 6.6: asm/crash_reserve.h, arch/x86/kernel/setup.c. Bytes."""

from __future__ import annotations

from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.linux.kernel.crash_reserve import (
    HIGH,
    LOW,
    CrashWindow,
    InvalidCrashkernel,
    plain_crashkernel,
    reserve_requested,
    suffixed_crashkernel,
    wants_crashkernel,
)
from mmtool.linux.kernel.dma.swiotlb import swiotlb_size_or_default
from mmtool.linux.mm.cma import Cma
from mmtool.linux.mm.early import Early
from mmtool.regex import regex
from mmtool.units import round_up

SZ_1M, SZ_8M, SZ_16M, SZ_160M, SZ_256M, SZ_512M, SZ_896M = (n << 20 for n in (1, 8, 16, 160, 256, 512, 896))
SZ_4G, SZ_64T = 4 << 30, 64 << 40


def crash_window(early: Early) -> CrashWindow:
    """Where x86 looks: 16 MiB steps, below 4 GiB and then 64 TiB; i386 below 512 MiB.

    Models arch/x86/include/asm/crash_reserve.h. The default low part is what swiotlb takes and 8 MiB, at
    least 256 MiB.
    """
    if not early.kernel.is_64bit:
        return CrashWindow(SZ_16M, SZ_512M, SZ_512M, 0)
    if not early.kernel.release.crashkernel_reaches_4g:
        return CrashWindow(SZ_16M, SZ_896M, SZ_64T, max(swiotlb_size_or_default(early.cmdline) + SZ_8M, SZ_256M))
    return CrashWindow(SZ_16M, SZ_4G, SZ_64T, max(swiotlb_size_or_default(early.cmdline) + SZ_8M, SZ_256M))


def reserve_crashkernel(early: Early, cma: Cma) -> None:
    """x86's step: reserve_crashkernel() up to 6.6, arch_reserve_crashkernel() from 6.7 on."""
    if not wants_crashkernel(early):
        return
    window = crash_window(early)
    if early.kernel.release.crashkernel_is_generic:
        reserve_requested(early, cma, window)
    else:
        _reserve(early, window)


def _first_request(early: Early, system_ram: int) -> tuple[int, int, bool] | None:
    """(size, base, high) as x86 asked before 6.7: what is wrong or empty without a suffix leaves ,high to be tried."""
    facts, log = early.kernel.release, early.log
    for suffix in (None, HIGH):
        try:
            if suffix is None:
                size, base = plain_crashkernel(early.cmdline.text, system_ram, facts, log) or (0, 0)
            else:
                size, base = suffixed_crashkernel(early.cmdline.text, suffix, facts) or 0, 0
        except InvalidCrashkernel as e:
            log.warn(str(e))
            continue
        if size:
            return size, base, suffix is not None
    return None


_RHEL7 = regex(r"\.el7(?:\.|_|$)")


def _auto(early: Early, total: int) -> int:
    """crashkernel=auto as Red Hat's kernels of RHEL 7 know it: 160 MiB and two bits a page, from 2 GiB on; else 0."""
    auto = early.cmdline.get("crashkernel") == "auto" and _RHEL7.search(early.kernel.name) is not None
    return SZ_160M + round_up((total >> PAGE_SHIFT) * 2 // 8, SZ_1M) if auto and total >= 2 << 30 else 0


def _reserve(early: Early, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/x86/kernel/setup.c, up to 6.6."""
    mb, log, facts = early.memblock, early.log, early.kernel.release
    total = mb.phys_mem_size()
    automatic = _auto(early, total)
    request = (automatic, 0, False) if automatic else _first_request(early, total)
    if request is None:
        return
    size, base, high = request
    if base:
        if mb.phys_alloc_range(size, SZ_1M, base, base + size, owner="crashkernel") != base:
            log.info("crashkernel reservation failed - memory is in use.")
            return
    else:
        ends = (window.low_max, window.high_max) if facts.crashkernel_reaches_4g else (window.low_max,)
        ends = (window.high_max,) if high else ends
        places = (mb.phys_alloc_range(size, window.align, window.align, end, owner="crashkernel") for end in ends)
        base = next((place for place in places if place), 0)
        if not base:
            log.info("crashkernel reservation failed - No suitable area found.")
            return
    if base >= SZ_4G and not _reserve_low(early, window):
        mb.phys_free(base, size)
        return
    log.info(f"Reserving {size >> 20}MB of memory at {base >> 20}MB for crashkernel (System RAM: {total >> 20}MB)")


def _reserve_low(early: Early, window: CrashWindow) -> bool:
    """reserve_crashkernel_low() of arch/x86/kernel/setup.c: ,low, or its default; ,low of 0 is none."""
    mb, log = early.memblock, early.log
    limit = min(mb.phys_mem_size(), window.low_max)
    try:
        size = suffixed_crashkernel(early.cmdline.text, LOW, early.kernel.release)
    except InvalidCrashkernel as e:
        log.warn(str(e))
        size = None
    if size == 0:
        return True
    size = window.default_low if size is None else size
    base = mb.phys_alloc_range(size, window.align, 0, window.low_max, owner="crashkernel low")
    if not base:
        log.err(f"Cannot reserve {size >> 20}MB crashkernel low memory, please try smaller size.")
        return False
    log.info(
        f"Reserving {size >> 20}MB of low memory at {base >> 20}MB for crashkernel (low RAM limit: {limit >> 20}MB)"
    )
    return True
