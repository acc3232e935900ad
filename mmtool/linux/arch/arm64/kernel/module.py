"""How far modules may lie from the kernel: arch/arm64/kernel/module.c."""

from __future__ import annotations

from mmtool.linux.arch.arm64.mm.pgtable import SZ_2G, SZ_128M
from mmtool.linux.init.boot import Boot


def module_init_limits(boot: Boot) -> None:
    """module_init_limits(): how many pages of modules are in reach of direct branches, and of indirect ones.

    The image's size decides it unless KASLR does; from 6.5 on it is printed. Before, nothing.
    """
    kernel, image = boot.kernel, boot.kernel.profile.image.get("end", 0)
    if not kernel.release.arm64_modules_have_2g or not image:
        return
    direct, indirect = (max(span - image, 0) >> kernel.page_shift for span in (SZ_128M, SZ_2G))
    if boot.kaslr and kernel.enabled("RANDOMIZE_MODULE_REGION_FULL"):
        boot.log.info("2G module region forced by RANDOMIZE_MODULE_REGION_FULL")
        direct = 0
    boot.log.info(f"{direct} pages in range for non-PLT usage")
    boot.log.info(f"{indirect} pages in range for PLT usage")
