"""How the hand-over's cost grows with the machine: 64 TiB on 8 nodes against 2 GiB.

python benchmarks/bench_buddy_handover.py; exit status 1 when the large machine costs more than 1.5 times the
small one. Both have the same number of reservations, so that they differ in untouched memory and in nodes.
"""

from __future__ import annotations

import sys
from time import process_time

from mmtool.kernel.release import release_facts
from mmtool.mm.page_alloc import make_nodes, memblock_free_all, page_alloc_init_late, zone_spans
from mmtool.observed.memblock import MemblockRegion

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


def hand_over(memory: list[MemblockRegion], reserved: list[MemblockRegion]) -> float:
    """The CPU time of one hand-over, early and late part, in seconds."""
    facts, start = release_facts((6, 1, 0)), process_time()
    pgdats = make_nodes(memory, zone_spans(memory), facts)
    pages = memblock_free_all(memory, reserved, pgdats)
    page_alloc_init_late(memory, reserved, pgdats)
    taken = process_time() - start
    assert sum(zone.managed_pages for pgdat in pgdats.values() for zone in pgdat.zones) == pages
    return taken


def main() -> int:
    machines = [machine(1, 2 * GIB, RESERVATIONS), machine(8, 8 << 40, RESERVATIONS)]
    # Turn about, so that a busy moment of this computer meets both.
    small, large = (min(times) for times in zip(*[[hand_over(*m) for m in machines] for _ in range(30)], strict=True))
    print(f"2 GiB, 1 node: {small * 1e3:.2f} ms; 64 TiB, 8 nodes: {large * 1e3:.2f} ms; ratio {large / small:.2f}")
    return 0 if large <= LIMIT * small else 1


if __name__ == "__main__":
    sys.exit(main())
