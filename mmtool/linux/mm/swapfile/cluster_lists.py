"""Slots from clusters that are kept on lists by how full they are (cluster_alloc_swap_entry(), 6.12 on)."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.linux.mm.swapfile.swap_info import SWAP_HAS_CACHE, SWAPFILE_CLUSTER, SwapInfo

FREE, NONFULL, FRAG, FULL, NONE = range(5)
"""The lists, and none of them."""


class ClusterLists(SwapInfo):
    """Clusters on lists: free ones, partly used, those where it was hard to find a slot, full ones.

    6.12 (on devices that are not rotational) fills a free cluster first; from 6.18 on, partly used ones come first, of
    which the header's cluster is one. From 6.14 on a cluster is on no list while it is searched (`isolates`).
    """

    def __init__(
        self, area: int, pages: int, prio: int, *, solidstate: bool, synchronous: bool,
        reclaim: Callable[[SwapInfo, int], bool], isolates: bool, nonfull_first: bool,
        tables: bool,
    ) -> None:  # fmt: skip
        super().__init__(area, pages, prio, solidstate=solidstate, synchronous=synchronous)
        self.reclaim = reclaim
        self.isolates = isolates
        self.nonfull_first = nonfull_first
        self.tables = tables
        """A cluster has a table of its slots only while one is in use: the CPU leaves one that has become free."""
        clusters = -(-pages // SWAPFILE_CLUSTER)
        self.count = [0] * clusters
        self.count[0] = 1
        self.count[-1] += clusters * SWAPFILE_CLUSTER - pages
        # Lists by name of cluster; a dict keeps the order and lets one go from the middle.
        self.lists: tuple[dict[int, None], ...] = ({}, {}, {}, {})
        self.on = [NONE] * clusters
        for index in range(clusters):
            self._move(index, NONFULL if self.count[index] else FREE)
        self.next = 0
        """The next slot of the cluster in use, 0 for none."""

    def _move(self, index: int, to: int) -> None:
        """Put a cluster at the end of a list."""
        self._remove(index)
        if to != NONE:
            self.lists[to][index] = None
        self.on[index] = to

    def _remove(self, index: int) -> None:
        if self.on[index] != NONE:
            del self.lists[self.on[index]][index]
            self.on[index] = NONE

    def alloc(self, count: int) -> list[int]:
        found: list[int] = []
        while len(found) < count:
            offset = self._alloc_entry()
            if not offset:
                break
            found.append(offset)
        return found

    def alloc_fast(self) -> int:
        """swap_alloc_fast(): the next slot of the cluster in use; 0 for none."""
        if not self.next:
            return 0
        offset = self.next
        index = offset // SWAPFILE_CLUSTER
        if self.on[index] == FREE and not self.tables:
            offset = index * SWAPFILE_CLUSTER
        elif self.on[index] not in (NONFULL, FRAG):
            return 0
        return self._scan_cluster(offset)

    def _alloc_entry(self) -> int:
        """cluster_alloc_swap_entry(): from the cluster in use, else from the lists in their order; 0 for none."""
        if not self.isolates:
            if self.next and (found := self._scan_cluster(self.next)):
                return found
            return self._from_free() or self._from_nonfull() or self._from_frag(len(self.lists[FRAG]))
        if not self.solidstate and (found := self.alloc_fast()):
            return found
        if not self.nonfull_first:
            return self._from_free() or self._from_nonfull() or self._from_frag(len(self.lists[FRAG]))
        return self._from_nonfull() or self._from_free() or self._from_frag(1)

    def _from_free(self) -> int:
        for index in self.lists[FREE]:
            if self.isolates:
                self._remove(index)
            return self._scan_cluster(index * SWAPFILE_CLUSTER)
        return 0

    def _from_nonfull(self) -> int:
        while self.lists[NONFULL]:
            if found := self._scan_first(NONFULL):
                return found
        return 0

    def _from_frag(self, tries: int) -> int:
        for _ in range(tries):
            if not self.lists[FRAG]:
                break
            if found := self._scan_first(FRAG):
                return found
        return 0

    def _scan_first(self, which: int) -> int:
        """Isolate the first cluster of a list and scan it: a slot, 0 for none."""
        index = next(iter(self.lists[which]))
        if self.isolates:
            self._remove(index)
        else:
            self._move(index, FRAG)
        return self._scan_cluster(index * SWAPFILE_CLUSTER)

    def _scan_cluster(self, offset: int) -> int:
        """alloc_swap_scan_cluster(): the first slot from `offset` on that is free; 0 for none."""
        index = offset // SWAPFILE_CLUSTER
        end = min((index + 1) * SWAPFILE_CLUSTER, self.max)
        found = 0
        self.next = 0
        if self.count[index] < SWAPFILE_CLUSTER:
            for candidate in range(offset, end):
                if not self.swap_map[candidate] or (
                    self.swap_map[candidate] == SWAP_HAS_CACHE and self.reclaim(self, candidate)
                ):
                    found = candidate
                    break
        if found:
            self._account(found)
            if self.count[index] < SWAPFILE_CLUSTER and found + 1 < end:
                self.next = found + 1
        if self.isolates:
            self._relocate(index)
        return found

    def _account(self, offset: int) -> None:
        index = offset // SWAPFILE_CLUSTER
        if not self.isolates and self.on[index] == FREE:
            self._move(index, NONFULL)
        self._take(offset)
        self.count[index] += 1
        if not self.isolates and self.count[index] == SWAPFILE_CLUSTER:
            self._move(index, FULL)

    def _relocate(self, index: int) -> None:
        """relocate_cluster(): after a search a cluster is full or hard to search, whatever it was before."""
        to = FREE if not self.count[index] else FULL if self.count[index] == SWAPFILE_CLUSTER else FRAG
        if self.on[index] != to:
            self._move(index, to)

    def free(self, offset: int) -> None:
        index = offset // SWAPFILE_CLUSTER
        self._give_back(offset)
        self.count[index] -= 1
        if not self.count[index]:
            self._move(index, FREE)
        elif self.on[index] != NONFULL:
            self._move(index, NONFULL)
