"""The nodes that a booting kernel has: node_states[] of mm/page_alloc.c, node_data[] of mm/numa.c."""

from __future__ import annotations

from dataclasses import field

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.numa_memblks import NumaInfo


@dataclass(repr=False)
class Nodes:
    """Which nodes there are, and what is known of each. Before the architecture has looked, node 0 alone is online."""

    online: set[int] = field(default_factory=lambda: {0})
    """node_online_map."""
    possible: set[int] = field(init=False)
    """node_possible_map, from initmem_init() on."""
    info: NumaInfo = field(default_factory=NumaInfo)
    """What firmware told of them."""
    pgdat_at: dict[int, int] = field(default_factory=dict)
    """Where the pg_data_t of each lies that has one yet: a physical address."""
    pgdat: dict[int, Pgdat] = field(init=False)
    """NODE_DATA() with its zones, from free_area_init() on."""

    def node_distance(self, a: int, b: int) -> int:
        """node_distance()."""
        return self.info.node_distance(a, b)

    def cpu_nodes(self, cpus: int) -> list[int]:
        """early_cpu_to_node() of `cpus` possible CPUs, in the order of the SRAT's entries.

        Without entries CPUs are dealt out to the online nodes in turn (numa_init_array()).
        """
        online = sorted(self.online) or [0]
        named = [] if self.info.emulated else list(self.info.cpu_nodes.values())[:cpus]
        return [*named, *(online[i % len(online)] for i in range(cpus - len(named)))]
