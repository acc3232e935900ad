"""`Memory`: the pages of one cgroup's workload, their LRU lists and everything that reclaim decides from.

It is what the kernel has in struct page, struct lruvec, struct mem_cgroup and a CPU's batches, for one node, one CPU
and one cgroup whose only process is the workload. The functions that act on it are in the modules of the kernel's
names: swap, vmscan, workingset, memcontrol, filemap, memory, madvise.

A page's links are kept in two lists of slots; beyond the slots lie the heads of the LRU lists.
"""

from __future__ import annotations

from array import array
from dataclasses import field

from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.late import dataclass
from mmtool.linux.mm.folio import ANON, NR_LRU_LISTS, VM_RAND_READ
from mmtool.linux.mm.memcontrol.vmstats import CgroupThreshold, GlobalThreshold, LruvecStats, PercpuBatches
from mmtool.linux.mm.swapfile.swapfile import SwapAreas
from mmtool.linux.mm.vmscan.scan_control import Balance

PAGE_COUNTER_MAX = 1 << 62
"""No limit."""
COUNTERS = (
    "pgscan_file", "pgscan_anon", "pgsteal_file", "pgsteal_anon", "pgactivate", "pgdeactivate", "pgrefill", "pgfault",
    "pgmajfault", "pswpin", "pswpout", "workingset_refault_anon", "workingset_refault_file",
    "workingset_activate_anon", "workingset_activate_file", "workingset_restore_anon", "workingset_restore_file",
    "pglazyfree", "pglazyfreed", "swap_ra", "swap_ra_hit",
)  # fmt: skip
"""What is counted, by the names of /proc/vmstat."""


@dataclass(slots=True)
class Mapped:
    """An object of the workload: a file, mapped shared as well as open, or an anonymous mapping."""

    name: str
    anon: bool
    base: int
    """The slot of its first page."""
    pages: int
    split: bool = False
    """mlock() has cut the mapping: neighbours that are not both locked are of different areas."""
    prev_page: int = -2
    """The page that the last read of the file ended in (ra->prev_pos)."""
    swap_readahead_info: tuple[int, int, int] = (-2, 0, 4)
    """The page of the last swap-in, the window then and how many of it were used (vma->swap_readahead_info)."""


@dataclass(slots=True)
class Lruvec:
    """struct lruvec, its classic part."""

    size: list[int] = field(default_factory=lambda: [0] * NR_LRU_LISTS)
    """lru_zone_size: the lists' lengths as they are."""
    nonresident_age: int = 0
    anon_cost: int = 0
    file_cost: int = 0
    last_costs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0), (0, 0)])
    """Pages rotated, and brought back or written, as of the last reclaim: anonymous, file (7.3)."""
    refaults: list[int] = field(default_factory=lambda: [0, 0])
    """Activations after refaults, anonymous and file, when the last reclaim ended."""


@dataclass(slots=True)
class Memcg:
    """struct mem_cgroup: usage and limits in pages."""

    usage: int = 0
    max: int = PAGE_COUNTER_MAX
    high: int = PAGE_COUNTER_MAX
    stock: int = 0
    """Pages charged in advance by the CPU (memcg_stock)."""
    events: dict[str, int] = field(default_factory=dict)
    nr_pages_over_high: int = 0
    """current->memcg_nr_pages_over_high: what the task reclaims on its way back to user space."""


MAX_NR_GENS, MIN_NR_GENS, MAX_NR_TIERS = 4, 2, 4


@dataclass(slots=True)
class MmWalk:
    """struct lru_gen_mm_walk: a page table walk and what it moved between generations."""

    swappiness: int
    force_scan: bool = False
    batched: int = 0
    nr_pages: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(MAX_NR_GENS)])


@dataclass(slots=True)
class LruGen:
    """struct lru_gen_folio and lru_gen_mm_state: generations, and what tells how well they were chosen.

    Types are 0 for anonymous pages and 1 for those of files.
    """

    max_seq: int = MIN_NR_GENS + 1
    min_seq: list[int] = field(default_factory=lambda: [0, 0])
    nr_pages: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(MAX_NR_GENS)])
    """Pages by generation and type."""
    avg_refaulted: list[list[int]] = field(default_factory=lambda: _by_tier())
    avg_total: list[list[int]] = field(default_factory=lambda: _by_tier())
    refaulted: list[list[int]] = field(default_factory=lambda: _by_tier())
    evicted: list[list[int]] = field(default_factory=lambda: _by_tier())
    protected: list[list[int]] = field(default_factory=lambda: _by_tier())
    mm_seq: int = MIN_NR_GENS
    filters: list[set[int] | None] = field(default_factory=lambda: [None, None])
    """Bloom filters: page tables, by their first slot, that are worth a walk; None: all are."""
    mm_scanned_before: bool = False
    """The process's page tables were walked before; the first walk leaves nothing out."""
    mm_in_use: bool = True
    """The process has run since its page tables were walked (mm->lru_gen.bitmap)."""
    pmd_young: set[int] = field(default_factory=set)
    """Page tables that the CPU has used since the last walk."""
    walk: MmWalk | None = None


