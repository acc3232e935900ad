"""A list of memblock regions and what may be done to it: struct memblock_type of mm/memblock.c.

Addresses and sizes are ints in bytes, taken modulo 2**64 (2**32 where phys_addr_t is that narrow).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import replace
from operator import attrgetter

from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.memblock.journal import Journal

# enum memblock_flags of include/linux/memblock.h
MEMBLOCK_NONE = 0x0
MEMBLOCK_HOTPLUG = 0x1
MEMBLOCK_MIRROR = 0x2
MEMBLOCK_NOMAP = 0x4
MEMBLOCK_DRIVER_MANAGED = 0x8
MEMBLOCK_RSRV_NOINIT = 0x10
MEMBLOCK_RSRV_KERN = 0x20
MEMBLOCK_KHO_SCRATCH = 0x40
MEMBLOCK_RSRV_HUGETLB = 0x80

ENOMEM = 12

_base = attrgetter("base")


class MemblockPanic(Exception):
    """The kernel stops here with panic(); the message is the kernel's."""


class MemblockBug(Exception):
    """The kernel stops here at a BUG_ON(): a list is out of order, or has no room where it must have some."""


@dataclass(slots=True)
class MemblockRegion:
    """One region, bytes [base, base + size). Without NUMA `nid` is 0, as memblock_get_region_node() answers."""

    base: int
    size: int
    flags: int
    nid: int

    @property
    def end(self) -> int:
        """The first byte after the region."""
        return self.base + self.size


