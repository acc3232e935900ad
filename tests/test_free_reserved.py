"""What is given back after the hand-over, and the line about memory, against the logs of real kernels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmtool.build.choose import kernel_for
from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.machine import Machine
from mmtool.firmware.read import read_machine
from mmtool.linux.arch.arm64.mm import free_image as arm64
from mmtool.linux.arch.x86.mm.free_image import free_image
from mmtool.linux.mm.free_reserved import Freed, Moment
from mmtool.linux.mm.print_info import ImageParts, MemoryCounts, image_parts, mem_init_print_info

LOGS = sorted((Path(__file__).parent.parent / "fixtures" / "captures").glob("*/dmesg.txt"))
each_log = pytest.mark.parametrize("log", LOGS, ids=lambda p: str(p.parent.name))
TEXT = 0x1000000
PREFIX = re.compile(r"^\[ *\d+\.\d+\] ")


def lines(log: Path) -> list[str]:
    return [PREFIX.sub("", line).rstrip() for line in log.read_text(errors="replace").splitlines()]


def kernel(profile: str) -> Kernel:
    return kernel_for(Machine("table", (), origin="map.txt"), profile)


def messages(pieces: list[Freed]) -> list[str]:
    return [p.message for p in pieces if p.printed]


@each_log
def test_lines_of_what_is_freed(log: Path) -> None:
    said = lines(log)
    machine = read_machine(str(log))
    disks = [
        (int(m[1], 16), int(m[2], 16) + 1)
        for line in said
        if (m := re.match(r"(?:Allocated new )?RAMDISK: \[mem 0x([0-9a-f]+)-0x([0-9a-f]+)\]", line))
    ]
    pieces = free_image(
        kernel_for(machine, None), parse_cmdline(machine.cmdline or ""), text=TEXT, initrd=disks[-1],
        cpus=machine.cpus or 1,
    )  # fmt: skip
    assert messages(pieces) == [line for line in said if line.startswith("Freeing ")]


@each_log
def test_line_of_memory(log: Path) -> None:
    """The parts of the image come from the profile; what the boot counted is taken from the line."""
    line = next(line for line in lines(log) if line.startswith("Memory: "))
    counted = {name: int(kbytes) >> 2 for kbytes, name in re.findall(r"(\d+)K (reserved|cma-reserved|highmem)", line)}
    free, present = (int(n) >> 2 for n in re.findall(r"\d+", line)[:2])
    cma = counted["cma-reserved"]
    counts = MemoryCounts(free, present, present - counted["reserved"] - cma, cma, counted.get("highmem"))
    parts = image_parts(kernel_for(read_machine(str(log)), None).profile.image)
    assert mem_init_print_info(counts, parts, 12) == line


def test_line_of_memory_with_larger_pages() -> None:
    counts = MemoryCounts(57730, 65536, 58035, 4096)
    parts = ImageParts(17792 << 10, 4754 << 10, 16544 << 10, 3840 << 10, 969 << 10)
    assert mem_init_print_info(counts, parts, 14) == (
        "Memory: 923680K/1048576K available (17792K kernel code, 4754K rwdata, 16544K rodata, 3840K init, 969K bss, "
        "54480K reserved, 65536K cma-reserved)"
    )


def test_a_part_inside_another_counts_once() -> None:
    image = {
        "stext": 0, "etext": 1000, "start_rodata": 100, "end_rodata": 300, "sinittext": 800, "einittext": 900,
        "sdata": 2000, "edata": 3000, "init_begin": 2500, "init_end": 2600, "bss_start": 3000, "bss_stop": 3000,
    }  # fmt: skip
    assert image_parts(image) == ImageParts(code=700, rwdata=900, rodata=200, init=200, bss=0)
    assert image_parts({}) == ImageParts()


def test_order_of_time() -> None:
    pieces = free_image(
        kernel("debian-6.12-cloud-amd64"), parse_cmdline(""), text=TEXT, initrd=(0x7000_0000, 0x7000_1001), cpus=2,
        boot_services=[(0x90000, 0x110000), (0x7800_0000, 0x7900_0000)], memblock_arrays=[(0x5000_0000, 0x5000_2000)],
    )  # fmt: skip
    assert [p.moment for p in pieces] == sorted(p.moment for p in pieces)
    assert [(p.start, p.end) for p in pieces if p.moment is Moment.ARCH_INITCALL] == [
        (0x100000, 0x110000), (0x7800_0000, 0x7900_0000),
    ]  # fmt: skip
    assert [(p.start, p.end) for p in pieces if p.name == "initrd"] == [(0x7000_0000, 0x7000_2000)]
    assert [p.start for p in pieces if p.moment is Moment.PAGE_ALLOC_INIT_LATE] == [0x5000_0000]


def test_boot_services_are_freed_earlier_before_7_0() -> None:
    def moment(profile: str) -> Moment:
        return free_image(
            kernel(profile), parse_cmdline(""), text=None, initrd=None, cpus=1, boot_services=[(0x100000, 0x200000)]
        )[0].moment

    assert moment("debian-5.10-cloud-amd64") is Moment.EFI_ENTER_VIRTUAL_MODE
    assert moment("debian-7.3-cloud-amd64") is Moment.ARCH_INITCALL


def test_options_that_keep_memory() -> None:
    k = kernel("debian-6.1-cloud-amd64")

    def names(cmdline: str, cpus: int = 2) -> set[str]:
        services = [(0x100000, 0x200000)]
        return {
            p.name
            for p in free_image(
                k, parse_cmdline(cmdline), text=TEXT, initrd=(0x2000, 0x3000), cpus=cpus, boot_services=services
            )
        }

    everything = names("")
    assert everything - names("retain_initrd") == {"initrd"}
    assert everything - names("efi=runtime,debug") == {"EFI boot services"}
    assert everything - names("rodata=off") == {
        "unused kernel image (text/rodata gap)", "unused kernel image (rodata/data gap)",
    }  # fmt: skip
    assert everything - names("maxcpus=1") == {"SMP alternatives"} == everything - names("nosmp")
    assert names("maxcpus=1", cpus=1) == everything


def test_an_unknown_image_is_not_freed() -> None:
    assert free_image(kernel("debian-6.1-cloud-amd64"), parse_cmdline(""), text=None, initrd=None, cpus=1) == []


def test_other_architectures_free_whole_pages_inside_the_disk() -> None:
    k = kernel("debian-6.1-cloud-amd64")
    profile = Profile("a", "arm64", "6.1", image={"init_begin": 0, "init_end": 8192})
    arm = Kernel(k.name, k.release, profile)
    pieces = arm64.free_image(arm, parse_cmdline(""), 0, (0x10800, 0x14800))
    assert messages(pieces) == ["Freeing initrd memory: 12K", "Freeing unused kernel memory: 8K"]
