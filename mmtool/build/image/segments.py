"""Where the parts of a kernel image lie, in bytes from _text: from its symbols, else from its sections.

The names are those of the linker script (vmlinux.lds.S) without underscores. The sections serve for a stripped x86
kernel whose own symbol table leaves data out (no CONFIG_KALLSYMS_ALL).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmtool.build.image.elf import Elf, Section

PAGE = 4096

# Name in a profile -> the linker script's symbol.
SYMBOLS: Mapping[str, str] = {
    "stext": "_stext",
    "etext": "_etext",
    "start_rodata": "__start_rodata",
    "end_rodata": "__end_rodata",
    "sinittext": "_sinittext",
    "einittext": "_einittext",
    "init_begin": "__init_begin",
    "init_end": "__init_end",
    "initdata_begin": "__initdata_begin",
    "initdata_end": "__initdata_end",
    "inittext_begin": "__inittext_begin",
    "inittext_end": "__inittext_end",
    "smp_locks": "__smp_locks",
    "smp_locks_end": "__smp_locks_end",
    "sdata": "_sdata",
    "edata": "_edata",
    "bss_start": "__bss_start",
    "start_bss_decrypted_unused": "__start_bss_decrypted_unused",
    "bss_stop": "__bss_stop",
    "end_of_kernel_reserve": "__end_of_kernel_reserve",
    "brk_base": "__brk_base",
    "brk_limit": "__brk_limit",
    "end": "_end",
}


def from_symbols(symbols: Mapping[str, int]) -> dict[str, int]:
    """Offsets from _text, in bytes, of those of SYMBOLS that are there; empty without _text."""
    if "_text" not in symbols:
        return {}
    text = symbols["_text"]
    places = {name: symbols[symbol] - text for name, symbol in SYMBOLS.items() if symbol in symbols}
    return {name: offset for name, offset in places.items() if offset >= 0}


def from_sections(elf: Elf) -> dict[str, int]:
    """Offsets from _text, in bytes, as the sections of an x86 kernel tell them; what they do not tell is left out.

    Models the order of arch/x86/kernel/vmlinux.lds.S: .text, .rodata ..., .data ..., the init sections,
    .smp_locks, .bss, .brk.
    """
    text = elf.section(".text")
    if text is None or elf.arch not in ("x86_64", "i386"):
        return {}
    places = {"stext": text.address, "etext": text.end, **_data(elf), **_init(elf), **_bss(elf)}
    return {name: places[name] - text.address for name in SYMBOLS if name in places}


def _data(elf: Elf) -> dict[str, int]:
    places: dict[str, int] = {}
    rodata, data = elf.section(".rodata"), elf.section(".data")
    if data is not None:
        places |= {"sdata": data.address, "edata": data.end}
    if rodata is not None and data is not None:
        places |= {"start_rodata": rodata.address, "end_rodata": _end_between(elf.sections, rodata, data)}
    return places


def _init(elf: Elf) -> dict[str, int]:
    """The init area: from the first of the per-CPU area and .init.text to .smp_locks (what comes after, without it)."""
    text, data = elf.section(".init.text"), elf.section(".init.data")
    locks, bss = elf.section(".smp_locks"), elf.section(".bss")
    after = locks or elf.section(".data_nosave") or bss
    if text is None or data is None or after is None or bss is None:
        return {}
    percpu = [s.address for s in _mapped(elf) if s.name == ".data..percpu"]
    places = {"init_begin": min([text.address, *percpu]), "sinittext": text.address, "einittext": text.end}
    places["init_end"] = _end_between(_mapped(elf), text, after)
    if locks is not None:
        places |= {"smp_locks": locks.address, "smp_locks_end": locks.end}
    return places


def _bss(elf: Elf) -> dict[str, int]:
    bss, brk = elf.section(".bss"), elf.section(".brk")
    if bss is None:
        return {}
    places = {"bss_start": bss.address, "bss_stop": bss.end, "end_of_kernel_reserve": bss.end}
    if brk is not None:
        places |= {"brk_base": brk.address, "brk_limit": brk.end, "end": _align(brk.end)}
    return places


def _mapped(elf: Elf) -> list[Section]:
    """The sections, the per-CPU one at the address where it is loaded: before 6.15 its symbols start at 0 on x86-64."""
    text = elf.section(".text")
    base = next((s for s in elf.segments if text is not None and s.address == text.address), None)
    mapped = []
    for s in elf.sections:
        if s.name == ".data..percpu" and s.address == 0 and base is not None:
            load = next((g for g in elf.segments if g.address == 0 and g.offset == s.offset), None)
            if load is None:
                continue
            address = load.physical - base.physical + base.address
            s = Section(s.name, address, s.size, s.offset, s.kind, s.link)
        mapped.append(s)
    return mapped


def _end_between(sections: Iterable[Section], first: Section, after: Section) -> int:
    """The page after the last section from `first` on and before `after`."""
    return _align(max((s.end for s in sections if first.address <= s.address < after.address), default=first.end))


def _align(address: int) -> int:
    return (address + PAGE - 1) // PAGE * PAGE
