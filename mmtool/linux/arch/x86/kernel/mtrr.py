"""Memory that the MTRRs leave uncached is no RAM: arch/x86/kernel/cpu/mtrr/cleanup.c, generic.c.

Bytes, half-open ranges. Where a log does not show the registers, their sum or their number may tell what they cover.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.firmware.machine import E820Type, LogNote
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.linux.init.boot import Boot
from mmtool.units import round_up

FOUR_GIB = 1 << 32
UNCACHABLE, WRITE_PROTECT, WRITE_BACK = 0, 5, 6


def variable_ranges(notes: Iterable[LogNote]) -> list[tuple[int, int, int]]:
    """The variable MTRRs in force: (base, size, type) of each register that is used.

    The log shows them when the kernel reads them ("N base .. mask ..") or when it tidies them up ("reg N, base: ..",
    first as found, then as set anew); the last list is the one that counts.
    """
    registers: dict[int, tuple[int, int, int]] = {}
    for note in notes:
        if note.kind in ("mtrr_original", "mtrr_new"):
            registers = {}
        elif note.kind == "mtrr_var":
            number, base, mask, kind = note.values
            registers[number] = (base, mask & -mask, kind)
        elif note.kind == "mtrr_reg":
            number, base, size, kind = note.values
            registers[number] = (base, size, kind)
    return [registers[n] for n in sorted(registers)]


def cached_ranges(variable: list[tuple[int, int, int]], tom2: int) -> list[tuple[int, int]]:
    """x86_get_mtrr_mem_range(): what is write-back and not uncachable again; `tom2`: AMD's top of memory, or 0."""
    ranges = [(FOUR_GIB, tom2)] if tom2 > FOUR_GIB else []
    ranges += [(base, base + size) for base, size, kind in variable if kind == WRITE_BACK]
    for base, size, kind in variable:
        # An uncachable register below 1 MiB is overruled by the fixed ones, which cover it.
        if kind in (UNCACHABLE, WRITE_PROTECT) and base >= 1 << 20:
            ranges = [part for r in ranges for part in _without(r, base, base + size)]
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(r: tuple[int, int], start: int, end: int) -> list[tuple[int, int]]:
    pieces = [(r[0], min(r[1], start)), (max(r[0], end), r[1])]
    return [p for p in pieces if p[0] < p[1]]


def hidden_ranges(boot: X86Boot) -> list[tuple[int, int]]:
    """What registers that no line shows cover, by their sum ("total RAM covered", which is told in whole MiB).

    A sum below 4 GiB is that of low memory: AMD's processors need no registers for what is above. Else that is covered
    to a round end, the least round one with which low memory ends where the sum says and no lower than RAM does, and
    which takes as many registers as the lines about tidying them up say. Where none does, a hole may follow RAM: some
    firmware has uncached registers there, each as large as the end of the one before allows.
    """
    total, top = boot.notes("mtrr_covered")[-1].values[0], round_up(boot.memblock.max_pfn << PAGE_SHIFT, MIB)
    low = low_ram_end(boot)
    if total < FOUR_GIB:
        end = _low_end(total, low)
        return [(0, end), (FOUR_GIB, top)] if end else []
    found: list[list[tuple[int, int]]] = []
    hole = max(top, FOUR_GIB)
    for _ in range(_UNCACHED_REGISTERS):
        for shift in range(_ROUNDEST):
            high = round_up(max(hole, FOUR_GIB), MIB << shift)
            left = total - (high - FOUR_GIB) + (hole - max(top, FOUR_GIB))
            # what low memory has of the sum's last MiB is not told
            if low < left + MIB and 0 < left < FOUR_GIB:
                above = [(FOUR_GIB, top), (hole, high)] if hole > top > FOUR_GIB else [(FOUR_GIB, high)]
                found.append([(0, max(left, low)), *(part for part in above if part[0] < part[1])])
        hole += hole & -hole
    settings = [note.values for note in boot.notes("mtrr_setting") if all(note.values)]
    agreeing = (ranges for ranges in found if all(_takes(ranges, *setting) for setting in settings))
    return next(agreeing, found[0] if found else [])


def _low_end(total: int, low: int) -> int:
    """Where low memory ends if `total` bytes of it are covered; 0 where RAM goes on beyond.

    A hole smaller than 1 MiB goes unseen in the sum, and firmware that leaves one ends low memory at a round place.
    """
    if (total + MIB) % LOW_UNIT == 0:
        total += MIB
    return max(total, low) if low < total + MIB else 0


def low_ram_end(boot: X86Boot) -> int:
    """Where RAM below 4 GiB ends, in the map as it is now."""
    return max((e.end for e in boot.e820.snapshot() if e.type == E820Type.RAM and e.end <= FOUR_GIB), default=0)


def mapped_ranges(boot: X86Boot) -> list[tuple[int, int]]:
    """What is covered where the MTRRs have a type for two ranges in all, as the line "MTRR map" of 6.5 on counts them.

    An odd number of registers counts AMD's top of memory as one (mtrr_build_map()), which covers the one range, above
    4 GiB; the other is low memory. It goes as far as memory does, which AMD's firmware ends at a multiple of 256 MiB;
    where the map lists nothing behind RAM, up to that, the rest belongs to the graphics and is not covered.
    """
    if not told_by_number(boot):
        return []
    low, top = low_ram_end(boot), boot.memblock.max_pfn << PAGE_SHIFT
    end = round_up(low, LOW_UNIT)
    listed = any(low <= e.start < end for e in boot.e820.snapshot())
    return [(0, end if listed else low), (FOUR_GIB, max(top, FOUR_GIB))]


