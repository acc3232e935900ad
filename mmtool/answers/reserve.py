"""Would a reservation fit: a boot with the option that asks for it, and what stood in its way.

The answer is the boot's; the holes are what was free when the kernel came to look. Bytes, ranges half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmtool.build.kernel import Kernel
from mmtool.errors import UsageError
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.machine import E820Type, Machine
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.linux.kernel.dma.contiguous import parse_cma
from mmtool.linux.mm.cma import min_alignment
from mmtool.linux.mm.hugetlb import is_gigantic
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP
from mmtool.units import human, memparse, parse_size, whole

Range = tuple[int, int]
MIB = 1 << 20
Booter = Callable[[str], Boot]
"""Boots the machine with an option in place of those of its kind."""


@dataclass(frozen=True, slots=True)
class Hole:
    """What was free, and what the kernel could make of it. `fit`: bytes that would have fitted, aligned."""

    start: int
    end: int
    fit: int
    verdict: str


@dataclass(frozen=True)
class Reservation:
    """The answer: where the pieces lie (name, start, end) when it fits; `largest` of its kind in words of the option.

    `said` holds the kernel's lines on it; `use` is the option to give: the one asked for, or one that fits, or None.
    """

    option: str
    fits: bool
    pieces: tuple[tuple[str, int, int], ...]
    holes: tuple[Hole, ...]
    largest: str | None
    use: str | None
    said: tuple[str, ...]


def reserve(machine: Machine, kernel: Kernel, kind: str, value: str, cmdline: str | None = None) -> Reservation:
    """Would `kind`=`value` fit, "crashkernel", "cma", "hugepages" (SIZE:COUNT) or "memmap"?

    Options of that kind on the machine's own command line (`cmdline` stands in for it) are left out. Raises
    UsageError for a value that asks for nothing, and InputError.
    """
    own = cmdline if cmdline is not None else machine.cmdline or ""
    dropped = {"crashkernel": ("crashkernel",), "cma": ("cma",), "hugepages": ("hugepagesz", "hugepages")}

    def boot_with(option: str) -> Boot:
        return start_kernel(machine, kernel, cmdline=f"{_without(own, dropped.get(kind, ()))} {option}".strip())

    return {"crashkernel": _crashkernel, "cma": _cma, "hugepages": _hugepages, "memmap": _memmap}[kind](
        boot_with, value
    )


def _without(text: str, names: Iterable[str]) -> str:
    """A command line without the options of these names."""
    words = []
    for name, value in parse_cmdline(text).options:
        if name not in names:
            word = name if value is None else f"{name}={value}"
            words.append(f'"{word}"' if any(c.isspace() for c in word) else word)
    return " ".join(words)


def free_before(boot: Boot, step: str) -> list[Range]:
    """What memblock had to give, upwards, when the last step of this name began."""
    last = max((i for i, record in enumerate(boot.steps) if record.name == step), default=0)
    lists: dict[str, list[Range]] = {"memory": [], "reserved": []}
    for record in boot.steps[:last]:
        for name, change, start, end in record.memblock:
            kept = _cut(lists[name], [(start, end)])
            lists[name] = sorted([*kept, (start, end)]) if change == "add" else kept
    unmapped = [(r.base, r.end) for r in boot.memblock.memory.regions if r.flags & MEMBLOCK_NOMAP]
    free: list[Range] = []
    for start, end in _cut(lists["memory"], sorted([*lists["reserved"], *unmapped])):
        if free and free[-1][1] == start:
            free[-1] = (free[-1][0], end)
        else:
            free.append((start, end))
    return free


def _cut(ranges: list[Range], taken: list[Range]) -> list[Range]:
    """Ranges, upwards, without what is taken."""
    out = []
    for start, end in ranges:
        for low, high in taken:
            if low < end and start < high:
                if start < low:
                    out.append((start, low))
                start = max(start, high)
        if start < end:
            out.append((start, end))
    return out


def _judge(
    free: list[Range], size: int, align: int, limit: int, pieces: tuple[tuple[str, int, int], ...]
) -> list[Hole]:
    """Each hole of 1 MiB or more, from the highest down, as the kernel searches, with what came of it."""
    holes = []
    for start, end in reversed([hole for hole in free if hole[1] - hole[0] >= MIB]):
        # address 0 means that nothing was found, and is never given
        first, last = -(-max(start, 1) // align) * align, min(end, limit)
        fit = max(last - first, 0)
        inside = [name for name, low, high in pieces if start <= low and high <= end]
        if inside:
            verdict = f"taken: {', '.join(f'{inside.count(name)} x {name}' for name in dict.fromkeys(inside))}"
        elif start >= limit:
            verdict = f"out of reach: the search ends at {limit:#x}"
        elif end - start < size:
            verdict = "too small"
        elif fit < size:
            cause = f"aligned to {human(align)}" if last == end else f"below {limit:#x}"
            verdict = f"too small: {human(fit)} {cause}"
        else:
            verdict = "would do, but another was taken first" if pieces else "would do, but something else failed"
        holes.append(Hole(start, end, fit, verdict))
    return holes


def _lines(boot: Boot, step: str, word: str) -> tuple[str, ...]:
    """What the kernel says of it in that step."""
    records = [record for record in boot.steps if record.name == step]
    lines = [line.text for record in records for line in boot.log.lines[record.log_start : record.log_end]]
    return tuple(line for line in lines if word in line.lower())


def _owned(boot: Boot, name: str) -> tuple[tuple[str, int, int], ...]:
    entries = sorted(boot.memblock.ledger.entries)
    return tuple((owner, start, end) for start, end, owner in entries if owner.startswith(name))


def _largest(
    boot_with: Booter, sizes: Iterable[int], text: Callable[[int], str], fits: Callable[[Boot], bool]
) -> str | None:
    """The first option of these sizes that a boot proves to fit."""
    for size in sizes:
        if size > 0 and fits(boot_with(text(size))):
            return text(size)
    return None


def _crashkernel(boot_with: Booter, value: str) -> Reservation:
    """crashkernel=: reserve_crashkernel() in the kernel's own step."""
    option = f"crashkernel={value}"
    boot = boot_with(option)
    pieces = _owned(boot, "crashkernel")
    step = "reserve_crashkernel"
    high = value.endswith(",high")
    window = boot.crash_window()
    limit = window.high_max if boot.crashkernel_goes_high(high) else window.low_max
    size = memparse(value.rpartition(":")[2])[0]
    if not size:
        raise UsageError(f"{option} asks for no memory")
    holes = _judge(free_before(boot, step), size, window.align, limit, pieces)
    suffix = value[value.index(",") :] if "," in value and ":" not in value else ""
    candidates = sorted({hole.fit // MIB * MIB for hole in holes}, reverse=True)
    # a high part wants a low one beside it, which may lie in the same hole
    tries = [c - less for c in candidates[:2] for less in (0, window.default_low, window.default_low + window.align)]
    largest = _largest(
        boot_with, tries, lambda n: f"crashkernel={_text(n)}{suffix}", lambda b: bool(_owned(b, "crashkernel"))
    )
    return _answer(option, boot, pieces, holes, largest, _lines(boot, step, "crash"))


def _text(size: int) -> str:
    return f"{size >> 20}M"


def _answer(
    option: str,
    boot: Boot,
    pieces: tuple[tuple[str, int, int], ...],
    holes: list[Hole],
    largest: str | None,
    said: tuple[str, ...],
) -> Reservation:
    fits = bool(pieces)
    return Reservation(option, fits, pieces, tuple(holes), largest, option if fits else largest, said)


def _cma(boot_with: Booter, value: str) -> Reservation:
    """cma=: dma_contiguous_reserve(), from the highest hole below its limit down, above 4 GiB upwards."""
    option = f"cma={value}"
    asked = parse_cma(parse_cmdline(option))
    if asked is None or not asked[0]:
        raise UsageError(f"{option} asks for no memory")
    boot = boot_with(option)
    step, kernel = "dma_contiguous_reserve", boot.kernel
    if not kernel.enabled("DMA_CMA"):
        return Reservation(option, False, (), (), None, None, ("this build has no CMA for devices (CONFIG_DMA_CMA)",))
    pieces = _owned(boot, "CMA reserved")
    reach = boot.dma_reach()
    limit = min(asked[2], reach) if asked[2] else reach
    align = min_alignment(kernel, boot.memblock.page_size)
    holes = _judge(free_before(boot, step), asked[0], align, limit, pieces)
    candidates = sorted({hole.fit // align * align for hole in holes}, reverse=True)
    largest = _largest(
        boot_with, candidates[:3], lambda n: f"cma={_text(n)}", lambda b: bool(_owned(b, "CMA reserved"))
    )
    return _answer(option, boot, pieces, holes, largest, _lines(boot, step, "cma"))


def _hugepages(boot_with: Booter, value: str) -> Reservation:
    """hugepages=COUNT of a gigantic size: hugetlb_hstate_alloc_pages(). All of them, or the answer is no."""
    text, colon, number = value.partition(":")
    try:
        size, count = parse_size(text), whole(number, least=1)
    except ValueError:
        size = 0
    if not colon or not size:
        raise UsageError(f"--hugepages {value}: write SIZE:COUNT, such as 1G:8")
    option = f"hugepagesz={text} hugepages={count}"
    boot = boot_with(option)
    if not is_gigantic(boot, size):
        raise UsageError(
            f"--hugepages {value}: only pages larger than the largest free block are reserved at boot; "
            f"those of {text} come from the page allocator"
        )
    step = "hugetlb_bootmem_alloc" if boot.kernel.release.hugetlb_allocates_after_parsing else "hugetlb_setup"
    pool = boot.hugetlb.of_size(size)
    pages = sorted(address for address, _ in pool.pages) if pool is not None else []
    pieces = tuple(("huge page", address, address + size) for address in pages)
    holes = _judge(free_before(boot, step), size, size, 1 << 64, pieces)
    if pool is None:
        return Reservation(option, False, (), tuple(holes), None, None, _lines(boot, step, "hugetlb"))
    largest = f"hugepagesz={text} hugepages={_most(boot_with, text, size, holes)}" if holes else None
    fits = len(pages) == count
    return Reservation(
        option, fits, pieces, tuple(holes), largest, option if fits else largest, _lines(boot, step, "hugetlb")
    )


def _most(boot_with: Booter, text: str, size: int, holes: list[Hole]) -> int:
    """How many pages the kernel gets that asks for more than there can be."""
    boot = boot_with(f"hugepagesz={text} hugepages={sum(hole.fit // size for hole in holes) + 1}")
    pool = boot.hugetlb.of_size(size)
    return len(pool.pages) if pool is not None else 0


def _memmap(boot_with: Booter, value: str) -> Reservation:
    """memmap=SIZE!START and the like: all of the range is RAM in the firmware's map, or the answer is no."""
    size, at = memparse(value)
    mark = value[at : at + 1]
    start = memparse(value, at + 1)[0]
    if mark not in ("!", "$", "#") or not size:
        raise UsageError(f"--memmap {value}: write SIZE!START, SIZE$START or SIZE#START, such as 4G!12G")
    option = f"memmap={value}"
    boot, end = boot_with(option), start + size
    if not boot.edits_map:
        raise UsageError("--memmap: memmap= is an option of x86; on arm64 the device tree's /reserved-memory does it")
    ram = [(e.start, e.end) for e in boot.firmware_map if e.type == E820Type.RAM]
    holes = []
    for low, high in reversed(ram):
        inside = max(0, min(high, end) - max(low, start))
        whole = low <= start and end <= high
        verdict = "taken" if whole else f"holds {human(inside)} of it" if inside else "elsewhere"
        holes.append(Hole(low, high, high - low, verdict))
    pieces = (("memmap", start, end),) if any(low <= start and end <= high for low, high in ram) else ()
    low, high = max(ram, key=lambda r: r[1] - r[0], default=(0, 0))
    step = 128 * MIB if high - low >= 256 * MIB else MIB
    first = -(-low // step) * step
    most = (high - first) // step * step
    largest = f"memmap={_text(most)}{mark}{_text(first)}" if most > 0 else None
    disk = boot.machine.initrd
    if disk is not None and disk[0] < end and start < disk[1]:
        said = (f"the boot loader put the initial RAM disk there, at [{disk[0]:#x}-{disk[1] - 1:#x}]",)
        return _answer(option, boot, (), holes, largest, said)
    return _answer(option, boot, pieces, holes, largest, ())
