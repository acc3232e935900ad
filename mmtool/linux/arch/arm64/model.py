"""arm64 as an `Architecture`."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.cmdline import Cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.arch.arm64.boot import Arm64Boot
from mmtool.linux.arch.arm64.kernel.setup import steps
from mmtool.linux.arch.arm64.mm.dma import arm64_dma_phys_limit
from mmtool.linux.arch.arm64.mm.init import arch_zone_limits_init
from mmtool.linux.arch.arm64.mm.pgtable import address_space
from mmtool.linux.init.architecture import Architecture
from mmtool.linux.init.boot import Step
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.address_space import AddressSpace, LayoutInputs
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock
from mmtool.units import round_up


class Arm64(Architecture[Arm64Boot]):
    """arm64 with a device tree."""

    def boot(self, early: Early, machine: Machine, cpus: int, kernel_base: int | None) -> Arm64Boot:
        if machine.fdt is None:
            raise InputError(machine.origin, None, "an arm64 kernel needs a device tree; give it with --dtb")
        return Arm64Boot(
            early.kernel, early.memblock, early.cmdline, early.log,
            machine=machine, cpus=cpus, kernel_base=kernel_base, initrd=machine.initrd, tree=machine.fdt,
        )  # fmt: skip

    def steps(self, kernel: Kernel) -> list[Step[Arm64Boot]]:
        return steps(kernel)

    def zone_limits(self, kernel: Kernel, cmdline: Cmdline, mb: Memblock) -> tuple[list[tuple[str, int]], int]:
        early = Early(kernel, mb, cmdline, KernelLog())
        max_pfn = (mb.end_of_DRAM() or 0) >> kernel.page_shift
        return arch_zone_limits_init(early, arm64_dma_phys_limit(early, None), max_pfn), max_pfn

    def image_takes(self, kernel: Kernel) -> int:
        image = kernel.profile.image
        head = image.get("stext", 0) if kernel.release.arm64_head_is_not_text else 0
        return round_up(image["end"] - head, kernel.page_size) if "end" in image else 0

    def address_space(self, inputs: LayoutInputs) -> AddressSpace:
        return address_space(inputs)


ARCHITECTURE = Arm64()
