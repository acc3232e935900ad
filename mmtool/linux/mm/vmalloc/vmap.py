"""Free and busy areas of virtual memory, and those that were freed lazily: the first half of mm/vmalloc.c.

Addresses and sizes in bytes; `lazy` and what bounds it in pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from operator import attrgetter

from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.vmalloc.area import NO_NODE, VmStruct
from mmtool.linux.mm.vmalloc.free_tree import FreeTree

MAX_VA_SIZE_PAGES = 256
"""Areas of up to so many pages are kept by a node for reuse."""
MOST_NODES = 128
LAZY_BYTES = 32 << 20


class VmapArea:
    """struct vmap_area: a busy or lazily freed area [start, end). `vm` says what for; none of vm_map_ram's has one.

    `node` is the node that it goes back to, NO_NODE where its address decides.
    """

    __slots__ = ("end", "node", "start", "vm")

    def __init__(self, start: int, end: int, vm: VmStruct | None = None, node: int = NO_NODE) -> None:
        self.start = start
        self.end = end
        self.vm = vm
        self.node = node


_START = attrgetter("start")


@dataclass
class VmapNode:
    """struct vmap_node of 6.9 on: what was freed lazily, and what is kept by its number of pages.

    Before, one of them stands for the list of all that was freed lazily.
    """

    lazy: list[VmapArea] = field(default_factory=list)
    pools: dict[int, deque[VmapArea]] = field(default_factory=dict)


class VmapSpace:
    """Virtual memory of a kernel: `start` to `end` is the vmalloc area, but there is more around it.

    `cpus` counts the possible ones, `online` those that run; `cpu` is the one that acts. `last` is the highest
    address, which is never given out.
    """

    def __init__(
        self,
        facts: Release,
        start: int,
        end: int,
        *,
        page_size: int,
        cpus: int = 1,
        online: int | None = None,
        bits: int = 64,
        early: Iterable[VmStruct] = (),
    ) -> None:
        self.facts = facts
        self._counts_alignment = facts.vmap_search_counts_alignment
        self.start, self.end = start, end
        self.page_size = page_size
        self.last = (1 << bits) - 1
        self.cpu = 0
        self.free = FreeTree()
        self.busy: dict[int, VmapArea] = {}
        self.lazy_pages = 0
        count = min(max(cpus, 1), MOST_NODES) if facts.vmap_has_nodes and bits == 64 else 1
        self.nodes = [VmapNode() for _ in range(count)]
        self._zone_size = 16 * page_size if count > 1 else 1
        self.before_purge: list[Callable[[], None]] = []
        """What gives areas back when there is no room, before all that was freed lazily is."""
        self.lazy_max_pages = (online or cpus).bit_length() * (LAZY_BYTES // page_size)
        self._vmalloc_init(early)

    def _vmalloc_init(self, early: Iterable[VmStruct]) -> None:
        """vmalloc_init(): what was registered before is busy, the rest from 1 up is free."""
        at = 1
        for vm in sorted(early, key=lambda vm: vm.addr):
            self.busy[vm.addr] = VmapArea(vm.addr, vm.addr + vm.size, vm)
            if vm.addr > at:
                self.free.add(at, vm.addr)
            at = vm.addr + vm.size
        if self.last > at:
            self.free.add(at, self.last)

    # Taking

    def alloc_vmap_area(
        self, size: int, align: int, vstart: int | None = None, vend: int | None = None, vm: VmStruct | None = None
    ) -> VmapArea | None:
        """alloc_vmap_area(): the lowest place for `size` bytes within [vstart, vend); None when there is none.

        Before it gives up, everything that was freed lazily is given back. `size` is a multiple of the page, `align`
        a power of two.
        """
        if vstart is None:
            vstart = self.start
        if vend is None:
            vend = self.end
        node = NO_NODE
        if len(self.nodes) > 1 and vstart == self.start and vend == self.end:
            node = self.cpu % len(self.nodes)
            kept = self._from_pool(self.nodes[node], size, align, vstart, vend)
            if kept is not None:
                kept.vm, kept.node = vm, node
                self.busy[kept.start] = kept
                return kept
        length = size
        is_large = align > self.page_size and vend - vstart != size
        if self._counts_alignment or (is_large and self.facts.vmap_search_counts_large_alignment):
            length += align - 1
        purged = False
        while True:
            free = self.free.lowest_match(size, align, vstart, length)
            if free is not None:
                start = free.start if free.start > vstart else vstart
                start = start + align - 1 & -align
                if start + size <= vend:
                    self.free.clip(free, start, size)
                    area = self.busy[start] = VmapArea(start, start + size, vm, node)
                    return area
            if purged:
                return None
            self._reclaim_and_purge()
            purged = True

    def _from_pool(self, node: VmapNode, size: int, align: int, vstart: int, vend: int) -> VmapArea | None:
        """node_pool_del_va(): the area of this size that was kept last, if it is aligned; else it goes to the end."""
        pool = node.pools.get(size // self.page_size)
        if not pool:
            return None
        area = pool[0]
        if area.start & align - 1:
            pool.rotate(-1)
            return None
        if area.start < vstart or area.end > vend:
            return None
        return pool.popleft()

    def pcpu_get_vm_areas(self, offsets: Sequence[int], sizes: Sequence[int], align: int) -> list[VmapArea] | None:
        """pcpu_get_vm_areas(): areas at equal distances as `offsets`, as high as they fit; None where they do not."""
        base = self._percpu_base(offsets, sizes, align)
        if base is None:
            self._reclaim_and_purge()
            base = self._percpu_base(offsets, sizes, align)
            if base is None:
                return None
        areas = []
        for offset, size in zip(offsets, sizes, strict=True):
            found = self.free.enclosing(base + offset)
            assert found is not None
            self.free.clip(found, base + offset, size)
            area = self.busy[base + offset] = VmapArea(base + offset, base + offset + size)
            areas.append(area)
        return areas

    def _percpu_base(self, offsets: Sequence[int], sizes: Sequence[int], align: int) -> int | None:
        """The highest base at which each area is free; an area that is not moves it below the end of what is."""
        top, bottom = self.end & -align, self.start + align - 1 & -align
        spans = sorted(zip(offsets, sizes, strict=True), reverse=True)
        base = top - sum(spans[0])
        while base >= bottom:
            for offset, size in spans:
                free = self.free.enclosing(base + offset)
                if free is None:
                    return None
                if base + offset + size > min(free.end, top):
                    base = (min(free.end, top) & -align) - offset - size
                    break
            else:
                return base
        return None

    # Giving back

    def find_unlink(self, address: int) -> VmapArea | None:
        """find_unlink_vmap_area(): the busy area that begins at `address`, which is busy no more; None without one."""
        return self.busy.pop(address, None)

    def free_vmap_area_noflush(self, area: VmapArea) -> None:
        """free_vmap_area_noflush(): not free yet. Once lazy_max_pages are waiting, all of it is given back.

        That is a moment later in a kernel of 5.18 on, which leaves it to a worker.
        """
        self.add_lazy(area)
        if self.lazy_pages > self.lazy_max_pages:
            self.purge()

    def add_lazy(self, area: VmapArea) -> None:
        """Let an area wait, with those of the node that it goes back to, or else of the one that its address names."""
        start, node = area.start, area.node
        self.lazy_pages += (area.end - start) // self.page_size
        area.vm = None
        if node == NO_NODE:
            node = start // self._zone_size % len(self.nodes)
        self.nodes[node].lazy.append(area)

    def free_vmap_area(self, area: VmapArea) -> None:
        """free_vmap_area(): free at once, for what was never mapped."""
        self.busy.pop(area.start, None)
        self.free.add(area.start, area.end)

    def _reclaim_and_purge(self) -> None:
        """reclaim_and_purge_vmap_areas(), before 6.9 purge_vmap_area_lazy(): all that can be is given back."""
        for give_back in self.before_purge:
            give_back()
        self.purge(decay_all=True)

    def purge(self, *, decay_all: bool = False) -> None:
        """__purge_vmap_area_lazy(): what was freed lazily becomes free. From 6.9 on nodes keep some for reuse.

        Of what they have kept they give a quarter back, or with `decay_all`, for want of room, all and keep none.
        """
        if self.facts.vmap_has_nodes:
            for node in self.nodes:
                self._decay(node, decay_all)
            for node in self.nodes:
                if node.lazy:
                    self._purge_node(node, keep=not decay_all)
        else:
            lazy, self.nodes[0].lazy = self.nodes[0].lazy, []
            if self.facts.vmap_purge_merges:
                self._reclaim(sorted(lazy, key=_START))
            else:
                self._reclaim_down(reversed(lazy))
        self.lazy_pages = 0

    def _reclaim(self, areas: Iterable[VmapArea]) -> None:
        """Areas in ascending order become free, those that touch as one."""
        start = end = 0
        for area in areas:
            if area.start == end:
                end = area.end
                continue
            if end:
                self.free.add(start, end)
            start, end = area.start, area.end
        if end:
            self.free.add(start, end)

    def _reclaim_down(self, areas: Iterable[VmapArea]) -> None:
        """Areas become free one by one; of those that go down step by step the first, then the rest at once.

        The tree is the same then as if each came by itself: what follows the first only makes it longer.
        """
        start = end = -1
        for area in areas:
            if area.end == start:
                start = area.start
                continue
            if start != end:
                self.free.add(start, end)
            self.free.add(area.start, area.end)
            start = end = area.start
        if start != end:
            self.free.add(start, end)

    def _decay(self, node: VmapNode, every: bool) -> None:
        """decay_va_pool_node(): a quarter of what is kept, or all, becomes free."""
        gone: list[VmapArea] = []
        for pool in node.pools.values():
            count = len(pool)
            if not every and not (self.facts.vmap_small_pools_decay_whole and count < 4):
                count >>= 2
            gone += [pool.popleft() for _ in range(count)]
        self._reclaim(sorted(gone, key=_START))

    def _purge_node(self, node: VmapNode, *, keep: bool) -> None:
        """purge_vmap_node(): by address each is kept for reuse, or else becomes free; those the last one first."""
        back = []
        for area in sorted(node.lazy, key=_START):
            pages = (area.end - area.start) // self.page_size
            if keep and area.node != NO_NODE and pages <= MAX_VA_SIZE_PAGES:
                pool = node.pools.get(pages)
                if pool is None:
                    pool = node.pools[pages] = deque()
                pool.appendleft(area)
            else:
                back.append(area)
        node.lazy = []
        self._reclaim_down(reversed(back))

    # What there is

    def lazy_areas(self) -> Iterator[VmapArea]:
        """What was freed lazily and is not free yet, node by node, by address."""
        for node in self.nodes:
            yield from sorted(node.lazy, key=_START)

    def kept_areas(self) -> Iterator[VmapArea]:
        """What nodes keep for reuse."""
        for node in self.nodes:
            for pool in node.pools.values():
                yield from pool
