"""Rules on a PC's map of memory: arch/x86/kernel/e820.c and cpu/mtrr/cleanup.c say what becomes of it.

Bytes, ranges half-open.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.answers.lint.finding import Case, Place, Words, span
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.linux.arch.x86.kernel.e820 import E820Table, parse_memmap_opt, parse_memopt, type_name
from mmtool.linux.kernel.printk import KernelLog
from mmtool.units import human

CAPACITY = 1 << 20
"""Entries of a table that is never full."""
MOST_OVERLAPS = 100
"""Overlaps that are told one by one."""
RAM = (E820Type.RAM, E820Type.RESERVED_KERN)


def _ram(entries: tuple[E820Entry, ...]) -> int:
    return sum(e.end - e.start for e in entries if e.type in RAM)


def _table(case: Case, entries: tuple[E820Entry, ...]) -> E820Table:
    table = E820Table(case.kernel.release, KernelLog(), CAPACITY)
    table.append(entries)
    return table


def map_overlap(case: Case) -> Iterator[Words]:
    """Two entries of different types share bytes. Models e820__update_table()."""
    machine = case.machine
    places: tuple[Place, ...] = machine.e820_places or tuple(range(len(machine.e820)))
    located = sorted(zip(machine.e820, places, strict=True), key=lambda pair: (pair[0].start, pair[0].end))
    # Of each type the entry that reaches farthest stands for all that begin before.
    reaching: dict[int, tuple[E820Entry, Place]] = {}
    found = 0
    for entry, place in located:
        reaching = {kind: (other, at) for kind, (other, at) in reaching.items() if other.end > entry.start}
        for other, at in reaching.values():
            if other.type != entry.type and entry.start < entry.end:
                found += 1
                if found > MOST_OVERLAPS:
                    yield (place, f"there are more than {MOST_OVERLAPS} overlaps", "", "Mend these first.")
                    return
                yield _overlap(case, entry, place, other, at)
        last = reaching.get(entry.type)
        if last is None or entry.end > last[0].end:
            reaching[entry.type] = (entry, place)


def _overlap(case: Case, entry: E820Entry, place: Place, other: E820Entry, at: Place) -> Words:
    start, end = entry.start, min(entry.end, other.end)
    winner = max(entry.type, other.type)
    mine, its, winners = (type_name(kind, case.kernel.release) for kind in (entry.type, other.type, winner))
    lost = " and is lost as RAM" if E820Type.RAM in (entry.type, other.type) else ""
    return (
        place,
        f"{span(entry.start, entry.end)} {mine} overlaps {span(other.start, other.end)} {its} ({at})",
        f"Linux takes the higher type: {span(start, end)}, {human(end - start)}, becomes {winners}{lost}",
        "Let the firmware report each byte once; memmap= can correct a range until then.",
    )


def map_option(case: Case) -> Iterator[Words]:
    """mem= and memmap= leave less RAM than the firmware reports. Models parse_memopt() and parse_memmap_opt()."""
    table = _table(case, case.machine.e820)
    table.update_table()
    options = [(name, value) for name, value in case.cmdline.options if name in ("mem", "memmap") and value]
    if not options or case.machine.fdt is not None:
        return
    before = _ram(table.snapshot())
    for name, value in options:
        (parse_memopt if name == "mem" else parse_memmap_opt)(table, value)
    table.update_table()
    lost = before - _ram(table.snapshot())
    if lost > 0:
        text = " ".join(f"{name}={value}" for name, value in options)
        yield (
            "command line",
            f"{text} hides {human(lost)} of the {human(before)} of RAM in the map",
            "Linux never uses RAM that these options take out of the map",
            "Drop what is not meant; in memmap= the size comes before the address.",
        )


def mtrr(case: Case) -> Iterator[Words]:
    """MTRRs leave RAM uncached, which Linux then does without. Models mtrr_trim_uncached_memory()."""
    boot = case.boot
    said = [line.text for line in boot.log.lines if "CPU MTRRs don't cover all of memory" in line.text] if boot else []
    noted = [note for note in case.machine.notes if note.kind == "mtrr_trim"]
    place: Place = noted[0].line if noted else "MTRRs"
    for text in said or [note.text for note in noted]:
        yield (
            place,
            f"MTRRs do not cover all RAM: {text.rpartition('losing ')[2].rstrip('.')} lost",
            "uncached RAM would be a hundred times slower, so that Linux makes it reserved",
            "Update the firmware; enable_mtrr_cleanup may find better registers, disable_mtrr_trim keeps the RAM.",
        )


def out_of_reach(case: Case) -> Iterator[Words]:
    """RAM lies above the last page frame that this kernel can use. Models e820__end_of_ram_pfn() and i386's limits."""
    boot = case.boot
    if boot is None or case.machine.fdt is not None:
        return
    limit = boot.memblock.max_pfn << case.kernel.page_shift
    entries = [e for e in boot.edited_map() if e.type in RAM and e.end > limit + case.page_size]
    lost = sum(e.end - max(e.start, limit) for e in entries)
    if lost:
        narrow = case.kernel.bits_per_long == 32
        yield (
            _place_of(case, entries[0]),
            f"{human(lost)} of RAM lie at {max(limit, entries[0].start):#x} and above",
            "this kernel's page tables do not reach them: Linux never uses them",
            "Boot a 64-bit kernel." if narrow else "Boot a kernel with five levels of page tables.",
        )


def _place_of(case: Case, entry: E820Entry) -> Place:
    """Where the firmware's entry stands that an entry of the kernel's map comes from."""
    for place, given in zip(case.machine.e820_places, case.machine.e820, strict=False):
        if given.start <= entry.start < given.end:
            return place
    return "map"
