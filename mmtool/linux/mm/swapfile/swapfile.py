"""All swap areas together: which one is used, the CPU's cache of slots, and freeing (mm/swapfile.c, swap_slots.c)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.linux.mm.memcontrol.vmstats import LruvecStats
from mmtool.linux.mm.swapfile.cluster_lists import ClusterLists
from mmtool.linux.mm.swapfile.scan_map import ScanMap, SsdClusters
from mmtool.linux.mm.swapfile.swap_info import SWAP_HAS_CACHE, SwapInfo, swp_entry, swp_offset, swp_type

SWAP_BATCH = 64
"""The slots that are taken, and given back, at once."""
THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE = 5 * SWAP_BATCH
THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE = 2 * SWAP_BATCH


class SwapAreas:
    """The swap areas of a machine with one CPU; entries are numbers as swp_entry() makes them."""

    def __init__(self, facts: ReclaimFacts, stats: LruvecStats) -> None:
        self.facts = facts
        self.stats = stats
        self.areas: list[SwapInfo] = []
        self.avail: list[SwapInfo] = []
        """swap_avail_head: areas with room, by priority; each goes behind its equals when it is used."""
        self.nr_swap_pages = 0
        self.total_swap_pages = 0
        self.slots: list[int] = []
        """The CPU's slots that are not given out yet, the next at the end."""
        self.slots_ret: list[int] = []
        """Freed slots that the areas do not know of yet."""
        self.cache_active = False
        self.nr_rotate_swap = 0
        self.percpu_si: SwapInfo | None = None
        """From 7.x on, the area of the CPU's cluster."""
        self.charged = 0
        """Slots charged to the cgroup (MEMCG_SWAP)."""
        self.drop_swap_cache: Callable[[SwapInfo, int], bool] = lambda si, offset: False
        """Takes a page out of the swap cache to free its slot; did it?"""

    def swapon(self, pages: int, prio: int | None, *, solidstate: bool, synchronous: bool) -> None:
        """swapon(): add an area of `pages` with the header; without a priority the next lower one."""
        area = len(self.areas)
        if prio is None:
            lower = sum(1 for si in self.areas if si.prio < 0)
            prio = -1 if self.facts.swap_priority_is_minus_1 else -2 - lower
        si: SwapInfo
        if self.facts.swap_cluster_tables or (self.facts.swap_cluster_lists and solidstate):
            si = ClusterLists(
                area, pages, prio, solidstate=solidstate, synchronous=synchronous, reclaim=self.try_to_reclaim,
                isolates=self.facts.swap_cluster_tables, nonfull_first=self.facts.swap_prefers_nonfull,
                tables=self.facts.swap_tables,
            )  # fmt: skip
        else:
            make = SsdClusters if solidstate else ScanMap
            si = make(area, pages, prio, solidstate=solidstate, synchronous=synchronous, reclaim=self.try_to_reclaim)
        if not solidstate:
            self.nr_rotate_swap += 1
        self.areas.append(si)
        self._add_to_avail_list(si)
        self.nr_swap_pages += si.pages
        self.total_swap_pages += si.pages

    def _add_to_avail_list(self, si: SwapInfo) -> None:
        at = next((i for i, other in enumerate(self.avail) if other.prio < si.prio), len(self.avail))
        self.avail.insert(at, si)

    def vm_swap_full(self) -> bool:
        """vm_swap_full(): is more than half of swap in use?"""
        return self.nr_swap_pages * 2 < self.total_swap_pages

    def try_to_reclaim(self, si: SwapInfo, offset: int) -> bool:
        """__try_to_reclaim_swap(): free a slot that only the swap cache holds, where swap is nearly full."""
        if not self.vm_swap_full():
            return False
        return self.drop_swap_cache(si, offset)

    def get_swap_pages(self, goal: int) -> list[int]:
        """get_swap_pages(): up to `goal` slots of the first area that has any."""
        if self.nr_swap_pages <= 0:
            return []
        goal = min(goal, SWAP_BATCH, self.nr_swap_pages)
        self.nr_swap_pages -= goal
        found: list[int] = []
        for si in self._rotated():
            found = [swp_entry(si.type, offset) for offset in si.alloc(goal)]
            self._note_full(si)
            if found:
                break
        self.nr_swap_pages += goal - len(found)
        return found

    def _rotated(self) -> Iterator[SwapInfo]:
        """The areas to try, by priority (plist_for_each_entry_safe()); each goes behind its equals as it is tried."""
        for si in list(self.avail):
            if si in self.avail:
                self.avail.remove(si)
                self._add_to_avail_list(si)
                yield si

    def _note_full(self, si: SwapInfo) -> None:
        if si.inuse_pages == si.pages and si in self.avail:
            self.avail.remove(si)

    def folio_alloc_swap(self) -> int:
        """folio_alloc_swap(): a slot for a page, from the CPU's cache; -1 for none."""
        if self.facts.swap_slots_cache:
            if self._check_cache_active():
                if not self.slots:
                    self.slots = self.get_swap_pages(SWAP_BATCH)[::-1]
                if self.slots:
                    return self.slots.pop()
            return next(iter(self.get_swap_pages(1)), -1)
        return self._alloc_from_cluster()

    def _alloc_from_cluster(self) -> int:
        """swap_alloc_fast() and swap_alloc_slow(): the CPU's cluster, else the next area's."""
        si = self.percpu_si
        offset = 0
        if si is not None and isinstance(si, ClusterLists) and si.solidstate:
            offset = si.alloc_fast()
        if not offset:
            for si in self._rotated():
                offset = next(iter(si.alloc(1)), 0)
                if offset:
                    if si.solidstate:
                        self._use_cluster_of(si)
                    break
        if not offset or si is None:
            return -1
        self.nr_swap_pages -= 1
        self._note_full(si)
        return swp_entry(si.type, offset)

    def _use_cluster_of(self, si: SwapInfo) -> None:
        """The CPU keeps one cluster: that of the area it used last."""
        if isinstance(self.percpu_si, ClusterLists) and self.percpu_si is not si:
            self.percpu_si.next = 0
        self.percpu_si = si

    def _check_cache_active(self) -> bool:
        if not self.cache_active:
            self.cache_active = self.nr_swap_pages > THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE
        elif self.nr_swap_pages < THRESHOLD_DEACTIVATE_SWAP_SLOTS_CACHE:
            self.cache_active = False
            self._free_entries(self.slots[::-1])
            self.slots = []
            self._return_slots()
        return self.cache_active

    def _return_slots(self) -> None:
        entries, self.slots_ret = self.slots_ret, []
        if len(self.areas) > 1:
            entries.sort(key=swp_type)
        self._free_entries(entries)

    def _free_entries(self, entries: list[int]) -> None:
        for entry in entries:
            self._entry_free(entry)

    def _entry_free(self, entry: int) -> None:
        """swap_entry_free(): the area has the slot back."""
        si = self.areas[swp_type(entry)]
        was_full = si.inuse_pages == si.pages
        si.free(swp_offset(entry))
        if si.owner[swp_offset(entry)] >= 0:
            si.owner[swp_offset(entry)] = -1
            self.charged -= 1
            self.stats.count(1)
        if was_full and si not in self.avail:
            self._add_to_avail_list(si)
        self.nr_swap_pages += 1

    def charge(self, entry: int, slot: int) -> None:
        """mem_cgroup_try_charge_swap(): the slot is for this page of the workload."""
        self.areas[swp_type(entry)].owner[swp_offset(entry)] = slot
        self.charged += 1
        self.stats.count(1)

    def free_swap_slot(self, entry: int) -> None:
        """free_swap_slot(): nobody has the slot any more; it goes back by batches where there is a cache of slots."""
        if not self.facts.swap_slots_cache or not self.cache_active:
            self._entry_free(entry)
            return
        si = self.areas[swp_type(entry)]
        si.swap_map[swp_offset(entry)] = SWAP_HAS_CACHE
        if len(self.slots_ret) >= SWAP_BATCH:
            self._return_slots()
        self.slots_ret.append(entry)

    def swap_duplicate(self, entry: int) -> None:
        """swap_duplicate(): a page table entry refers to the slot."""
        self.areas[swp_type(entry)].swap_map[swp_offset(entry)] += 1

    def swap_count(self, entry: int) -> int:
        """__swap_count(): page table entries that refer to the slot."""
        return self.areas[swp_type(entry)].swap_map[swp_offset(entry)] & ~SWAP_HAS_CACHE

    def put(self, entry: int, usage: int) -> bool:
        """swap_free() and put_swap_folio(): one reference less, of a page table entry (1) or of the swap cache.

        Is the slot free now?
        """
        swap_map, offset = self.areas[swp_type(entry)].swap_map, swp_offset(entry)
        swap_map[offset] -= usage
        if swap_map[offset]:
            return False
        swap_map[offset] = SWAP_HAS_CACHE
        self.free_swap_slot(entry)
        return True

    def free_entries_at_once(self, entries: list[int]) -> None:
        """Free slots past the CPU's cache of slots, as where neighbours are freed together."""
        for entry in entries:
            self._entry_free(entry)
