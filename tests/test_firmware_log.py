"""What is read of a kernel log, in full for three real excerpts and line by line for the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmtool.errors import InputError, UsageError
from mmtool.firmware.log import read_log
from mmtool.firmware.machine import (
    AcpiTable,
    CpuAffinity,
    E820Entry,
    EfiRegion,
    Machine,
    MemoryAffinity,
    Srat,
)

LOGS = Path(__file__).parent.parent / "fixtures" / "logs"

MAP = """\
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x000000000009fc00-0x000000000009ffff] reserved
"""
ENTRIES = (E820Entry(0, 0x9FC00, 1), E820Entry(0x9FC00, 0xA0000, 2))


def read(text: str) -> Machine:
    return read_log(text, "log")


def fixture(name: str) -> Machine:
    return read_log((LOGS / name).read_text(), name)


def notes(machine: Machine) -> list[tuple[str, tuple[int, ...]]]:
    return [(n.kind, n.values) for n in machine.notes]


def note_lines(*lines: str) -> list[tuple[str, tuple[int, ...]]]:
    return notes(read(MAP + "\n".join(lines)))


def test_desktop_with_glued_lines() -> None:
    machine = fixture("desktop-6.6-glued-lines.txt")
    assert (machine.source, machine.arch, machine.release) == ("BIOS-e820", "x86_64", "6.6.21")
    assert (len(machine.e820), machine.cpus) == (27, 4)
    assert machine.e820[12] == E820Entry(0xD875F000, 0xD8800000, 20)
    assert machine.e820[-1] == E820Entry(0x100000000, 0x41EE00000, 1)
    assert machine.cmdline is not None and machine.cmdline.endswith("console=tty0 console=ttyS0,115200")
    assert machine.initrd == (0x36AE5000, 0x3756A000)
    assert machine.acpi == (
        AcpiTable("XSDT", 0xD8FEE090, 0xD8FEE134, False),
        AcpiTable("FACP", 0xD8FF9B10, 0xD8FF9C1C, True),
        AcpiTable("BGRT", 0xD8FFEA58, 0xD8FFEA90, True),
    )
    assert notes(machine) == [
        ("nx", (1,)),
        ("efi_version", (2, 3)),
        ("efi_table", (0xD8FEE000,)),
        ("efi_table", (0xD8FEE000,)),
        ("efi_table", (0xF0000,)),
        ("efi_remove_mmio", (0xF8000000, 0xFC000000, 54)),
        ("efi_remove_mmio", (0xFF000000, 0x100000000, 59)),
        ("smbios", (2, 7)),
        ("gb_pages", ()),
        ("igfx_stolen", (0xDD200000, 0xDF200000)),
    ]
    assert [n.text for n in machine.notes if n.kind == "efi_table"] == ["ACPI", "ACPI 2.0", "SMBIOS"]


def test_hyperv_with_hotplug_memory() -> None:
    machine = fixture("hyperv-6.13-hotplug.txt")
    assert (machine.arch, machine.release, machine.cpus, machine.initrd) == (
        "x86_64",
        "6.13.0+",
        16,
        (0x2DB72000, 0x3292B000),
    )
    assert machine.e820 == (
        E820Entry(0, 0xA0000, 1),
        E820Entry(0xC0000, 0x100000, 2),
        E820Entry(0x100000, 0x3FF41000, 1),
        E820Entry(0x3FF41000, 0x3FFC9000, 2),
        E820Entry(0x3FFC9000, 0x3FFFB000, 3),
        E820Entry(0x3FFFB000, 0x3FFFF000, 4),
        E820Entry(0x3FFFF000, 0x40000000, 1),
        E820Entry(0x100000000, 0xEC0000000, 1),
    )
    assert machine.srat is not None and machine.srat.cpus == ()
    assert len(machine.srat.memory) == 8
    assert machine.srat.memory[1] == MemoryAffinity(0, 0x100000000, 0xEC0000000, hotplug=True)
    assert ("srat_node", (0, 0)) in notes(machine)
    assert ("hypervisor", ()) in notes(machine)


def test_i386_without_pae() -> None:
    machine = fixture("i386-5.4-non-pae.txt")
    assert (machine.arch, machine.cpus, len(machine.e820)) == ("i386", None, 8)
    assert machine.cmdline == "ip=x root=/dev/ram0 vmalloc=256M page_owner=on selinux=0 debug ignore_loglevel"
    assert machine.initrd == (0x776F6000, 0x80000000)
    assert notes(machine) == [
        ("nx", (0,)),
        ("smbios", (2, 8)),
        ("dmi", ()),
        ("hypervisor", ()),
        ("mtrr_default", (6,)),
        ("mtrr_var", (0, 0xC0000000, 0xFC0000000, 0)),
        ("non_pae", ()),
    ]


def test_a_log_that_begins_with_the_map() -> None:
    machine = read(MAP)
    assert (machine.source, machine.e820, machine.arch, machine.release) == ("BIOS-e820", ENTRIES, None, None)


def test_what_the_kernel_made_is_no_map() -> None:
    made = """\
