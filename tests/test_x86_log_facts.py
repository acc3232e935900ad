"""What a log holds beside the map, and what the kernel did for it: lines of real machines."""

from __future__ import annotations

import pytest

from mmtool.answers.assumed import assumptions
from mmtool.build.choose import kernel_for
from mmtool.build.fact import parse_candidate
from mmtool.firmware.log import read_log
from mmtool.linux.arch.x86.kernel.mtrr import x86_setup_var_mtrrs
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel

MAP = """\
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009ffff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000006fffffff] usable
BIOS-e820: [mem 0x0000000070000000-0x000000008fffffff] reserved
BIOS-e820: [mem 0x0000000100000000-0x000000047fffffff] usable
"""


def boot(release: str, *lines: str, text: str = MAP, cmdline: str = "ro", base: int | None = None) -> Boot:
    log = f"Linux version {release} (a@b) (gcc) #1 SMP\nCommand line: {cmdline}\n{text}" + "\n".join(lines) + "\n"
    machine = read_log(log, "log")
    return start_kernel(machine, kernel_for(machine), kernel_base=base)


def said(booted: Boot, *beginnings: str) -> list[str]:
    return [line.text for line in booted.log.lines if line.text.startswith(beginnings)]


def updates(booted: Boot) -> list[str]:
    return said(booted, "e820: update")[1:]


def test_the_rmp_table_takes_two_mib_in_three_maps() -> None:
    line = "SEV-SNP: Reserving start/end of RMP table on a 2MB boundary [0x0000000056600000]"
    booted = boot("6.13.1", line)
    assert updates(booted) == ["e820: update [mem 0x56600000-0x567fffff] usable ==> reserved"] * 3
    assert booted.memblock.is_region_reserved(0x56600000, 0x200000)


@pytest.mark.parametrize(("release", "table"), [("5.9", 0), ("5.10", 1)])
def test_machine_owner_keys(release: str, table: int) -> None:
    assert (
        updates(boot(release, "efi: ACPI=0x6f000000 MOKvar=0x6d862010"))
        == ["e820: update [mem 0x6d862000-0x6d862fff] usable ==> reserved"] * table
    )
    assert not updates(boot(release, "efi: ACPI=0x6f000000 MOKvar=0x70001000"))


@pytest.mark.parametrize(("release", "lines"), [("5.3.11", 0), ("5.4.10", 0), ("5.4.11", 1), ("5.5", 1)])
def test_the_firmware_resource_table_leaves_the_map(release: str, lines: int) -> None:
    booted = boot(release, "esrt: Reserving ESRT space from 0x000000006d862798 to 0x000000006d8627d0.")
    assert len(updates(booted)) == lines
    assert booted.memblock.is_region_reserved(0x6D862798, 0x38)


def test_a_guest_of_kvm_looks_for_the_end_of_low_memory() -> None:
    line = "last_pfn = 0x70000 max_arch_pfn = 0x400000000"
    assert said(boot("6.19.0", "Hypervisor detected: KVM"), "last_pfn")[0] == line
    assert [len(said(boot(r, h), "last_pfn")) for r, h in (
        ("6.17.0", "Hypervisor detected: KVM"), ("6.19.0", "Hypervisor detected: VMware"),
        ("6.17.0-12340-gcd5a0afbdf80", "Hypervisor detected: KVM"),
        ("6.17.0-02340-gcd5a0afbdf80", "Hypervisor detected: KVM"),
    )] == [2, 2, 3, 2]  # fmt: skip


@pytest.mark.parametrize(
    ("covered", "expected"),
    [
        # Dell 9020, 6078 MiB: low memory to 3536; here RAM ends at 18 GiB, covered to 18
        (1792 + (18 << 10) - 4096, [f"e820: update [mem {1792 << 20:#010x}-0xffffffff] usable ==> reserved"]),
        (1856 + (32 << 10) - 4096, [f"e820: update [mem {1856 << 20:#010x}-0xffffffff] usable ==> reserved"]),
        (2048, ["e820: update [mem 0x80000000-0xffffffff] usable ==> reserved"]),
        (1000, []),
    ],
)
def test_registers_of_which_only_the_sum_is_told(covered: int, expected: list[str]) -> None:
    assert updates(boot("6.1.0", f"total RAM covered: {covered}M")) == expected
    assert not updates(boot("6.1.0", f"total RAM covered: {covered}M", cmdline="disable_mtrr_trim"))


def test_crashkernel_auto_of_rhel_7() -> None:
    text = MAP.replace("47fffffff", "10000fffff")
    assert said(boot("3.10.0-957.el7.x86_64", cmdline="crashkernel=auto"), "Reserving") == [
        "Reserving 161MB of memory at 720MB for crashkernel (System RAM: 16127MB)"
    ]
    assert said(boot("3.10.0-957.el7.x86_64", cmdline="crashkernel=auto", text=text), "Reserving")[0].startswith(
        "Reserving 164MB of memory at 720MB"
    )
    assert not said(boot("3.10.0", cmdline="crashkernel=auto"), "Reserving")


