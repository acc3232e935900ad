"""What x86 gives back after the hand-over: arch/x86/mm/init.c, init_64.c, mem_encrypt_amd.c, platform/efi/quirks.c."""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.arch.x86.page import PAGE_SHIFT
from mmtool.linux.mm.free_reserved import (
    Freed,
    Moment,
    Range,
    at_address,
    free_initmem,
    free_initrd_mem,
    image_part,
)
from mmtool.units import memparse

SZ_1M, PMD_SIZE = 1 << 20, 2 << 20


def free_image(
    kernel: Kernel,
    cmdline: Cmdline,
    *,
    text: int | None,
    initrd: Range | None,
    cpus: int,
    boot_services: Iterable[Range] = (),
    memblock_arrays: Iterable[Range] = (),
) -> list[Freed]:
    """All that a boot gives back after the hand-over, in the order of time.

    `text` is the physical address of _text (None: unknown, and with it the image), `initrd` where the RAM disk lies,
    `boot_services` what efi_reserve_boot_services() reserved, `memblock_arrays` the region lists that outgrew their
    first room (memblock_discard()). Ranges in bytes.
    """
    late = Moment.PAGE_ALLOC_INIT_LATE
    pieces = [
        *efi_free_boot_services(kernel, cmdline, boot_services),
        *(Freed(late, "memblock region list", *r, printed=False) for r in memblock_arrays),
        *free_initrd_mem(kernel, cmdline, initrd, last_page=True),
        *at_address(_image(kernel, cmdline, cpus), text),
    ]
    return sorted((p for p in pieces if p.start < p.end), key=lambda p: p.moment)


def efi_free_boot_services(kernel: Kernel, cmdline: Cmdline, reserved: Iterable[Range]) -> list[Freed]:
    """efi_free_boot_services(): nothing below 1 MiB, nothing at all with efi=debug (which shows the map in debugfs)."""
    if any("debug" in (value or "").split(",") for value in cmdline.all("efi")):
        return []
    late = kernel.release.boot_services_freed_by_initcall
    moment = Moment.ARCH_INITCALL if late else Moment.EFI_ENTER_VIRTUAL_MODE
    return [Freed(moment, "EFI boot services", max(start, SZ_1M), end, printed=False) for start, end in reserved]


def _image(kernel: Kernel, cmdline: Cmdline, cpus: int) -> list[Freed]:
    """The parts of the image that are given back, as offsets from _text."""
    pieces: list[Freed] = []
    if kernel.release.frees_smp_alternatives and _knows_cpus(cmdline, cpus):
        late = kernel.release.smp_alternatives_freed_by_initcall
        moment = Moment.ARCH_INITCALL if late else Moment.ALTERNATIVE_INSTRUCTIONS
        pieces += image_part(kernel, moment, "SMP alternatives", "smp_locks", "smp_locks_end")
    pieces += mem_encrypt_free_decrypted_mem(kernel)
    pieces += free_initmem(kernel, "unused kernel image (initmem)")
    if kernel.is_64bit and cmdline.get("rodata") != "off":
        name, moment = "unused kernel image ({} gap)", Moment.MARK_READONLY
        pieces += image_part(kernel, moment, name.format("text/rodata"), "etext", "start_rodata")
        pieces += image_part(kernel, moment, name.format("rodata/data"), "end_rodata", "sdata")
    return pieces


def mem_encrypt_free_decrypted_mem(kernel: Kernel) -> list[Freed]:
    """mem_encrypt_free_decrypted_mem(): the rest of the 2 MiB at the end of .bss that shared data would live in."""
    image = kernel.profile.image
    if not kernel.enabled("AMD_MEM_ENCRYPT") or "bss_stop" not in image:
        return []
    unused = image.get("start_bss_decrypted_unused", image["bss_stop"] - PMD_SIZE + _bss_decrypted(kernel))
    return [Freed(Moment.FREE_INITMEM, "unused decrypted", unused, image["bss_stop"])]


def _bss_decrypted(kernel: Kernel) -> int:
    """Bytes of .bss..decrypted: whatever it holds is in a page of its own.

    boot_ghcb_page of SEV, wall_clock and hv_clock_boot of kvmclock.c, and for Hyper-V ap_start_input_arg and tsc_pg.
    """
    hyperv = kernel.release.bss_decrypted_serves_hyperv and kernel.enabled("HYPERV_TIMER")
    return (1 + 2 * kernel.enabled("PARAVIRT_CLOCK") + 2 * hyperv) << PAGE_SHIFT


def _knows_cpus(cmdline: Cmdline, cpus: int) -> bool:
    """Are the lock prefixes of the image settled: several CPUs come up, or there can be one only."""
    limit = cmdline.get("maxcpus")
    most = 0 if cmdline.has("nosmp") else memparse(limit)[0] if limit else cpus
    return cpus == 1 or most > 1
