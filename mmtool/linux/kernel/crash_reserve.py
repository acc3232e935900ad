"""kernel/crash_reserve.c: crashkernel=, memory kept for the kernel that runs after a crash.

Before 6.7 the parsing lies in kernel/crash_core.c and each architecture reserves by itself: those functions, and
where an architecture puts a crash kernel, are in arch/. All sizes and addresses in bytes.
"""

from __future__ import annotations

from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.cma import Cma, CmaError, CmaRequest, cma_declare_contiguous_nid
from mmtool.linux.mm.early import Early
from mmtool.units import U64_MAX, memparse, round_up

SZ_128M = 128 << 20
CRASHKERNEL_CMA_RANGES_MAX = 4

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
    """Where an architecture puts a crash kernel, in bytes: asm/crash_reserve.h."""

    align: int
    """CRASH_ALIGN."""
    low_max: int
    """CRASH_ADDR_LOW_MAX."""
    high_max: int
    """CRASH_ADDR_HIGH_MAX."""
    default_low: int
    """DEFAULT_CRASH_KERNEL_LOW_SIZE; 0 where a kernel that lies high needs nothing low (i386)."""


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
    total = round_up(system_ram, SZ_128M) if facts.crashkernel_rounds_memory else system_ram
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


def plain_crashkernel(cmdline: str, system_ram: int, facts: Release, log: KernelLog) -> tuple[int, int] | None:
    """crashkernel= without a suffix: (size, base), None without one. Raises InvalidCrashkernel."""
    at = get_last_crashkernel(cmdline, None, facts)
    if at is None:
        return None
    word_end = end if (end := cmdline.find(" ", at)) >= 0 else len(cmdline)
    if 0 <= cmdline.find(":", at) < word_end:
        return parse_crashkernel_mem(cmdline, at, system_ram, facts, log)
    return parse_crashkernel_simple(cmdline, at)


def suffixed_crashkernel(cmdline: str, suffix: str, facts: Release) -> int | None:
    """crashkernel= with `suffix`: its size, None without one. Raises InvalidCrashkernel."""
    at = get_last_crashkernel(cmdline, suffix, facts)
    return None if at is None else parse_crashkernel_suffix(cmdline, at, suffix)


def parse_crashkernel(cmdline: str, system_ram: int, facts: Release, log: KernelLog) -> CrashRequest | None:
    """What a command line asks for on a machine of `system_ram` bytes; None when nothing is to be reserved.

    Models parse_crashkernel() of 6.7 on, where ,high and ,low count only without a plain crashkernel=, and
    since 6.17 ,cma beside one of them. Warnings go to `log`.
    """
    try:
        plain = plain_crashkernel(cmdline, system_ram, facts, log)
        if plain is not None:
            request = CrashRequest(*plain)
        else:
            size = suffixed_crashkernel(cmdline, HIGH, facts)
            if not size:
                return None
            request = CrashRequest(size, 0, suffixed_crashkernel(cmdline, LOW, facts), high=True)
    except InvalidCrashkernel as e:
        log.warn(str(e))
        _cma_size(cmdline, facts, log)
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
        return suffixed_crashkernel(cmdline, CMA, facts) or 0
    except InvalidCrashkernel as e:
        log.warn(str(e))
        return e.size


# Reserving.


def wants_crashkernel(early: Early) -> bool:
    """Is there anything to do: an option, and a build with crash kernels? An unknown configuration has them."""
    config = early.kernel.profile.config
    kept_out = any(config.get(option) is False for option in ("KEXEC_CORE", "CRASH_RESERVE"))
    return NAME in early.cmdline.text and not kept_out


def reserve_requested(early: Early, cma: Cma, window: CrashWindow) -> None:
    """Parse and reserve as arch_reserve_crashkernel() does, from 6.7 on (arm64: from 6.2 on)."""
    request = parse_crashkernel(early.cmdline.text, early.memblock.phys_mem_size(), early.kernel.release, early.log)
    if request is None:
        return
    low_size = window.default_low if request.low_size is None else request.low_size
    reserve_crashkernel_generic(early, window, request, low_size)
    if request.cma_size:
        reserve_crashkernel_cma(early, cma, request.cma_size)


def reserve_crashkernel_generic(early: Early, window: CrashWindow, request: CrashRequest, low_size: int) -> None:
    """Find a place, elsewhere when the first choice is full, and `low_size` bytes below when it lies high.

    Models reserve_crashkernel_generic(): a plain size goes low and then high (with the default low part), a
    ,high one the other way round, and a given offset nowhere else.
    """
    mb, log = early.memblock, early.log
    tries = [(0, window.low_max, low_size), (window.low_max, window.high_max, window.default_low)]
    if request.base:
        tries = [(request.base, request.base + request.size, low_size)]
    elif request.high:
        tries = [(window.low_max, window.high_max, low_size), (0, window.low_max, low_size)]
    for start, end, low in tries:
        base = mb.phys_alloc_range(request.size, window.align, start, end, owner="crashkernel")
        if base:
            if base >= window.low_max and low and not reserve_crashkernel_low(early, window, low):
                mb.phys_free(base, request.size)
            else:
                say_reserved(early, base, request.size)
            return
    if request.base:
        log.warn("crashkernel reservation failed - memory is in use.")
    else:
        log.warn(f"cannot allocate crashkernel (size:{request.size:#x})")


def say_reserved(early: Early, base: int, size: int) -> None:
    """The line of a reservation."""
    early.log.info(f"crashkernel reserved: 0x{base:016x} - 0x{base + size:016x} ({size >> 20} MB)")


def reserve_crashkernel_low(early: Early, window: CrashWindow, size: int) -> bool:
    """reserve_crashkernel_low() of the generic code: memory that devices with 32 bits reach."""
    base = early.memblock.phys_alloc_range(size, window.align, 0, window.low_max, owner="crashkernel low")
    if not base:
        early.log.err(f"cannot allocate crashkernel low memory (size:{size:#x}).")
        return False
    early.log.info(f"crashkernel low memory reserved: 0x{base:08x} - 0x{base + size:08x} ({size >> 20} MB)")
    return True


def reserve_crashkernel_cma(early: Early, cma: Cma, cma_size: int) -> None:
    """Memory for the crash kernel that movable pages may use until then: reserve_crashkernel_cma() (6.17 on).

    Up to four ranges, each half as large as the last that did not fit.
    """
    log, page = early.log, early.memblock.page_size
    if not early.kernel.enabled("CMA"):
        log.warn("crashkernel CMA reservation not supported")
        return
    request, reserved, count = round_up(cma_size, page), 0, 0
    while reserved < cma_size and count < CRASHKERNEL_CMA_RANGES_MAX:
        try:
            cma_declare_contiguous_nid(early, cma, CmaRequest("crashkernel", request))
        except CmaError:
            if request <= page:
                break
            request = round_up(request // 2, page)
            continue
        count, reserved = count + 1, reserved + request
    if cma_size > reserved:
        log.warn(
            f"crashkernel CMA reservation failed: {cma_size >> 20} MB requested, {reserved >> 20} MB reserved in"
            f" {count} ranges"
        )
    else:
        log.info(f"crashkernel CMA reserved: {reserved >> 20} MB in {count} ranges")