def test_the_kernels_place_is_ram_whatever_memmap_says() -> None:
    cmdline = "memmap=exactmap memmap=640K@0 memmap=1G@1G"
    booted = boot("6.1.0", cmdline=cmdline, base=0x10000000)
    end = booted.kernel_end
    assert end is not None
    lines = [line.text for line in booted.log.lines]
    at = lines.index(".text .data .bss are not marked as E820_TYPE_RAM!")
    assert lines[at + 1] == f"e820: remove [mem 0x10000000-{end - 1:#010x}] usable"
    assert booted.memblock.is_region_memory(0x10000000, (end - 0x10000000) // 4096 * 4096)
    assert not said(boot("6.1.0", cmdline=cmdline, base=0x48000000), ".text")


MTRR_MAP = "MTRR map: {} entries (3 fixed + {} variable; max 20), built from {} variable MTRRs"
AMD = MAP.replace("6fffffff", "6a2fffff").replace("0000000070000000-0x000000008f", "{:016x}-0x00000000c5")


@pytest.mark.parametrize(
    ("variable", "registers", "follows", "start"),
    [
        (2, 9, 0x6D000000, 0x70000000),  # reserved memory follows RAM, so that memory ends at a multiple of 256 MiB
        (2, 9, 0xC0000000, 0x6A300000),  # none follows: what is left is the graphics'
        (3, 9, 0x6D000000, None),
        (2, 10, 0x6D000000, None),  # Intel's: nothing above 4 GiB is covered by itself
    ],
)
def test_two_ranges_of_a_type_on_amd(variable: int, registers: int, follows: int, start: int | None) -> None:
    booted = boot("6.12.0", MTRR_MAP.format(3 + variable, variable, registers), text=AMD.format(follows))
    assert updates(booted) == [f"e820: update [mem {at:#010x}-0xffffffff] usable ==> reserved" for at in (start,) if at]
    what = "their number tells where the MTRRs end" if start else "the MTRRs cover all RAM"
    assert [a.what for a in assumptions(booted) if a.kind == "mtrr"] == [what]


BAY_TRAIL = """\
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000008efff] usable
BIOS-e820: [mem 0x0000000000100000-0x0000000099ffffff] usable
BIOS-e820: [mem 0x00000000e0000000-0x00000000efffffff] reserved
BIOS-e820: [mem 0x0000000100000000-0x000000015fffffff] usable
"""


def test_the_number_of_registers_tells_sums_apart() -> None:
    """4512 MiB: 2464 and up to 6 GiB takes five registers; 2976 and up to 5.5 GiB, which is rounder, seven."""
    covered = "total RAM covered: 4512M"
    setting = " gran_size: 64K \tchunk_size: 64K \tnum_reg: {}  \tlose cover RAM: 0G"
    assert len(updates(boot("6.13.0", covered, setting.replace("64K", "0K").format(5), text=BAY_TRAIL))) == 1
    for registers, end in ((5, 0x9A000000), (7, 0xBA000000)):
        lines = updates(boot("6.13.0", covered, setting.format(registers), text=BAY_TRAIL))
        assert lines == [f"e820: update [mem {end:#010x}-0xffffffff] usable ==> reserved"]


@pytest.mark.parametrize(
    ("covered", "last", "start"),
    [
        (3327, "cffff", 0xD0000000),  # a hole of less than 1 MiB is not in the sum
        (2175, "87ffefff", 0x87FFF000),  # nor what low memory has of a last MiB
    ],
)
def test_sums_are_told_in_whole_mib(covered: int, last: str, start: int) -> None:
    text = MAP.replace("6fffffff", last.rjust(8, "0") if len(last) == 8 else "cdffffff").replace(
        "0000000070000000-0x000000008fffffff", "00000000e0000000-0x00000000efffffff"
    )
    total = covered if covered > 3000 else covered + (18 << 10) - 4096
    lines = updates(boot("6.12.0", f"total RAM covered: {total}M", text=text))
    assert lines == [f"e820: update [mem {start:#010x}-0xffffffff] usable ==> reserved"]


SRAT = "SRAT: PXM 0 -> APIC 0x00 -> Node 0\nACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x47fffffff]"
EXCEPTION = "x86/split lock detection: #AC: warning about user-space split_locks"
DYNAMIC = "ACPI: Dynamic OEM Table Load:\nACPI: SSDT 0x{} 00037A (v01 PmRef  Cpu0Ist  00003000 INTL 20061109)"


@pytest.mark.parametrize(
    ("lines", "five"),
    [
        ((EXCEPTION, SRAT), True),
        ((EXCEPTION,), False),  # a client's processor reports them too
        ((EXCEPTION.replace("#AC", "#DB"), SRAT), False),
        ((EXCEPTION, SRAT, "Hypervisor detected: KVM"), False),
        ((DYNAMIC.format("FF11000180D8FC00"),), True),
        ((DYNAMIC.format("FFFF972B80D8FC00"),), False),
    ],
)
def test_five_levels_that_no_processor_is_named_for(lines: tuple[str, ...], five: bool) -> None:
    booted = boot("6.8.0", *lines)
    assert said(booted, "last_pfn")[0].endswith(f"max_arch_pfn = {'0x10000000000' if five else '0x400000000'}")
    told = [a.what for a in assumptions(booted) if a.kind == "page_table_levels"]
    known = any("Dynamic" in line for line in lines) and five
    assert told == ([] if known else [f"{'five' if five else 'four'} levels of page tables"])


@pytest.mark.parametrize(
    ("release", "ram"), [("5.10.10", 0), ("5.10.11", 1), ("5.10.13", 1), ("5.10.14", 0), ("5.11.0", 0)]
)
def test_page_0_was_ram_for_a_while(release: str, ram: int) -> None:
    booted = boot(release)
    assert said(booted, "e820: update") == ["e820: update [mem 0x00000000-0x00000fff] usable ==> reserved"] * (1 - ram)
    assert said(booted, "  DMA ")[0] == f"  DMA      [mem 0x{0 if ram else 0x1000:016x}-0x0000000000ffffff]"


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ("5.12.0-rc2-00796-g5478", None),
        ("5.12.0-rc3", "  DMA zone: 28769 pages in unavailable ranges"),
        ("5.13.5", "On node 0, zone DMA: 96 pages in unavailable ranges"),
        ("5.14.0-0.rc1.fc35", "  DMA zone: 28769 pages in unavailable ranges"),
        ("5.14.0-rc2", "On node 0, zone DMA: 96 pages in unavailable ranges"),
        ("5.14.0-12001-g0123456789ab", "On node 0, zone DMA: 96 pages in unavailable ranges"),
    ],
)
def test_release_candidates_come_before_their_release(release: str, line: str | None) -> None:
    words = [text for text in said(boot(release), "  DMA zone", "On node 0, zone DMA:") if "unavailable" in text]
    assert words[-1:] == [text for text in (line,) if text]


