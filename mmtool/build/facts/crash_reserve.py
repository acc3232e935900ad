"""kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), arch/arm64/mm/init.c: crashkernel=."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, between, since


class CrashReserveFacts(Facts):
    """kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), arch/arm64/mm/init.c: crashkernel=."""

    crashkernel_reserves_first_mib: bool = since("5.5")
    """crashkernel= reserves the first MiB (x86/kdump: Always reserve the low 1M)."""
    crashkernel_is_generic: bool = since("6.7")
    """x86 and arm64 share one reservation, which tries high memory after low or low after high
    (crash_core: add generic function to do reservation)."""
    crashkernel_rounds_memory: bool = since("5.19")
    """Ranges are compared with the size of memory rounded up to 128 MiB."""
    crashkernel_must_fit: bool = since("6.12")
    """Nothing is tried when all memory is asked for (crash: fix crash memory reserve exceed system memory bug)."""
    crashkernel_from_cma: bool = since("6.17")
    """crashkernel=SIZE,cma (kdump: implement reserve_crashkernel_cma)."""
    crashkernel_warnings_have_prefix: bool = since("6.9")
    """All warnings about crashkernel= begin with its name."""
    crashkernel_warning_misspelt: bool = between(Change("6.9"), Change("6.13"))
    """... of which one as "crahskernel"."""
    crashkernel_arm64_knows_high: bool = since("5.19")
    """arm64 takes ,high and ,low (arm64: kdump: Reimplement crashkernel=X)."""
    crashkernel_arm64_falls_back: bool = since("6.2")
    """arm64 tries the other side of the DMA limit too, and a high crash kernel gets 128 MiB below by default."""
