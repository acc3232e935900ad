"""`Boot`: all that a booting kernel knows at one moment, changed step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import cached_property
from typing import TypeVar

from mmtool.firmware.machine import E820Entry, LogNote, Machine
from mmtool.late import dataclass
from mmtool.linux.kernel.crash_reserve import CrashWindow
from mmtool.linux.mm.address_space import AddressSpace, DirectMap
from mmtool.linux.mm.cma import Cma
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.free_reserved import Freed
from mmtool.linux.mm.hugetlb import Hugetlb, SupportedSizes
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.numa import Nodes
from mmtool.linux.mm.page_alloc.setup_per_zone_wmarks import WmarkMoment
from mmtool.linux.mm.sparse_vmemmap import VmemmapLayout
from mmtool.linux.mm.system_hash import KernelPages
from mmtool.linux.mm.vmalloc.area import VmStruct
from mmtool.linux.mm.zonelist import Zonelists


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
    pages: Mapping[tuple[int, str], int]
    """How many pages each zone, (node, name), had of it."""


@dataclass(repr=False, kw_only=True)
class Boot(Early, ABC):
    """What the steps of a boot work on: what every architecture's kernel has; each adds its own in a subclass.

    The state of a stage is a type of the stage's file. What a step settles is absent until it does (AttributeError):
    a step out of its order is an error. Pfns are page frame numbers, everything else is in bytes.
    """

    machine: Machine
    cpus: int
    kernel_base: int | None
    """Physical address of the image, where it is known."""
    initrd: tuple[int, int] | None
    """Where the initial RAM disk lies."""

    numa: Nodes = field(default_factory=Nodes)
    cma: Cma = field(default_factory=Cma)
    """Memory kept for contiguous allocations."""
    hugetlb: Hugetlb = field(init=False)
    """The pools of huge pages, and how far their options have been read."""
    firmware_map: tuple[E820Entry, ...] = field(init=False)
    """What firmware called memory and what it kept for itself, as the kernel takes it over."""
    physmem_bits: int = field(init=False)
    """MAX_PHYSMEM_BITS: bits of the addresses that memory sections are numbered for."""
    vmemmap: VmemmapLayout = field(init=False)
    """How the array of struct pages is mapped."""
    log_buf_len: int | None = None
    """The log buffer's size where it is not the one built in."""
    kernel_pages: KernelPages = field(init=False)
    """What the sizes of hash tables go by."""
    zone_limits: list[tuple[str, int]] = field(init=False)
    """What free_area_init() was given: the pfn that each zone type ends before, lowest first; 0 for Movable."""
    zonelists: Zonelists = field(init=False)
    totalram_pages: int = field(init=False)
    """Pages that are or soon will be the page allocator's (totalram_pages()), CMA's not before it is activated."""
    min_free_kbytes: int = field(init=False)
    wmark_moments: list[WmarkMoment] = field(default_factory=list)
    """What there was each time that min_free_kbytes was worked out, in the order of time."""

    given_back: list[GivenBack] = field(default_factory=list)
    """What joined the page allocator after the hand-over, in the order of time."""
    owner_steps: dict[str, str] = field(default_factory=dict)
    """The step in which each owner of reserved memory first took some."""
    step: str = ""
    """The step that is being taken."""
    steps: list[StepRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hugetlb = Hugetlb(self.supported_huge_pages(), self.numa)

    # What all architectures have.

    @property
    def nodes(self) -> dict[int, Pgdat]:
        """NODE_DATA() of every node that has zones, by number."""
        return self.numa.pgdat

    @property
    def kernel_end(self) -> int | None:
        """One past the last byte of the kernel's image (_end); None where it is not known."""
        end = self.kernel.profile.image.get("end")
        return None if self.kernel_base is None or end is None else self.kernel_base + end

    @property
    def kaslr(self) -> bool:
        """Does the kernel randomise where things lie? Not where the command line or its log says that it does not."""
        off = self.cmdline.has("nokaslr") or bool(self.notes("kaslr_off"))
        return self.kernel.enabled("RANDOMIZE_BASE") and not off

    def cpu_nodes(self) -> list[int]:
        """early_cpu_to_node() of every possible CPU."""
        return self.numa.cpu_nodes(self.cpus) if self.kernel.enabled("NUMA") else [0] * self.cpus

    def cpus_by_node(self) -> list[tuple[int | None, int]]:
        """Nodes that have CPUs with the number of these, in the order of their first CPU; None without NUMA."""
        if not self.kernel.enabled("NUMA"):
            return [(None, self.cpus)]
        counts: dict[int | None, int] = {}
        for nid in self.cpu_nodes():
            counts[nid] = counts.get(nid, 0) + 1
        return list(counts.items())

    def notes(self, kind: str) -> list[LogNote]:
        """What the machine's log shows of one kind (`firmware.notes`)."""
        return self._notes.get(kind, [])

    @cached_property
    def _notes(self) -> dict[str, list[LogNote]]:
        notes: dict[str, list[LogNote]] = {}
        for note in self.machine.notes:
            notes.setdefault(note.kind, []).append(note)
        return notes

    @cached_property
    def freed_pieces(self) -> list[Freed]:
        """freed_memory(), which is settled once memblock has handed its memory over."""
        return self.freed_memory()

    # What each architecture answers for itself.

    @abstractmethod
    def supported_huge_pages(self) -> SupportedSizes:
        """The sizes of huge pages that it has on this machine."""

    @abstractmethod
    def edited_map(self) -> tuple[E820Entry, ...]:
        """The firmware's map as the kernel has edited it; as it came where the architecture edits none."""

    @property
    @abstractmethod
    def edits_map(self) -> bool:
        """Does it edit the firmware's map, also by options, before memblock takes memory over from it?

        Where not, options and firmware take from memblock itself.
        """

    @property
    @abstractmethod
    def edits_by_user(self) -> bool:
        """Did options of the command line edit the firmware's map?"""

    @property
    @abstractmethod
    def memory_step(self) -> str:
        """The step in which memblock gets its memory."""

    @abstractmethod
    def dma_reach(self) -> int:
        """The address below which the default CMA area lies."""

    @abstractmethod
    def crash_window(self) -> CrashWindow:
        """Where a crash kernel is looked for."""

    @abstractmethod
    def crashkernel_goes_high(self, asked_high: bool) -> bool:
        """May a crash kernel lie above the window's low part? `asked_high`: the option has ,high."""

    @abstractmethod
    def early_vm_areas(self) -> list[VmStruct]:
        """Areas of vmalloc that stand before vmalloc_init() runs."""

    @property
    @abstractmethod
    def address_space(self) -> AddressSpace:
        """Where the kernel puts what in virtual memory."""

    @property
    @abstractmethod
    def direct_map(self) -> DirectMap:
        """Where __va() finds physical memory."""

    @abstractmethod
    def freed_memory(self) -> list[Freed]:
        """What it gives back of its image and of boot-time memory once the page allocator runs."""


B = TypeVar("B", bound=Boot)
Step = tuple[str, Callable[[B], None]]
"""A step of the boot: its name, which is the kernel's where it has one, and what it does."""
