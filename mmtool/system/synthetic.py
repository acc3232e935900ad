"""A state from counts alone: free blocks laid out where no two of them are buddies.

/proc tells how many free blocks of each order and type a zone has, not where they lie. Any layout without a pair of
free buddies gives the same answers as far as only counts decide, and nothing else is told of it: page frame numbers are
made up (`SystemState.synthetic`). Pages on CPUs' lists make no blocks either when they are given back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.mmzone import PagesetLimits, Pgdat, Watermarks, Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType, PageblockTypes
from mmtool.linux.mm.page_alloc.pageset_limits import MIN_PERCPU_PAGELIST_HIGH_FRACTION, zone_highsize
from mmtool.linux.mm.vmscan.zone import MAX_RECLAIM_RETRIES
from mmtool.linux.mm.vmstat import calculate_normal_threshold
from mmtool.linux.mm.zonelist import build_all_zonelists
from mmtool.observed.buddyinfo import ZoneBlocks
from mmtool.observed.pagetypeinfo import PageTypeInfo, ZoneTypes
from mmtool.observed.zoneinfo import Pageset, ZoneInfo, ZoneInfoFile
from mmtool.system.state import CpuState, NodeState, SystemState, ZoneState

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20
MOST_BLOCKS = 1 << 20
"""Free blocks below the largest order that are laid out."""
LRU_FILE = ("nr_zone_inactive_file", "nr_zone_active_file")
LRU_ANON = ("nr_zone_inactive_anon", "nr_zone_active_anon")
LRU = (*LRU_ANON, *LRU_FILE)


@dataclass(frozen=True)
class ProcTexts:
    """What a machine's /proc says of its page allocator. pagetypeinfo is for root alone, and may be missing."""

    version: str
    zoneinfo: ZoneInfoFile
    buddyinfo: Sequence[ZoneBlocks]
    pagetypeinfo: PageTypeInfo | None

