"""kernel/crash_reserve.c: crashkernel=, memory kept for the kernel that runs after a crash.

Before 6.7 the parsing lies in kernel/crash_core.c and each architecture reserves by itself
(arch/x86/kernel/setup.c, arch/arm64/mm/init.c). All sizes and addresses in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmtool.build.kernel import Kernel
from mmtool.build.release import Release
from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.dma.swiotlb import swiotlb_size_or_default
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.cma import crashkernel_cma
from mmtool.units import U64_MAX, memparse

SZ_1M, SZ_2M, SZ_8M, SZ_16M, SZ_128M, SZ_256M, SZ_512M = (n << 20 for n in (1, 2, 8, 16, 128, 256, 512))
SZ_4G, SZ_64T = 4 << 30, 64 << 40

NAME = "crashkernel="
HIGH, LOW, CMA = ",high", ",low", ",cma"


class InvalidCrashkernel(Exception):
    """crashkernel= is not understood (-EINVAL): the kernel's warning, and the size that was read before it."""

    def __init__(self, message: str, size: int = 0) -> None:
        self.size = size
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class CrashRequest:
    """What crashkernel= asks for: `base` 0 for any place, `low_size` None where a default is to be taken."""

    size: int
    base: int = 0
    low_size: int | None = 0
    high: bool = False
    cma_size: int = 0


@dataclass(frozen=True, slots=True)
class CrashWindow:
    """Where an architecture puts a crash kernel: asm/crash_reserve.h. The last is DEFAULT_CRASH_KERNEL_LOW_SIZE."""

    align: int
    low_max: int
    high_max: int
    default_low: int


# Reading the command line.


def _at(text: str, i: int) -> str:
    """The character at `i`, or the 0 byte that ends a string of C."""
    return text[i] if i < len(text) else "\0"


def get_last_crashkernel(cmdline: str, suffix: str | None, facts: Release) -> int | None:
    """Where the value of the last crashkernel= with `suffix` begins; without one, of the last that has none.

    Models get_last_crashkernel(): any "crashkernel=" in the text counts, and a word ends at a space.
    """
    known = (HIGH, LOW, CMA) if facts.crashkernel_from_cma else (HIGH, LOW)
    found, at = None, cmdline.find(NAME)
    while at >= 0:
        word = cmdline[at : end if (end := cmdline.find(" ", at)) >= 0 else None]
        if word.endswith(suffix or known) is (suffix is not None):
            found = at + len(NAME)
        at = cmdline.find(NAME, at + 1)
    return found