class MemblockType:
    """One list of regions ("memory", "reserved", "physmem"), with room for `max` of them.

    `total_size` is the counter that the kernel keeps, not a sum: trimming leaves it alone. `grow` is called
    with the list and the range being added when there is no more room, and says whether there is now;
    `warn` is called wherever the kernel would WARN_ON().
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        release: Release,
        *,
        numa: bool,
        max_numnodes: int,
        phys_addr_max: int,
        grow: Callable[[MemblockType, int, int], bool],
        warn: Callable[[], None],
    ) -> None:
        self.name = name
        self.max = capacity
        self.total_size = 0
        self.release = release
        self.numa = numa
        self.max_numnodes = max_numnodes
        self.phys_addr_max = phys_addr_max
        self.regions: list[MemblockRegion] = []
        self._grow = grow
        self._warn = warn
        self._in_order = True
        self._all_merged = True
        self.changed = self.removed = 0
        """How often the list was added to or its regions' flags or nodes were set, and how often it lost something."""
        self.journal: Journal | None = None
        """Who is told of what comes and goes, if somebody is; not of restore()."""
        if release.memblock_empty_list_has_a_region:
            self.regions.append(MemblockRegion(0, 0, 0, 0))

    @property
    def cnt(self) -> int:
        """The kernel's count of regions: 1 for an empty list in releases that keep a zero-sized one there."""
        return len(self.regions)

    def cap_size(self, base: int, size: int) -> int:
        """The size that fits below the last byte of the address space: memblock_cap_size()."""
        room = self.phys_addr_max - base
        return size if size <= room else room

    # Finding one's way. Walks start where the kernel's walk from the front first meets something.

    def index_after(self, address: int) -> int:
        """The index of the first region that ends after `address`, for a walk towards higher addresses."""
        if not self._in_order:
            return 0
        i = bisect_right(self.regions, address, key=_base)
        if i:
            below = self.regions[i - 1]
            if below.base + below.size > address:
                return i - 1
        return i

    def index_below(self, address: int) -> int:
        """The number of regions that begin below `address`; all of them when the list is out of order."""
        regions = self.regions
        if not self._in_order or not regions or regions[-1].base < address:
            return len(regions)
        return bisect_left(regions, address, key=_base)

    def search(self, address: int) -> MemblockRegion | None:
        """The region that holds the byte at `address`: memblock_search()."""
        i = bisect_right(self.regions, address, key=_base)
        if i:
            r = self.regions[i - 1]
            if address < r.base + r.size:
                return r
        return None

    def overlaps(self, base: int, size: int) -> bool:
        """Does any region share a byte with [base, base + size)? Models memblock_overlaps_region().

        A range of size 0 overlaps the region that it lies strictly inside of.
        """
        if self.release.memblock_overlap_caps_size:
            size = self.cap_size(base, size)
        end = (base + size) & self.phys_addr_max
        first = self.index_after(base)
        candidates = self.regions[first : first + 1] if self._in_order else self.regions
        return any(base < r.end and r.base < end for r in candidates)

    # Changing the list.

    def restore(self, regions: Iterable[MemblockRegion]) -> None:
        """Take over a list as a kernel had it: ascending, without overlap, neighbours merged or not."""
        self.removed += 1
        self.regions = [replace(r, nid=r.nid if self.numa else 0) for r in regions]
        self.max = max(self.max, len(self.regions))
        self.total_size = sum(r.size for r in self.regions) & self.phys_addr_max
        self._all_merged = False

    def _insert(self, index: int, base: int, size: int, nid: int, flags: int) -> None:
        if len(self.regions) >= self.max:
            raise MemblockBug(f"memblock: {self.name} array is full")
        self.changed += 1
        self.regions.insert(index, MemblockRegion(base, size, flags, nid if self.numa else 0))
        self._count(size)

    def _count(self, size: int) -> None:
        self.total_size = (self.total_size + size) & self.phys_addr_max

    def _make_room(self, wanted: int, base: int, size: int) -> bool:
        while len(self.regions) + wanted > self.max:
            if not self._grow(self, base, size):
                return False
        return True

    def _gaps(self, base: int, end: int, nid: int, flags: int) -> list[tuple[int, int, int]]:
        """The parts of [base, end) that no region covers, lowest first: (index to insert at, start, end).

        Warns as the kernel does where a region with another node or other flags follows a gap.
        """
        gaps = []
        i, regions = self.index_after(base), self.regions
        while i < len(regions):
            r = regions[i]
            if r.base >= end:
                break
            r_end = r.base + r.size
            if r_end > base:
                if r.base > base:
                    if self.numa and nid != r.nid:
                        self._warn()
                    flags_matter = flags != MEMBLOCK_NONE or not self.release.memblock_add_without_flags_never_warns
                    if flags_matter and flags != r.flags:
                        self._warn()
                    gaps.append((i, base, r.base))
                base = min(r_end, end)
            i += 1
        if base < end:
            gaps.append((i, base, end))
        return gaps

    def add_range(self, base: int, size: int, nid: int, flags: int) -> int:
        """Add [base, base + size); what is already there keeps its flags and node. Models memblock_add_range().

        Returns 0, or -ENOMEM when the list is full and could not grow.
        """
        size = self.cap_size(base, size)
        if not size:
            return 0
        # The kernel's own test of an empty list: the first region has size 0.
        if not self.regions or not self.regions[0].size:
            self._add_first(base, size, nid, flags)
            return 0
        if not self._surely_has_room():
            gaps = self._gaps(base, base + size, nid, flags)
            if gaps and not self._make_room(len(gaps), base, size):
                return -ENOMEM
            if not gaps:
                return 0
        # Growing may have changed this very list, so the gaps are looked for again, as the kernel does.
        gaps = self._gaps(base, base + size, nid, flags)
        if gaps:
            for done, (i, start, end) in enumerate(gaps):
                self._insert(i + done, start, end - start, nid, flags)
                if self.journal is not None:
                    self.journal.came(start, end)
            self.merge(gaps[0][0], gaps[-1][0] + len(gaps))
        return 0

    def _add_first(self, base: int, size: int, nid: int, flags: int) -> None:
        if self.total_size or self.cnt != int(self.release.memblock_empty_list_has_a_region):
            self._warn()
        self.changed += 1
        self.regions = [MemblockRegion(base, size, flags, nid if self.numa else 0)]
        self.total_size = size
        if self.journal is not None:
            self.journal.came(base, base + size)

    def _surely_has_room(self) -> bool:
        if not self.release.memblock_add_skips_counting:
            return False
        needed = len(self.regions) * 2 + 1
        return needed <= self.max if self.release.memblock_add_fills_last_slot else needed < self.max

    def merge(self, start: int, end: int) -> None:
        """Join neighbours that touch and agree in flags and node. Models memblock_merge_regions().

        Looks at the pairs from (start - 1, start) to (end - 1, end), or at the whole list, by release.
        """
        i, stop = max(start - 1, 0), end
        if not self.release.memblock_merges_around_change and not (self._in_order and self._all_merged):
            i, stop = 0, self.cnt
        regions = self.regions
        stop = min(stop, len(regions) - 1)
        while i < stop:
            this, following = regions[i], regions[i + 1]
            end = this.base + this.size
            if end == following.base and this.nid == following.nid and this.flags == following.flags:
                this.size += following.size
                del regions[i + 1]
                stop -= 1
                continue
            if end > following.base:
                raise MemblockBug(f"memblock: {self.name}[{i}] reaches into the next region")
            i += 1
        if not self.release.memblock_merges_around_change:
            self._in_order = self._all_merged = True

    def isolate_range(self, base: int, size: int) -> tuple[int, int] | None:
        """Split regions so that none crosses an edge of [base, base + size). Models memblock_isolate_range().

        Returns (index of the first region inside, index after the last), (0, 0) when none is inside, or
        None when the list is full and could not grow: two free places are wanted even if nothing is split.
        """
        size = self.cap_size(base, size)
        if not size:
            return 0, 0
        if not self._make_room(2, base, size):
            return None
        end = base + size
        start_index = end_index = 0
        i = self.index_after(base)
        while i < len(self.regions):
            r = self.regions[i]
            if r.base >= end:
                break
            r_end = r.base + r.size
            if r_end <= base:
                pass
            elif r.base < base:
                self._split(i, base)
            elif r_end > end:
                self._split(i, end)
                continue
            else:
                if not end_index:
                    start_index = i
                end_index = i + 1
            i += 1
        return start_index, end_index

    def _split(self, index: int, at: int) -> None:
        upper = self.regions[index]
        lower_base, lower_size = upper.base, at - upper.base
        upper.base, upper.size = at, upper.end - at
        self._count(-lower_size)
        self._insert(index, lower_base, lower_size, upper.nid, upper.flags)

    def remove_region(self, index: int) -> None:
        """Drop one region: memblock_remove_region()."""
        self.removed += 1
        gone = self.regions.pop(index)
        self._count(-gone.size)
        if self.journal is not None:
            self.journal.went(gone.base, gone.base + gone.size)
        if not self.regions:
            if self.total_size:
                self._warn()
            self._in_order = self._all_merged = True
            if self.release.memblock_empty_list_has_a_region:
                self.regions.append(MemblockRegion(0, 0, 0, self.max_numnodes if self.numa else 0))

    def remove_range(self, base: int, size: int) -> int:
        """Take [base, base + size) out of the list: memblock_remove_range(). Returns 0 or -ENOMEM."""
        inside = self.isolate_range(base, size)
        if inside is None:
            return -ENOMEM
        for i in reversed(range(*inside)):
            self.remove_region(i)
        return 0

    def setclr_flag(self, base: int, size: int, set_: bool, flag: int) -> int:
        """Set or clear `flag` on [base, base + size): memblock_setclr_flag(). Returns 0 or -ENOMEM."""
        inside = self.isolate_range(base, size)
        if inside is None:
            return -ENOMEM
        self.changed += 1
        for r in self.regions[slice(*inside)]:
            r.flags = r.flags | flag if set_ else r.flags & ~flag
        self.merge(*inside)
        return 0

    def set_node(self, base: int, size: int, nid: int) -> int:
        """Give [base, base + size) to node `nid`: memblock_set_node(), which does nothing without NUMA."""
        if not self.numa:
            return 0
        inside = self.isolate_range(base, size)
        if inside is None:
            return -ENOMEM
        self.changed += 1
        for r in self.regions[slice(*inside)]:
            r.nid = nid
        self.merge(*inside)
        return 0

    def keep_only(self, base: int, size: int, kept_flag: int) -> bool:
        """Drop every region outside [base, base + size) that lacks `kept_flag`; False when the list could not grow.

        The first half of memblock_cap_memory_range().
        """
        inside = self.isolate_range(base, size)
        if inside is None:
            return False
        start, end = inside
        for i in reversed([*range(start), *range(end, self.cnt)]):
            if not self.regions[i].flags & kept_flag:
                self.remove_region(i)
        self._all_merged = False
        return True

    def trim(self, align: int) -> None:
        """Shrink every region to multiples of `align`, dropping those that hold none: memblock_trim_memory().

        Rounding wraps round at the top of the address space, which may leave the list out of order.
        """
        self.removed += 1
        mask, whole = (align - 1) & self.phys_addr_max, self.phys_addr_max
        i = 0
        while i < len(self.regions):
            r = self.regions[i]
            start = ((((r.base - 1) & whole) | mask) + 1) & whole
            end = r.end & ~mask
            if (start, end) == (r.base, r.end):
                i += 1
            elif start < end:
                if self.journal is not None:
                    self.journal.went(r.base, r.end)
                    self.journal.came(start, end)
                r.base, r.size = start, end - start
                i += 1
            else:
                was_last = len(self.regions) == 1
                self.remove_region(i)
                if was_last:
                    break
        pairs = zip(self.regions, self.regions[1:], strict=False)
        self._in_order = all(a.end <= b.base for a, b in pairs)
        self._all_merged = False
