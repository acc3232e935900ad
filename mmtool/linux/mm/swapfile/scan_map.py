"""Slots found by scanning the area's map: near the last one, or cluster by cluster (scan_swap_map_slots())."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain

from mmtool.linux.mm.swapfile.swap_info import SWAP_HAS_CACHE, SWAPFILE_CLUSTER, SwapInfo

LATENCY_LIMIT = 256
"""Slots that a scan looks at before it pauses."""


class ScanMap(SwapInfo):
    """An area without clusters: one slot after the other, from the start of a free stretch of a cluster's length."""

    def __init__(
        self, area: int, pages: int, prio: int, *, solidstate: bool, synchronous: bool,
        reclaim: Callable[[SwapInfo, int], bool],
    ) -> None:  # fmt: skip
        super().__init__(area, pages, prio, solidstate=solidstate, synchronous=synchronous)
        self.lowest_bit, self.highest_bit = 1, pages - 1
        self.cluster_next = 1
        self.cluster_nr = 0
        self.reclaim = reclaim
        """Frees a slot that only the swap cache holds, where swap is nearly full; did it?"""

    def _take(self, offset: int) -> None:
        super()._take(offset)
        if offset == self.lowest_bit:
            self.lowest_bit += 1
        if offset == self.highest_bit:
            self.highest_bit -= 1
        if self.inuse_pages == self.pages:
            self.lowest_bit, self.highest_bit = self.max, 0

    def free(self, offset: int) -> None:
        self._give_back(offset)
        self.lowest_bit = min(self.lowest_bit, offset)
        self.highest_bit = max(self.highest_bit, offset)

    def _next_in_cluster(self) -> int | None:
        """With clusters the next slot of the CPU's; None without, or where there is no free cluster."""
        return None

    def _conflicts(self, offset: int) -> bool:
        return False

    def _find_stretch(self) -> int | None:
        """The start of the first free stretch of a cluster's length."""
        offset, last = self.lowest_bit, self.lowest_bit + SWAPFILE_CLUSTER - 1
        while last <= self.highest_bit:
            if self.swap_map[offset]:
                last = offset + SWAPFILE_CLUSTER
            elif offset == last:
                return offset - (SWAPFILE_CLUSTER - 1)
            offset += 1
        return None

    def alloc(self, count: int) -> list[int]:
        scan = _Scan(self, count)
        scan.run()
        return scan.found