e820: update [mem 0x00000000-0x00000fff] usable ==> reserved
e820: remove [mem 0x000a0000-0x000fffff] usable
last_pfn = 0x140000 max_arch_pfn = 0x10000000000
user-defined physical RAM map:
user: [mem 0x0000000000000000-0x0000000000000fff] reserved
modified: [mem 0x0000000000000000-0x0000000000000fff] reserved
reserve setup_data: [mem 0x0000000000000000-0x0000000000000fff] usable
NUMA: Node 0 [mem 0x00000000-0x0009ffff] + [mem 0x00100000-0x7fffffff] -> [mem 0x00000000-0x7fffffff]
"""
    assert read(MAP + made) == replace(read(MAP), arch="x86_64")
    with pytest.raises(InputError, match="keeps only the one that the kernel made of it"):
        read(made)


@pytest.mark.parametrize(
    ("line", "source", "entry"),
    [
        ("BIOS-e820: 0000000000000000 - 000000000009f400 (usable)", "BIOS-e820", E820Entry(0, 0x9F400, 1)),
        ("BIOS-88: [mem 0x0000000000000000-0x000000000009efff] usable", "BIOS-88", E820Entry(0, 0x9F000, 1)),
        ("BIOS-e801: [mem 0x0000000000000000-0x000000000009efff] usable", "BIOS-e801", E820Entry(0, 0x9F000, 1)),
        ("Xen: [mem 0x0000000000000000-0x000000000009ffff] usable", "Xen", E820Entry(0, 0xA0000, 1)),
        ("BIOS-e820: [mem 0x0000000000000000-0x0000000000000fff]  device reserved", "BIOS-e820", E820Entry(0, 4096, 2)),
    ],
)
def test_maps(line: str, source: str, entry: E820Entry) -> None:
    machine = read(line)
    assert (machine.source, machine.e820) == (source, (entry,))


def test_the_boot_with_a_map_is_read() -> None:
    without = "Linux version 6.1.0 (a)\nCommand line: first\nRAMDISK: [mem 0x1000-0x1fff]\n"
    second = "Linux version 6.2.0 (b)\nCommand line: second\n" + MAP
    third = "Linux version 6.3.0 (c)\nCommand line: third\nBIOS-e820: [mem 0x0-0xfff] usable\nBIOS-e820: [mem 0x0"
    machine = read(without + second + third)
    assert (machine.release, machine.cmdline, machine.e820, machine.initrd) == ("6.2.0", "second", ENTRIES, None)
    said = "boot 2 of the 3 in the log is read, from line 4 on; --boot N takes another, --boot list shows them"
    assert machine.warnings == ((4, said),)


def test_a_map_that_a_late_console_repeats_counts_once() -> None:
    assert read(MAP + "bootconsole disabled\n" + MAP).e820 == ENTRIES


def test_the_last_whole_boot_is_read_or_the_one_asked_for() -> None:
    rest = f"{MAP}NX (Execute Disable) protection: active\n"
    text = "".join(f"Linux version 6.{n}.0 (a)\nCommand line: n={n}\n{rest}" for n in range(3))
    cut = text + "Linux version 6.9.0 (a)\n" + MAP.splitlines()[0]
    asked = [read_log(text, "log", wanted=n).release for n in (None, 1, 2, 3, -1, -3)]
    assert asked == ["6.2.0", "6.0.0", "6.1.0", "6.2.0", "6.2.0", "6.0.0"]
    assert read_log(cut, "log").release == "6.2.0"
    assert read_log(text[text.index("BIOS-e820") :], "log").release == "6.2.0"
    for wrong in (0, 4, -4):
        with pytest.raises(UsageError, match="holds 3 boots"):
            read_log(text, "log", wanted=wrong)


def test_the_command_line_that_the_kernel_acted_on_counts() -> None:
    assert read(MAP + "Kernel command line: built in\n").cmdline == "built in"
    assert read("Command line: ro\n" + MAP + "Kernel command line: built in ro\n").cmdline == "built in ro"
    long = "root=/dev/sda1 " + "a=1 " * 300
    kept = read(f"Command line: {long}\n{MAP}Kernel command line: {('built in ' + long)[:960]}\n").cmdline
    assert kept == "built in " + long.strip()
    wrapped = "Kernel command line: loglevel=7 \\\nKernel command line: ro  \\\nKernel command line: quiet\n"
    assert read(MAP + wrapped).cmdline == "loglevel=7 ro  quiet"


def test_a_cut_command_line_is_told() -> None:
    machine = read("Command line: " + "a" * 940 + "\n" + MAP)
    assert machine.warnings == ((1, "the command line is as long as printk's longest line: its end may be missing"),)


@pytest.mark.parametrize(
    ("head", "tail", "arch", "kinds"),
    [
        ("Linux version 6.1.0 (a)\nCommand line: ro\n", "", "x86_64", []),
        ("Linux version 6.1.0 (a)\n", "", "x86_64", []),
        ("Linux version 6.1.0 (a)\n", "Kernel command line: ro\n", "i386", []),
        ("Linux version 6.1.0-amd64 (a)\n", "", "x86_64", []),
        ("Linux version 6.1.0-686-pae (a)\n", "", "i386", ["pae"]),
        ("Linux version 6.1.0-686 (a)\n", "", "i386", []),
        ("Linux version 6.1.0 (a)\n", "Using GB pages for direct mapping\n", "x86_64", ["gb_pages"]),
        ("", "mapped APIC to         ffffb000 (        fee00000)\n", "i386", []),
        ("", "mapped APIC to ffffffffff5fc000 (        fee00000)\n", "x86_64", []),
        ("", "initial memory mapped: [mem 0x00000000-0x123fffff]\n", "i386", []),
        ("Linux version 6.1.0 (a)\n", "NX (Execute Disable) protection: active\n", "i386", ["nx", "pae"]),
        ("Linux version 6.1.0 (a)\n", "Warning: only 4GB will be used.\n", "i386", ["non_pae"]),
        ("Linux version 6.1.0 (a)\n", "Warning only 887MB will be used.\n", "i386", ["no_highmem"]),
    ],
)
def test_architecture(head: str, tail: str, arch: str, kinds: list[str]) -> None:
    machine = read(head + MAP + tail)
    assert (machine.arch, [n.kind for n in machine.notes]) == (arch, kinds)


def test_acpi_tables() -> None:
    lines = """\
