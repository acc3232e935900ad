"""Lines of a kernel log in which firmware, hardware, boot loader or the kernel's build shows through: their table.

A row of NOTES is (kind, how the line begins, the pattern behind that, what turns its groups into the values
of the LogNote). Addresses and sizes are bytes, ranges half-open. Lines with what a kernel worked out from
these are no notes.

Beside the table, `log` notes "efi_table" (address; the text is the table's name), "la57" (an address of the kernel's
own that takes 57 bits), "srat_node" (node, domain) of every SRAT line, because the order of processors that gave the
numbers out may be missing from the log, and of 32-bit kernels "pae" or "non_pae" ().
"""

from __future__ import annotations

import re
from collections.abc import Callable

from mmtool.firmware.machine import LogNote
from mmtool.regex import regex

Values = tuple[int, ...]
Groups = tuple[str | None, ...]
Convert = Callable[[Groups], Values]

MTRR_TYPES = {
    "uncachable": 0, "write-combining": 1, "write-through": 4, "write-protect": 5, "write-back": 6,
    "uc": 0, "wc": 1, "wt": 4, "wp": 5, "wb": 6,
}  # fmt: skip
"""A memory type of the MTRRs in the log's words, as its number in the register; -1 stands for any other word."""

_UNIT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def nothing(groups: Groups) -> Values:
    return ()


def decimal(groups: Groups) -> Values:
    return tuple(int(g) for g in groups if g is not None)


def half_open(groups: Groups) -> Values:
    """Two or more hex numbers as they are: a range that the log ends exclusively, or an address."""
    return tuple(int(g, 16) for g in groups if g is not None)


def inclusive(groups: Groups) -> Values:
    """First and last byte in hex."""
    start, last = half_open(groups)
    return start, last + 1


def first_range(groups: Groups) -> Values:
    """First and last byte in hex, then words of no account."""
    return inclusive(groups[:2])


def numbered(groups: Groups) -> Values:
    """A decimal number, first and last byte in hex: (start, end, number)."""
    number, *ends = groups
    return *inclusive(tuple(ends)), *decimal((number,))


def switch(groups: Groups) -> Values:
    """A group that is there or not: 1 or 0."""
    return tuple(int(g is not None) for g in groups)


def off(groups: Groups) -> Values:
    return (0,)


def mtrr_type(word: str | None) -> int:
    return MTRR_TYPES.get((word or "").lower(), -1)


def default_type(groups: Groups) -> Values:
    return (mtrr_type(groups[0]),)


def variable_range(groups: Groups) -> Values:
    """Register number, base and mask in hex, type: (register, base, mask, type)."""
    return *decimal(groups[:1]), *half_open(groups[1:3]), mtrr_type(groups[3])


def sized(groups: Groups) -> Values:
    """Numbers, each followed by the group of its unit (K, M, G, T or nothing), as bytes."""
    pairs = zip(groups[::2], groups[1::2], strict=True)
    return tuple(int(n or "0") << _UNIT[(unit or "").upper()] for n, unit in pairs)


def register(groups: Groups) -> Values:
    """Register number, base and size with units, type: (register, base, size, type)."""
    return *decimal(groups[:1]), *sized(groups[1:5]), mtrr_type(groups[5])


def placed(groups: Groups) -> Values:
    """A virtual and a physical address in hex, a size: (by how much the direct map moves addresses, size)."""
    virtual, physical = half_open(groups[:2])
    return virtual - physical, *decimal(groups[2:])


def setting(groups: Groups) -> Values:
    """Granularity and chunk with their units, a number of registers: (granularity, chunk, registers)."""
    return *sized(groups[:4]), *decimal(groups[4:])


_R = r"0x([0-9a-f]+)-0x([0-9a-f]+)"
_MEM = rf"\[mem {_R}\b[^\]]*\]"

