"""What a kernel log says of the machine: firmware's map and tables, the boot loader's words, the hardware's.

Only what was said *to* the kernel is read. What the kernel worked out from it (zones, totals, last_pfn, the
"user:" and "modified:" maps, NUMA and NODE_DATA lines) is passed over, even where the log holds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field

from mmtool.errors import InputError, UsageError
from mmtool.firmware.e820 import Located, is_bare_line, parse_entry
from mmtool.firmware.efi import parse_region, parse_tables
from mmtool.firmware.lines import kernel_lines
from mmtool.firmware.machine import (
    AcpiTable,
    CpuAffinity,
    E820Entry,
    E820Type,
    EfiRegion,
    LogNote,
    Machine,
    MemoryAffinity,
    Srat,
)
from mmtool.firmware.notes import BARE, NOTE_PREFIXES, find_note
from mmtool.firmware.signs import SIGN_PREFIXES, architecture, find_signs, page_tables
from mmtool.late import dataclass
from mmtool.regex import regex

Line = tuple[int, str]

MAPS = ("BIOS-e820", "BIOS-e801", "BIOS-88", "Xen", "Xen-e820")
"""Who may have given a kernel its map, as the log names it in front of every entry."""

NO_MAP = (
    "no memory map in it: looked for 'BIOS-e820: [mem ...]' lines of a kernel log, /sys/firmware/memmap, /proc/iomem "
    "and a table; give a log from the start of a boot (dmesg, journalctl -k -b) or `grep -r . /sys/firmware/memmap`"
)
NO_MAP_OF = {
    "arm64": (
        "an arm64 kernel's log, which does not say where memory is: its device tree does; give --dtb TREE --dmesg LOG, "
        'with --memory START-END where the tree leaves that to the boot loader (the log\'s "node ranges" have it)'
    ),
    "arm": "a 32-bit ARM kernel's log; mmtool boots kernels of x86 and arm64 alone",
    "riscv": "a RISC-V kernel's log; mmtool boots kernels of x86 and arm64 alone",
}
ONLY_MADE = (
    "its log has lost the firmware's map (BIOS-e820 lines) and keeps only the one that the kernel made of it "
    "(user:, modified: or setup_data: lines); give a log from the start of a boot or `grep -r . /sys/firmware/memmap`"
)

_LONGEST_LINE = 4096
"""Characters beyond which a line is not a kernel's: printk cuts at 1024."""


@dataclass
class _Boot:
    """What was read of one boot so far."""

    origin: str
    version_line: str | None = None
    cmdline: str | None = None
    late_cmdline: str | None = None
    cmdline_line: int = 0
    map_heads: int = 0
    maps: dict[str, list[Located]] = field(default_factory=dict)
    initrd: tuple[int, int] | None = None
    kernel_base: int | None = None
    efi: list[EfiRegion] = field(default_factory=list)
    efi_head: bool = False
    efi_cut: int | None = None
    efi_done: bool = False
    tables: dict[tuple[str, int], AcpiTable] = field(default_factory=dict)
    dynamic_table: bool = False
    in_xen_map: bool = False
    affinities: list[MemoryAffinity | CpuAffinity] = field(default_factory=list)
    cpus: int | None = None
    notes: list[LogNote] = field(default_factory=list)
    signs: dict[str, Line] = field(default_factory=dict)
    warnings: list[tuple[int, str]] = field(default_factory=list)

    def note(self, kind: str, values: tuple[int, ...], number: int, text: str) -> None:
        self.notes.append(LogNote(kind, values, number, text))


