"""Which node owns which memory, before the zones are: mm/numa_memblks.c (arch/x86/mm/numa.c before 6.12).

Addresses are bytes, ranges half-open. A distance is an ACPI one: 10 is local, 20 a neighbour.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import field
from functools import cached_property
from itertools import accumulate

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20
NUMA_NO_NODE = -1
ONE_MIB = 1 << 20


class NumaError(Exception):
    """A NUMA configuration that the kernel rejects; it goes on to the next way of finding one."""


@dataclass(slots=True)
class NumaMemblk:
    """struct numa_memblk: bytes [start, end) on node `nid`."""

    start: int
    end: int
    nid: int


@dataclass
class NumaInfo:
    """What numa_memblks.c knows: the memory blocks, the nodes that firmware named, the distances.

    `cpu_nodes` are nodes that an enabled CPU entry named; `emulated` maps a faked node to the physical one.
    """

    meminfo: list[NumaMemblk] = field(default_factory=list)
    nodes_parsed: set[int] = field(default_factory=set)
    cpu_nodes: dict[int, int] = field(default_factory=dict)
    """APIC id -> node, as __apicid_to_node[]."""
    distance: list[list[int]] = field(default_factory=list)
    emulated: dict[int, int] | None = None

    def node_distance(self, a: int, b: int) -> int:
        """__node_distance(): from the table, else 10 to oneself and 20 to others."""
        if a >= len(self.distance) or b >= len(self.distance):
            return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE
        return self.distance[a][b]

    @property
    def table_size(self) -> int:
        """What numa_alloc_distance() asks for, in bytes: one for every pair of nodes up to the highest."""
        return (max(self.nodes_parsed | {b.nid for b in self.meminfo}, default=0) + 1) ** 2

    def add_memblk(self, nid: int, start: int, end: int, log: KernelLog) -> None:
        """numa_add_memblk(): empty blocks are ignored, backward ones with the kernel's warning."""
        if start == end:
            return
        if start > end or nid < 0:
            log.warn(f"NUMA: Warning: invalid memblk node {nid} [mem {start:#010x}-{end - 1:#010x}]")
            return
        self.meminfo.append(NumaMemblk(start, end, nid))

    def set_distance(self, a: int, b: int, value: int, log: KernelLog) -> None:
        """numa_set_distance(): the table is made for the nodes known at first; senseless values are ignored."""
        if not self.distance:
            count = max(self.nodes_parsed | {b.nid for b in self.meminfo}, default=0) + 1
            self.distance = [
                [LOCAL_DISTANCE if i == j else REMOTE_DISTANCE for j in range(count)] for i in range(count)
            ]
            log.debug(f"NUMA: Initialized distance table, cnt={count}")
        if a >= len(self.distance) or b >= len(self.distance):
            log.warn(f"NUMA: Warning: node ids are out of bound, from={a} to={b} distance={value}")
        elif not 0 <= value <= 255 or (a == b and value != LOCAL_DISTANCE):
            log.warn(f"NUMA: Warning: invalid distance parameter, from={a} to={b} distance={value}")
        else:
            self.distance[a][b] = value


def cleanup_meminfo(blocks: list[NumaMemblk], mb: Memblock, kernel: Kernel, max_pfn: int, log: KernelLog) -> None:
    """numa_cleanup_meminfo(): clip blocks to memory, drop those without any, join neighbours of one node.

    Changes `blocks` in place. NumaError when blocks of different nodes overlap.
    """
    low, high = 0, max_pfn * mb.page_size
    if kernel.release.numa_clips_to_dram:
        low, high = mb.start_of_DRAM(), mb.end_of_DRAM() or 0
    kept = []
    for b in blocks:
        if not mb.overlaps_region(mb.memory, b.start, b.end - b.start):
            continue
        b.start, b.end = max(b.start, low), min(b.end, high)
        if b.start < b.end:
            kept.append(b)
    blocks[:] = kept
    others: dict[int, _Others] = {}
    i = 0
    while i < len(blocks):
        nid = blocks[i].nid
        if nid not in others:
            others[nid] = _Others(blocks, nid)
        if _join_neighbours(blocks, i, others[nid], log):
            others = {nid: others[nid]}
        i += 1


