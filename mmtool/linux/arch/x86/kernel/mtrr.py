"""Memory that the MTRRs leave uncached is no RAM: arch/x86/kernel/cpu/mtrr/cleanup.c. Bytes, half-open ranges."""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.firmware.machine import E820Type, LogNote
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.units import div_round_up, round_up

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
    to a round end, the least round one with which low memory ends where the sum says and no lower than RAM does.
    """
    told = boot.notes("mtrr_covered")
    total, top = told[-1].values[0] >> 20, div_round_up(boot.memblock.max_pfn << PAGE_SHIFT, 1 << 20)
    low = max((e.end for e in boot.e820.snapshot() if e.type == E820Type.RAM and e.end <= FOUR_GIB), default=0)
    least, four_gib = div_round_up(low, 1 << 20), FOUR_GIB >> 20
    if total < four_gib:
        return [(0, total << 20), (FOUR_GIB, top << 20)] if least <= total else []
    for shift in range(_ROUNDEST):
        end = round_up(max(top, four_gib), 1 << shift)
        low_end = total - (end - four_gib)
        if least <= low_end < four_gib:
            return [(0, low_end << 20), (FOUR_GIB, end << 20)]
    return []


_ROUNDEST = 24
"""log2 of the MiB of a register beyond which none is."""


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
    """hidden_ranges(), where the log shows the registers' sum and not themselves; the sum is told of an uncachable
    default alone."""
    if boot.cmdline.has("disable_mtrr_trim") or boot.notes("mtrr_default") or variable_ranges(boot.machine.notes):
        return None
    return hidden_ranges(boot) if boot.notes("mtrr_covered") else None


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