def read_log(text: str, origin: str, *, need_map: bool = True, wanted: int | None = None) -> Machine:
    """The Machine that a kernel log speaks of; of several boots in one file it is that of `boot_of`.

    `text` may carry any console's or daemon's prefixes and may begin in the middle of a boot. A log with the
    EFI map alone (arm64) has no `e820`. Without `need_map` one that has no map at all is taken too. Raises
    InputError, with `origin` as the file's name.
    """
    boots = boots_of(text)
    number = chosen_boot(boots, wanted, origin)
    chosen = boots[number - 1] if boots else []
    boot = _Boot(origin)
    if len(boots) > 1:
        which = f"boot {number} of the {len(boots)} in the log is read, from line {chosen[0][0]} on"
        boot.warnings.append((chosen[0][0], f"{which}; --boot N takes another, --boot list shows them"))
    _read_lines(boot, chosen)
    _complete(boot)
    if _may_be_cut(boot.cmdline, boot.late_cmdline):
        cut = "the command line is as long as printk's longest line: its end may be missing"
        boot.warnings.append((boot.cmdline_line, cut))
    machine = _machine(boot)
    if need_map and not _has(chosen, (*_MAP_HEADS, *_EFI_HEADS)):
        made = ONLY_MADE if _has(chosen, _MADE_HEADS) else NO_MAP
        raise InputError(origin, None, NO_MAP_OF.get(machine.arch or "", made))
    if need_map and not (machine.e820 or machine.efi):
        raise InputError(origin, chosen[0][0], "the map that begins here has no entry; give the log whole")
    return machine


def _read_lines(boot: _Boot, lines: list[Line]) -> set[int]:
    """Read the lines of a boot; the numbers of those that say something."""
    told: set[int] = set()
    for number, words in lines:
        if not words:
            continue
        stripped = words.lstrip()
        head = _head(stripped)
        if head is not None and len(stripped) <= _LONGEST_LINE and _HANDLERS[head](boot, number, stripped, head):
            told.add(number)
    return told


def lines_read(text: str) -> set[int]:
    """The numbers of the lines that `read_log` takes something from, of whichever boot in the log.

    Of one that it refuses all that it would look at.
    """
    told: set[int] = set()
    for lines in boots_of(text):
        try:
            told |= _read_lines(_Boot(""), lines)
        except InputError:
            told |= {number for number, words in lines if _head(words.lstrip()) is not None}
        told |= {number for number, words in lines if words.lstrip().startswith((*_BEFORE_VERSION, *_MADE_HEADS))}
    return told


def _complete(boot: _Boot) -> None:
    """Say what of the map is missing. Where that is no more than the lowest 640 KiB, it was RAM: every PC's is."""
    if boot.efi_cut is not None and boot.efi and not boot.maps:
        start = boot.efi[0].start
        lost = f"EFI's map begins here, at {start:#x}: the descriptors before are lost"
        boot.note("map_cut", (start,), boot.efi_cut, lost)
        boot.warnings.append((boot.efi_cut, f"{lost}; give a log from the start of a boot"))
    kind = next((who for who in MAPS if who in boot.maps), None)
    entries = boot.maps.get(kind or "", [])
    if not any(entry.type == E820Type.RAM for _, entry in entries):
        return  # no kernel boots with it, and says why
    number, first = entries[0]
    line = int(number)
    if first.start and not boot.map_heads and kind != "Xen-e820":
        lost = f"the map begins here, at {first.start:#x}: the entries before are lost"
        if first.start <= _LOW_RAM and boot.version_line is None:
            entries.insert(0, (number, E820Entry(0, first.start, E820Type.RAM)))
            lost += f"; [0x0-{first.start - 1:#x}] is taken as usable"
        boot.note("map_cut", (first.start,), line, lost)
        boot.warnings.append((line, f"{lost}; give a log from the start of a boot, or /sys/firmware/memmap"))
    elif min(entry.start for _, entry in entries) > _LATE:
        boot.warnings.append((line, "no entry of the map begins at address 0, nor near it: is it whole?"))


_LOW_RAM, _LATE = 0xA0000, 0x10000
EFI_MAP_BEGINS = "efi: Processing EFI memory map"


def boots_of(text: str) -> list[list[Line]]:
    """The boots in a log: its lines cut where a kernel begins to speak, what its decompressor said before with it."""
    return _boots(kernel_lines(text))