def parse_crashkernel_mem(text: str, at: int, system_ram: int, facts: Release, log: KernelLog) -> tuple[int, int]:
    """range:size[,range:size...][@offset] at `text[at:]`: (size, base) for a machine of `system_ram` bytes.

    Models parse_crashkernel_mem(): the first range [start, end) that holds the size of memory decides; since
    5.19 that size is rounded up to 128 MiB. Raises InvalidCrashkernel.
    """
    total = -(-system_ram // SZ_128M) * SZ_128M if facts.crashkernel_rounds_memory else system_ram
    bare = "crashkernel: " if facts.crashkernel_warnings_have_prefix else ""
    size = 0
    while True:
        start, at = _memparse(text, at, "crashkernel: Memory value expected")
        if _at(text, at) != "-":
            raise InvalidCrashkernel("crashkernel: '-' expected")
        at, end = at + 1, U64_MAX
        if _at(text, at) != ":":
            end, at = _memparse(text, at, "crashkernel: Memory value expected")
            if end <= start:
                raise InvalidCrashkernel("crashkernel: end <= start")
        if _at(text, at) != ":":
            raise InvalidCrashkernel("crashkernel: ':' expected")
        value, at = _memparse(text, at + 1, f"{bare}Memory value expected")
        if value >= total:
            raise InvalidCrashkernel("crashkernel: invalid size")
        if start <= total < end:
            size = value
            break
        if _at(text, at) != ",":
            break
        at += 1
    if not size:
        log.info("crashkernel size resulted in zero bytes")
        return 0, 0
    while _at(text, at) not in "\0 @":
        at += 1
    if _at(text, at) != "@":
        return size, 0
    prefix = "crahskernel: " if facts.crashkernel_warning_misspelt else bare
    return size, _memparse(text, at + 1, f"{prefix}Memory value expected after '@'", size)[0]


def _memparse(text: str, at: int, otherwise: str, size: int = 0) -> tuple[int, int]:
    value, end = memparse(text, at)
    if end == at:
        raise InvalidCrashkernel(otherwise, size)
    return value, end


def parse_crashkernel_simple(text: str, at: int) -> tuple[int, int]:
    """size[@offset] at `text[at:]`: (size, base). Models parse_crashkernel_simple(); raises InvalidCrashkernel."""
    size, at = _memparse(text, at, "crashkernel: memory value expected")
    if _at(text, at) == "@":
        return size, memparse(text, at + 1)[0]
    if _at(text, at) not in " \0":
        raise InvalidCrashkernel(f"crashkernel: unrecognized char: {_at(text, at)}", size)
    return size, 0


def parse_crashkernel_suffix(text: str, at: int, suffix: str) -> int:
    """The size before `suffix` at `text[at:]`. Models parse_crashkernel_suffix(); raises InvalidCrashkernel."""
    size, at = _memparse(text, at, "crashkernel: memory value expected")
    if not text.startswith(suffix, at):
        raise InvalidCrashkernel(f"crashkernel: unrecognized char: {_at(text, at)}", size)
    at += len(suffix)
    if _at(text, at) not in " \0":
        raise InvalidCrashkernel(f"crashkernel: unrecognized char: {_at(text, at)}", size)
    return size


def _plain(cmdline: str, system_ram: int, facts: Release, log: KernelLog) -> tuple[int, int] | None:
    """crashkernel= without a suffix: (size, base), None without one. Raises InvalidCrashkernel."""
    at = get_last_crashkernel(cmdline, None, facts)
    if at is None:
        return None
    word_end = end if (end := cmdline.find(" ", at)) >= 0 else len(cmdline)
    if 0 <= cmdline.find(":", at) < word_end:
        return parse_crashkernel_mem(cmdline, at, system_ram, facts, log)
    return parse_crashkernel_simple(cmdline, at)


def _suffixed(cmdline: str, suffix: str, facts: Release) -> int | None:
    at = get_last_crashkernel(cmdline, suffix, facts)
    return None if at is None else parse_crashkernel_suffix(cmdline, at, suffix)


def parse_crashkernel(cmdline: str, system_ram: int, facts: Release, log: KernelLog) -> CrashRequest | None:
    """What a command line asks for on a machine of `system_ram` bytes; None when nothing is to be reserved.

    Models parse_crashkernel() of 6.7 on, where ,high and ,low count only without a plain crashkernel=, and
    since 6.17 ,cma beside one of them. Warnings go to `log`.
    """
    try:
        plain = _plain(cmdline, system_ram, facts, log)
        if plain is not None:
            request = CrashRequest(*plain)
        else:
            size = _suffixed(cmdline, HIGH, facts)
            if not size:
                return None
            request = CrashRequest(size, 0, _suffixed(cmdline, LOW, facts), high=True)
    except InvalidCrashkernel as e:
        log.warn(str(e))
        return None
    cma = _cma_size(cmdline, facts, log)
    if not request.size or (request.size >= system_ram and facts.crashkernel_must_fit):
        return None
    return CrashRequest(request.size, request.base, request.low_size, request.high, cma)


def _cma_size(cmdline: str, facts: Release, log: KernelLog) -> int:
    """The size of ,cma, which counts even when what follows it is not understood."""
    if not facts.crashkernel_from_cma:
        return 0
    try:
        return _suffixed(cmdline, CMA, facts) or 0
    except InvalidCrashkernel as e:
        log.warn(str(e))
        return e.size


# Reserving.


def _kept_out(kernel: Kernel) -> bool:
    """Is the build without crash kernels? An unknown configuration has them."""
    return any(kernel.profile.config.get(option) is False for option in ("KEXEC_CORE", "CRASH_RESERVE"))


def x86_window(boot: Boot) -> CrashWindow:
    """Where x86 looks: 16 MiB steps, below 4 GiB and then 64 TiB; i386 below 512 MiB.

    Models arch/x86/include/asm/crash_reserve.h. The default low part is what swiotlb takes and 8 MiB, at
    least 256 MiB.
    """
    if not boot.kernel.is_64bit:
        return CrashWindow(SZ_16M, SZ_512M, SZ_512M, 0)
    return CrashWindow(SZ_16M, SZ_4G, SZ_64T, max(swiotlb_size_or_default(boot.cmdline) + SZ_8M, SZ_256M))


def arm64_window(dma_limit: int, pa_bits: int) -> CrashWindow:
    """Where arm64 looks: 2 MiB steps, below arm64_dma_phys_limit and then below 2**`pa_bits`.

    Models arch/arm64/include/asm/crash_reserve.h.
    """
    return CrashWindow(SZ_2M, dma_limit, 1 << pa_bits, SZ_128M)


def reserve_crashkernel(boot: Boot) -> None:
    """x86's step: reserve_crashkernel() up to 6.6, arch_reserve_crashkernel() from 6.7 on."""
    if _kept_out(boot.kernel) or NAME not in boot.cmdline.text:
        return
    if not boot.kernel.release.crashkernel_is_generic:
        _reserve_x86(boot, x86_window(boot))
        return
    reserve_requested(boot, x86_window(boot))


def reserve_crashkernel_arm64(boot: Boot, dma_limit: int, pa_bits: int) -> None:
    """arm64's step: reserve_crashkernel() up to 6.6, arch_reserve_crashkernel() from 6.7 on.

    `dma_limit` is arm64_dma_phys_limit, `pa_bits` CONFIG_ARM64_PA_BITS.
    """
    if _kept_out(boot.kernel) or NAME not in boot.cmdline.text:
        return
    window, facts = arm64_window(dma_limit, pa_bits), boot.kernel.release
    if facts.crashkernel_arm64_falls_back:
        reserve_requested(boot, window)
    elif facts.crashkernel_arm64_knows_high:
        _reserve_arm64_high(boot, window)
    else:
        _reserve_arm64(boot, window)


def reserve_requested(boot: Boot, window: CrashWindow) -> None:
    """Parse and reserve as arch_reserve_crashkernel() does, from 6.7 on (arm64: from 6.2 on)."""
    request = parse_crashkernel(boot.cmdline.text, boot.memblock.phys_mem_size(), boot.kernel.release, boot.log)
    if request is None:
        return
    low_size = window.default_low if request.low_size is None else request.low_size
    reserve_crashkernel_generic(boot, window, request, low_size)
    if request.cma_size:
        crashkernel_cma(boot, request.cma_size)


def reserve_crashkernel_generic(boot: Boot, window: CrashWindow, request: CrashRequest, low_size: int) -> None:
    """Find a place, elsewhere when the first choice is full, and `low_size` bytes below when it lies high.

    Models reserve_crashkernel_generic(): a plain size goes low and then high (with the default low part), a
    ,high one the other way round, and a given offset nowhere else.
    """
    mb, log = boot.memblock, boot.log
    tries = [(0, window.low_max, low_size), (window.low_max, window.high_max, window.default_low)]
    if request.base:
        tries = [(request.base, request.base + request.size, low_size)]
    elif request.high:
        tries = [(window.low_max, window.high_max, low_size), (0, window.low_max, low_size)]
    base = low = 0
    for start, end, wanted in tries:
        low = wanted
        base = mb.phys_alloc_range(request.size, window.align, start, end, owner="crashkernel")
        if base:
            break
    if not base:
        if request.base:
            log.warn("crashkernel reservation failed - memory is in use.")
        else:
            log.warn(f"cannot allocate crashkernel (size:{request.size:#x})")
        return
    if base >= window.low_max and low and not _reserve_low(boot, window, low):
        mb.phys_free(base, request.size)
        return
    _say_reserved(boot, base, request.size)


def _say_reserved(boot: Boot, base: int, size: int) -> None:
    boot.log.info(f"crashkernel reserved: 0x{base:016x} - 0x{base + size:016x} ({size >> 20} MB)")


def _reserve_low(boot: Boot, window: CrashWindow, size: int) -> bool:
    """reserve_crashkernel_low() of the generic code: memory that devices with 32 bits reach."""
    if not boot.kernel.is_64bit:
        return True
    base = boot.memblock.phys_alloc_range(size, window.align, 0, window.low_max, owner="crashkernel low")
    if not base:
        boot.log.err(f"cannot allocate crashkernel low memory (size:{size:#x}).")
        return False
    boot.log.info(f"crashkernel low memory reserved: 0x{base:08x} - 0x{base + size:08x} ({size >> 20} MB)")
    return True


def _first_request(boot: Boot, system_ram: int) -> tuple[int, int, bool] | None:
    """(size, base, high) as x86 asked before 6.7: what is wrong or empty without a suffix leaves ,high to be tried."""
    facts, log = boot.kernel.release, boot.log
    for suffix in (None, HIGH):
        try:
            if suffix is None:
                size, base = _plain(boot.cmdline.text, system_ram, facts, log) or (0, 0)
            else:
                size, base = _suffixed(boot.cmdline.text, suffix, facts) or 0, 0
        except InvalidCrashkernel as e:
            log.warn(str(e))
            continue
        if size:
            return size, base, suffix is not None
    return None


def _reserve_x86(boot: Boot, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/x86/kernel/setup.c, up to 6.6."""
    mb, log = boot.memblock, boot.log
    total = mb.phys_mem_size()
    request = _first_request(boot, total)
    if request is None:
        return
    size, base, high = request
    if base:
        if mb.phys_alloc_range(size, SZ_1M, base, base + size, owner="crashkernel") != base:
            log.info("crashkernel reservation failed - memory is in use.")
            return
    else:
        ends = (window.high_max,) if high else (window.low_max, window.high_max)
        places = (mb.phys_alloc_range(size, window.align, window.align, end, owner="crashkernel") for end in ends)
        base = next((place for place in places if place), 0)
        if not base:
            log.info("crashkernel reservation failed - No suitable area found.")
            return
    if base >= SZ_4G and not _reserve_x86_low(boot, window):
        mb.phys_free(base, size)
        return
    log.info(f"Reserving {size >> 20}MB of memory at {base >> 20}MB for crashkernel (System RAM: {total >> 20}MB)")


def _reserve_x86_low(boot: Boot, window: CrashWindow) -> bool:
    """reserve_crashkernel_low() of arch/x86/kernel/setup.c: ,low, or its default; ,low of 0 is none."""
    mb, log = boot.memblock, boot.log
    limit = min(mb.phys_mem_size(), window.low_max)
    try:
        size = _suffixed(boot.cmdline.text, LOW, boot.kernel.release)
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


def _page_align(boot: Boot, size: int) -> int:
    page = boot.memblock.page_size
    return -(-size // page) * page


def _reserve_arm64(boot: Boot, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/arm64/mm/init.c, up to 5.18: below the DMA limit, and no suffix."""
    mb, log = boot.memblock, boot.log
    try:
        size, base = _plain(boot.cmdline.text, mb.phys_mem_size(), boot.kernel.release, log) or (0, 0)
    except InvalidCrashkernel as e:
        log.warn(str(e))
        return
    size = _page_align(boot, size)
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
    _say_reserved(boot, base, size)


def _reserve_arm64_high(boot: Boot, window: CrashWindow) -> None:
    """reserve_crashkernel() of arch/arm64/mm/init.c from 5.19 to 6.1: ,high and ,low, and no second attempt."""
    mb, log, facts = boot.memblock, boot.log, boot.kernel.release
    request = parse_crashkernel(boot.cmdline.text, mb.phys_mem_size(), facts, log)
    if request is None:
        return
    size = _page_align(boot, request.size)
    end = request.base + size if request.base else window.high_max if request.high else window.low_max
    base = mb.phys_alloc_range(size, window.align, request.base, end, owner="crashkernel")
    if not base:
        log.warn(f"cannot allocate crashkernel (size:{size:#x})")
        return
    if base >= window.low_max and request.low_size and not _reserve_low(boot, window, request.low_size):
        mb.phys_free(base, size)
        return
    _say_reserved(boot, base, size)