NOTES: tuple[tuple[str, str, str, Convert], ...] = (
    # from the boot loader
    ("setup_data", "e820: update ", rf"{_MEM}\s+(usable|System RAM) ==>\s+\3$", first_range),
    ("kaslr_off", "KASLR disabled", r"", nothing),
    # from the firmware
    ("efi_version", "efi: ", r"EFI v(\d+)\.(\d+)", decimal),
    ("efi_remove_mmio", "efi: ", rf"Remove mem(\d+): MMIO range=\[{_R}\]", numbered),
    ("memattr", "efi: memattr: ", _R, inclusive),
    ("memattr", "efi: memattr:  ", _R, inclusive),
    ("esrt", "esrt: ", r"Reserving ESRT space from 0x([0-9a-f]+) to 0x([0-9a-f]+)", half_open),
    ("smbios", "SMBIOS ", r"(\d+)\.(\d+)(?:\.\d+)? present", decimal),
    ("smbios", "DMI: ", r"SMBIOS (\d+)\.(\d+)(?:\.\d+)? present", decimal),  # since 6.16
    ("dmi", "DMI: ", r"", nothing),
    # from the processors and the chipset
    ("va52", "CPU features: detected: ", r"52-bit Virtual Addressing(?: \((?:LPA2|LVA)\))?$", nothing),
    ("cpu", "smpboot: CPU0: ",
     r".*\(family: 0x([0-9a-f]+), model: 0x([0-9a-f]+), stepping: 0x([0-9a-f]+)\)", half_open),
    ("split_lock", "x86/split lock detection: ", r"#AC", nothing),
    ("ioapic", "IOAPIC[", r"(\d+)\]: apic_id", decimal),
    ("mtrr_default", "MTRR default type: ", r"(\S+)", default_type),
    ("mtrr_var", "", r"(\d+) base ([0-9A-F]+) mask ([0-9A-F]+) ([a-z-]+)", variable_range),
    ("mtrr_tom2", "TOM2: ", r"([0-9a-f]+) aka ", half_open),
    ("mtrr_original", "original variable MTRRs", r"$", nothing),
    ("mtrr_new", "New variable MTRRs", r"$", nothing),
    ("mtrr_reg", "reg ", r"(\d+), base: (\d+)([KMGT]?)B, range: (\d+)([KMGT]?)B, type (\S+)", register),
    ("mtrr_covered", "total RAM covered: ", r"(\d+)(M)", sized),
    ("mtrr_setting", "gran_size: ", r"(\d+)([KMG])\s+chunk_size: (\d+)([KMG])\s+num_reg: (\d+)", setting),
    ("mtrr_map", "MTRR map: ",
     r"(\d+) entries \((\d+) fixed \+ (\d+) variable(?:; max \d+\), built from (\d+) variable)?", decimal),
    ("mtrr_trim", "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing ", r"(\d+)(M)B of RAM", sized),
    ("igfx_stolen", "Reserving Intel graphics ", rf"(?:stolen )?memory at (?:{_MEM}|{_R})", inclusive),
    ("snb_gfx", "reserving inaccessible SNB gfx pages", r"", nothing),
    ("nx", "NX (Execute Disable) protection: ", r"(active)?", switch),
    ("nx", "Notice: NX (Execute Disable) protection ", r"(?:missing in CPU|cannot be enabled)", off),
    ("gb_pages", "Using GB pages for direct mapping", r"", nothing),
    ("snp_rmp", "SEV-SNP: ", r"Reserving start/end of RMP table on a 2MB boundary \[0x([0-9a-f]+)\]", half_open),
    ("hypervisor", "Hypervisor detected: ", r"", nothing),
    # from the kernel's build
    ("memory_block_size", "x86/mm: Memory block size: ", r"(\d+)(M)B", sized),
    ("devtmpfs", "devtmpfs: initialized", r"", nothing),
    ("pcpu_alloc", "pcpu-alloc: ", r"s(\d+) (?:.*\balloc=\d+\*(\d+))?", decimal),
    ("rcu_nr_cpus", "rcu: ", r"\s*RCU restricting CPUs from NR_CPUS=(\d+)", decimal),
    ("deferred_pages", "node ", r"(\d+) deferred pages initialised in ", decimal),
    ("nr_cpus", "setup_percpu: NR_CPUS:", r"(\d+)", decimal),
    ("no_highmem", "Warning only ", r"(\d+)(M)B will be used", sized),
    # how large the real-mode code is that it was built with, and where a 32-bit one was built to have its areas
    ("trampoline", "Base memory trampoline at ", r"\[([0-9a-f]+)\] ([0-9a-f]+) size (\d+)", placed),
    ("lowmem_area", "lowmem  : ", r"0x([0-9a-f]{8}) - 0x([0-9a-f]{8}) ", half_open),
    ("vmalloc_area", "vmalloc : ", r"0x([0-9a-f]{8}) - 0x([0-9a-f]{8}) ", half_open),
)  # fmt: skip

_ROWS: dict[str, list[tuple[str, str, Convert]]] = {}
for _kind, _prefix, _pattern, _convert in NOTES:
    _ROWS.setdefault(_prefix, []).append((_kind, _pattern, _convert))

NOTE_PREFIXES = tuple(prefix for prefix in _ROWS if prefix)
BARE = regex(r"\d+ base ")
"""How a line begins that belongs to rows without a beginning of their own."""


def find_note(words: str, line: int, prefix: str) -> LogNote | None:
    """The note that is in a line of the log which begins with `prefix`, one of NOTE_PREFIXES or ""."""
    for kind, pattern, convert in _ROWS.get(prefix, ()):
        # Compiled on first use, and kept by re: a log has lines for few of the rows.
        if m := re.compile(pattern, re.IGNORECASE).match(words, len(prefix)):
            return LogNote(kind, convert(m.groups()), line, words)
    return None