def told_by_number(boot: Boot) -> bool:
    """Does the number of ranges tell what the MTRRs cover (`mapped_ranges`)?"""
    counts = [note.values for note in boot.notes("mtrr_map")]
    return bool(counts) and len(counts[-1]) > 3 and counts[-1][2] == 2 and counts[-1][3] % 2 == 1


MIB = 1 << 20
LOW_UNIT = 256 << 20
_UNCACHED_REGISTERS = 8
_ROUNDEST = 24
"""log2 of the MiB of a register beyond which none is."""


def _takes(ranges: list[tuple[int, int]], granularity: int, chunk: int, told: int) -> bool:
    """Do `ranges`, set anew with such a granularity and chunk, take the number of registers that the log tells?

    Processors have 8 or 10; the count ends there.
    """
    count = x86_setup_var_mtrrs(ranges, chunk, granularity)
    return count == told if told < _FEWEST_REGISTERS else count >= told


_FEWEST_REGISTERS = 8


def x86_setup_var_mtrrs(ranges: list[tuple[int, int]], chunk: int, granularity: int) -> int:
    """How many registers write-back `ranges` (sorted, in bytes) take. A hole is cut out of a multiple of `chunk` where
    that is less than half of it; what is no multiple of `granularity` is left out. Models the function of that name,
    set_var_mtrr_range() and range_to_mtrr_with_hole()."""
    count, start, size = 0, 0, 0
    for base, end in ranges:
        if base <= MIB or start + size == base:
            size = end - start
            continue
        second = 0
        if size:
            registers, second = _with_hole(start, size, (base, end - base), chunk, granularity)
            count += registers
        start, size = base + second, end - base - second
    return count + (_with_hole(start, size, (0, 0), chunk, granularity)[0] if size else 0)


def _with_hole(start: int, size: int, following: tuple[int, int], chunk: int, granularity: int) -> tuple[int, int]:
    """range_to_mtrr_with_hole(): registers for a range, and how much of the `following` (base, size) they cover too."""
    base, length = following
    aligned = round_up(start, granularity)
    if base and aligned > base:
        return 0, 0
    size = (size - (aligned - start)) // granularity * granularity
    whole = round_up(size, chunk)
    if whole == size:
        return _registers(start, size), 0
    while length and whole and start + whole > base + length:
        whole = max(whole - chunk, 0)
    second = start + whole - base if base < start + whole <= base + length else 0
    hole = max(whole - size - second, 0)
    if hole >= whole // 2 and whole >= chunk:
        whole -= chunk
        second = hole = 0
    left = max(size - whole, 0)
    return _registers(start, whole) + _registers(start + whole, left) + _registers(start + whole - hole, hole), second


def _registers(start: int, size: int) -> int:
    """range_to_mtrr(): how many aligned powers of two [start, start + size) falls into."""
    count = 0
    while size:
        step = 1 << (size.bit_length() - 1)
        step = min(step, start & -start) if start else step
        start, size, count = start + step, size - step, count + 1
    return count


def mtrr_trim_uncached_memory(boot: X86Boot) -> bool:
    """mtrr_trim_uncached_memory(): RAM that no MTRR caches becomes reserved. True when the map changed.

    Needs an uncachable default type, and the registers in the log, of no type but write-back and uncachable, or their
    sum.
    """
    if (hidden := _hidden(boot)) is not None:
        return _trim(boot, hidden)
    default = boot.notes("mtrr_default")
    variable = variable_ranges(boot.machine.notes)
    if boot.cmdline.has("disable_mtrr_trim") or not default or default[-1].values[0] != UNCACHABLE or not variable:
        return False
    kinds = {kind for _, _, kind in variable}
    if WRITE_BACK not in kinds or kinds - {WRITE_BACK, UNCACHABLE}:
        return False
    tom2 = boot.notes("mtrr_tom2")
    return _trim(boot, cached_ranges(variable, tom2[-1].values[0] if tom2 else 0))


def _hidden(boot: X86Boot) -> list[tuple[int, int]] | None:
    """hidden_ranges() or mapped_ranges(), where the log shows the registers' sum or number and not themselves; the sum
    is told of an uncachable default alone."""
    if boot.cmdline.has("disable_mtrr_trim") or boot.notes("mtrr_default") or variable_ranges(boot.machine.notes):
        return None
    if boot.notes("mtrr_covered"):
        return hidden_ranges(boot)
    return mapped_ranges(boot) if boot.notes("mtrr_map") else None


def _trim(boot: X86Boot, cached: list[tuple[int, int]]) -> bool:
    """Reserve what RAM lies between the cached ranges; the kernel's lines where that is some."""
    if not cached:
        return False
    ends = [0, *(end for _, end in cached)]
    starts = [*(start for start, _ in cached), boot.memblock.max_pfn << PAGE_SHIFT]
    lost = 0
    for end, start in zip(ends, starts, strict=True):
        if end < start:
            lost += boot.e820.range_update(end, start - end, E820Type.RAM, E820Type.RESERVED)
    if not lost:
        return False
    boot.log.warn(f"WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing {lost >> 20}MB of RAM.")
    boot.log.info("update e820 for mtrr")
    if boot.e820.update_table():
        boot.e820.announce("modified physical RAM map:")
        boot.e820.print_table("modified")
    return True
