"""numa=fake=: nodes that are not there, carved out of those that are. mm/numa_emulation.c (arch/x86/mm before 6.12).

Sizes and addresses in bytes. A failure leaves the physical nodes in place, as in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock
from mmtool.linux.mm.numa_memblks import (
    LOCAL_DISTANCE,
    REMOTE_DISTANCE,
    NumaError,
    NumaInfo,
    NumaMemblk,
    cleanup_meminfo,
)
from mmtool.regex import regex
from mmtool.units import div_round_up, memparse

FAKE_NODE_MIN_SIZE = 32 << 20
Holes = Callable[[int, int], int]


class Emulation:
    """One run of numa_emulation(): takes blocks from `physical`, gives them to `fake` nodes."""

    def __init__(self, early: Early, info: NumaInfo, holes: Holes, dma32_end: int):
        self.info, self.holes, self.dma32_end = info, holes, dma32_end
        self.page_shift, self.max_nodes = early.kernel.page_shift, early.kernel.max_numnodes
        self.max_addr, self.log = early.memblock.max_pfn << self.page_shift, early.log
        self.physical = [replace(b) for b in info.meminfo]
        self.fake: list[NumaMemblk] = []
        self.to_physical: dict[int, int] = {}

    def run(self, text: str) -> bool:
        """Split as `text` asks ("4", "512M", "2U"); False when that cannot be done."""
        if "U" in text:
            return self._split_uniform_per_node(memparse(text.split("U")[0])[0])
        if "M" in text or "G" in text:
            return self._split_by_size(memparse(text)[0])
        return self._split_by_count(memparse(text)[0])

    def _take(self, nid: int, block: NumaMemblk, size: int) -> None:
        """emu_setup_memblk(): the first `size` bytes of a physical block become part of fake node `nid`."""
        start, end = block.start, block.start + size
        self.fake.append(NumaMemblk(start, end, nid))
        self.to_physical.setdefault(nid, block.nid)
        block.start = end
        if block.start >= block.end:
            self.physical.remove(block)
        self.log.info(f"Faking node {nid} at [mem {start:#018x}-{end - 1:#018x}] ({(end - start) >> 20}MB)")

    def _free(self, start: int, end: int) -> int:
        return end - start - self.holes(start, end)

    def _reach(self, start: int, end: int, limit: int, size: int) -> int:
        """Push `end` on until [start, end) holds `size` bytes of memory or reaches `limit`."""
        while self._free(start, end) < size:
            end += FAKE_NODE_MIN_SIZE
            if end > limit:
                return limit
        return end

    def _respect_dma32(self, end: int) -> int:
        """The next node must find enough memory below 4 GiB, or this one takes the rest of it."""
        if end < self.dma32_end and self._free(end, self.dma32_end) < FAKE_NODE_MIN_SIZE:
            return self.dma32_end
        return end

    def _rounds(self, nodes: set[int], one: Callable[[NumaMemblk], None]) -> None:
        """Serve the physical nodes in turn until none has memory left."""
        left = sorted(nodes)
        while left:
            for nid in list(left):
                block = next((b for b in self.physical if b.nid == nid), None)
                if block is None:
                    left.remove(nid)
                else:
                    one(block)

    def _split_by_count(self, count: int) -> bool:
        """split_nodes_interleave(): `count` nodes, interleaved over the physical ones."""
        if count <= 0:
            return False
        if count > self.max_nodes:
            self.log.info(f"numa=fake={count} too large, reducing to {self.max_nodes}")
            count = self.max_nodes
        size = (self._free(0, self.max_addr) >> self.page_shift) // count << self.page_shift
        big = (size % FAKE_NODE_MIN_SIZE) * count // FAKE_NODE_MIN_SIZE
        size -= size % FAKE_NODE_MIN_SIZE
        if not size:
            self.log.err("Not enough memory for each node.  NUMA emulation disabled.")
            return False
        nid = 0

        def one(block: NumaMemblk) -> None:
            nonlocal nid
            start, limit = block.start, block.end
            end = start + size + (FAKE_NODE_MIN_SIZE if nid < big else 0)
            end = self._respect_dma32(self._reach(start, end, limit, size))
            if self._free(end, limit) < size:
                end = limit
            self._take(nid % count, block, min(end, limit) - start)
            nid += 1

        self._rounds(self.info.nodes_parsed, one)
        return True

    def _split_by_size(self, size: int) -> bool:
        """split_nodes_size_interleave(): nodes of `size` bytes or more, interleaved over the physical ones."""
        if not size:
            return False
        size = self._at_least(size, self._free(0, self.max_addr) >> self.page_shift)
        nid = 0

        def one(block: NumaMemblk) -> None:
            nonlocal nid
            start, limit = block.start, block.end
            end = self._respect_dma32(self._reach(start, start + size, limit, size))
            if self._free(end, limit) < size:
                end = limit
            self._take(nid % self.max_nodes, block, min(end, limit) - start)
            nid += 1

        self._rounds(self.info.nodes_parsed, one)
        return True

    def _at_least(self, size: int, pages: int) -> int:
        """The smallest node that keeps the number of nodes within bounds, in units of 32 MiB."""
        least = max((pages // self.max_nodes) << self.page_shift, FAKE_NODE_MIN_SIZE)
        least = -(-least // FAKE_NODE_MIN_SIZE) * FAKE_NODE_MIN_SIZE
        if size < least:
            self.log.err(f"Fake node size {size >> 20}MB too small, increasing to {least >> 20}MB")
            size = least
        return size - size % FAKE_NODE_MIN_SIZE

    def _split_uniform_per_node(self, count: int) -> bool:
        """numa=fake=<N>U: every physical node is split into N equal parts, holes counted as memory."""
        nid = 0
        for physical in sorted(self.info.nodes_parsed):
            if not self.physical or count <= 0:
                return False
            first = self.physical[0]
            size = ((first.end - first.start) >> self.page_shift) // count << self.page_shift
            size = -(-max(size, FAKE_NODE_MIN_SIZE) // FAKE_NODE_MIN_SIZE) * FAKE_NODE_MIN_SIZE
            before = nid
            while block := next((b for b in self.physical if b.nid == first.nid), None):
                end = self._respect_dma32(block.start + size)
                self._take(nid % self.max_nodes, block, min(end, block.end) - block.start)
                nid += 1
            if 0 < nid - before < count:
                got = nid - before
                self.log.info(f"numa_emulation: phys: {physical} only got {got} of {count} nodes, failing")
                return False
        return True


def transform_distance(info: NumaInfo, physical: list[list[int]], explicit: list[int], log: KernelLog) -> None:
    """Distances between faked nodes: those given after numa=fake=N:, else those of the physical nodes behind them."""
    assert info.emulated is not None
    count = max(info.emulated, default=0) + 1
    default = next(iter(info.emulated.values()), 0)
    behind = [info.emulated.get(i, default) for i in range(count)]
    known = len(physical)

    def between(a: int, b: int) -> int:
        if a < known and b < known:
            return physical[a][b]
        return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE

    # A row a physical node: with a thousand faked nodes there are a million pairs.
    rows = {a: [between(a, b) for b in behind] for a in set(behind)}
    info.distance = [list(rows[a]) for a in behind]
    log.debug(f"NUMA: Initialized distance table, cnt={count}")
    for place, value in enumerate(explicit[: count * count]):
        info.set_distance(*divmod(place, count), value, log)


_MEMBER = regex(r"(-?)(0[xX][0-9a-fA-F]+|[0-9]+),")


def numa_emulation(early: Early, info: NumaInfo, dma32_end: int) -> None:
    """numa_emulation(): replace the nodes by faked ones when numa=fake= asks for it and the build can.

    `dma32_end` is numa_emu_dma_end().
    """
    wishes = [v[5:] for v in early.cmdline.all("numa") if v and v.startswith("fake=")]
    if not wishes or not early.kernel.enabled("NUMA_EMU"):
        return
    text, _, distances = wishes[-1].partition(":")
    mb, log = early.memblock, early.log
    emulation = Emulation(early, info, lambda a, b: _hole_bytes(mb, a, b), dma32_end)
    if not emulation.run(text):
        return
    fake = [replace(b) for b in emulation.fake]
    try:
        cleanup_meminfo(fake, mb, early.kernel, mb.max_pfn, log)
    except NumaError:
        log.warn("NUMA: Warning: constructed meminfo invalid, disabling emulation")
        return
    info.meminfo = fake
    info.nodes_parsed = {b.nid for b in fake}
    info.emulated = emulation.to_physical
    transform_distance(info, info.distance, _leading_numbers(distances), log)


def _leading_numbers(text: str) -> list[int]:
    """What get_option() takes one after the other as members of a list: numbers that a comma follows."""
    numbers = []
    while m := _MEMBER.match(text):
        numbers.append(memparse(m[2])[0] * (-1 if m[1] else 1))
        text = text[m.end() :]
    return numbers


def _hole_bytes(mb: Memblock, start: int, end: int) -> int:
    """mem_hole_size(): bytes of whole pages in [start, end) that are no memory."""
    first, last = div_round_up(start, mb.page_size), end // mb.page_size
    if first >= last:
        return 0
    pages = sum(max(0, min(e, last) - max(s, first)) for s, e, _ in mb.for_each_mem_pfn_range(mb.max_numnodes))
    return (last - first - pages) * mb.page_size
