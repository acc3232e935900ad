"""Where the memory is, by a report's counters: one account that closes, of the machine and of a cgroup.

Counters overlap: pages of shared memory lie on the lists of anonymous or of unevictable pages, huge pages on none. Each
page is counted once here, and what no counter has is its own line: memory that drivers took from the page allocator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmtool.answers.postmortem.sums import FREE_DRIFT, FREE_DRIFT_PAGES
from mmtool.late import dataclass
from mmtool.observed.reports import MemInfo
from mmtool.observed.reports.cgroup import CgroupDump


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of an account. `within` are parts of it, named, which are not added."""

    name: str
    amount: int
    within: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """`entries` and `unaccounted` together are `total`; all in `unit` bytes (a page, or 1)."""

    total: int
    unit: int
    entries: tuple[Entry, ...]
    missing: tuple[str, ...] = ()
    """Counters that the report should have and lost; what they had is among the unaccounted."""
    closes: bool = True
    """The report says how much there is; else `total` is the sum of the entries."""

    @property
    def unaccounted(self) -> int:
        """What no counter has; below 0 where counters of different moments overlap."""
        return self.total - sum(entry.amount for entry in self.entries)

    def amount(self, name: str) -> int:
        return next((entry.amount for entry in self.entries if entry.name == name), 0)


ANON, SHMEM, CACHE, UNEVICTABLE = "anonymous", "shared memory, tmpfs", "page cache", "unevictable"
SLAB, SLAB_RECLAIMABLE, SLAB_ALL = "kernel objects", "kernel objects, reclaimable", "kernel objects, all"
HUGE, FREE, RESERVED = "huge page pools", "free", "reserved at boot"
PAGE_TABLES, STACKS, PER_CPU = "page tables", "kernel stacks", "CPUs' free lists"
SWAP_CACHE, KERNEL, SOCKETS = "swap cache only", "kernel memory", "sockets"


def machine_account(info: MemInfo) -> Account | None:
    """The account of all the machine's pages; None where the report has no counters.

    Where it does not say how many pages there are, what the zones manage (before 3.8: have) is taken if they are all
    there.
    """
    if not (info.totals or info.nodes or info.zones):
        return None
    counters = _Counters(info)
    closes, total, reserved = True, 0, 0
    managed = [zone.kb.get("managed", zone.kb.get("present")) for zone in info.zones]
    if "ram" in info.pages:
        total, reserved = info.pages["ram"], info.pages.get("reserved", 0)
    elif info.zones and None not in managed and _all_free_shown(info):
        total = sum(kb or 0 for kb in managed) // info.page_kb
    else:
        closes = False
    entries = [
        *_users_pages(counters),
        *_kernels_pages(counters),
        *_huge_pages(info),
        Entry(FREE, counters.get("free") or 0, _some(("CMA", counters.get("free_cma")))),
        Entry(PER_CPU, counters.get("free_pcp", "free_pcp") or info.per_cpu or 0),
        Entry(RESERVED, reserved),
    ]
    needed = ("active_anon", "inactive_anon", "active_file", "inactive_file", "free")
    missing = [name for name in needed if counters.get(name) is None]
    if len(missing) == len(needed):
        return None
    if counters.get("slab_unreclaimable") is None and counters.get("slab") is None:
        missing.append("slab_unreclaimable")
    kept = tuple(entry for entry in entries if entry.amount)
    if not closes:
        total = sum(entry.amount for entry in kept)
    return Account(total, info.page_kb << 10, kept, tuple(missing), closes)