class SsdClusters(ScanMap):
    """An area on a device that is not rotational, up to 6.11: each CPU fills a free cluster of its own."""

    def __init__(
        self, area: int, pages: int, prio: int, *, solidstate: bool, synchronous: bool,
        reclaim: Callable[[SwapInfo, int], bool],
    ) -> None:  # fmt: skip
        super().__init__(area, pages, prio, solidstate=solidstate, synchronous=synchronous, reclaim=reclaim)
        clusters = -(-pages // SWAPFILE_CLUSTER)
        self.count = [0] * clusters
        self.count[0] = 1
        self.count[-1] += clusters * SWAPFILE_CLUSTER - pages
        self.is_free = [not count for count in self.count]
        self.free_clusters = deque(index for index in range(clusters) if self.is_free[index])
        self.cluster = -1
        """The CPU's cluster, -1 for none, and its next slot."""
        self.next = 0

    def _take(self, offset: int) -> None:
        super()._take(offset)
        index = offset // SWAPFILE_CLUSTER
        if self.is_free[index]:
            self.free_clusters.popleft()
            self.is_free[index] = False
        self.count[index] += 1

    def free(self, offset: int) -> None:
        index = offset // SWAPFILE_CLUSTER
        self.count[index] -= 1
        if not self.count[index]:
            self.is_free[index] = True
            self.free_clusters.append(index)
        super().free(offset)

    def _next_in_cluster(self) -> int | None:
        while True:
            if self.cluster < 0:
                if not self.free_clusters:
                    return None
                self.cluster = self.free_clusters[0]
                self.next = self.cluster * SWAPFILE_CLUSTER
            end = min(self.max, (self.cluster + 1) * SWAPFILE_CLUSTER)
            offset = self.next
            while offset < end and self.swap_map[offset]:
                offset += 1
            if offset < end:
                self.next = offset + 1
                return offset
            self.cluster = -1

    def _conflicts(self, offset: int) -> bool:
        """scan_swap_map_ssd_cluster_conflict(): the slot is of a free cluster that is not the next to be taken."""
        index = offset // SWAPFILE_CLUSTER
        if self.free_clusters and index != self.free_clusters[0] and index < len(self.count) and self.is_free[index]:
            self.cluster = -1
            return True
        return False


class _Scan:
    """scan_swap_map_slots(): one search for a number of slots."""

    def __init__(self, si: ScanMap, count: int) -> None:
        self.si = si
        self.count = count
        self.found: list[int] = []
        self.latency = LATENCY_LIMIT
        self.scanned_many = False
        self.scan_base = si.cluster_next

    def run(self) -> None:
        si = self.si
        offset = self.scan_base
        clustered = isinstance(si, SsdClusters)
        start: int | None
        if clustered:
            start = si._next_in_cluster()
            offset = start if start is not None else self._scan(offset)
        elif si.cluster_nr:
            si.cluster_nr -= 1
        else:
            si.cluster_nr = SWAPFILE_CLUSTER - 1
            if si.pages - si.inuse_pages >= SWAPFILE_CLUSTER:
                self.scan_base = offset = si.lowest_bit
                start = si._find_stretch()
                if start is not None:
                    offset = si.cluster_next = start
        while offset >= 0:
            offset = self._check(offset, clustered)

    def _check(self, offset: int, clustered: bool) -> int:
        """The label `checks`: take the slot if it is free; the next one to look at, -1 when done."""
        si = self.si
        if clustered:
            while si._conflicts(offset):
                if self.found:
                    return self._done(offset)
                start = si._next_in_cluster()
                if start is None:
                    return self._scan(offset)
                offset = start
        if not si.highest_bit:
            return -1
        if offset > si.highest_bit:
            self.scan_base = offset = si.lowest_bit
        if si.swap_map[offset] == SWAP_HAS_CACHE and si.reclaim(si, offset):
            return offset
        if si.swap_map[offset]:
            return self._done(offset) if self.found else self._scan(offset)
        si._take(offset)
        self.found.append(offset)
        if len(self.found) == self.count or offset >= si.highest_bit:
            return self._done(offset)
        self.latency -= 1
        if self.latency < 0:
            return self._done(offset)
        return self._more(offset, clustered)

    def _more(self, offset: int, clustered: bool) -> int:
        """The next slot of the cluster, or the next free one nearby."""
        si = self.si
        if clustered:
            start = si._next_in_cluster()
            if start is not None:
                return start
        elif si.cluster_nr:
            offset += 1
            if not si.swap_map[offset]:
                si.cluster_nr -= 1
                return offset
        if not self.scanned_many:
            limit = self.scan_base if offset < self.scan_base else si.highest_bit
            while offset <= limit:
                self.latency -= 1
                if self.latency <= 0:
                    break
                if not si.swap_map[offset]:
                    return offset
                offset += 1
        return self._done(offset)

    def _done(self, offset: int) -> int:
        self.si.cluster_next = offset + 1
        return -1

    def _free_or_freeable(self, offset: int) -> bool:
        si = self.si
        return not si.swap_map[offset] or (si.swap_map[offset] == SWAP_HAS_CACHE and si.reclaim(si, offset))

    def _scan(self, offset: int) -> int:
        """The label `scan`: any free slot after this one, else one before the start; -1 for none."""
        si = self.si
        for candidate in chain(range(offset + 1, si.highest_bit + 1), range(si.lowest_bit, self.scan_base)):
            self.latency -= 1
            if self.latency < 0:
                self.latency = LATENCY_LIMIT
                self.scanned_many = True
            if self._free_or_freeable(candidate):
                return candidate
        return -1
