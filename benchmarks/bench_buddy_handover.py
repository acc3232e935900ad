"""How the hand-over's cost grows with the machine: 64 TiB on 8 nodes against 2 GiB.

python benchmarks/bench_buddy_handover.py; exit status 1 when the large machine costs more than 1.5 times the
small one. Both have the same number of reservations, so that they differ in untouched memory and in nodes.
"""

from __future__ import annotations

import sys
from time import process_time

from mmtool.build.kernel import Kernel
from mmtool.build.profile import load_profile
from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.init.main import hand_over
from mmtool.linux.mm.memblock import Memblock, MemblockRegion

GIB = 1 << 30
LIMIT = 1.5
RESERVATIONS = 48
"""About what a boot of a small machine leaves."""


def machine(nodes: int, node_size: int, reservations: int) -> tuple[list[MemblockRegion], list[MemblockRegion]]:
    """Nodes one after the other, `reservations` in all of a few pages each at odd places near their ends."""
    memory = [
        MemblockRegion(nid * node_size or 0x1000, node_size - (0 if nid else 0x1000), 0, nid) for nid in range(nodes)
    ]
    reserved = []
    for nid in range(nodes):
        top = (nid + 1) * node_size
        count = reservations // nodes
        reserved += [MemblockRegion(top - (count - i) * 0x333000, 0x5800, 0, nid) for i in range(count)]
    return memory, reserved


def measure(memory: list[MemblockRegion], reserved: list[MemblockRegion]) -> float:
    """The CPU time of one hand-over, early and late part, in seconds."""
    kernel = Kernel("6.1", release_facts((6, 1, 0)), load_profile("debian-6.1-cloud-amd64"))
    start = process_time()
    mb = Memblock(kernel.release, numa=True, max_numnodes=kernel.max_numnodes)
    mb.memory.restore(memory)
    mb.reserved.restore(reserved)
    nodes = hand_over(mb, kernel, Cmdline(), late=True)
    taken = process_time() - start
    pages = sum(region.size for region in memory) >> 12
    assert 0 <= pages - sum(zone.managed_pages for node in nodes.values() for zone in node.zones) < 8 * RESERVATIONS
    return taken


def main() -> int:
    machines = [machine(1, 2 * GIB, RESERVATIONS), machine(8, 8 << 40, RESERVATIONS)]
    # Turn about, so that a busy moment of this computer meets both.
    small, large = (min(times) for times in zip(*[[measure(*m) for m in machines] for _ in range(30)], strict=True))
    print(f"2 GiB, 1 node: {small * 1e3:.2f} ms; 64 TiB, 8 nodes: {large * 1e3:.2f} ms; ratio {large / small:.2f}")
    return 0 if large <= LIMIT * small else 1


if __name__ == "__main__":
    sys.exit(main())
