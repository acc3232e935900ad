"""What is given back after the hand-over, and when: free_initmem(), free_initrd_mem(), free_reserved_area() and others.

Each piece joins its zone's managed pages at its moment, so that what is worked out before does not count it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.units import memparse

SZ_1M, PMD_SIZE = 1 << 20, 2 << 20
BSS_DECRYPTED = {False: 3 << 12, True: 5 << 12}
"""Bytes of .bss..decrypted in Debian's builds, without and with Hyper-V's part; for profiles that do not say."""

Range = tuple[int, int]
"""[start, end) in bytes."""


class Moment(IntEnum):
    """When memory is given back, in the order of a boot."""

    EFI_ENTER_VIRTUAL_MODE = 0
    """In start_kernel(), after the hand-over."""
    ALTERNATIVE_INSTRUCTIONS = 1
    """At the end of start_kernel(): check_bugs(), later arch_cpu_finalize_init()."""
    PAGE_ALLOC_INIT_LATE = 2
    """memblock_discard(), when the deferred memory has come."""
    ARCH_INITCALL = 3
    """After init_per_zone_wmark_min(), before hugepage_init()."""
    ROOTFS_INITCALL = 4
    """populate_rootfs(), after hugepage_init()."""
    FREE_INITMEM = 5
    """kernel_init(), just before init starts."""
    MARK_READONLY = 6


@dataclass(frozen=True, slots=True)
class Freed:
    """Whole pages [start, end), in bytes, that go to the page allocator at a moment."""

    moment: Moment
    name: str
    start: int
    end: int
    printed: bool = True
    """Does the kernel print a line about it?"""

    @property
    def message(self) -> str:
        return f"Freeing {self.name} memory: {self.end - self.start >> 10}K"


def given_back(
    kernel: Kernel,
    cmdline: Cmdline,
    *,
    text: int | None,
    initrd: Range | None,
    cpus: int,
    boot_services: Iterable[Range] = (),
    memblock_arrays: Sequence[Range] = (),
) -> list[Freed]:
    """All that a boot gives back after the hand-over, in the order of time.

    `text` is the physical address of _text (None: unknown, and with it the image), `initrd` where the RAM disk lies,
    `boot_services` what efi_reserve_boot_services() reserved, `memblock_arrays` the region lists that outgrew their
    first room. Ranges in bytes.
    """
    x86 = kernel.arch in ("x86_64", "i386")
    pieces: list[Freed] = []
    if x86:
        pieces += efi_free_boot_services(kernel, cmdline, boot_services)
        pieces += [
            Freed(Moment.PAGE_ALLOC_INIT_LATE, "memblock region list", *r, printed=False) for r in memblock_arrays
        ]
    if initrd is not None and not cmdline.has("retain_initrd"):
        pieces.append(Freed(Moment.ROOTFS_INITCALL, "initrd", *_initrd_pages(initrd, x86, kernel.page_shift)))
    if text is not None:
        image = free_x86_image(kernel, cmdline, cpus) if x86 else free_initmem(kernel, "unused kernel")
        pieces += [Freed(p.moment, p.name, text + p.start, text + p.end) for p in image]
    return sorted((p for p in pieces if p.start < p.end), key=lambda p: p.moment)


def _initrd_pages(initrd: Range, x86: bool, page_shift: int) -> Range:
    """free_initrd_mem(): x86 reserved the last page whole and gives it back; others only whole pages inside."""
    page = 1 << page_shift
    start, end = initrd
    return -(-start // page) * page, (-(-end // page) if x86 else end // page) * page


def efi_free_boot_services(kernel: Kernel, cmdline: Cmdline, reserved: Iterable[Range]) -> list[Freed]:
    """efi_free_boot_services(): nothing below 1 MiB, nothing at all with efi=debug (which shows the map in debugfs)."""
    if any("debug" in (value or "").split(",") for value in cmdline.all("efi")):
        return []
    late = kernel.release.boot_services_freed_by_initcall
    moment = Moment.ARCH_INITCALL if late else Moment.EFI_ENTER_VIRTUAL_MODE
    return [Freed(moment, "EFI boot services", max(start, SZ_1M), end, printed=False) for start, end in reserved]


def free_x86_image(kernel: Kernel, cmdline: Cmdline, cpus: int) -> list[Freed]:
    """The parts of an x86 image that are given back, as offsets from _text."""
    pieces = []
    if kernel.release.frees_smp_alternatives and _knows_cpus(cmdline, cpus):
        pieces.append(_part(kernel, Moment.ALTERNATIVE_INSTRUCTIONS, "SMP alternatives", "smp_locks", "smp_locks_end"))
    pieces += mem_encrypt_free_decrypted_mem(kernel)
    pieces += free_initmem(kernel, "unused kernel image (initmem)")
    if kernel.is_64bit and cmdline.get("rodata") != "off":
        name = "unused kernel image ({} gap)"
        pieces.append(_part(kernel, Moment.MARK_READONLY, name.format("text/rodata"), "etext", "start_rodata"))
        pieces.append(_part(kernel, Moment.MARK_READONLY, name.format("rodata/data"), "end_rodata", "sdata"))
    return pieces


def free_initmem(kernel: Kernel, name: str) -> list[Freed]:
    """free_initmem(): the init sections."""
    return [_part(kernel, Moment.FREE_INITMEM, name, "init_begin", "init_end")]


def mem_encrypt_free_decrypted_mem(kernel: Kernel) -> list[Freed]:
    """mem_encrypt_free_decrypted_mem(): the rest of the 2 MiB at the end of .bss that shared data would live in."""
    image = kernel.profile.image
    if not kernel.is_64bit or "bss_stop" not in image or image["bss_stop"] % PMD_SIZE:
        return []
    used = kernel.profile.sizes.get("bss_decrypted", BSS_DECRYPTED[kernel.release.bss_decrypted_serves_hyperv])
    unused = image.get("start_bss_decrypted_unused", image["bss_stop"] - PMD_SIZE + used)
    return [Freed(Moment.FREE_INITMEM, "unused decrypted", unused, image["bss_stop"])]


def _knows_cpus(cmdline: Cmdline, cpus: int) -> bool:
    """Are the lock prefixes of the image settled: several CPUs come up, or there can be one only."""
    limit = cmdline.get("maxcpus")
    most = 0 if cmdline.has("nosmp") else memparse(limit)[0] if limit else cpus
    return cpus == 1 or most > 1


def _part(kernel: Kernel, moment: Moment, name: str, start: str, end: str) -> Freed:
    """Whole pages between two places of the image, as offsets from _text; nothing where one is not known."""
    image, page = kernel.profile.image, 1 << kernel.page_shift
    if start not in image or end not in image:
        return Freed(moment, name, 0, 0)
    return Freed(moment, name, -(-image[start] // page) * page, image[end] // page * page)
