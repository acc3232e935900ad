"""Where an allocation looks when its own zone is full: build_all_zonelists() of mm/page_alloc.c."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from mmtool.build.kernel import Kernel
from mmtool.late import dataclass
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.mmzone import Pgdat

Distance = Callable[[int, int], int]


@dataclass
class Zonelists:
    """Every node's zonelists: `fallback` goes on to other nodes, `thisnode` (__GFP_THISNODE) does not.

    `node_order` is the nodes in the order in which each node turns to them. `total_pages` is what the kernel
    counts as usable then, and decides whether pages are grouped by mobility.
    """

    node_order: dict[int, list[int]] = field(default_factory=dict)
    fallback: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    thisnode: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    policy_zone: str = ""
    total_pages: int = 0
    mobility_grouping: bool = True


def build_all_zonelists(
    nodes: dict[int, Pgdat],
    distance: Distance,
    online: set[int],
    kernel: Kernel,
    log: KernelLog,
) -> Zonelists:
    """Zonelists of every node in `nodes`, with the kernel's lines. `distance(a, b)` is the NUMA distance.

    No CPU has been counted to its node yet when this runs at boot, so that nodes with CPUs get no penalty.
    """
    lists = Zonelists()
    _order_nodes(lists, nodes, NodeLoad(kernel, len(online)), distance)
    _build_zonerefs(lists, nodes)
    _count(lists, nodes, kernel)
    _print(lists, len(online), kernel, log)
    return lists


def _order_nodes(lists: Zonelists, nodes: dict[int, Pgdat], load: NodeLoad, distance: Distance) -> None:
    """build_zonelists(): the nodes that each node turns to."""
    memory = [nid for nid, node in sorted(nodes.items()) if any(z.populated for z in node.zones)]
    for nid in sorted(nodes):
        lists.node_order[nid] = load.order(nid, memory, distance)


def _build_zonerefs(lists: Zonelists, nodes: dict[int, Pgdat]) -> None:
    """build_zonerefs_node(): of each of them the zones that hold pages, highest first."""
    down = {nid: [(nid, z.name) for z in reversed(node.zones) if z.populated] for nid, node in nodes.items()}
    for nid, order in lists.node_order.items():
        lists.fallback[nid] = [ref for n in order for ref in down[n]]
        lists.thisnode[nid] = down[nid]


def _count(lists: Zonelists, nodes: dict[int, Pgdat], kernel: Kernel) -> None:
    """vm_total_pages, what follows from it, and the highest zone that memory policies apply to."""
    zones = [z for node in nodes.values() for z in node.zones]
    lists.total_pages = sum(z.managed_pages for z in zones)
    lists.mobility_grouping = lists.total_pages >= kernel.migrate_types << kernel.pageblock_order
    for_policies = [z for z in zones if z.populated and z.name != "Movable"]
    lists.policy_zone = max(for_policies, key=lambda z: z.zone_idx).name if for_policies else ""


def _print(lists: Zonelists, online: int, kernel: Kernel, log: KernelLog) -> None:
    if kernel.release.zonelist_prints_fallback and kernel.enabled("NUMA"):
        for nid, order in lists.node_order.items():
            log.info(f"Fallback order for Node {nid}: " + "".join(f"{n} " for n in order))
    grouping = "on" if lists.mobility_grouping else "off"
    log.info(f"Built {online} zonelists, mobility grouping {grouping}.  Total pages: {lists.total_pages}")
    if kernel.enabled("NUMA"):
        log.info(f"Policy zone: {lists.policy_zone}")


class NodeLoad:
    """find_next_best_node(): the nearest node that is not yet on the list, the less loaded of equals."""

    def __init__(self, kernel: Kernel, nr_online: int) -> None:
        self.kernel, self.nr_online = kernel, nr_online
        self.load: dict[int, int] = {}

    def order(self, local: int, memory: list[int], distance: Distance) -> list[int]:
        """Nodes by distance from `local`; the first of each distance gets a load, so that others prefer its peers."""
        counts_up = self.kernel.release.zonelist_load_counts_up
        skip_local = self.kernel.release.zonelist_skips_memoryless and local not in memory
        order = [] if skip_local else [local]
        load = self.nr_online - len(order)
        # No load of a node that is still to come changes on the way, so that one sorting finds the best each time.
        # What the order goes by, the least first: the distance, with a penalty for lower numbers, then the load.
        value = {n: (distance(local, n) + (n < local), self.load.get(n, 0)) for n in memory if n != local}
        previous = distance(local, local)
        for best in sorted(value, key=value.__getitem__):
            if (away := value[best][0] - (best < local)) != previous:
                self.load[best] = self.load.get(best, 0) + 1 if counts_up else load
            order.append(best)
            previous = away
            load -= 1
        return order
