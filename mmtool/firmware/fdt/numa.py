"""NUMA nodes, their distances and CPUs of a device tree, as drivers/of/of_numa.c and the CPU scan read them."""

from __future__ import annotations

from mmtool.firmware.devicetree import Cpu, NumaMemory, Problem
from mmtool.firmware.fdt.address import Translator, address_cells
from mmtool.firmware.fdt.blob import Node
from mmtool.firmware.fdt.memory import number, walk

Distances = dict[tuple[int, int], int]
_LOCAL_DISTANCE = 10


def read_numa(root: Node, translator: Translator) -> tuple[tuple[NumaMemory, ...], Distances, Problem | None]:
    """Memory with its nodes, distances, and for what the kernel gives all of it up (it keeps one node then).

    Models of_numa_init(), but for the limit of nodes (MAX_NUMNODES), which is the build's.
    """
    memory: list[NumaMemory] = []
    for node in walk(root):
        if node.string("device_type") == "memory" and "numa-node-id" in node.properties:
            nid, found = node.u32("numa-node-id"), 0
            for start, end in translator.resources(node) if nid is not None else ():
                found += 1
                if nid is not None and end > start:
                    memory.append(NumaMemory(node.path, start, end, nid))
            if not found:
                name = "reg" if nid is not None else "numa-node-id"
                return tuple(memory), {}, Problem(node.path, name, "bad property in memory node; NUMA is given up")
    distances, problem = _distances(root)
    return tuple(memory), distances, problem


def is_complete(root: Node, problems: list[Problem]) -> bool:
    """Has the last memory node of the tree a numa-node-id? What of_numa_parse_memory_nodes() returns hangs on it."""
    nodes = [node for node in walk(root) if node.string("device_type") == "memory"]
    complete = bool(nodes) and "numa-node-id" in nodes[-1].properties
    if not complete and any("numa-node-id" in node.properties for node in nodes):
        message = "is not there, but other memory nodes have it; since 6.12 NUMA is given up for that"
        problems.append(Problem(nodes[-1].path, "numa-node-id", message))
    return complete


def _distances(root: Node) -> tuple[Distances, Problem | None]:
    """Models of_numa_parse_distance_map_v1()."""
    wanted = "numa-distance-map-v1"
    top = next((node for node in walk(root) if wanted in (c.lower() for c in node.strings("compatible"))), None)
    distances: Distances = {}
    if top is None:
        return distances, None
    words = top.words("distance-matrix")
    if words is None:
        return distances, Problem(top.path, "distance-matrix", "is not there; NUMA is given up")
    if not words or len(top.properties["distance-matrix"]) % 4:
        return distances, Problem(top.path, "distance-matrix", "Invalid distance-matrix; NUMA is given up")
    for a, b, distance in zip(*[iter(words)] * 3, strict=False):
        if (a == b and distance != _LOCAL_DISTANCE) or (a != b and distance <= _LOCAL_DISTANCE):
            message = f"Invalid distance[node{a} -> node{b}] = {distance}; NUMA is given up"
            return distances, Problem(top.path, "distance-matrix", message)
        distances[a, b] = distance
        if b > a:
            distances[b, a] = distance
    return distances, None


def read_cpus(root: Node, problems: list[Problem]) -> tuple[Cpu, ...]:
    """The CPUs of /cpus in the tree's order, without those whose status is "fail". Models for_each_of_cpu_node()."""
    top = next((node for node in root.children if node.name == "cpus"), None)
    cpus: list[Cpu] = []
    for node in top.children if top is not None else ():
        status = node.string("status") or ""
        if not (node.is_named("cpu") or node.string("device_type") == "cpu"):
            continue
        if status == "fail" or status.startswith("fail-"):
            continue
        words, cells = node.words("reg"), address_cells(top)
        if words is None or len(words) < cells:
            problems.append(Problem(node.path, "reg", "missing reg property; the CPU is skipped"))
            continue
        cpus.append(Cpu(node.path, number(words[:cells]), _nid(node), node.available))
    return tuple(cpus)


def _nid(node: Node) -> int | None:
    """numa-node-id of the node or of the nearest above it that has one. Models of_node_to_nid()."""
    above: Node | None = node
    while above is not None and "numa-node-id" not in above.properties:
        above = above.parent
    return above.u32("numa-node-id") if above is not None else None