def describe_boots(text: str, origin: str) -> list[str]:
    """A line for each boot in a log: its number, where it begins, its kernel, what is there of it; "*": it is read."""
    boots = boots_of(text)
    read = chosen_boot(boots, None, origin)
    lines = []
    for number, boot in enumerate(boots, 1):
        version = next((words.split()[2] for _, words in boot if words.startswith("Linux version ")), None)
        entries = sum(words.lstrip().startswith(MAPS) and "[mem" in words for _, words in boot)
        there = f"{entries} entries of the map" if entries else "no map"
        first, last = boot[0][0], boot[-1][0]
        kernel = version or "its beginning is lost"
        lines.append(f"{number}{'*' if number == read else ''}\tlines {first} to {last}\t{kernel}\t{there}")
    return lines


def chosen_boot(boots: list[list[Line]], wanted: int | None, origin: str) -> int:
    """Which boot to read, from 1 on: the one asked for (from the end if negative), else the last whole one.

    A whole one has the kernel's first word, a map, and what follows the map. UsageError where `wanted` is none.
    """
    if wanted is not None:
        if not boots or not 1 <= abs(wanted) <= len(boots):
            raise UsageError(f"--boot {wanted}: {origin} holds {len(boots)} boots")
        return wanted if wanted > 0 else len(boots) + 1 + wanted
    if len(boots) < 2:
        return len(boots)
    return max(range(1, len(boots) + 1), key=lambda n: (_wholeness(boots[n - 1]), n))


def _wholeness(boot: list[Line]) -> tuple[bool, bool, bool, bool]:
    """Has a boot a map, its beginning, its map to the last letter, and what follows it?"""
    maps = (i for i in range(len(boot) - 1, -1, -1) if boot[i][1] and boot[i][1].lstrip().startswith(_MAP_HEADS))
    last = next(maps, None)
    has_map = last is not None or _has(boot, _EFI_HEADS)
    ended = last is None or _ENTRY_ENDS.search(boot[last][1]) is not None
    return has_map, _has(boot, ("Linux version ",)), ended, last is None or any(w for _, w in boot[last + 1 :])


_ENTRY_ENDS = regex(r"\] *\w|\)$|:$")


def _has(boot: list[Line], heads: tuple[str, ...]) -> bool:
    """Does a line of the boot begin with one of `heads`?"""
    return any(words and words.lstrip().startswith(heads) for _, words in boot)


def _boots(lines: list[Line]) -> list[list[Line]]:
    starts: list[int] = []
    for i, (_, words) in enumerate(lines):
        if "Linux version " in words and words.lstrip().startswith("Linux version "):
            floor = starts[-1] if starts else -1
            while i - 1 > floor and lines[i - 1][1].lstrip().startswith(_BEFORE_VERSION):
                i -= 1
            starts.append(i)
    if not starts or starts[0] != 0:
        # what stands before the first kernel's first word is a boot of its own if a kernel speaks there too
        starts.insert(0, 0)
    cuts = [lines[a:b] for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]
    return [cut for cut in cuts if any(words and _head(words.lstrip()) is not None for _, words in cut)]


_BEFORE_VERSION = (
    "Booting Linux on physical CPU", "early console in ", "Probing EDD", "input_data: ", "input_len: ", "output: 0x",
    "output_len: ", "kernel_total_size: ", "needed_size: ", "trampoline_32bit: ", "booted via ", "Physical KASLR ",
    "KASLR ", "Decompressing Linux", "Parsing ELF", "Booting the kernel", "done.",
)  # fmt: skip


def _machine(boot: _Boot) -> Machine:
    kind = next((who for who in MAPS if who in boot.maps), "efi" if boot.efi else "none")
    early = boot.cmdline is not None
    late = boot.late_cmdline is not None or any(note.kind in _OF_A_WHOLE_LOG for note in boot.notes)
    arch = architecture(boot.signs, boot.version_line or "", early_cmdline=early, late_cmdline=late)
    arch = arch or ("x86_64" if boot.maps and boot.version_line else None)
    if arch == "i386" and (pae := page_tables(boot.signs, boot.version_line or "")):
        boot.notes.append(pae)
    words = (boot.version_line or "").split()
    return Machine(
        source=kind,
        e820=tuple(entry for _, entry in boot.maps.get(kind, ())),
        e820_places=tuple(number for number, _ in boot.maps.get(kind, ())),
        origin=boot.origin,
        arch=arch,
        release=words[2] if len(words) > 2 else None,
        version_line=boot.version_line,
        cmdline=_acted_on(boot.cmdline, boot.late_cmdline),
        initrd=boot.initrd,
        efi=tuple(boot.efi),
        acpi=tuple(boot.tables.values()),
        srat=Srat(tuple(boot.affinities)) if boot.affinities else None,
        cpus=boot.cpus,
        notes=tuple(sorted(boot.notes, key=lambda note: (note.kind in ("pae", "non_pae"), note.line))),
        kernel_base=boot.kernel_base,
        warnings=tuple(boot.warnings),
    )


