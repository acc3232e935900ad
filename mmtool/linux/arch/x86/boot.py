"""`X86Boot`: what an x86 kernel that boots knows beside what every kernel does."""

from __future__ import annotations

from dataclasses import field

from mmtool.firmware.machine import E820Entry
from mmtool.late import dataclass
from mmtool.linux.arch.x86.kernel.crash_reserve import crash_window
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.arch.x86.mm.free_image import free_image
from mmtool.linux.arch.x86.mm.hugetlbpage import supported_huge_pages
from mmtool.linux.arch.x86.mm.pgtable import address_space
from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.crash_reserve import CrashWindow
from mmtool.linux.mm.address_space import AddressSpace, DirectMap, LayoutInputs
from mmtool.linux.mm.free_reserved import Freed
from mmtool.linux.mm.hugetlb import SupportedSizes
from mmtool.linux.mm.vmalloc.area import VmStruct


@dataclass(repr=False, kw_only=True)
class X86Boot(Boot):
    """A boot of x86-64 or i386. Pfns are page frame numbers, everything else is in bytes."""

    e820: E820Table
    user_defined_map: bool = False
    """userdef of e820.c: an option edited the map."""
    max_arch_pfn: int = field(init=False)
    levels: int = field(init=False)
    """Levels of page tables."""
    head_mapped: int = field(init=False)
    """Bytes from 0 that the boot page tables of i386 map already."""
    pgt_buf_start: int = field(init=False)
    """Where the brk area's room for the first page tables begins; 0 for a place that is not known."""
    pgt_buf_left: int = field(init=False)
    """Pages of it that the direct map did not take."""
    max_mapped: int = field(init=False)
    """Bytes from 0 up to which the direct map goes (max_pfn_mapped)."""
    dma_reserve: int = 0
    """Pages of the DMA zone that memblock has already given away (set_dma_reserve())."""
    efi_boot_services: list[tuple[int, int]] = field(default_factory=list)
    """What was reserved for EFI's boot services and is freed when the firmware needs it no more: [start, end)."""

    def supported_huge_pages(self) -> SupportedSizes:
        return supported_huge_pages(self.kernel, self.has_gb_pages())

    def has_gb_pages(self) -> bool:
        """X86_FEATURE_GBPAGES, which the log shows; without a log a processor has it."""
        return bool(self.notes("gb_pages")) or self.machine.version_line is None

    def edited_map(self) -> tuple[E820Entry, ...]:
        return self.e820.snapshot()

    @property
    def edits_map(self) -> bool:
        return True

    @property
    def memory_step(self) -> str:
        return "e820__memblock_setup"

    @property
    def edits_by_user(self) -> bool:
        return self.user_defined_map

    def dma_reach(self) -> int:
        return self.max_mapped

    def crash_window(self) -> CrashWindow:
        return crash_window(self)

    def crashkernel_goes_high(self, asked_high: bool) -> bool:
        return True

    def early_vm_areas(self) -> list[VmStruct]:
        return []

    @property
    def address_space(self) -> AddressSpace:
        mb = self.memblock
        return address_space(LayoutInputs(self.kernel, mb.max_pfn, mb.max_low_pfn, self.levels, self.kaslr))

    @property
    def direct_map(self) -> DirectMap:
        area = self.address_space.area("direct map")
        return DirectMap(area.start, area.end, 0, area.base_known)

    def freed_memory(self) -> list[Freed]:
        return free_image(
            self.kernel, self.cmdline, text=self.kernel_base, initrd=self.initrd, cpus=self.cpus,
            boot_services=self.efi_boot_services, memblock_arrays=self.memblock.grown_arrays,
        )  # fmt: skip