class _Others:
    """The blocks of all nodes but one, to be asked whether one of them lies in a range: looked up for the first time
    that somebody asks, since most nodes have one block."""

    def __init__(self, blocks: list[NumaMemblk], nid: int) -> None:
        self.blocks, self.nid = blocks, nid

    @cached_property
    def _ranges(self) -> tuple[list[int], list[int]]:
        ranges = sorted((b.start, b.end) for b in self.blocks if b.nid != self.nid)
        return [start for start, _ in ranges], list(accumulate((end for _, end in ranges), max))

    def lie_in(self, start: int, end: int) -> bool:
        """Does one of them overlap [start, end)?"""
        starts, highest = self._ranges
        before = bisect_left(starts, end)
        return before > 0 and highest[before - 1] > start


def _join_neighbours(blocks: list[NumaMemblk], i: int, others: _Others, log: KernelLog) -> bool:
    """Join to blocks[i] every later block of its node that has no other node's block in between; was there any?"""
    bi = blocks[i]
    joined = False
    j = i + 1
    while j < len(blocks):
        bj = blocks[j]
        j += 1
        if bi.end > bj.start and bi.start < bj.end:
            if bi.nid != bj.nid:
                log.err(
                    f"NUMA: node {bi.nid} [mem {bi.start:#010x}-{bi.end - 1:#010x}] overlaps with "
                    f"node {bj.nid} [mem {bj.start:#010x}-{bj.end - 1:#010x}]"
                )
                raise NumaError("nodes overlap")
            log.warn(
                f"NUMA: Warning: node {bi.nid} [mem {bi.start:#010x}-{bi.end - 1:#010x}] overlaps with "
                f"itself [mem {bj.start:#010x}-{bj.end - 1:#010x}]"
            )
        if bi.nid != bj.nid:
            continue
        start, end = min(bi.start, bj.start), max(bi.end, bj.end)
        if others.lie_in(start, end):
            continue
        log.info(
            f"NUMA: Node {bi.nid} [mem {bi.start:#010x}-{bi.end - 1:#010x}] + "
            f"[mem {bj.start:#010x}-{bj.end - 1:#010x}] -> [mem {start:#010x}-{end - 1:#010x}]"
        )
        bi.start, bi.end = start, end
        j -= 1
        del blocks[j]
        joined = True
    return joined


def register_meminfo(info: NumaInfo, mb: Memblock) -> None:
    """numa_register_meminfo(): gives memblock's memory its nodes; none that holds the kernel is hot-pluggable."""
    for b in info.meminfo:
        mb.set_node(b.start, b.end - b.start, mb.memory, b.nid)
    for b in info.meminfo:
        mb.set_node(b.start, b.end - b.start, mb.reserved, b.nid)
    kernel_nodes = {r.nid for r in mb.reserved.regions if 0 <= r.nid < mb.max_numnodes}
    for b in info.meminfo:
        if b.nid in kernel_nodes:
            mb.clear_hotplug(b.start, b.end - b.start)


def covers_memory(mb: Memblock, log: KernelLog) -> bool:
    """Do the nodes hold all memory but for about 1 MiB? Says so in the kernel's words when they do not.

    Models numa_meminfo_cover_memory(), and memblock_validate_numa_coverage() which took its place in 6.8.
    """
    orphan = total = 0
    for start, end, nid in mb.for_each_mem_pfn_range(mb.max_numnodes):
        total += end - start
        if not 0 <= nid < mb.max_numnodes:
            orphan += end - start
    if mb.release.numa_coverage_by_memblock:
        if orphan * mb.page_size <= ONE_MIB:
            return True
        log.err(f"NUMA: no nodes coverage for {orphan * mb.page_size >> 20}MB of {mb.phys_mem_size() >> 20}MB RAM")
        return False
    if orphan * mb.page_size < ONE_MIB:
        return True
    covered, everything = ((total - orphan) * mb.page_size >> 20, total * mb.page_size >> 20)
    log.err(f"NUMA: nodes only cover {covered}MB of your {everything}MB e820 RAM. Not used.")
    return False