def state_from_proc(texts: ProcTexts, kernel: Kernel, source: str, swap_free: int = 0) -> SystemState:
    """The state that /proc describes, on `kernel`, with `swap_free` pages of swap to take.

    InputError where the texts are of another kernel or machine.
    """
    _check_orders(texts, kernel, source)
    types = {(z.nid, z.name): z for z in texts.pagetypeinfo.zones} if texts.pagetypeinfo else {}
    blocks = {(z.nid, z.name): z for z in texts.buddyinfo}
    cpus = max((len(z.pagesets) for z in texts.zoneinfo.zones), default=0) or 1
    nids = sorted({z.nid for z in texts.zoneinfo.zones})
    cpu_nodes = {cpu: nids[cpu * len(nids) // cpus] for cpu in range(cpus)}
    _check_counts(texts, kernel, source)
    maker = _Maker(kernel, cpu_nodes)
    by_node: dict[int, list[ZoneState]] = {nid: [] for nid in nids}
    for z in texts.zoneinfo.zones:
        key = z.nid, z.name
        if z.populated and key not in blocks:
            raise InputError(source, None, f"buddyinfo has no zone {z.name} of node {z.nid}, which zoneinfo has")
        idx = len(by_node[z.nid])
        by_node[z.nid].append(maker.zone(z, idx, blocks.get(key), types.get(key)))
    hopeless = {z.nid for z in texts.zoneinfo.zones if z.unreclaimable}
    slabs = {nid: counters.get("nr_slab_reclaimable") for nid, counters in texts.zoneinfo.nodes.items()}
    nodes = _nodes(by_node, hopeless, slabs, kernel)
    return SystemState(
        kernel.name, texts.version, nodes, cpu_nodes, tuple(maker.pageblocks), synthetic=True,
        swap_free=swap_free,
    )  # fmt: skip


def _check_orders(texts: ProcTexts, kernel: Kernel, source: str) -> None:
    orders = len(texts.buddyinfo[0].nr_free)
    if orders != kernel.max_page_order + 1:
        raise InputError(
            source, None,
            f"buddyinfo has {orders} orders, Linux {kernel.name} as it is known here has {kernel.max_page_order + 1}",
        )  # fmt: skip
    pageblock = texts.pagetypeinfo.pageblock_order if texts.pagetypeinfo else kernel.pageblock_order
    if pageblock != kernel.pageblock_order:
        raise InputError(
            source, None,
            f"pagetypeinfo has pageblocks of order {pageblock}, Linux {kernel.name} as it is known here of order "
            f"{kernel.pageblock_order}",
        )  # fmt: skip


def _check_counts(texts: ProcTexts, kernel: Kernel, source: str) -> None:
    """InputError where a zone is told to hold more than it spans, or more blocks than can be laid out one by one."""
    spans = {(z.nid, z.name): z.spanned for z in texts.zoneinfo.zones}
    small = 0
    for blocks in texts.buddyinfo:
        key = blocks.nid, blocks.name
        if blocks.free_pages > spans.get(key, 0):
            raise InputError(
                source, None,
                f"buddyinfo has {blocks.free_pages} free pages in zone {blocks.name} of node {blocks.nid}, which spans "
                f"{spans.get(key, 0)} in zoneinfo",
            )  # fmt: skip
        small += sum(blocks.nr_free[: kernel.max_page_order])
    if small > MOST_BLOCKS:
        raise InputError(source, None, f"buddyinfo has {small} free blocks; up to {MOST_BLOCKS} can be laid out")
    for types in texts.pagetypeinfo.zones if texts.pagetypeinfo else ():
        span = spans.get((types.nid, types.name), 0)
        free = sum(count << order for counts in types.nr_free.values() for order, count in enumerate(counts))
        if free > span or sum(types.blocks.values()) << kernel.pageblock_order > span + (2 << kernel.pageblock_order):
            raise InputError(
                source, None,
                f"pagetypeinfo has more pages in zone {types.name} of node {types.nid} than it spans in zoneinfo",
            )  # fmt: skip
    for z in texts.zoneinfo.zones:
        if any(pageset.count > min(z.present, MOST_BLOCKS) for pageset in z.pagesets):
            raise InputError(source, None, f"a CPU's list keeps more pages of zone {z.name} than it has")


def _nodes(
    by_node: Mapping[int, list[ZoneState]], hopeless: Collection[int], slabs: Mapping[int, int | None], kernel: Kernel
) -> tuple[NodeState, ...]:
    """Nodes with zonelists as they come about where all distances are alike: /proc does not tell them."""
    pgdats = {}
    for nid, zones in by_node.items():
        held = [
            Zone(z.name, nid, z.start_pfn, z.spanned, z.present, kernel.release, PageblockTypes(0), zone_idx=z.zone_idx)
            for z in zones
        ]
        pgdats[nid] = Pgdat(nid, 0, 0, held)
    lists = build_all_zonelists(
        pgdats, lambda a, b: LOCAL_DISTANCE if a == b else REMOTE_DISTANCE, set(by_node), kernel, KernelLog()
    )
    nodes = []
    for nid, zones in by_node.items():
        held_zones = [z for z in zones if z.present]
        start = min((z.start_pfn for z in held_zones), default=0)
        end = max((z.start_pfn + z.spanned for z in held_zones), default=0)
        nodes.append(
            NodeState(
                nid, start, end - start, tuple(zones), tuple(lists.fallback[nid]), tuple(lists.thisnode[nid]),
                MAX_RECLAIM_RETRIES if nid in hopeless else 0, slabs.get(nid),
            )
        )  # fmt: skip
    return tuple(nodes)


Run = tuple[int, int]
"""(pfn of the first block, number of blocks side by side)."""


@dataclass
class _Layout:
    """Where the blocks of a zone lie: free ones by order and type, and what is left of their pageblocks in use."""

    pageblock_order: int
    top_order: int
    start: int
    end: int = 0
    free: dict[tuple[int, MigrateType], list[Run]] = field(default_factory=dict)
    pageblocks: list[tuple[int, int, MigrateType]] = field(default_factory=list)
    holes: dict[MigrateType, list[list[Run]]] = field(default_factory=dict)
    """Aligned ranges in use by type and order, each of which must keep a page in use."""

    def __post_init__(self) -> None:
        self.end = self.start

    def add_pageblocks(self, migratetype: MigrateType, count: int) -> int:
        """`count` pageblocks of a type at the end; the first one's pfn."""
        pfn = self.end
        if count:
            self.pageblocks.append((pfn, count, migratetype))
            self.end += count << self.pageblock_order
        return pfn

    def add_large(self, order: int, migratetype: MigrateType, count: int) -> int:
        """`count` free blocks of at least a pageblock; the pageblocks that took.

        Below the largest order each block's buddy is in use.
        """
        size = 1 << order
        step = size if order == self.top_order else size << 1
        before = self.end
        self.add_holes(migratetype, (-self.end % step) >> self.pageblock_order)
        blocks = self.free.setdefault((order, migratetype), [])
        if order == self.top_order:
            blocks.append((self.add_pageblocks(migratetype, count * size >> self.pageblock_order), count))
        else:
            for _ in range(count):
                blocks.append((self.add_pageblocks(migratetype, size >> self.pageblock_order), 1))
                self.add_holes(migratetype, (step - size) >> self.pageblock_order)
        return (self.end - before) >> self.pageblock_order

    def add_holes(self, migratetype: MigrateType, count: int) -> None:
        """`count` pageblocks in use."""
        pfn = self.add_pageblocks(migratetype, count)
        if count:
            self._holes(migratetype)[self.pageblock_order].append((pfn, count))

    def _holes(self, migratetype: MigrateType) -> list[list[Run]]:
        return self.holes.setdefault(migratetype, [[] for _ in range(self.pageblock_order + 1)])

    def add_small(self, order: int, migratetype: MigrateType) -> None:
        """A free block below a pageblock, in the smallest hole of the type that stays in use beside it."""
        self.free.setdefault((order, migratetype), []).append((self._carve(order, migratetype), 1))

    def _carve(self, order: int, migratetype: MigrateType) -> int:
        by_order = self._holes(migratetype)
        if not any(by_order[order + 1 :]):
            self.add_holes(migratetype, 1)
        at = next(o for o in range(order + 1, self.pageblock_order + 1) if by_order[o])
        pfn, _ = _last(by_order[at], at, 1)
        while at > order + 1:
            at -= 1
            by_order[at].append((pfn + (1 << at), 1))
        by_order[order].append((pfn, 1))
        return pfn + (1 << order)

    def take_used(self, migratetype: MigrateType, count: int) -> list[tuple[int, int]]:
        """Up to `count` pages in use of a type's pageblocks, as ranges [start, end)."""
        taken = []
        for order, holes in enumerate(self._holes(migratetype)):
            while holes and count > 0:
                pfn, whole = _last(holes, order, -(-count >> order))
                size = min(count, whole << order)
                taken.append((pfn, pfn + size))
                count -= size
        return taken


    def take_apart(self, migratetype: MigrateType, count: int) -> list[int]:
        """Up to `count` pages in use whose buddies stay in use, so that no block comes of freeing them."""
        pages: list[int] = []
        holes = self._holes(migratetype)
        for order in range(len(holes) - 1, 0, -1):
            while holes[order] and len(pages) < count:
                left = count - len(pages)
                pfn, whole = _last(holes[order], order, -(-left >> order - 1))
                pages += range(pfn, pfn + min(whole << order, 2 * left), 2)
        return pages


def _last(runs: list[Run], order: int, most: int) -> Run:
    """Take up to `most` blocks of an order off the end of the last run."""
    pfn, count = runs.pop()
    taken = min(count, most)
    if taken < count:
        runs.append((pfn, count - taken))
    return pfn + (count - taken << order), taken


class _Maker:
    """Zones, one behind the other in a made-up space of pfns."""

    def __init__(self, kernel: Kernel, cpu_nodes: Mapping[int, int]) -> None:
        self.kernel, self.cpu_nodes = kernel, cpu_nodes
        self.pageblocks: list[tuple[int, int, MigrateType]] = []
        self.cursor = 0

    def zone(self, z: ZoneInfo, idx: int, blocks: ZoneBlocks | None, types: ZoneTypes | None) -> ZoneState:
        """A zone that has the counts of the texts."""
        if not z.populated or blocks is None:
            return ZoneState(z.name, idx, lowmem_reserve=z.protection)
        kernel = self.kernel
        largest = 1 << max(kernel.max_page_order, kernel.pageblock_order)
        layout = _Layout(kernel.pageblock_order, kernel.max_page_order, -(-self.cursor // largest) * largest)
        counts = _counts(blocks, types)
        self._lay_out(layout, counts, types)
        cpus = {pageset.cpu: self._cpu(z, pageset, layout) for pageset in z.pagesets}
        movable = sum(z.counters.get(name, 0) for name in (*LRU_FILE, *LRU_ANON))
        lru = layout.take_used(MigrateType.MOVABLE, movable)
        self.cursor = layout.end
        self.pageblocks += layout.pageblocks
        free = sum(count << order for (order, _), runs in layout.free.items() for _, count in runs)
        return ZoneState(
            z.name, idx, layout.start, layout.end - layout.start, z.present, z.managed,
            Watermarks(z.min - z.boost, z.low - z.boost, z.high - z.boost, z.promo or 0), z.boost, z.protection,
            self._reserved_highatomic(z, types), free, z.counters.get("nr_free_cma", 0),
            lru=tuple((start, end - start) for start, end in lru),
            reclaimable=sum(z.counters.get(name, 0) for name in LRU_FILE),
            lru_size=_lru_size(z, lru),
            free=tuple((order, kind, tuple(runs)) for (order, kind), runs in layout.free.items()),
            cpus=cpus,
        )  # fmt: skip

    def _reserved_highatomic(self, z: ZoneInfo, types: ZoneTypes | None) -> int:
        if z.reserved_highatomic is not None:
            return z.reserved_highatomic
        return (types.blocks.get("HighAtomic", 0) if types else 0) << self.kernel.pageblock_order

    def _lay_out(self, layout: _Layout, counts: Mapping[tuple[int, MigrateType], int], types: ZoneTypes | None) -> None:
        order_of_block = self.kernel.pageblock_order
        left = {MigrateType.from_name(label): n for label, n in types.blocks.items()} if types else {}
        for (order, kind), count in sorted(counts.items(), reverse=True):
            if order >= order_of_block:
                left[kind] = left.get(kind, 0) - layout.add_large(order, kind, count)
        for kind, count in left.items():
            layout.add_holes(kind, max(0, count))
        for (order, kind), count in sorted(counts.items(), reverse=True):
            if order < order_of_block:
                for _ in range(count):
                    layout.add_small(order, kind)

    def _cpu(self, z: ZoneInfo, pageset: Pageset, layout: _Layout) -> CpuState:
        """A CPU's lists. Only how much they hold is told: single pages, half Unmovable and half Movable, is a guess."""
        lists: dict[int, list[int]] = {}
        movable = pageset.count // 2
        for kind, count in ((MigrateType.UNMOVABLE, pageset.count - movable), (MigrateType.MOVABLE, movable)):
            while count > 0:
                pages = layout.take_apart(kind, count)
                lists.setdefault(int(kind), []).extend(pages)
                count -= len(pages)
                if count > 0:
                    layout.add_holes(kind, 1)
        facts, shift = self.kernel.release, self.kernel.page_shift
        cpus = sum(nid == z.nid for nid in self.cpu_nodes.values()) or len(self.cpu_nodes)
        low = high = pageset.high
        if facts.pcp_high_is_tuned:
            low = zone_highsize(z.low - z.boost, pageset.batch, cpus)
            high = zone_highsize(z.managed // MIN_PERCPU_PAGELIST_HIGH_FRACTION, pageset.batch, cpus)
            low = low if pageset.high_min is None else pageset.high_min
            high = high if pageset.high_max is None else pageset.high_max
        return CpuState(
            PagesetLimits(pageset.batch, low, high), pageset.high,
            {index: tuple(pages) for index, pages in lists.items()},
            stat_threshold=calculate_normal_threshold(z.managed, shift, len(self.cpu_nodes)),
        )  # fmt: skip


def _lru_size(z: ZoneInfo, placed: Sequence[tuple[int, int]]) -> tuple[int, int, int, int]:
    """The lengths of a zone's LRU lists, as far as their pages found a place; those of files first."""
    left = sum(end - start for start, end in placed)
    size = {}
    for name in (*LRU_FILE, *LRU_ANON):
        size[name] = min(z.counters.get(name, 0), left)
        left -= size[name]
    return size[LRU[0]], size[LRU[1]], size[LRU[2]], size[LRU[3]]


def _counts(blocks: ZoneBlocks, types: ZoneTypes | None) -> dict[tuple[int, MigrateType], int]:
    """Free blocks by order and type. Without types all are Movable; a count that is capped gets what buddyinfo has."""
    if types is None:
        return {(order, MigrateType.MOVABLE): n for order, n in enumerate(blocks.nr_free) if n}
    counts = {
        (order, MigrateType.from_name(label)): n
        for label, by_order in types.nr_free.items()
        for order, n in enumerate(by_order)
        if n
    }
    for label, order in types.capped:
        key = order, MigrateType.from_name(label)
        others = sum(n for (o, kind), n in counts.items() if o == order and (o, kind) != key)
        counts[key] = max(counts[key], blocks.nr_free[order] - others)
    return counts