_OF_A_WHOLE_LOG = {"nx", "dmi", "smbios", "non_pae", "no_highmem"}
"""Notes of lines that nobody looks for who wants memory: where one is, the log was not cut down to a few kinds."""


def _acted_on(early: str | None, late: str | None) -> str | None:
    """What the kernel acted on: "Kernel command line:" has CONFIG_CMDLINE too, "Command line:" what the loader passed.

    Where the one was cut at the end of printk's line, the other has the rest.
    """
    if early is None or late is None:
        return early if late is None else late
    if early.startswith(late):
        return early
    start = late.find(early[:_ENOUGH]) if len(early) >= _ENOUGH else -1
    if len(late) >= _LONGEST - len("Kernel command line: ") and start >= 0 and early.startswith(late[start:]):
        return late[:start] + early
    return late


def _may_be_cut(early: str | None, late: str | None) -> bool:
    """Is the command line as long as a line of the log can be? Not if the other line, with its longer head, has it."""
    if early is not None and late is not None and late.endswith(early):
        return False
    return len(early or "") + len("Command line: ") >= _LONGEST or (early is None and len(late or "") + 21 >= _LONGEST)


_ENOUGH = 20
"""Letters by which a command line is found within another."""


# ---- one function a kind of line -------------------------------------------------------------------


def _map_entry(boot: _Boot, number: int, words: str, head: str) -> bool:
    if boot.map_heads > 1:
        return False  # a console that came up late has the first lines again
    who, _, body = words.partition(":")
    if who not in boot.maps:
        boot.maps[who] = []
    entry = parse_entry(body.lstrip(), boot.origin, number)
    if entry is not None:
        boot.maps[who].append((number, entry))
    return True


def _xen_head(boot: _Boot, number: int, words: str, head: str) -> bool:
    """The map that the hypervisor was given, in its own log: its entries follow, without a name in front."""
    boot.maps.setdefault("Xen-e820", [])
    boot.in_xen_map = True
    return True


def _row(boot: _Boot, number: int, words: str, head: str) -> bool:
    """A line that begins with digits: an entry of Xen's own map, else a row of a table."""
    if boot.in_xen_map and is_bare_line(words):
        boot.maps["Xen-e820"].extend((number, entry) for entry in (parse_entry(words, boot.origin, number),) if entry)
        return True
    ended, boot.in_xen_map = boot.in_xen_map, False
    return _note(boot, number, words, head) or ended


def _map_head(boot: _Boot, number: int, words: str, head: str) -> bool:
    if boot.maps or not boot.map_heads:
        boot.map_heads += 1
    return True


def _version(boot: _Boot, number: int, words: str, head: str) -> bool:
    boot.version_line = boot.version_line or words
    return True


def _cmdline(boot: _Boot, number: int, words: str, head: str) -> bool:
    if boot.cmdline is None:
        boot.cmdline = words[len(head) :].strip()
        boot.cmdline_line = number
        return True
    return False


_LONGEST = 940
"""Characters from which on a line may have been cut: printk's limit is 960 to 1000, the prefix included."""


def _late_cmdline(boot: _Boot, number: int, words: str, head: str) -> bool:
    """ "Kernel command line: ", since 6.19 in several lines of which all but the last end in a backslash."""
    text = words[len(head) :].strip()
    if boot.late_cmdline is None:
        boot.late_cmdline, boot.cmdline_line = text, boot.cmdline_line or number
    elif boot.late_cmdline.endswith(" \\"):
        boot.late_cmdline = boot.late_cmdline[:-1] + text
    else:
        return False
    return True