def _by_tier() -> list[list[int]]:
    return [[0] * MAX_NR_TIERS, [0] * MAX_NR_TIERS]


class Memory:
    """The state of a workload's memory under one kernel release."""

    def __init__(
        self, facts: ReclaimFacts, *, lru_gen: bool = False, swappiness: int = 60, cpus: int = 1
    ) -> None:  # fmt: skip
        self.facts = facts
        self.lru_gen = LruGen() if lru_gen else None
        """The multi-generational LRU, in place of the classic one."""
        self.in_lru_fault = False
        """A fault is being served whose use of the page counts (current->in_lru_fault)."""
        self.memalloc = False
        """Reclaim is under way (PF_MEMALLOC)."""
        self.swappiness = swappiness
        self.objects: dict[str, Mapped] = {}
        self.flags: list[int] = []
        self.next = array("i")
        self.prev = array("i")
        self.shadow: list[int] = []
        """What a file's slot holds of a page that was evicted; -1 for nothing."""
        self.swap_entry: list[int] = []
        """The swap entry of an anonymous slot, -1 for none: of its page table entry, or of its page in swap cache."""
        self.lruvec = Lruvec()
        self.pages_elsewhere = 0
        """Pages of files, and active anonymous ones, on the lists of the rest of the machine."""
        self.root_age = 0
        """nonresident_age of the root cgroup: everything that ages the cgroup's, and MADV_PAGEOUT."""
        self.memcg = Memcg()
        self.charge_batch = 64 if facts.charge_batch_64 else 32
        self.batch_size = 31 if facts.folio_batch_31 else 15
        self.stats: LruvecStats
        if not facts.memcg_stats_flushed:
            self.stats = PercpuBatches(self.charge_batch)
        elif not facts.memcg_stats_flushed_by_cgroup:
            self.stats = GlobalThreshold(self.charge_batch, cpus)
        else:
            self.stats = CgroupThreshold(self.charge_batch, cpus, stops_counting=facts.memcg_stats_stop_counting)
        self.vmstat = dict.fromkeys(COUNTERS, 0)
        self.rounds = 0
        """Rounds of reclaim, one for each priority that was tried."""
        self.balances: dict[Balance, int] = {}
        """Rounds of reclaim by why they scanned what they did."""
        self.lru_add: list[int] = []
        self.lru_activate: list[int] = []
        self.lru_deactivate: list[int] = []
        self.lru_deactivate_file: list[int] = []
        self.lru_lazyfree: list[int] = []
        self.lru_rotate: list[int] = []
        self.mlock_batch: list[tuple[int, int]] = []
        self.writeback: list[int] = []
        """Pages whose writing has been submitted and has not ended."""
        self.plugged = False
        """Requests to devices are held back, those of reclaim too, until the readahead is complete (current->plug)."""
        self.unread_inode_table = range(0)
        """Slots of the file system's own pages that the first change of a file brings in."""
        self.inode_block = -1
        """The slot of the block that files' times are in, once it is read; it stays dirty."""
        self.tree_scanned = 0
        """Pages that reclaim has scanned since it last told of pressure (vmpressure)."""
        self.flusher_woken = False
        """The flusher has been woken and has not had the CPU yet."""
        self.file_dirty: set[int] = set()
        """Pages of files that are dirty (NR_FILE_DIRTY of them)."""
        self.fault_around = 1
        """Pages around a fault that are mapped with it, if they are in the page cache."""
        self.page_cluster = 0
        self.swap_prev_offset = 0
        self.last_readahead_pages = 0
        self.swapin_readahead_hits = 4
        self.swap = SwapAreas(facts, self.stats)

    def add_object(self, name: str, anon: bool, pages: int) -> None:
        """Add an object; all of them before the first access."""
        base = len(self.flags)
        self.objects[name] = Mapped(name, anon, base, pages)
        self.flags += [ANON if anon else VM_RAND_READ] * pages
        self.shadow += [-1] * pages
        self.swap_entry += [-1] * pages

    def add_inode_table(self, pages: int) -> None:
        """Add pages of the file system, not in memory, that no object has; after the objects."""
        base = len(self.flags)
        self.flags += [0] * pages
        self.shadow += [-1] * pages
        self.swap_entry += [-1] * pages
        self.unread_inode_table = range(base, base + pages)

    def note_balance(self, why: Balance) -> None:
        """A round of reclaim on the classic LRU has chosen what to scan."""
        self.balances[why] = self.balances.get(why, 0) + 1

    def swap_left(self) -> int:
        """mem_cgroup_get_nr_swap_pages(): the pages that can still be swapped out."""
        return self.swap.nr_swap_pages

    def total_swap_pages(self) -> int:
        """total_swap_pages: the pages of all swap areas."""
        return self.swap.total_swap_pages

    def start(self) -> None:
        """Make the lists, empty."""
        total = len(self.flags) + NR_LRU_LISTS + MAX_NR_GENS * 2
        self.next = array("i", range(total))
        self.prev = array("i", range(total))
