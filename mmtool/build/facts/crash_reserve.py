"""kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), arch/arm64/mm/init.c: crashkernel=."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Symbol, between, since


class CrashReserveFacts(Facts):
    """kernel/crash_reserve.c (before 6.9 kernel/crash_core.c), arch/arm64/mm/init.c: crashkernel=."""

    crashkernel_reaches_4g: bool = since("5.2", "x86/kdump: Have crashkernel=X reserve under 4G by default")
    """x86-64 looks below 4 GiB and then above; before, below 896 MiB alone."""
    crashkernel_reserves_first_mib: bool = since(
        "5.5",
        "x86/kdump: Always reserve the low 1M when the crashkernel option is specified",
        marks=(
            Mark("arch/x86/kernel/crash.c", "crash_reserve_low_1M", until="5.13"),
            Mark("arch/x86/realmode/init.c", "memblock_reserve(0, SZ_1M)"),
        ),
    )
    """crashkernel= reserves the first MiB."""
    crashkernel_is_generic: bool = since(
        "6.7",
        "crash_core: add generic function to do reservation",
        marks=(
            Mark("kernel/crash_core.c", "reserve_crashkernel_generic"),
            Mark("kernel/crash_reserve.c", "reserve_crashkernel_generic"),
        ),
    )
    """x86 and arm64 share one reservation, which tries high memory after low or low after high."""
    crashkernel_rounds_memory: bool = since(
        "6.0", marks=(Mark("kernel/crash_core.c", "SZ_128M"), Mark("kernel/crash_reserve.c", "SZ_128M"))
    )
    """Ranges are compared with the size of memory rounded up to 128 MiB."""
    crashkernel_must_fit: bool = since(
        "6.12",
        "crash: fix crash memory reserve exceed system memory bug",
        marks=Mark("kernel/crash_reserve.c", "*crash_size >= system_ram"),
    )
    """Nothing is tried when all memory is asked for."""
    crashkernel_from_cma: bool = since(
        "6.17",
        "kdump: implement reserve_crashkernel_cma",
        marks=(
            Mark("kernel/crash_reserve.c", "reserve_crashkernel_cma"),
            Symbol("reserve_crashkernel_cma", beside="reserve_crashkernel_generic"),
        ),
    )
    """crashkernel=SIZE,cma."""
    crashkernel_warnings_have_prefix: bool = since("6.9", marks=Mark("kernel/crash_reserve.c", '"crashkernel: '))
    """All warnings about crashkernel= begin with its name."""
    crashkernel_warning_misspelt: bool = between(
        Change("6.10"),
        Change("6.15", not_in="6.14", seen_in="6.17"),
        marks=Mark("kernel/crash_reserve.c", "crahskernel"),
    )
    """... of which one as "crahskernel"."""
    crashkernel_arm64_knows_high: bool = since(
        "5.19",
        "arm64: kdump: Reimplement crashkernel=X",
        marks=(
            Mark("arch/arm64/mm/init.c", "parse_crashkernel_high", until="6.7"),
            Mark("arch/arm64/mm/init.c", "&low_size", since="6.7"),
        ),
    )
    """arm64 takes ,high and ,low."""
    crashkernel_arm64_falls_back: bool = since(
        "6.2",
        marks=(
            Mark("arch/arm64/mm/init.c", "DEFAULT_CRASH_KERNEL_LOW_SIZE", until="6.7"),
            Mark("kernel/crash_reserve.c", "DEFAULT_CRASH_KERNEL_LOW_SIZE", since="6.7"),
            Mark("kernel/crash_core.c", "DEFAULT_CRASH_KERNEL_LOW_SIZE", since="6.7"),
        ),
    )
    """arm64 tries the other side of the DMA limit too, and a high crash kernel gets 128 MiB below by default."""
