"""Allocating from memblock: the order in which nodes, mirrored memory and limits are tried."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.linux.mm.memblock.lists import (
    MEMBLOCK_ALLOC_ACCESSIBLE,
    NUMA_NO_NODE,
    MemblockLists,
)
from mmtool.linux.mm.memblock.regions import (
    MEMBLOCK_MIRROR,
    MEMBLOCK_NONE,
    MEMBLOCK_RSRV_HUGETLB,
    MEMBLOCK_RSRV_KERN,
)


class MemblockAlloc(MemblockLists):
    """The allocation functions. Sizes, alignments and limits in bytes; `align` is applied as the mask align - 1.

    Functions named phys_* and alloc_range_nid() return an address, 0 for a failure; the others return None
    for a failure (up to 5.0 the kernel panics there, except in its _nopanic variants). `owner` says who
    asks, for owners().
    """

    kho_scratch: tuple[tuple[int, int], ...] = ()
    """Scratch areas (base, size) of a kexec handover, which huge pages must stay out of."""

    def _take(self, size: int, align: int, start: int, end: int, nid: int, flags: int, owner: str | None) -> int:
        """One attempt: find a place and reserve it."""
        found = self.find_in_range_node(size, align, start, end, nid, flags)
        if found and not self.reserve_node(found, size, nid, MEMBLOCK_RSRV_KERN, owner=owner):
            return found
        return 0

    def _nodes(self, nid: int, exact_nid: bool) -> tuple[int, ...]:
        """The nodes to try, one after the other."""
        if self.release.memblock_any_invalid_node_means_any:
            particular = 0 <= nid < self.max_numnodes
        else:
            nid = self._asked_node(nid, "memblock_alloc_range_nid")
            particular = nid != NUMA_NO_NODE
        return (nid, NUMA_NO_NODE) if particular and not exact_nid else (nid,)

    def alloc_range_nid(
        self, size: int, align: int, start: int, end: int, nid: int, exact_nid: bool, *, owner: str | None = None
    ) -> int:
        """Allocate inside [start, end): memblock_alloc_range_nid(). Returns the address or 0.

        Tried in turn: node `nid`, any node (unless `exact_nid`), and then both without the wish for mirrored
        memory. Up to 5.0 there is one attempt and no wish.
        """
        align = align or self.smp_cache_bytes
        if not self.release.memblock_alloc_range_nid_falls_back:
            return self._take(size, align, start, end, nid, MEMBLOCK_NONE, owner)
        nodes = self._nodes(nid, exact_nid)
        for flags in self._wishes():
            for node in nodes:
                found = self._take(size, align, start, end, node, flags, owner)
                if found:
                    return found
        return 0

    def phys_alloc_range(self, size: int, align: int, start: int, end: int, *, owner: str | None = None) -> int:
        """Allocate on any node inside [start, end): memblock_phys_alloc_range()."""
        return self.alloc_range_nid(size, align, start, end, NUMA_NO_NODE, False, owner=owner)

    def phys_alloc(self, size: int, align: int, *, owner: str | None = None) -> int:
        """Allocate on any node below current_limit: memblock_phys_alloc()."""
        return self.phys_alloc_range(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, owner=owner)

    def phys_alloc_try_nid(self, size: int, align: int, nid: int, *, owner: str | None = None) -> int:
        """Allocate on node `nid`, else on any: memblock_phys_alloc_try_nid()."""
        if not self.release.memblock_alloc_range_nid_falls_back:
            for flags in self._wishes():
                found = self._take(size, align or self.smp_cache_bytes, 0, 0, nid, flags, owner)
                if found:
                    return found
            nid = NUMA_NO_NODE
        return self.alloc_range_nid(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, False, owner=owner)

    def _alloc_internal(
        self, size: int, align: int, min_addr: int, max_addr: int, nid: int, exact_nid: bool, owner: str | None
    ) -> int | None:
        """memblock_alloc_internal(): `min_addr` is a wish, given up last (up to 5.0 before the wish for a mirror)."""
        max_addr = min(max_addr, self.current_limit)
        minima = (min_addr, 0) if min_addr else (0,)
        if self.release.memblock_alloc_range_nid_falls_back:
            for start in minima:
                found = self.alloc_range_nid(size, align, start, max_addr, nid, exact_nid, owner=owner)
                if found:
                    return found
            return None
        nodes = self._nodes(nid, exact_nid)
        for flags in self._wishes():
            for start in minima:
                for node in nodes:
                    found = self._take(size, align or self.smp_cache_bytes, start, max_addr, node, flags, owner)
                    if found:
                        return found
        return None

    def alloc_try_nid(
        self, size: int, align: int, min_addr: int, max_addr: int, nid: int, *, owner: str | None = None
    ) -> int | None:
        """Allocate, preferably above `min_addr` and on node `nid`: memblock_alloc_try_nid()."""
        return self._alloc_internal(size, align, min_addr, max_addr, nid, False, owner)

    def alloc_try_nid_raw(
        self, size: int, align: int, min_addr: int, max_addr: int, nid: int, *, owner: str | None = None
    ) -> int | None:
        """The same without zeroing: memblock_alloc_try_nid_raw()."""
        return self._alloc_internal(size, align, min_addr, max_addr, nid, False, owner)

    def alloc_exact_nid_raw(
        self, size: int, align: int, min_addr: int, max_addr: int, nid: int, *, owner: str | None = None
    ) -> int | None:
        """The same on no other node: memblock_alloc_exact_nid_raw() (5.5 on)."""
        return self._alloc_internal(size, align, min_addr, max_addr, nid, True, owner)

    def alloc(self, size: int, align: int, *, owner: str | None = None) -> int | None:
        """Allocate anywhere below current_limit: memblock_alloc()."""
        return self._alloc_internal(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, NUMA_NO_NODE, False, owner)

    def alloc_from(self, size: int, align: int, min_addr: int, *, owner: str | None = None) -> int | None:
        """Allocate, preferably above `min_addr`: memblock_alloc_from()."""
        return self.alloc_try_nid(size, align, min_addr, MEMBLOCK_ALLOC_ACCESSIBLE, NUMA_NO_NODE, owner=owner)

    def alloc_low(self, size: int, align: int, *, owner: str | None = None) -> int | None:
        """Allocate below ARCH_LOW_ADDRESS_LIMIT: memblock_alloc_low()."""
        return self.alloc_try_nid(size, align, 0, self.low_address_limit, NUMA_NO_NODE, owner=owner)

    def alloc_node(self, size: int, align: int, nid: int, *, owner: str | None = None) -> int | None:
        """Allocate on node `nid`, else on any: memblock_alloc_node()."""
        return self.alloc_try_nid(size, align, 0, MEMBLOCK_ALLOC_ACCESSIBLE, nid, owner=owner)

    def repeat(
        self, count: int, size: int, take: Callable[[], int | None], start: int, end: int, *, owner: str | None = None
    ) -> int | None:
        """Call `take` until `count` allocations are made or one fails, with the same result but not the same work.

        `take` allocates `size` bytes, a multiple of their alignment, inside [start, end) as long as there is room.
        The free bytes next to where it took its place are where it would go on, and are reserved at once. Where the
        list is full, the next is done singly first: it makes the list grow, which takes a place too.
        Returns where the last one lies; None where one failed or none was asked for.
        """
        at = None
        while count > 0:
            at = take()
            if not at:
                return None
            count -= 1
            if count and self.reserved.cnt < self.reserved.max:
                many = min(count, self.free_beside(at, size, start, end) // size)
                if many:
                    beside = self.reserved.search(at)
                    assert beside is not None
                    first = at + size if self.bottom_up else at - many * size
                    self.reserve_node(first, many * size, beside.nid, beside.flags, owner=owner)
                    count -= many
                    at = at + many * size if self.bottom_up else first
        return at

    def free_beside(self, at: int, size: int, start: int, end: int) -> int:
        """Bytes that are free next to what was allocated at `at`, on the side that allocation moves to."""
        memory = self.memory.search(at)
        assert memory is not None
        taken = self.reserved.regions
        if self.bottom_up:
            behind = self.reserved.index_after(at + size)
            limit = min(memory.end, end, taken[behind].base if behind < len(taken) else memory.end)
            return max(limit - at - size, 0)
        limit = max(memory.base, start, self.page_size)
        below = self.reserved.index_below(at)
        if below:
            limit = max(limit, taken[below - 1].end)
        return max(at - limit, 0)

    def alloc_hugetlb(self, size: int, nid: int, exact_nid: bool, *, owner: str | None = None) -> int | None:
        """Allocate a huge page, aligned to its size: memblock_alloc_hugetlb() (7.3).

        Mirrored memory is not wished for. A place that overlaps `kho_scratch` is passed over, and the search
        goes on behind it in the direction of allocation.
        """
        flags = self._choose_flags() & ~MEMBLOCK_MIRROR
        start, end = 0, MEMBLOCK_ALLOC_ACCESSIBLE
        while True:
            found = self.find_in_range_node(size, size, start, end, nid, flags)
            if not found:
                if exact_nid or not self.valid_node(nid):
                    return None
                nid, start, end = NUMA_NO_NODE, 0, MEMBLOCK_ALLOC_ACCESSIBLE
            elif self._in_kho_scratch(found, size):
                start, end = (found + size, end) if self.bottom_up else (start, found)
            else:
                kind = MEMBLOCK_RSRV_KERN | MEMBLOCK_RSRV_HUGETLB
                return None if self.reserve_node(found, size, nid, kind, owner=owner) else found

    def _in_kho_scratch(self, base: int, size: int) -> bool:
        return any(base < b + s and b < base + size for b, s in self.kho_scratch)