def _all_free_shown(info: MemInfo) -> bool:
    """Do the zones that are shown have about all that is free?"""
    shown = sum(zone.kb.get("free", 0) for zone in info.zones) // info.page_kb
    free = info.totals.get("free")
    return free is None or abs(free - shown) <= max(FREE_DRIFT_PAGES, free // FREE_DRIFT)


class _Counters:
    """A counter in pages: the machine's total, else the sum of the nodes' or the zones' lines."""

    def __init__(self, info: MemInfo) -> None:
        self.info = info
        present = sum(zone.kb.get("present", 0) for zone in info.zones) // info.page_kb
        self.partial = bool(info.pages.get("ram")) and present * 33 < 32 * info.pages["ram"]
        """Not all zones are there, so that their sums say nothing of the machine."""
        self.sums = _sums(info.nodes.values()), _sums(zone.kb for zone in info.zones)
        if self.partial and len(info.nodes) <= 1:
            self.sums = {}, {}

    def get(self, name: str, *in_kb: str) -> int | None:
        """`name` as the head calls it, `in_kb` as the lines of nodes and zones do."""
        if name in self.info.totals:
            return self.info.totals[name]
        for label in (*in_kb, name):
            for sums in self.sums:
                if label in sums:
                    return sums[label] // self.info.page_kb
        return None


def _sums(lines: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What lines of counters have together."""
    sums: dict[str, int] = {}
    for line in lines:
        for label, kb in line.items():
            sums[label] = sums.get(label, 0) + kb
    return sums


def _some(*parts: tuple[str, int | None]) -> tuple[tuple[str, int], ...]:
    return tuple((name, pages) for name, pages in parts if pages)


def _users_pages(counters: _Counters) -> Iterable[Entry]:
    """What lies on the LRU lists: anonymous, shared, cached and unevictable pages."""

    def lists(kind: str) -> int:
        isolated = counters.get(f"isolated_{kind}", f"isolated({kind})") or 0
        return (counters.get(f"active_{kind}") or 0) + (counters.get(f"inactive_{kind}") or 0) + isolated

    anon, file, unevictable = lists("anon"), lists("file"), counters.get("unevictable") or 0
    if not anon and not file:
        # before 2.6.28 the lists are not told apart
        file = (counters.get("active") or 0) + (counters.get("inactive") or 0)
    shmem = counters.get("shmem") or 0
    if shmem <= anon:
        locked, on_lists = 0, shmem
    else:
        # more than the anonymous lists hold: it is unevictable (locked, or a GPU's), the lists have the rest
        locked = min(unevictable, shmem)
        on_lists = min(anon, shmem - locked)
    huge = counters.get("anon_thp", "anon_thp")
    yield Entry(ANON, anon - on_lists, _some(("huge", huge if huge and huge <= anon - on_lists else None)))
    yield Entry(
        SHMEM, on_lists + locked, _some(("unevictable", locked), ("huge", counters.get("shmem_thp", "shmem_thp")))
    )
    yield Entry(CACHE, file, _some(("dirty", counters.get("dirty")), ("under writeback", counters.get("writeback"))))
    yield Entry(UNEVICTABLE, unevictable - locked)


def _kernels_pages(counters: _Counters) -> Iterable[Entry]:
    if (slab := counters.get("slab")) is not None and counters.get("slab_unreclaimable") is None:
        yield Entry(SLAB_ALL, slab)
    caches = tuple((name, kb // counters.info.page_kb) for name, kb in counters.info.caches[:3])
    yield Entry(SLAB, counters.get("slab_unreclaimable") or 0, caches)
    yield Entry(SLAB_RECLAIMABLE, counters.get("slab_reclaimable") or 0)
    yield Entry("other kernel memory, reclaimable", counters.get("kernel_misc_reclaimable") or 0)
    yield Entry(PAGE_TABLES, counters.get("pagetables") or 0)
    yield Entry("page tables of guests and IOMMUs", counters.get("sec_pagetables") or 0)
    yield Entry(STACKS, counters.get("kernel_stack") or 0)
    yield Entry("shadow call stacks", counters.get("shadow_call_stack") or 0)
    yield Entry("bounce buffers", counters.get("bounce") or 0)
    yield Entry("zsmalloc (zram, zswap)", counters.get("zspages") or 0)
    yield Entry("balloon", counters.get("balloon", "Balloon") or 0)
    yield Entry("GPU memory", (counters.get("gpu_active") or 0) + (counters.get("gpu_reclaim") or 0))


def _huge_pages(info: MemInfo) -> Iterable[Entry]:
    total = sum(pool.total * pool.size_kb for pool in info.huge_pages) // info.page_kb
    free = sum(pool.free * pool.size_kb for pool in info.huge_pages) // info.page_kb
    if total:
        yield Entry(HUGE, total, _some(("free", free)))


def cgroup_account(dump: CgroupDump) -> Account | None:
    """The account of what is charged to a cgroup, in bytes; None without its statistics.

    Where its usage is lost, the sum of what the statistics have stands for it.
    """
    usage, stat = dump.counters.get("memory"), dump.stat
    if not stat:
        return None
    if "rss" in stat and "anon" not in stat:
        entries = _of_v1(dump)
    else:
        shmem = stat.get("shmem", 0)
        lists = stat.get("active_anon", 0) + stat.get("inactive_anon", 0)
        anon = stat.get("anon", 0)
        kernel = stat.get("kernel")
        slab = ("slab",) if "slab" in stat else ("slab_reclaimable", "slab_unreclaimable")
        parts = (*slab, "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc")
        within = _some(*((name.replace("_", " "), stat.get(name)) for name in parts))
        entries = [
            Entry(ANON, anon, _some(("huge", stat.get("anon_thp")))),
            Entry(SWAP_CACHE, max(0, lists - anon - shmem) if stat.get("swapcached") else 0),
            Entry(SHMEM, shmem),
            Entry(
                CACHE, max(0, stat.get("file", 0) - shmem),
                _some(("dirty", stat.get("file_dirty")), ("under writeback", stat.get("file_writeback"))),
            ),
            Entry(KERNEL, kernel if kernel is not None else sum(size for _, size in within), within),
            Entry(SOCKETS, stat.get("sock", 0)),
        ]  # fmt: skip
        if kernel is None and "zswap" in stat:
            entries.append(Entry("zswap", stat["zswap"]))
    kept = tuple(entry for entry in entries if entry.amount)
    if usage is None:
        return Account(sum(entry.amount for entry in kept), 1, kept, closes=False)
    return Account(usage.usage << 10, 1, kept)


def _of_v1(dump: CgroupDump) -> list[Entry]:
    """The names of v1 before 5.3: cache with shared memory, rss without it."""
    stat, kmem = dump.stat, dump.counters.get("kmem")
    shmem = stat.get("shmem", 0)
    return [
        Entry(ANON, stat["rss"], _some(("huge", stat.get("rss_huge")))),
        Entry(SHMEM, shmem),
        Entry(
            CACHE, max(0, stat.get("cache", 0) - shmem),
            _some(("dirty", stat.get("dirty")), ("under writeback", stat.get("writeback"))),
        ),
        Entry(KERNEL, kmem.usage << 10 if kmem else 0),
    ]  # fmt: skip
