"""The statistics of a memory cgroup as reclaim reads them: out of date until they are flushed (mm/memcontrol.c).

Reclaim decides from what lruvec_page_state() says, and that is what the last flush left. How soon a flush comes is a
matter of how many updates there were, of whatever kind, so every update is counted here, also of items that nobody
reads.
"""

from __future__ import annotations

from typing import Protocol

NR_LRU_BASE = 0
"""The first five items are the lengths of the LRU lists, in the order of `folio.LRU_NAMES`."""
WORKINGSET_ACTIVATE_BASE = 5
"""Refaulted pages that became active: anonymous, file."""
WORKINGSET_RESTORE_BASE = 7
"""... of which had been part of the working set."""
PGROTATE_BASE = 9
"""Pages that reclaim looked at and kept."""
NR_VMSCAN_WRITE = 11
"""Pages that reclaim wrote out."""
NR_ITEMS = 12


class LruvecStats(Protocol):
    """What the kernel keeps of the statistics of one cgroup on one node."""

    def mod(self, item: int, val: int) -> None:
        """__mod_lruvec_state() of an item that reclaim reads."""

    def count(self, times: int) -> None:
        """So many updates by one of items that reclaim does not read."""

    def updated(self, val: int) -> None:
        """One update by `val` of an item that reclaim does not read."""

    def page_state(self, item: int) -> int:
        """lruvec_page_state(): what reclaim is told."""

    def flush_stats(self) -> None:
        """mem_cgroup_flush_stats(): bring the statistics up to date if there were updates enough."""

    def read_between(self, faults: int) -> None:
        """Somebody reads memory.stat after so many faults of the cgroup's process."""


class PercpuBatches:
    """Up to 5.15: each item is told when its CPU has more than a batch of it; nothing is flushed."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.state = [0] * NR_ITEMS
        self.percpu = [0] * NR_ITEMS

    def mod(self, item: int, val: int) -> None:
        x = self.percpu[item] + val
        if x > self.batch or x < -self.batch:
            self.state[item] += x
            x = 0
        self.percpu[item] = x

    def count(self, times: int) -> None:
        pass

    def updated(self, val: int) -> None:
        pass

    def page_state(self, item: int) -> int:
        return max(self.state[item], 0)

    def flush_stats(self) -> None:
        pass

    def read_between(self, faults: int) -> None:
        pass


class _Flushed:
    """What the ways of flushing have in common: items as they are, and as they were at the last flush."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.live = [0] * NR_ITEMS
        self.state = [0] * NR_ITEMS
        self.pending = 0

    def page_state(self, item: int) -> int:
        return max(self.state[item], 0)


class GlobalThreshold(_Flushed):
    """5.16 to 6.7: a counter for all cgroups; from more than one batch a CPU on a reader flushes everything."""

    def __init__(self, batch: int, cpus: int = 1) -> None:
        super().__init__(batch)
        self.cpus = cpus
        self.threshold = 0

    def mod(self, item: int, val: int) -> None:
        self.live[item] += val
        x = self.pending + (val if val > 0 else -val)
        if x > self.batch:
            if self.threshold <= self.cpus:
                self.threshold += x // self.batch
            x = 0
        self.pending = x

    def count(self, times: int) -> None:
        over, self.pending = divmod(self.pending + times, self.batch + 1)
        if over and self.threshold <= self.cpus:
            self.threshold = min(self.threshold + over, self.cpus + 1)

    def updated(self, val: int) -> None:
        x = self.pending + val
        if x > self.batch:
            if self.threshold <= self.cpus:
                self.threshold += x // self.batch
            x = 0
        self.pending = x

    def flush_stats(self) -> None:
        if self.threshold > self.cpus:
            self.state[:] = self.live
            self.threshold = 0

    def read_between(self, faults: int) -> None:
        self.count(faults)
        self.flush_stats()


class CgroupThreshold(_Flushed):
    """6.8 on: each cgroup counts its own updates; from more than a batch a CPU on a reader flushes the cgroup."""

    def __init__(self, batch: int, cpus: int = 1, *, stops_counting: bool) -> None:
        super().__init__(batch)
        self.limit = batch * cpus
        self.total = 0
        self.stops_counting = stops_counting
        """A cgroup that may be flushed counts no further, not even in the CPU's own count."""

    def mod(self, item: int, val: int) -> None:
        self.live[item] += val
        self.updated(val if val > 0 else -val)

    def count(self, times: int) -> None:
        if self.total > self.limit:
            if not self.stops_counting:
                self.pending = (self.pending + times) % self.batch
            return
        x = self.pending + times
        if x < self.batch:
            self.pending = x
            return
        # One by one: the count goes over whenever it makes a batch, until there is enough for a flush.
        over = min(x // self.batch, (self.limit - self.total) // self.batch + 1)
        self.total += over * self.batch
        x -= over * self.batch
        self.pending = 0 if self.stops_counting and self.total > self.limit else x % self.batch

    def updated(self, val: int) -> None:
        if self.stops_counting and self.total > self.limit:
            return
        x = self.pending + val
        if x >= self.batch:
            if self.total <= self.limit:
                self.total += x
            x = 0
        self.pending = x

    def flush_stats(self) -> None:
        if self.total > self.limit:
            self.state[:] = self.live
            self.total = self.pending = 0

    def read_between(self, faults: int) -> None:
        self.count(faults)
        self.flush_stats()