def test_the_real_mode_code_is_as_large_as_the_log_says() -> None:
    def reserved(size: int) -> str:
        return said(boot("4.4.0", f"Base memory trampoline at [ffff880000096000] 96000 size {size}"), "  DMA zone: ")[1]

    assert reserved(24576) == "  DMA zone: 22 pages reserved"
    assert reserved(28672) == "  DMA zone: 23 pages reserved"


def test_initmem_of_rhel_7() -> None:
    for release, start in (("3.10.0-957.el7.x86_64", 0x1000), ("3.10.0", 0)):
        assert said(boot(release), "Initmem")[0] == f"Initmem setup node 0 [mem {start:#010x}-0x47fffffff]"


def test_zones_before_3_8_count_without_their_struct_pages() -> None:
    lines = said(boot("3.6.11"), "  DMA32 zone", "  Normal zone")
    assert lines == [
        "  DMA32 zone: 16320 pages used for memmap", f"  DMA32 zone: {0x70000 - 4096 - 16320} pages, LIFO batch:31",
        "  Normal zone: 57344 pages used for memmap", f"  Normal zone: {0x380000 - 57344} pages, LIFO batch:31",
    ]  # fmt: skip


I386 = MAP.replace("0000000100000000-0x000000047fffffff", "0000000080000000-0x000000008fffffff")


def boot32(release: str, *lines: str) -> Boot:
    log = f"Linux version {release} (a@b) (gcc) #1 SMP\n{I386}Kernel command line: ro\n"
    tail = "\n".join((*lines, "Checking if this processor honours the WP bit even in supervisor mode...Ok.")) + "\n"
    machine = read_log(log + tail, "log")
    return start_kernel(machine, kernel_for(machine))


NON_PAE = "Notice: NX (Execute Disable) protection cannot be enabled: non-PAE kernel!"


@pytest.mark.parametrize(
    ("lines", "low"),
    [
        (("    vmalloc : 0xf75fe000 - 0xfedfe000   ( 120 MB)",), 0x36DFE000),
        (("Base memory trampoline at [8009b000] 9b000 size 16384",), 0x70000000),
        (("Warning only 883MB will be used.", NON_PAE), 0x373FE000),
    ],
)
def test_where_low_memory_of_i386_ends(lines: tuple[str, ...], low: int) -> None:
    assert said(boot32("5.1.0", *lines), "  low ram")[0] == f"  low ram: 0 - {low:08x}"