ACPI: RSDP 0x00000000000F59B0 000014 (v00 BOCHS )
ACPI: FACP 0x00000000BFFE19EB 000074 (v01 BOCHS  BXPC     00000001 BXPC 00000001)
ACPI: RSDT 17ffd740 00034 (v01 BOCHS  BXPCRSDT 00000001 BXPC 00000001)
ACPI: HPET id: 0x8086a201 base: 0xfed00000
ACPI: Reserving FACP table memory at [mem 0xbffe19eb-0xbffe1a5e]
ACPI: Dynamic OEM Table Load:
ACPI: SSDT 0xFFFF972B80D8FC00 00037A (v01 PmRef  Cpu0Ist  00003000 INTL 20061109)
ACPI: Dynamic OEM Table Load:
ACPI: SSDT f2001000 0037A (v01  PmRef  Cpu0Ist 00003000 INTL 20061109)
"""
    assert read(MAP + lines).acpi == (
        AcpiTable("RSDP", 0xF59B0, 0xF59C4, False),
        AcpiTable("FACP", 0xBFFE19EB, 0xBFFE1A5F, True),
        AcpiTable("RSDT", 0x17FFD740, 0x17FFD774, False),
    )


def test_srat_lines_of_every_era() -> None:
    lines = """\
SRAT: PXM 1 -> APIC 0x02 -> Node 0
SRAT: PXM 0 -> APIC 0x0010 -> Node 1
SRAT: PXM 3 -> MPIDR 0x80000100 -> Node 3
ACPI: SRAT: Node 0 PXM 1 [mem 0x00000000-0x0009ffff]
ACPI: SRAT: Node 1 PXM 0 [mem 0x100000000-0x13fffffff] hotplug
ACPI: SRAT: Node 2 PXM 5 [mem 0x140000000-0x17fffffff] non-volatile
SRAT: Node 0 PXM 1 100000-80000000
SRAT: Node 0 PXM 1 [mem 0x80000000-0x8fffffff]
"""
    machine = read(MAP + lines)
    assert machine.srat == Srat(
        (
            CpuAffinity(1, 2),
            CpuAffinity(0, 16),
            CpuAffinity(3, 0x80000100),
            MemoryAffinity(1, 0, 0xA0000),
            MemoryAffinity(0, 0x100000000, 0x140000000, hotplug=True),
            MemoryAffinity(5, 0x140000000, 0x180000000, nonvolatile=True),
            MemoryAffinity(1, 0x100000, 0x80000000),
            MemoryAffinity(1, 0x80000000, 0x90000000),
        )
    )
    pairs = [values for _, values in notes(machine)]
    assert pairs == [(0, 1), (1, 0), (3, 3), (0, 1), (1, 0), (2, 5), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("line", "cpus"),
    [
        ("smpboot: Allowing 8 CPUs, 4 hotplug CPUs", 8),
        ("SMP: Allowing 2 CPUs, 0 hotplug CPUs", 2),
        ("CPU topo: Allowing 4 present CPUs plus 2 hotplug CPUs", 6),
    ],
)
def test_cpus(line: str, cpus: int) -> None:
    assert read(MAP + line).cpus == cpus


def test_efi_map_of_every_era() -> None:
    columns = "|   |  |  |  |  |  |  |  |  |   |WB|WT|WC|UC]"
    lines = f"""\
