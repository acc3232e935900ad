"""mm/memblock.c: limits, questions and the hand-over to the page allocator, on top of lists and allocation."""

from __future__ import annotations

from typing import Self

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.memblock.alloc import MemblockAlloc
from mmtool.linux.mm.memblock.handover import FreedMemory
from mmtool.linux.mm.memblock.journal import Journal
from mmtool.linux.mm.memblock.lists import (
    MEMBLOCK_ALLOC_ACCESSIBLE,
    MEMBLOCK_ALLOC_NOLEAKTRACE,
    NUMA_NO_NODE,
)
from mmtool.linux.mm.memblock.regions import (
    MEMBLOCK_NOMAP,
    MEMBLOCK_RSRV_HUGETLB,
    MEMBLOCK_RSRV_KERN,
    MemblockType,
)

__all__ = [
    "MEMBLOCK_ALLOC_ACCESSIBLE",
    "MEMBLOCK_ALLOC_NOLEAKTRACE",
    "NUMA_NO_NODE",
    "Change",
    "Memblock",
]

Change = tuple[str, str, int, int]
"""("memory" or "reserved", "add" or "remove", start, end): bytes [start, end)."""


class Memblock(MemblockAlloc):
    """The boot-time allocator of Linux 4.20 to 7.3, function for function; names without the prefix memblock_.

    Regions are in `memory`, `reserved` and `physmem` (`.regions`, `.cnt`, `.max`, `.total_size`); `bottom_up`
    and `current_limit` are plain attributes, as are `movable_node`, `mirrored_kernelcore`,
    `kho_scratch_only` and `kernel_end`. What differs between releases comes from the Release it is given.
    """

    @classmethod
    def of(cls, kernel: Kernel) -> Self:
        """The empty memblock of a kernel that starts, with the sizes of its build."""
        memory, reserved = kernel.init_memblock_regions
        return cls(
            kernel.release, numa=kernel.enabled("NUMA"), max_numnodes=kernel.max_numnodes,
            page_size=kernel.page_size, phys_addr_bits=kernel.phys_addr_bits,
            init_memory_regions=memory, init_reserved_regions=reserved,
            region_size=kernel.profile.sizes.get("memblock_region", 24), smp_cache_bytes=kernel.smp_cache_bytes,
        )  # fmt: skip

    # Limits.

    def enforce_memory_limit(self, limit: int) -> None:
        """Keep the first `limit` bytes of memory, and no reservation above: memblock_enforce_memory_limit() (mem=)."""
        max_addr = self._limit_address(limit)
        if max_addr is not None:
            self.memory.remove_range(max_addr, self.phys_addr_max)
            self.phys_free(max_addr, self.phys_addr_max)

    def cap_memory_range(self, base: int, size: int) -> None:
        """Keep only memory in [base, base + size), and NOMAP regions anywhere: memblock_cap_memory_range()."""
        if not size or (self.release.memblock_cap_wants_memory and not self.memory.total_size):
            return
        if self.memory.keep_only(base, size, MEMBLOCK_NOMAP):
            self.phys_free(0, base)
            self.phys_free((base + size) & self.phys_addr_max, self.phys_addr_max)

    def mem_limit_remove_map(self, limit: int) -> None:
        """Keep the first `limit` bytes of memory and all NOMAP regions: memblock_mem_limit_remove_map()."""
        max_addr = self._limit_address(limit)
        if max_addr is not None:
            self.cap_memory_range(0, max_addr)

    def _limit_address(self, limit: int) -> int | None:
        """Where the first `limit` bytes of memory end (__find_max_addr()); None when there is nothing to cut."""
        if not limit:
            return None
        for r in self.memory.regions:
            if limit <= r.size:
                address = r.base + limit
                return None if address == self.phys_addr_max else address
            limit -= r.size
        return None

    def trim_memory(self, align: int) -> None:
        """Shrink every memory region to multiples of `align` bytes: memblock_trim_memory().

        total_size is corrected only where a region is dropped.
        """
        self.memory.trim(align)

    # Questions.

    def is_memory(self, address: int) -> bool:
        """Is there memory at `address`? memblock_is_memory()."""
        return self.memory.search(address) is not None

    def is_map_memory(self, address: int) -> bool:
        """Is there memory at `address` that belongs in the direct map? memblock_is_map_memory()."""
        r = self.memory.search(address)
        return r is not None and not r.flags & MEMBLOCK_NOMAP

    def is_reserved(self, address: int) -> bool:
        """Is the byte at `address` reserved? memblock_is_reserved()."""
        return self.reserved.search(address) is not None

    def is_region_memory(self, base: int, size: int) -> bool:
        """Does one region of memory hold all of [base, base + size)? memblock_is_region_memory()."""
        r = self.memory.search(base)
        return r is not None and r.end >= base + self.memory.cap_size(base, size)

    def is_region_reserved(self, base: int, size: int) -> bool:
        """Does a reservation share a byte with [base, base + size)? memblock_is_region_reserved()."""
        return self.reserved.overlaps(base, size)

    def overlaps_region(self, type_: MemblockType, base: int, size: int) -> bool:
        """Does a region of `type_` share a byte with [base, base + size)? memblock_overlaps_region()."""
        return type_.overlaps(base, size)

    def addrs_overlap(self, base1: int, size1: int, base2: int, size2: int) -> bool:
        """Do two ranges share a byte? memblock_addrs_overlap(), ends taken modulo the address space."""
        end1, end2 = (base1 + size1) & self.phys_addr_max, (base2 + size2) & self.phys_addr_max
        return base1 < end2 and base2 < end1

    def search_pfn_nid(self, pfn: int) -> tuple[int, int, int] | None:
        """(nid, start_pfn, end_pfn) of the memory region that holds a page frame: memblock_search_pfn_nid()."""
        r = self.memory.search((pfn * self.page_size) & self.phys_addr_max)
        return None if r is None else (r.nid, r.base // self.page_size, r.end // self.page_size)

    def start_of_DRAM(self) -> int:
        """The lowest address of memory, 0 without any: memblock_start_of_DRAM()."""
        return self.memory.regions[0].base if self.memory.regions else 0

    def end_of_DRAM(self) -> int | None:
        """The end of the highest region: memblock_end_of_DRAM(). None where the kernel reads before an empty list."""
        return self.memory.regions[-1].end if self.memory.regions else None

    def phys_mem_size(self) -> int:
        """The counter of memory bytes: memblock_phys_mem_size()."""
        return self.memory.total_size

    def reserved_size(self) -> int:
        """The counter of reserved bytes: memblock_reserved_size()."""
        return self.reserved.total_size

    def reserved_kern_size(self, limit: int, nid: int) -> int:
        """Bytes reserved for the kernel below `limit` on node `nid`: memblock_reserved_kern_size() (6.16 on)."""
        return self._reserved_with(MEMBLOCK_RSRV_KERN, limit, nid)

    def reserved_hugetlb_size(self, limit: int, nid: int) -> int:
        """Bytes reserved for huge pages below `limit` on node `nid`: memblock_reserved_hugetlb_size() (7.3)."""
        return self._reserved_with(MEMBLOCK_RSRV_HUGETLB, limit, nid)

    def _reserved_with(self, flag: int, limit: int, nid: int) -> int:
        every = not self.valid_node(nid)
        total = 0
        for r in self.reserved.regions:
            if r.base > limit:
                break
            if r.flags & flag and (every or nid == r.nid):
                total += min(r.end, limit) - r.base
        return total & self.phys_addr_max

    def estimated_nr_free_pages(self) -> int:
        """Free pages as memblock sees them: memblock_estimated_nr_free_pages() (6.12 on).

        Since 6.16 only the kernel's own reservations count as taken.
        """
        taken = self.reserved.total_size
        if self.release.memblock_reservations_keep_their_request:
            taken = self.reserved_kern_size(self.phys_addr_max, NUMA_NO_NODE)
        return ((self.memory.total_size - taken) & self.phys_addr_max) // self.page_size

    def validate_numa_coverage(self, threshold: int) -> bool:
        """Is the memory without a node at most `threshold` bytes? memblock_validate_numa_coverage() (6.8 on)."""
        pages = sum(end - start for start, end, nid in self.for_each_mem_pfn_range() if not self.valid_node(nid))
        return pages * self.page_size <= threshold

    # The hand-over.

    def free_all(self, max_low_pfn: int, *, highmem: bool = False, max_order: int = 10) -> FreedMemory:
        """Give all free memory to the page allocator: memblock_free_all().

        Whole pages below `max_low_pfn` are given; with `highmem` (CONFIG_HIGHMEM) also those above, since
        6.15. Clears the hotplug flags first, ends kho_scratch_only, and from 6.5 on copies the nodes of
        memory onto the reservations.
        """
        self.kho_scratch_only = False
        self.clear_hotplug(0, self.phys_addr_max)
        if self.release.memblock_free_all_sets_nodes:
            self._reservations_take_nodes()
        no_ceiling = highmem and self.release.memblock_free_all_gives_highmem
        ranges = []
        for start, end, _ in self.for_each_free_mem_range():
            start_pfn, end_pfn = self.pfn_up(start), end // self.page_size
            if not no_ceiling:
                end_pfn = min(end_pfn, max_low_pfn)
            if start_pfn < end_pfn:
                ranges.append((start_pfn, end_pfn))
        return FreedMemory(tuple(ranges), max_order)

    def _reservations_take_nodes(self) -> None:
        """The part of memmap_init_reserved_pages() that memblock itself shows afterwards.

        Begun again when the list grew on the way, since the new array may lie below; up to 6.14 it was not,
        and each region's end was taken for its size, so that the last node reached too far.
        """
        once = not self.release.memblock_free_all_takes_size
        while True:
            room = self.reserved.max
            for m in self.memory.regions:
                self.reserved.set_node(m.base, m.end if once else m.size, m.nid)
            if once or room == self.reserved.max:
                return

    # What changed.

    def watch(self) -> None:
        """Note from here on what comes and goes."""
        self.memory.journal, self.reserved.journal = Journal(), Journal()

    def changes(self) -> list[Change]:
        """What memory and reservations lost and gained since watch() or the last call; flags and nodes do not count."""
        changes: list[Change] = []
        for type_ in (self.memory, self.reserved):
            if type_.journal is not None:
                went, came = type_.journal.take()
                changes += [(type_.name, "remove", start, end) for start, end in went]
                changes += [(type_.name, "add", start, end) for start, end in came]
        return changes
