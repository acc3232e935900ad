"""`Boot`: everything that a booting kernel knows at one moment, changed step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mmtool.firmware.machine import E820Entry, LogNote, Machine
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.mm.cma import CmaArea
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.hugetlb import Hugetlb
from mmtool.linux.mm.kernel_pages import KernelPages
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.numa_memblks import NumaInfo
from mmtool.linux.mm.sparse_vmemmap import FOUR_LEVELS, VmemmapLayout
from mmtool.linux.mm.zonelist import Zonelists

if TYPE_CHECKING:
    from mmtool.firmware.fdt import ReservedNode
    from mmtool.linux.mm.address_space import AddressSpace


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step of the boot did: `memblock` lists (list, "add" or "remove", start, end), `log` counts its lines."""

    name: str
    memblock: tuple[tuple[str, str, int, int], ...]
    log_start: int
    log_end: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """`size` bytes that joined the page allocator after the hand-over, in step `step`."""

    name: str
    size: int
    step: str


@dataclass
class Boot(Early):
    """The state that the steps of a boot work on. Pfns are page frame numbers, everything else is in bytes."""

    machine: Machine
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
    max_possible_pfn: int = 0
    """The end of memory, hot-pluggable ranges of the SRAT included."""
    max_mapped: int = 0
    """Bytes from 0 up to which the direct map goes."""
    levels: int = 4
    """Levels of page tables."""
    physmem_bits: int = 46
    """MAX_PHYSMEM_BITS: bits of the addresses that memory sections are numbered for."""
    vmemmap: VmemmapLayout = FOUR_LEVELS
    """How the array of struct pages is mapped."""
    pgt_buf_start: int = 0
    """Where the brk area's room for the first page tables begins."""
    pgt_buf_left: int = 0
    """Pages of it that the direct map did not take."""
    head_mapped: int = 0
    """Bytes from 0 that the boot page tables of i386 map already."""
    node_data: dict[int, int] = field(default_factory=dict)
    """Where each node's pg_data_t lies."""
    log_buf_len: int = 0
    """The log buffer's size where it is not the one built in."""
    initrd: tuple[int, int] | None = None
    """Where the initial RAM disk lies."""
    kernel_pages: KernelPages = field(default_factory=KernelPages)
    """What the sizes of hash tables go by."""
    dma_reserve: int = 0
    """Pages of the DMA zone that memblock has already given away."""
    numa: NumaInfo = field(default_factory=NumaInfo)
    possible_nodes: set[int] = field(default_factory=set)
    online_nodes: set[int] = field(default_factory=set)
    nodes: dict[int, Pgdat] = field(default_factory=dict)
    zonelists: Zonelists | None = None
    totalram_pages: int = 0
    """Pages that are or soon will be the page allocator's (totalram_pages()), CMA's not before it is activated."""
    efi_boot_services: list[tuple[int, int]] = field(default_factory=list)
    """What was reserved for EFI's boot services and is freed when the firmware needs it no more: [start, end)."""
    min_free_kbytes: int = 0
    given_back: list[GivenBack] = field(default_factory=list)
    """What joined the page allocator after the hand-over, in the order of time."""
    cma_areas: list[CmaArea] = field(default_factory=list)
    """Memory kept for contiguous allocations, in the order in which the areas were made."""
    reserved_mem: list[tuple[ReservedNode, int, int]] = field(default_factory=list)
    """Regions of the device tree's /reserved-memory that have their place, [start, end); placed ones first."""
    hugetlb: Hugetlb = field(default_factory=Hugetlb)
    """The pools of huge pages, and how far their options have been read."""
    owner_steps: dict[str, str] = field(default_factory=dict)
    """The step in which each owner of reserved memory first took some."""
    step: str = ""
    """The step that is being taken."""
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def kernel_end(self) -> int:
        """One past the last byte of the kernel's image (_end); 0 where it is not known."""
        end = self.kernel.profile.image.get("end", 0)
        return self.kernel_base + end if self.kernel_base is not None and end else 0

    @property
    def kaslr(self) -> bool:
        """Does the kernel randomise where things lie? Not where the command line or its log says that it does not."""
        off = self.cmdline.has("nokaslr") or bool(self.notes("kaslr_off"))
        return self.kernel.enabled("RANDOMIZE_BASE") and not off

    @cached_property
    def address_space(self) -> AddressSpace:
        """Where the kernel puts what in virtual memory; known once max_low_pfn and the page tables' levels are."""
        from mmtool.linux.mm.address_space import LayoutInputs, address_space

        wide = False
        if self.kernel.arch == "arm64":
            from mmtool.linux.arch.arm64.processor import has_wide_addresses

            wide = has_wide_addresses(self)
        return address_space(LayoutInputs(self.kernel, self.max_pfn, self.max_low_pfn, self.levels, self.kaslr, wide))

    def cpu_nodes(self) -> list[int | None]:
        """early_cpu_to_node() of every possible CPU, in the order of the SRAT's entries; None without NUMA.

        Without entries CPUs are dealt out to the online nodes in turn (numa_init_array()).
        """
        if not self.kernel.enabled("NUMA"):
            return [None] * self.cpus
        online = sorted(self.online_nodes) or [0]
        named = [] if self.numa.emulated else list(self.numa.cpu_nodes.values())[: self.cpus]
        return [*named, *(online[i % len(online)] for i in range(self.cpus - len(named)))]

    def cpus_by_node(self) -> list[tuple[int | None, int]]:
        """Nodes that have CPUs with the number of these, in the order of their first CPU."""
        counts: dict[int | None, int] = {}
        for nid in self.cpu_nodes():
            counts[nid] = counts.get(nid, 0) + 1
        return list(counts.items())

    def notes(self, kind: str) -> list[LogNote]:
        """What the machine's log shows of one kind (`firmware.notes`)."""
        return [n for n in self.machine.notes if n.kind == kind]


Step = tuple[str, Callable[[Boot], None]]
"""A step of the boot: its name, which is the kernel's where it has one, and what it does."""
