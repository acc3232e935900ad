"""What a log holds beside the map, and what the kernel did for it: lines of real machines."""

from __future__ import annotations

import pytest

from mmtool.build.choose import kernel_for
from mmtool.firmware.log import read_log
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
    )] == [2, 2]  # fmt: skip


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