@pytest.mark.parametrize(("release", "pages"), [("5.13.0", 32), ("5.13.0-generic", 40), ("5.13.4-200.fc34.i686", 40)])
def test_a_struct_page_of_i386_knows_its_cgroup_in_a_distribution(release: str, pages: int) -> None:
    assert said(boot32(release), "  DMA zone")[0] == f"  DMA zone: {pages} pages used for memmap"


@pytest.mark.parametrize(
    ("release", "end"), [("6.1.0", 0x6FFFFFFF), ("6.15.0-rc2", 0x6FFFFFFF), ("6.15.0", 0x373FDFFF)]
)
def test_memory_that_no_zone_takes_in_stays_the_nodes(release: str, end: int) -> None:
    """Without high memory; what of it shares a pageblock with the last zone's end is a hole of that zone."""
    booted = boot32(release, "Warning only 883MB will be used.", NON_PAE)
    assert said(booted, "Initmem") == [f"Initmem setup node 0 [mem 0x0000000000001000-{end:#018x}]"]
    holes = said(booted, "On node 0, zone Normal")
    assert holes == ["On node 0, zone Normal: 2 pages in unavailable ranges"] * (end == 0x6FFFFFFF)


@pytest.mark.parametrize(("release", "end"), [("3.13.0", "ffffffff]"), ("4.19.0", "000000006fffffff]")])
def test_where_zone_dma32_was_said_to_end(release: str, end: str) -> None:
    text = MAP.replace("BIOS-e820: [mem 0x0000000100000000-0x000000047fffffff] usable\n", "")
    assert said(boot(release, text=text), "  DMA32 ")[0].endswith(f"-0x{end}")


@pytest.mark.parametrize(("release", "line", "said_so"), [
    ("6.15.0", "efi: EFI v2.7 by EDK II", True), ("6.14.0", "efi: EFI v2.7 by EDK II", False), ("6.15.0", "", False),
])  # fmt: skip
def test_what_efis_stub_left_is_taken_for_granted_where_no_log_shows_it(release: str, line: str, said_so: bool) -> None:
    told = [a.kind for a in assumptions(boot(release, line)) if a.kind == "boot_loader_memory"]
    assert told == ["boot_loader_memory"] * said_so


SETTING = " gran_size: 64K \tchunk_size: {}M \tnum_reg: {}  \tlose cover RAM: 0G"


def test_a_hole_above_ram_where_nothing_else_takes_as_many_registers() -> None:
    """RAM to 2 GiB and to 6 GiB and 24 MiB, of which the next 8 MiB are uncached, on to 8 GiB."""
    text = MAP.replace("000000006fffffff", "000000007a000fff").replace("0000000070000000", "0000000080000000")
    text = text.replace("000000047fffffff", "00000001817fffff")
    ranges = [(0, 0x7C000000), (1 << 32, 0x181800000), (0x182000000, 2 << 32)]
    total = sum(end - start for start, end in ranges) >> 20
    settings = [SETTING.format(mib, x86_setup_var_mtrrs(ranges, mib << 20, 64 << 10)) for mib in (1, 8, 64, 256)]
    assert updates(boot("6.6.8", f"total RAM covered: {total}M", *settings, text=text)) == [
        "e820: update [mem 0x7c000000-0xffffffff] usable ==> reserved",
        "e820: update [mem 0x181800000-0x181ffffff] usable ==> reserved",
    ]


@pytest.mark.parametrize(("name", "version"), [
    ("6.11.0-12340-gcd5a0afbdf80", (6, 12, -100)), ("6.19.0-12340-gcd5a0afbdf80", (7, 0, -100)),
    ("6.11.0-09999-gcd5a0afbdf80", (6, 11, 0)), ("6.11.0-rc3", (6, 11, -97)), ("6.11.0-0.rc3.fc41", (6, 11, -97)),
    ("6.11.3-rc3", (6, 11, 3)), ("6.11", (6, 11, 0)), ("mine", None),
])  # fmt: skip
def test_which_release_a_kernel_on_its_way_to_one_is(name: str, version: tuple[int, int, int] | None) -> None:
    assert parse_candidate(name) == version


def test_what_lines_say_of_the_build_may_be_nonsense() -> None:
    for line in (
        "Base memory trampoline at [c009b000] 9b000 size 99999999999999",
        "Base memory trampoline at [00000000] ffffffff size 0",
        "    vmalloc : 0x00000000 - 0x00000000   ( 120 MB)",
        "    vmalloc : 0xffffffff - 0xffffffff   ( 120 MB)",
        "Warning only 99999999999999MB will be used.",
    ):
        assert said(boot32("5.1.0", line, NON_PAE), "Zone ranges")
