"""The kernel's virtual address space: what its architecture puts where. Addresses and sizes in bytes."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass

VMALLOC, VMEMMAP = "vmalloc", "vmemmap"


@dataclass(frozen=True, slots=True)
class KernelArea:
    """One area: the addresses from `start` up to and without `end`.

    `base_known` is false where KASLR has moved it: the size is right then, and `start` is where it would lie
    without.
    """

    name: str
    start: int
    end: int
    base_known: bool = True

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class DirectMap:
    """Where the kernel sees physical memory: the byte at `phys` at virtual address `start`, the next beside it.

    `base_known` is false where KASLR moves it: `start` is where it would lie without.
    """

    start: int
    end: int
    phys: int
    base_known: bool


@dataclass(frozen=True, slots=True)
class LayoutInputs:
    """What the layout follows from, beside the build: what the machine has and can."""

    kernel: Kernel
    max_pfn: int = 0
    max_low_pfn: int = 0
    """Where low memory ends (i386)."""
    levels: int = 4
    """Levels of page tables (x86-64)."""
    kaslr: bool = False
    long_addresses: bool = False
    """Has the processor addresses of 52 bits (arm64)?"""


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """The areas in the architecture's order, and what its ioremap() aligns large mappings to at most."""

    areas: tuple[KernelArea, ...]
    vmalloc_end: int
    """VMALLOC_END as searches use it: on x86-64 the area's last byte, elsewhere one past it."""
    ioremap_max_order: int
    """IOREMAP_MAX_ORDER: log2 of the largest alignment of a mapping of device memory."""
    other_direct_map: int | None = None
    """Where the direct map would begin with the other number of levels of page tables that the build knows."""

    def area_at(self, address: int) -> KernelArea | None:
        """The area that holds an address."""
        return next((area for area in self.areas if area.start <= address < area.end), None)

    def area(self, name: str) -> KernelArea:
        """The area of a name; KeyError when the architecture has none such."""
        found = next((area for area in self.areas if area.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def vmalloc(self) -> KernelArea:
        """VMALLOC_START to VMALLOC_END."""
        return self.area(VMALLOC)
