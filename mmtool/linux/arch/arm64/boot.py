"""`Arm64Boot`: what an arm64 kernel that boots knows beside what every kernel does."""

from __future__ import annotations

from dataclasses import field

from mmtool.firmware.devicetree import DeviceTree
from mmtool.firmware.machine import E820Entry
from mmtool.late import dataclass
from mmtool.linux.arch.arm64.kernel.cpufeature import has_wide_addresses, memstart, pa_bits
from mmtool.linux.arch.arm64.mm.crash_reserve import crash_window
from mmtool.linux.arch.arm64.mm.dma import arm64_dma32_phys_limit, arm64_dma_phys_limit
from mmtool.linux.arch.arm64.mm.free_image import free_image
from mmtool.linux.arch.arm64.mm.hugetlbpage import supported_huge_pages
from mmtool.linux.arch.arm64.mm.mmu import declare_kernel_vmas
from mmtool.linux.arch.arm64.mm.pgtable import address_space
from mmtool.linux.drivers.of.of_reserved_mem import ReservedMem
from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.crash_reserve import CrashWindow
from mmtool.linux.mm.address_space import AddressSpace, DirectMap, LayoutInputs
from mmtool.linux.mm.free_reserved import Freed
from mmtool.linux.mm.hugetlb import SupportedSizes
from mmtool.linux.mm.vmalloc.area import VmStruct


@dataclass(repr=False, kw_only=True)
class Arm64Boot(Boot):
    """A boot of arm64, by the device tree that the kernel got."""

    tree: DeviceTree
    reserved_mem: ReservedMem = field(default_factory=ReservedMem)
    """Regions of the device tree's /reserved-memory that have their place."""

    def dma_phys_limit(self) -> int:
        """arm64_dma_phys_limit."""
        return arm64_dma_phys_limit(self, self.tree.dma_limit)

    def supported_huge_pages(self) -> SupportedSizes:
        return supported_huge_pages(self.kernel)

    def edited_map(self) -> tuple[E820Entry, ...]:
        return self.firmware_map

    @property
    def edits_map(self) -> bool:
        return False

    @property
    def memory_step(self) -> str:
        return "arm64_memblock_init"

    @property
    def edits_by_user(self) -> bool:
        return False

    def dma_reach(self) -> int:
        if self.kernel.release.arm64_reserves_for_devices_early:
            return arm64_dma32_phys_limit(self)
        return self.dma_phys_limit()

    def crash_window(self) -> CrashWindow:
        return crash_window(self.dma_reach(), pa_bits(self))

    def crashkernel_goes_high(self, asked_high: bool) -> bool:
        facts = self.kernel.release
        return facts.crashkernel_arm64_falls_back or (asked_high and facts.crashkernel_arm64_knows_high)

    def early_vm_areas(self) -> list[VmStruct]:
        return declare_kernel_vmas(self, self.address_space.vmalloc.start)

    @property
    def address_space(self) -> AddressSpace:
        return address_space(LayoutInputs(self.kernel, kaslr=self.kaslr, long_addresses=has_wide_addresses(self)))

    @property
    def direct_map(self) -> DirectMap:
        area = self.address_space.area("linear map")
        return DirectMap(area.start, area.end, memstart(self), not self.kaslr)

    def freed_memory(self) -> list[Freed]:
        return free_image(self.kernel, self.cmdline, self.kernel_base, self.initrd)