def _ramdisk(boot: _Boot, number: int, words: str, head: str) -> bool:
    m = _MEM.search(words)
    if boot.initrd is None and m:
        boot.initrd = (int(m[1], 16), int(m[2], 16) + 1)
        return True
    return False


_MEM = regex(r"\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", re.IGNORECASE)


def _decompressed(boot: _Boot, number: int, words: str, head: str) -> bool:
    """ "output: 0x0000000002000000" of the decompressor: the physical place that it unpacks the kernel to."""
    if boot.version_line is None and re.fullmatch(r"[0-9a-f]{1,16}", words[len(head) :]):
        boot.kernel_base = int(words[len(head) :], 16)
        return True
    return False


def _acpi(boot: _Boot, number: int, words: str, head: str) -> bool:
    if m := _TABLE.match(words):
        start, size = int(m[2], 16), int(m[3], 16)
        if boot.dynamic_table and start >> 57 == 0x7F and start >> 47 != 0x1FFFF:
            boot.note("la57", (start,), number, words)
        if not boot.dynamic_table and start < 1 << 52:
            boot.tables.setdefault((m[1], start), AcpiTable(m[1], start, start + size, False))
        boot.dynamic_table = False
    elif m := _TABLE_KEPT.match(words):
        start, end = int(m[2], 16), int(m[3], 16) + 1
        boot.tables[m[1], start] = AcpiTable(m[1], start, end, True)
    elif words.startswith("ACPI: Dynamic OEM Table Load"):
        # the table that is named next was made by another one, and its address is virtual
        boot.dynamic_table = True
    else:
        return _note(boot, number, words, head)
    return True


_TABLE = regex(r"ACPI: ([A-Za-z0-9!_]{4}) (?:0x)?([0-9A-Fa-f]{8,16}) (?:0x)?([0-9A-Fa-f]{5,8})(?: |$)")
_TABLE_KEPT = regex(r"ACPI: Reserving ([A-Z0-9!_]{4}) table memory at \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]")


def _srat(boot: _Boot, number: int, words: str, head: str) -> bool:
    if m := _SRAT_MEMORY.match(words, len(head)):
        start = int(m[3] or m[5], 16)
        end = int(m[4], 16) + 1 if m[4] else int(m[6], 16)
        hotplug, nonvolatile = "hotplug" in m[7], "non-volatile" in m[7]
        boot.affinities.append(MemoryAffinity(int(m[2]), start, end, hotplug=hotplug, nonvolatile=nonvolatile))
        boot.note("srat_node", (int(m[1]), int(m[2])), number, words)
    elif m := _SRAT_CPU.match(words, len(head)):
        boot.affinities.append(CpuAffinity(int(m[1]), int(m[2], 0)))
        boot.note("srat_node", (int(m[3]), int(m[1])), number, words)
    else:
        return False
    return True


# "Node 0 PXM 0 [mem 0x00000000-0x0009ffff] hotplug"; before 3.5 "Node 0 PXM 0 0-a0000", whose end is exclusive
_SRAT_MEMORY = regex(
    r"Node (\d+) PXM (\d+) (?:\[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]|([0-9a-f]+)-([0-9a-f]+)\b)(.*)", re.IGNORECASE
)
_SRAT_CPU = regex(r"PXM (\d+) -> (?:(?:X2)?APIC|MPIDR) (0x[0-9a-f]+|[1-9]\d*|0) -> Node (\d+)", re.IGNORECASE)


def _efi(boot: _Boot, number: int, words: str, head: str) -> bool:
    if words.startswith(EFI_MAP_BEGINS):
        boot.efi_head = True
        return True
    if region := parse_region(words[len(head) :].lstrip(), len(boot.efi)):
        if not boot.efi and not boot.efi_head:
            boot.efi_cut = number
        # some releases print the map once more after they changed it
        boot.efi_done = boot.efi_done or (bool(boot.efi) and region.number <= boot.efi[-1].number)
        if not boot.efi_done and region.end > region.start:
            boot.efi.append(region)
        return True
    tables = tuple(parse_tables(words[len(head) :]))
    for name, address in tables:
        boot.note("efi_table", (address,), number, name)
    return _note(boot, number, words, head) or bool(tables)