efi: mem00: [Boot Code          {columns} range=[0x0000000000000000-0x0000000000000fff] (0MB)
efi: mem01: [Conventional Memory{columns} range=[0x0000000000001000-0x00000000000a0000) (0MB)
efi: mem02: type=6, attr=0x800000000000000f, range=[0x00000000000a0000-0x00000000000b0000) (0MB)
efi: mem03: [Reserved           {columns} range=[0x0000000000000000-0x0000000000000000] (invalid)
efi: EFI runtime memory map:
efi: mem00: [Runtime Data       {columns} range=[0x00000000000b0000-0x00000000000bffff] (0MB)
"""
    write_back = ("WB", "WT", "WC", "UC")
    assert read(MAP + lines).efi == (
        EfiRegion(0, "Boot Code", write_back, 0, 0x1000),
        EfiRegion(1, "Conventional", write_back, 0x1000, 0xA0000),
        EfiRegion(2, "Runtime Data", ("RUN", *write_back), 0xA0000, 0xB0000),
    )


def test_an_arm64_log_has_the_efi_map() -> None:
    lines = """\
Booting Linux on physical CPU 0x0000000000 [0x410fd083]
Linux version 6.12.9 (x@x)
efi: Processing EFI memory map:
efi:   0x000801f0c000-0x000803f7ffff [Conventional|   |  |  |  |  |  |  |  |  |   |WB|  |  |  ]
efi:   0x000803f80000-0x00080404bfff [Reserved    |   |  |  |  |  |  |  |  |  |   |WB|  |  |  ]*
efi: memattr:  0x0000bc440000-0x0000bc44ffff [Runtime Code|RUN|  |  |  |  |  |XP|  |  |  |   |  |  |  |  ]
"""
    machine = read(lines)
    assert (machine.source, machine.arch, machine.e820) == ("efi", "arm64", ())
    assert machine.efi == (
        EfiRegion(0, "Conventional", ("WB",), 0x801F0C000, 0x803F80000),
        EfiRegion(1, "Reserved", ("WB",), 0x803F80000, 0x80404C000),
    )


def test_a_log_without_a_map_serves_where_the_map_comes_from_elsewhere() -> None:
    log = "Booting Linux on physical CPU 0x0000000000 [0x410fd083]\nLinux version 6.12.9 (x@x)\n"
    with pytest.raises(InputError, match="an arm64 kernel's log"):
        read(log)
    machine = read_log(log, "log", need_map=False)
    assert (machine.source, machine.arch, machine.release) == ("none", "arm64", "6.12.9")
    assert read_log("", "log", need_map=False).source == "none"


@pytest.mark.parametrize("line", ["BIOS-e820: [gap 0x0-0xfff]", "efi: mem00: [", "efi:   0x"])
def test_a_map_without_entries_is_none(line: str) -> None:
    with pytest.raises(InputError, match=r"^log:2: the map that begins here has no entry; give the log whole$"):
        read("nothing\nLinux version 6.1.0 (a)\n" + line)


def test_the_decompressor_says_where_the_kernel_is() -> None:
    before = "early console in extract_kernel\ninput_data: 0x3a2c2c4\noutput: 0x0000000002000000\n"
    assert read(before + "Linux version 6.1.0 (a)\n" + MAP).kernel_base == 0x2000000


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("e820: update [mem 0x6707b018-0x6708a057] usable ==> usable", ("setup_data", (0x6707B018, 0x6708A058))),
        ("e820: update [mem 0x1000-0x1fff] System RAM ==> System RAM", ("setup_data", (0x1000, 0x2000))),
        ("e820: update [mem 0x1000-0x1fff] System RAM ==> device reserved", None),
        ("esrt: Reserving ESRT space from 0x00003bf61a98 to 0x00003bf61ad0.", ("esrt", (0x3BF61A98, 0x3BF61AD0))),
        ("TOM2: 0000000430000000 aka 17152M", ("mtrr_tom2", (0x430000000,))),
        ("reg 3, base: 3038MB, range: 2MB, type UC", ("mtrr_reg", (3, 3038 << 20, 2 << 20, 0))),
        (
            "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 12MB of RAM.",
            ("mtrr_trim", (12 << 20,)),
        ),
        ("Reserving Intel graphics stolen memory at 0xbba00000-0xbf9fffff", ("igfx_stolen", (0xBBA00000, 0xBFA00000))),
        ("DMI: SMBIOS 2.8 present.", ("smbios", (2, 8))),
        ("DSDT", None),
        ("setup_percpu: NR_CPUS:8192 nr_cpumask_bits:2 nr_cpu_ids:2 nr_node_ids:1", ("nr_cpus", (8192,))),
    ],
)
def test_notes(line: str, note: tuple[str, tuple[int, ...]] | None) -> None:
    assert note_lines(line) == ([] if note is None else [note])


def test_a_line_longer_than_a_kernels_is_passed_over() -> None:
    assert note_lines("efi: EFI v2." + "7" * 5000, "efi: EFI v2.7") == [("efi_version", (2, 7))]


def test_notes_stand_in_the_logs_order_with_their_lines() -> None:
    machine = read(MAP + "\nreserving inaccessible SNB gfx pages\n[    0.0] Using GB pages for direct mapping\n")
    assert [(n.kind, n.line, n.text) for n in machine.notes] == [
        ("snb_gfx", 5, "reserving inaccessible SNB gfx pages"),
        ("gb_pages", 6, "Using GB pages for direct mapping"),
    ]


def test_what_a_map_lacks_is_said() -> None:
    late = "BIOS-e820: [mem 0x000000000009f000-0x00000000000fffff] reserved\n"
    ram = "BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable\n"
    cut = read("x\n" + late + ram)
    assert cut.e820[0] == E820Entry(0, 0x9F000, 1) and len(cut.e820) == len(cut.e820_places) == 3
    assert [number for number, _ in cut.warnings] == [2]
    assert "the entries before are lost; [0x0-0x9efff] is taken as usable" in cut.warnings[0][1]
    far = read(ram.replace("00100000", "40000000"))
    assert len(far.e820) == 1 and "begins here, at 0x40000000" in far.warnings[0][1]
    assert "begins here, at 0x9f000" in read("Linux version 6.1.0 (a)\n" + late + ram).warnings[0][1]
    assert not read(MAP).warnings


def test_a_command_line_that_both_lines_have_is_whole() -> None:
    line = "a" * 940
    assert not read(f"Command line: {line}\n{MAP}Kernel command line: {line}\n").warnings
    assert read(f"Command line: {line}\n{MAP}Kernel command line: {line[:933]}\n").warnings


def test_an_efi_map_without_its_head_has_lost_its_beginning() -> None:
    entry = "efi:   0x0000bf805000-0x0000bfbfffff [Boot Code   |   |  |  |  |  |  |  |  |  |   |WB|  |  |  ]\n"
    head = "efi: Processing EFI memory map:\n"
    whole, cut = read_log(head + entry, "log"), read_log(entry, "log")
    assert whole.efi == cut.efi and len(whole.efi) == 1
    assert [note.values for note in whole.notes if note.kind == "map_cut"] == []
    assert [note.values for note in cut.notes if note.kind == "map_cut"] == [(0xBF805000,)]
    assert any("descriptors before are lost" in text for _, text in cut.warnings)
