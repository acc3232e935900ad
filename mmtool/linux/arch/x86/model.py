"""x86 as an `Architecture`."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.arch.x86.kernel.setup import image_takes, steps
from mmtool.linux.arch.x86.mm.pgtable import address_space, maxmem_32, vmalloc_reserve_32
from mmtool.linux.arch.x86.mm.zones import arch_zone_limits_init
from mmtool.linux.init.architecture import Architecture
from mmtool.linux.init.boot import Step
from mmtool.linux.mm.address_space import AddressSpace, LayoutInputs
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock

E820_MAX_ENTRIES_ZEROPAGE = 128


class X86(Architecture[X86Boot]):
    """x86-64 and i386."""

    def boot(self, early: Early, machine: Machine, cpus: int, kernel_base: int | None) -> X86Boot:
        kernel = early.kernel
        table = E820Table(kernel.release, early.log, E820_MAX_ENTRIES_ZEROPAGE + 3 * kernel.max_numnodes)
        return X86Boot(
            kernel, early.memblock, early.cmdline, early.log,
            machine=machine, cpus=cpus, kernel_base=kernel_base, initrd=machine.initrd, e820=table,
        )  # fmt: skip

    def steps(self, kernel: Kernel) -> list[Step[X86Boot]]:
        return steps(kernel)

    def zone_limits(self, kernel: Kernel, cmdline: Cmdline, mb: Memblock) -> tuple[list[tuple[str, int]], int]:
        max_pfn = low = (mb.end_of_DRAM() or 0) >> kernel.page_shift
        if not kernel.is_64bit:
            low = min(max_pfn, maxmem_32(kernel, vmalloc_reserve_32(cmdline.get("vmalloc"))) >> kernel.page_shift)
        return arch_zone_limits_init(kernel, max_pfn, low), low

    def image_takes(self, kernel: Kernel) -> int:
        return image_takes(kernel)

    def address_space(self, inputs: LayoutInputs) -> AddressSpace:
        return address_space(inputs)


ARCHITECTURE = X86()
