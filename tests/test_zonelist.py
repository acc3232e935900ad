"""Zonelists: the order of nodes and zones, and what is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtool.build.kernel import Kernel
from mmtool.build.profile import Profile
from mmtool.build.release import release_facts
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.mmzone import PageblockTypes, Pgdat, Zone
from mmtool.linux.mm.zonelist import build_all_zonelists

NAMES = ["DMA", "DMA32", "Normal", "Movable"]
RING = [[10, 20, 30, 20], [20, 10, 20, 30], [30, 20, 10, 20], [20, 30, 20, 10]]
FLAT = [[10 if a == b else 20 for b in range(4)] for a in range(4)]


def kernel_of(version, **options):
    config = {"NUMA": True, "NODES_SHIFT": 6, "HUGETLB_PAGE": True} | options
    release = ".".join(map(str, version))
    profile = Profile("test", "x86_64", release, config, {"struct_page": 64})
    return Kernel(release, release_facts((*version, 0)), profile)


def node(kernel, nid, **managed):
    """A node with these zones, lowest first; managed pages, also the present ones."""
    made = Pgdat(nid, nid << 20, 1 << 20)
    for name, pages in managed.items():
        zone = Zone(
            name, nid, nid << 20, pages, pages, kernel.release, PageblockTypes(9), zone_idx=NAMES.index(name)
        )
        zone.managed_pages = pages
        made.zones.append(zone)
    return made


def build(version, nodes, table=FLAT, **options):
    kernel, log = kernel_of(version, **options), KernelLog()
    made = {nid: node(kernel, nid, **zones) for nid, zones in nodes.items()}
    lists = build_all_zonelists(made, lambda a, b: table[a][b], set(made), kernel, log)
    return lists, [line.text for line in log.lines]


UNEVEN = [[10, 30, 20, 30], [30, 10, 20, 20], [20, 20, 10, 30], [30, 20, 30, 10]]
LATE = [[10, 20, 30, 40], [20, 10, 30, 21], [30, 30, 10, 40], [40, 21, 40, 10]]
STAR = [[10, 20, 20, 20], [20, 10, 30, 30], [20, 30, 10, 30], [20, 30, 30, 10]]
FOUR = {n: {"Normal": 1 << 18} for n in range(4)}


@pytest.mark.parametrize(
    ("version", "table", "orders"),
    [
        ((6, 12), RING, [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]]),
        ((6, 12), FLAT, [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]),
        # the load counts up: of 0 and 2, which were first of their distance twice and once, node 3 turns to 2 first
        ((6, 12), UNEVEN, [[0, 2, 1, 3], [1, 3, 2, 0], [2, 0, 1, 3], [3, 1, 2, 0]]),
        # it is set to what counts down: both have 3, since both came next to the node itself
        ((5, 10), UNEVEN, [[0, 2, 1, 3], [1, 3, 2, 0], [2, 0, 1, 3], [3, 1, 0, 2]]),
        # node 3: 1 was first next to node 0, 2 second next to node 1, for which the load had gone down from 3 to 2
        ((5, 10), STAR, [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 3, 1], [3, 0, 2, 1]]),
        # the last in node 0's line has a load of 1 yet, so that node 1 turns to 0 before it (20 and the penalty are 21)
        ((5, 10), LATE, [[0, 1, 2, 3], [1, 0, 3, 2], [2, 0, 1, 3], [3, 1, 2, 0]]),
        ((6, 12), STAR, [[0, 1, 2, 3], [1, 0, 2, 3], [2, 0, 3, 1], [3, 0, 1, 2]]),
    ],
)
def test_each_node_turns_to_the_nearest_and_then_the_least_loaded(version, table, orders):
    lists, said = build(version, FOUR, table)
    assert list(lists.node_order.values()) == orders
    assert said[:-2] == [f"Fallback order for Node {n}: " + "".join(f"{m} " for m in o) for n, o in enumerate(orders)][
        : 4 * (version > (5, 14))
    ]


def best_by_best(version, table, with_memory):
    """The orders of all nodes as find_next_best_node() makes them: all that are left are weighed for each place."""
    load, orders = dict.fromkeys(range(len(table)), 0), []
    for local in range(len(table)):
        order = [local] if local in with_memory or version < (6, 7) else []
        left, here, number = with_memory - {local}, table[local][local], len(table) - len(order)
        while left:
            best = min(left, key=lambda n: (table[local][n] + (n < local), load[n], n))
            if table[local][best] != here:
                load[best] = load[best] + 1 if version > (5, 17) else number
            order.append(best)
            left, here, number = left - {best}, table[local][best], number - 1
        orders.append(order)
    return orders


@settings(deadline=None)
@given(
    st.sampled_from([(5, 10), (6, 1), (6, 12)]),
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(
            st.lists(st.lists(st.sampled_from([20, 21, 22, 30]), min_size=n, max_size=n), min_size=n, max_size=n),
            st.sets(st.integers(0, n - 1), min_size=1),
        )
    ),
)
def test_the_orders_are_those_of_weighing_every_node_for_every_place(version, machine):
    table, with_memory = machine
    for n, row in enumerate(table):
        row[n] = 10
    nodes = {n: {"Normal": 1 << 18 if n in with_memory else 0} for n in range(len(table))}
    lists, _ = build(version, nodes, table)
    assert list(lists.node_order.values()) == best_by_best(version, table, with_memory)


def test_zones_go_from_high_to_low_and_without_empty_ones():
    nodes = {0: {"DMA": 4000, "DMA32": 1 << 18, "Normal": 0}, 1: {"Normal": 1 << 18, "Movable": 512}}
    lists, said = build((6, 12), nodes)
    near = [(0, "DMA32"), (0, "DMA")], [(1, "Movable"), (1, "Normal")]
    assert lists.fallback == {0: near[0] + near[1], 1: near[1] + near[0]}
    assert lists.thisnode == {0: near[0], 1: near[1]}
    assert lists.total_pages == 4000 + 2 * (1 << 18) + 512
    assert said[-2:] == ["Built 2 zonelists, mobility grouping on.  Total pages: 528800", "Policy zone: Normal"]
    low, said = build((6, 12), {0: {"DMA": 4000, "DMA32": 1 << 18, "Movable": 4000}})
    assert (low.policy_zone, said[-1]) == ("DMA32", "Policy zone: DMA32")
    assert build((6, 12), {0: {"Movable": 4000}})[0].policy_zone == ""


@pytest.mark.parametrize(("cma", "least"), [(True, 6 * 512), (False, 5 * 512)])
def test_a_small_machine_is_not_grouped_by_mobility(cma, least):
    # fewer pages than pageblock_nr_pages * MIGRATE_TYPES, which CMA adds one to
    for pages, word in ((least - 1, "off"), (least, "on")):
        lists, said = build((6, 12), {0: {"Normal": pages}}, CMA=cma)
        assert lists.mobility_grouping is (word == "on")
        assert said[1] == f"Built 1 zonelists, mobility grouping {word}.  Total pages: {pages}"