def _cpus(boot: _Boot, number: int, words: str, head: str) -> bool:
    if boot.cpus is None and (m := _CPUS.match(words, len(head))):
        present, hotplug = int(m[1]), int(m[3])
        # "4 CPUs, 2 hotplug CPUs" counts the hotplug ones in, "4 present CPUs plus 2 hotplug CPUs" does not
        boot.cpus = present + hotplug if m[2] else present
        return True
    return False


def _slub(boot: _Boot, number: int, words: str, head: str) -> bool:
    """nr_cpu_ids, for logs without x86's line about CPUs."""
    if boot.cpus is None and (m := _SLUB_CPUS.search(words, len(head))):
        boot.cpus = int(m[1])
    boot.note("slub", (), number, words)
    return True


_SLUB_CPUS = regex(r", CPUs=([1-9]\d*), ")
_CPUS = regex(r"(\d+) (present )?CPUs(?:, | plus )(\d+) hotplug CPUs")


def _note(boot: _Boot, number: int, words: str, head: str) -> bool:
    signs = tuple(find_signs(words, head))
    for sign in signs:
        boot.signs.setdefault(sign, (number, words))
    note = find_note(words, number, head)
    if note is not None:
        boot.notes.append(note)
    return note is not None or bool(signs)


Handler = Callable[[_Boot, int, str, str], bool]

_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(SIGN_PREFIXES, _note),
    **dict.fromkeys(NOTE_PREFIXES, _note),
    "": _row,
    "BIOS-e820:": _map_entry,
    "BIOS-e801:": _map_entry,
    "BIOS-88:": _map_entry,
    "Xen: [mem ": _map_entry,
    "Xen: 0": _map_entry,
    "Xen-e820 RAM map:": _xen_head,
    "EFI RAM map:": _xen_head,
    "BIOS-provided physical RAM map": _map_head,
    "e820: BIOS-provided physical RAM map": _map_head,
    "Linux version ": _version,
    "Command line: ": _cmdline,
    "Kernel command line: ": _late_cmdline,
    "RAMDISK: ": _ramdisk,
    "output: 0x": _decompressed,
    "ACPI: ": _acpi,
    "ACPI: SRAT: ": _srat,
    "SRAT: ": _srat,
    "efi: ": _efi,
    "smpboot: Allowing ": _cpus,
    "SMP: Allowing ": _cpus,
    "CPU topo: Allowing ": _cpus,
    "SLUB: ": _slub,
}
"""What is done with a line, by how it begins, and whether it was of use."""

_HEADS = sorted(filter(None, _HANDLERS), key=len, reverse=True)
_BY_START: dict[str, list[str]] = {}
"""The heads by their first two letters, which tell most lines apart."""
for _key in _HEADS:
    _BY_START.setdefault(_key[:2], []).append(_key)


def _head(words: str) -> str | None:
    """The longest key of _HANDLERS that the line begins with; "" for a line of a table, None for any other."""
    for head in _BY_START.get(words[:2], ()):
        if words.startswith(head):
            return head
    return "" if words[:1] in "0123456789ABCDEF[" and (BARE.match(words) or _XEN_ROW.match(words)) else None


_XEN_ROW = regex(r"[0-9a-f]{16} - [0-9a-f]{16} \(|\[[0-9a-f]{16}, [0-9a-f]{16}\] \(")


_MAP_HEADS = ("BIOS-e820:", "BIOS-e801:", "BIOS-88:", "Xen: [mem ", "Xen: 0", "Xen-e820 RAM map:", "EFI RAM map:")
_EFI_HEADS = ("efi: mem00: ", "efi:   0x")
_MADE_HEADS = ("user: [mem", "modified: [mem", "reserve setup_data: [mem", "modified physical RAM map")
