"""`Boot`: everything that a booting kernel knows at one moment, changed step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmtool.arch.x86.e820 import E820Table
from mmtool.firmware.cmdline import Cmdline
from mmtool.firmware.machine import E820Entry, LogNote, Machine
from mmtool.init.log import KernelLog
from mmtool.kernel.kernel import Kernel
from mmtool.mm.cma import CmaArea
from mmtool.mm.hugetlb import Hugetlb
from mmtool.mm.memblock import Memblock
from mmtool.mm.mm_init import ZoneRange
from mmtool.mm.numa_memblks import NumaInfo
from mmtool.mm.page_alloc.zone import Pgdat
from mmtool.mm.zonelist import Zonelists


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step of the boot did: `memblock` lists (list, "add" or "remove", start, end), `log` counts its lines."""

    name: str
    memblock: tuple[tuple[str, str, int, int], ...]
    log_start: int
    log_end: int


@dataclass
class Boot:
    """The state that the steps of a boot work on. Pfns are page frame numbers, everything else is in bytes."""

    machine: Machine
    kernel: Kernel
    cmdline_text: str
    cmdline: Cmdline
    log: KernelLog
    memblock: Memblock
    e820: E820Table
    cpus: int = 1
    kernel_base: int | None = None
    e820_firmware: tuple[E820Entry, ...] = ()
    """The map as the firmware gave it, sanitised."""
    user_defined_map: bool = False
    max_pfn: int = 0
    max_low_pfn: int = 0
    max_arch_pfn: int = 0
    pci_mem_start: int = 0
    dma_reserve: int = 0
    """Pages of the DMA zone that memblock has already given away."""
    numa: NumaInfo = field(default_factory=NumaInfo)
    possible_nodes: set[int] = field(default_factory=set)
    online_nodes: set[int] = field(default_factory=set)
    zone_ranges: list[ZoneRange] = field(default_factory=list)
    nodes: dict[int, Pgdat] = field(default_factory=dict)
    zonelists: Zonelists | None = None
    cma_areas: list[CmaArea] = field(default_factory=list)
    """Memory kept for contiguous allocations, in the order in which the areas were made."""
    hugetlb: Hugetlb = field(default_factory=Hugetlb)
    """The pools of huge pages, and how far their options have been read."""
    steps: list[StepRecord] = field(default_factory=list)

    def notes(self, kind: str) -> list[LogNote]:
        """What the machine's log shows of one kind (`firmware.notes`)."""
        return [n for n in self.machine.notes if n.kind == kind]
