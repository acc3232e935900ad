"""memblock's two lists and what is done to them: adding, removing, flags, walking, finding a free range, growing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mmtool.build.release import Release
from mmtool.linux.mm.memblock.cursor import FreeCursor
from mmtool.linux.mm.memblock.ledger import Ledger
from mmtool.linux.mm.memblock.ranges import FreeRange, free_ranges, free_ranges_reverse
from mmtool.linux.mm.memblock.regions import (
    MEMBLOCK_DRIVER_MANAGED,
    MEMBLOCK_HOTPLUG,
    MEMBLOCK_KHO_SCRATCH,
    MEMBLOCK_MIRROR,
    MEMBLOCK_NOMAP,
    MEMBLOCK_NONE,
    MEMBLOCK_RSRV_KERN,
    MEMBLOCK_RSRV_NOINIT,
    MemblockBug,
    MemblockPanic,
    MemblockRegion,
    MemblockType,
)

NUMA_NO_NODE = -1
MEMBLOCK_ALLOC_ACCESSIBLE = 0
MEMBLOCK_ALLOC_NOLEAKTRACE = 1

INIT_MEMBLOCK_REGIONS = 128
INIT_PHYSMEM_REGIONS = 4

_FORWARD, _REVERSE = "__next_mem_range", "__next_mem_range_rev"


class MemblockLists:
    """The lists "memory", "reserved" and "physmem", and the switches that steer a search.

    Addresses and sizes in bytes. Functions of the kernel that return an error code return 0 or -ENOMEM
    here; MemblockPanic and MemblockBug are raised where the kernel would stop.
    """

    max_pfn: int
    """One past the last page frame of memory. This and the next two are absent until a step of a boot settles them."""
    max_low_pfn: int
    """One past the last page frame that is mapped directly."""
    max_possible_pfn: int
    """The end of memory, hot-pluggable ranges of the SRAT included, as a page frame number."""

    def __init__(
        self,
        release: Release,
        *,
        numa: bool,
        max_numnodes: int | None = None,
        page_size: int,
        phys_addr_bits: int = 64,
        region_size: int = 24,
        init_memory_regions: int = INIT_MEMBLOCK_REGIONS,
        init_reserved_regions: int = INIT_MEMBLOCK_REGIONS,
        smp_cache_bytes: int,
        low_address_limit: int = 0xFFFFFFFF,
    ) -> None:
        """An empty memblock.

        `numa`: regions carry a node id (CONFIG_NUMA). `max_numnodes`: MAX_NUMNODES, 64 unless given, 1 without
        NUMA. `phys_addr_bits`: 32 where phys_addr_t is that narrow. `region_size`: sizeof(struct
        memblock_region), which decides how much a grown array takes. `init_*_regions`: the room that the
        lists begin with (INIT_MEMBLOCK_*_REGIONS). `low_address_limit`: ARCH_LOW_ADDRESS_LIMIT.
        """
        self.release = release
        self.numa = numa
        self.max_numnodes = 1 if not numa else 64 if max_numnodes is None else max_numnodes
        self.page_size = page_size
        self.phys_addr_max: int = (1 << phys_addr_bits) - 1
        self.region_size = region_size
        self.smp_cache_bytes = smp_cache_bytes
        self.low_address_limit = low_address_limit

        self.memory = self._list("memory", init_memory_regions)
        self.reserved = self._list("reserved", init_reserved_regions)
        self.physmem = self._list("physmem", INIT_PHYSMEM_REGIONS)
        self.bottom_up = False
        self.current_limit = self.phys_addr_max

        self.movable_node = False
        """movable_node on the command line: hotpluggable memory is kept out of allocations."""
        self.mirrored_kernelcore = False
        """kernelcore=mirror on the command line: mark_mirror() takes effect."""
        self.has_mirror = False
        """system_has_some_mirror: allocations look for mirrored memory first."""
        self.kho_scratch_only = False
        self.kernel_end = 0
        """Physical end of the kernel image, for releases whose bottom-up search begins there."""

        self.mirror_warnings = 0
        """How often a search gave up on mirrored memory."""
        self.warns = 0
        """How often the kernel would have said WARN_ON()."""
        self.ledger = Ledger()
        self._can_resize = False
        self._warned_of_node: set[str] = set()
        self._grown: dict[str, tuple[int, int]] = {}
        self._cursor = FreeCursor(self.memory, self.reserved)

    def _list(self, name: str, capacity: int) -> MemblockType:
        return MemblockType(
            name,
            capacity,
            self.release,
            numa=self.numa,
            max_numnodes=self.max_numnodes,
            phys_addr_max=self.phys_addr_max,
            grow=self._double_array,
            warn=self._warn,
        )

    def _warn(self) -> None:
        self.warns += 1

    # What there is, and what is taken.

    def add_node(self, base: int, size: int, nid: int, flags: int = MEMBLOCK_NONE) -> int:
        """Register memory of node `nid`: memblock_add_node(). Before 5.16 it has no flags, and they are ignored."""
        if not self.release.memblock_add_node_takes_flags:
            flags = MEMBLOCK_NONE
        return self.memory.add_range(base, size, nid, flags)

    def add(self, base: int, size: int) -> int:
        """Register memory whose node is not known yet: memblock_add()."""
        return self.memory.add_range(base, size, self.max_numnodes, MEMBLOCK_NONE)

    def remove(self, base: int, size: int) -> int:
        """Take a range out of "memory": memblock_remove()."""
        return self.memory.remove_range(base, size)

    def physmem_add(self, base: int, size: int) -> int:
        """Register memory in "physmem", which limits do not touch: memblock_physmem_add() (s390)."""
        return self.physmem.add_range(base, size, self.max_numnodes, MEMBLOCK_NONE)

    def reserve(self, base: int, size: int, *, owner: str | None = None) -> int:
        """Reserve a range, whether there is memory or not: memblock_reserve(). `owner` is who asked, for owners()."""
        return self.reserve_node(base, size, NUMA_NO_NODE, MEMBLOCK_NONE, owner=owner)

    def reserve_kern(self, base: int, size: int, *, owner: str | None = None) -> int:
        """Reserve a range for the kernel's own use: memblock_reserve_kern(). Before 6.16 the same as reserve()."""
        return self.reserve_node(base, size, NUMA_NO_NODE, MEMBLOCK_RSRV_KERN, owner=owner)

    def reserve_node(self, base: int, size: int, nid: int, flags: int, *, owner: str | None = None) -> int:
        """Reserve a range with a node and flags: __memblock_reserve(). Releases before 6.16 keep neither."""
        if not self.release.memblock_reservations_keep_their_request:
            nid, flags = self.max_numnodes, MEMBLOCK_NONE
        error = self.reserved.add_range(base, size, nid, flags)
        if owner is not None and not error:
            self.ledger.take(base, base + self.reserved.cap_size(base, size), owner)
        return error

    def phys_free(self, base: int, size: int) -> int:
        """Give a reserved range back: memblock_phys_free(), named memblock_free() before 5.16."""
        error = self.reserved.remove_range(base, size)
        if not error:
            self.ledger.give_back(base, base + self.reserved.cap_size(base, size))
        return error

    def owners(self, base: int, size: int) -> list[str]:
        """Who reserved bytes of [base, base + size), in address order, each once."""
        return list(dict.fromkeys(owner for _, _, owner in self.ledger.overlapping(base, base + size)))

    # Attributes of ranges.

    def set_node(self, base: int, size: int, type_: MemblockType, nid: int) -> int:
        """Give a range of `type_` (self.memory or self.reserved) to node `nid`: memblock_set_node()."""
        return type_.set_node(base, size, nid)

    def mark_hotplug(self, base: int, size: int) -> int:
        """Mark memory as hotpluggable: memblock_mark_hotplug()."""
        return self.memory.setclr_flag(base, size, True, MEMBLOCK_HOTPLUG)

    def clear_hotplug(self, base: int, size: int) -> int:
        """The opposite of mark_hotplug(): memblock_clear_hotplug()."""
        return self.memory.setclr_flag(base, size, False, MEMBLOCK_HOTPLUG)

    def mark_mirror(self, base: int, size: int) -> int:
        """Mark memory as mirrored: memblock_mark_mirror(). Since 6.0 only with kernelcore=mirror."""
        if self.release.memblock_mirror_wants_kernelcore and not self.mirrored_kernelcore:
            return 0
        self.has_mirror = True
        return self.memory.setclr_flag(base, size, True, MEMBLOCK_MIRROR)

    def mark_nomap(self, base: int, size: int) -> int:
        """Keep memory out of the direct map and of allocations: memblock_mark_nomap()."""
        return self.memory.setclr_flag(base, size, True, MEMBLOCK_NOMAP)

    def clear_nomap(self, base: int, size: int) -> int:
        """The opposite of mark_nomap(): memblock_clear_nomap()."""
        return self.memory.setclr_flag(base, size, False, MEMBLOCK_NOMAP)

    def reserved_mark_noinit(self, base: int, size: int) -> int:
        """Leave the struct pages of a reservation alone: memblock_reserved_mark_noinit() (6.7 on)."""
        return self.reserved.setclr_flag(base, size, True, MEMBLOCK_RSRV_NOINIT)

    def reserved_mark_kern(self, base: int, size: int) -> int:
        """Count a reservation as the kernel's: memblock_reserved_mark_kern() (7.1 on)."""
        return self.reserved.setclr_flag(base, size, True, MEMBLOCK_RSRV_KERN)

    def mark_kho_scratch(self, base: int, size: int) -> int:
        """Mark memory as scratch of a kexec handover: memblock_mark_kho_scratch() (6.16 on)."""
        return self.memory.setclr_flag(base, size, True, MEMBLOCK_KHO_SCRATCH)

    def clear_kho_scratch(self, base: int, size: int) -> int:
        """The opposite of mark_kho_scratch(): memblock_clear_kho_scratch()."""
        return self.memory.setclr_flag(base, size, False, MEMBLOCK_KHO_SCRATCH)

    # Walking.

    def valid_node(self, nid: int) -> bool:
        """Is `nid` a node's number? numa_valid_node() of include/linux/numa.h."""
        return 0 <= nid < self.max_numnodes

    @property
    def no_node(self) -> int:
        """What a caller of this release passes to set_node() for "no node": -1, before 6.10 MAX_NUMNODES."""
        return NUMA_NO_NODE if self.release.memblock_any_invalid_node_means_any else self.max_numnodes

    def _asked_node(self, nid: int, function: str) -> int:
        """The node to look on, NUMA_NO_NODE for any.

        Before 6.10 only -1 says any, and MAX_NUMNODES too, with one warning in each `function` that takes it.
        """
        if self.release.memblock_any_invalid_node_means_any:
            return nid if 0 <= nid < self.max_numnodes else NUMA_NO_NODE
        if nid == self.max_numnodes:
            self.warns += function not in self._warned_of_node
            self._warned_of_node.add(function)
            return NUMA_NO_NODE
        return nid

    def _skipped(self, nid: int, flags: int) -> Callable[[MemblockRegion], bool]:
        """Which regions of "memory" a walk leaves out: should_skip_region(); `nid` as from _asked_node()."""
        wanted = flags & (MEMBLOCK_MIRROR | MEMBLOCK_KHO_SCRATCH)
        unwanted = (MEMBLOCK_NOMAP | MEMBLOCK_DRIVER_MANAGED) & ~flags
        if self.movable_node:
            unwanted |= MEMBLOCK_HOTPLUG & ~flags

        def skipped(m: MemblockRegion) -> bool:
            other_node = nid != NUMA_NO_NODE and nid != m.nid
            return other_node or m.flags & wanted != wanted or m.flags & unwanted != 0

        return skipped

    def for_each_free_mem_range(self, nid: int = NUMA_NO_NODE, flags: int = MEMBLOCK_NONE) -> Iterator[FreeRange]:
        """Free ranges (start, end, nid) of node `nid` in ascending order: for_each_free_mem_range()."""
        return free_ranges(self.memory, self.reserved, self._skipped(self._asked_node(nid, _FORWARD), flags))

    def for_each_free_mem_range_reverse(
        self, nid: int = NUMA_NO_NODE, flags: int = MEMBLOCK_NONE
    ) -> Iterator[FreeRange]:
        """The same in descending order: for_each_free_mem_range_reverse()."""
        return free_ranges_reverse(self.memory, self.reserved, self._skipped(self._asked_node(nid, _REVERSE), flags))

    def for_each_mem_range(self) -> Iterator[tuple[int, int]]:
        """Memory [start, end), ascending, without NOMAP regions: for_each_mem_range()."""
        return ((r.base, r.end) for r in self.memory.regions if not r.flags & MEMBLOCK_NOMAP)

    def for_each_mem_range_rev(self) -> Iterator[tuple[int, int]]:
        """The same in descending order: for_each_mem_range_rev()."""
        return ((r.base, r.end) for r in reversed(self.memory.regions) if not r.flags & MEMBLOCK_NOMAP)

    def for_each_reserved_mem_range(self) -> Iterator[tuple[int, int]]:
        """Reservations [start, end), ascending: for_each_reserved_mem_range()."""
        return ((r.base, r.end) for r in self.reserved.regions)

    def for_each_mem_pfn_range(self, nid: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Whole page frames of memory (start_pfn, end_pfn, nid), of every node or of one: for_each_mem_pfn_range()."""
        if nid is None:
            nid = self.max_numnodes
        every = nid == self.max_numnodes
        if self.release.memblock_any_invalid_node_means_any:
            every = not self.valid_node(nid)
        for r in self.memory.regions:
            start_pfn, end_pfn = self.pfn_up(r.base), r.end // self.page_size
            if start_pfn < end_pfn and (every or nid == r.nid):
                yield start_pfn, end_pfn, r.nid

    def pfn_up(self, address: int) -> int:
        """The first page frame that begins at or after `address`: PFN_UP()."""
        return ((address + self.page_size - 1) & self.phys_addr_max) // self.page_size

    # Finding a free range.

    def _choose_flags(self) -> int:
        if self.kho_scratch_only:
            return MEMBLOCK_KHO_SCRATCH
        return MEMBLOCK_MIRROR if self.has_mirror else MEMBLOCK_NONE

    def _wishes(self) -> Iterable[int]:
        """The flags to search with, one after the other: mirrored memory is wished for first and then given up."""
        flags = self._choose_flags()
        return self._mirror_and_without(flags) if flags & MEMBLOCK_MIRROR else (flags,)

    def _mirror_and_without(self, flags: int) -> Iterator[int]:
        yield flags
        self.mirror_warnings += 1
        yield flags & ~MEMBLOCK_MIRROR

    def find_in_range_node(
        self, size: int, align: int, start: int, end: int, nid: int = NUMA_NO_NODE, flags: int = MEMBLOCK_NONE
    ) -> int:
        """A free place of `size` bytes inside [start, end) on node `nid`, or 0: memblock_find_in_range_node().

        `end` may be MEMBLOCK_ALLOC_ACCESSIBLE or _NOLEAKTRACE (up to current_limit). The first page is never
        given. Before 5.11 a bottom-up search begins behind the kernel image, and a failed one goes on top-down.
        """
        if end in (MEMBLOCK_ALLOC_ACCESSIBLE, MEMBLOCK_ALLOC_NOLEAKTRACE):
            end = self.current_limit
        start = max(start, self.page_size)
        end = max(start, end)
        skipped = self._skipped(self._asked_node(nid, _FORWARD if self.bottom_up else _REVERSE), flags)
        if not self.bottom_up:
            return self._find_again(start, end, size, align, (nid, flags, int(self.movable_node)), skipped)
        if not self.release.memblock_bottom_up_starts_above_kernel:
            return self._find_bottom_up(start, end, size, align, skipped)
        found = 0
        if end > self.kernel_end:
            found = self._find_bottom_up(max(start, self.kernel_end), end, size, align, skipped)
        return found or self._find_top_down(start, end, size, align, skipped, end)

    def _find_again(
        self,
        start: int,
        end: int,
        size: int,
        align: int,
        among: tuple[int, ...],
        skipped: Callable[[MemblockRegion], bool],
    ) -> int:
        """_find_top_down(), going on where the last search for the same `among` the same regions ended (FreeCursor)."""
        wish, ends = (start, end, size, align, *among), self._cursor.ends()
        high = ends.get(wish, end)
        found = self._find_top_down(start, end, size, align, skipped, high) if high else 0
        # At or above `end` a range of size 0 can be found again.
        if size:
            ends[wish] = found and found + size
        return found

    def _find_bottom_up(
        self, start: int, end: int, size: int, align: int, skipped: Callable[[MemblockRegion], bool]
    ) -> int:
        whole, mask = self.phys_addr_max, (align - 1) & self.phys_addr_max
        # Below `start` nothing can be found, unless rounding up wraps round.
        low = start if start + mask < whole else 0
        for range_start, range_end, _ in free_ranges(self.memory, self.reserved, skipped, low):
            first, last = min(max(range_start, start), end), min(max(range_end, start), end)
            candidate = ((((first - 1) & whole) | mask) + 1) & whole
            if candidate < last and last - candidate >= size:
                return candidate
        return 0

    def _find_top_down(
        self, start: int, end: int, size: int, align: int, skipped: Callable[[MemblockRegion], bool], high: int
    ) -> int:
        """The highest place, in ranges that begin below `high`."""
        mask = (align - 1) & self.phys_addr_max
        # At or above `end` only a range of size 0 can be found.
        below = high if size else None
        for range_start, range_end, _ in free_ranges_reverse(self.memory, self.reserved, skipped, below, size):
            if size and range_end <= start:
                # they descend: nothing more reaches into the window
                break
            first = start if range_start < start else end if range_start > end else range_start
            last = start if range_end < start else end if range_end > end else range_end
            if last >= size:
                candidate = (last - size) & ~mask
                if candidate >= first:
                    return candidate
        return 0

    def find_in_range(self, start: int, end: int, size: int, align: int) -> int:
        """A free place on any node, mirrored if possible, or 0: memblock_find_in_range()."""
        for flags in self._wishes():
            found = self.find_in_range_node(size, align, start, end, NUMA_NO_NODE, flags)
            if found:
                return found
        return 0

    # Growing.

    def allow_resize(self) -> None:
        """From here on a full list may grow, reserving memory for its new array: memblock_allow_resize()."""
        self._can_resize = True

    @property
    def grown_arrays(self) -> tuple[tuple[int, int], ...]:
        """Where lists that outgrew their first room lie, [start, end); memblock_discard() gives them back."""
        return tuple((base, base + size) for base, size in self._grown.values())

    def _double_array(self, type_: MemblockType, base: int, size: int) -> bool:
        """Twice the room for `type_`, while [base, base + size) waits to be added: memblock_double_array()."""
        if not self._can_resize:
            if self.release.memblock_growing_too_early_panics:
                raise MemblockPanic(f"memblock: cannot resize {type_.name} array")
            return False
        wanted = self._page_align(2 * type_.max * self.region_size)
        address = self._find_place_for_array(wanted, *((base, size) if type_ is self.reserved else (0, 0)))
        if not address:
            return False
        type_.max *= 2
        outgrown = self._grown.get(type_.name)
        self._grown[type_.name] = (address, wanted)
        if outgrown:
            self.phys_free(*outgrown)
        if self.reserve_kern(address, wanted, owner=f"memblock.{type_.name} array"):
            raise MemblockBug("memblock: no room to reserve the new array")
        return True

    def _find_place_for_array(self, wanted: int, avoid: int, avoid_size: int) -> int:
        above = (avoid + avoid_size) & self.phys_addr_max
        address = self.find_in_range(above, self.current_limit, wanted, self.page_size)
        if not address and avoid_size:
            address = self.find_in_range(0, min(avoid, self.current_limit), wanted, self.page_size)
        return address

    def _page_align(self, size: int) -> int:
        return -(-size // self.page_size) * self.page_size
