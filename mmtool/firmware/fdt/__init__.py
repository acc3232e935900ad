"""Device trees: the flattened tree that a boot loader hands to the kernel, read as the kernel's early code reads it.

`blob` checks the bytes and lets pyfdt take them apart, `memory` models drivers/of/fdt.c and of_reserved_mem.c, `numa`
drivers/of/of_numa.c, `address` the translations of drivers/of/address.c; `values` holds what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mmtool.firmware.devicetree import (
    Chosen,
    Cpu,
    DeviceTree,
    DmaBus,
    MemoryNode,
    NumaMemory,
    Problem,
    Range,
    ReservedNode,
)
from mmtool.firmware.fdt.address import Translator, dma_buses
from mmtool.firmware.fdt.architecture import architecture
from mmtool.firmware.fdt.blob import Blob, Node, same_blob
from mmtool.firmware.fdt.container import tree_in
from mmtool.firmware.fdt.memory import read_chosen, read_memory, read_reserved, root_cells
from mmtool.firmware.fdt.numa import is_complete, read_cpus, read_numa
from mmtool.firmware.packed import read_raw

__all__ = [
    "Chosen",
    "Cpu",
    "DeviceTree",
    "DmaBus",
    "MemoryNode",
    "Node",
    "NumaMemory",
    "Problem",
    "ReservedNode",
    "parse_fdt",
    "parse_root",
    "read_fdt",
    "with_memory",
]


def read_fdt(path: str) -> DeviceTree:
    """The device tree in a file, plain, compressed or within another; "-" is standard input. Raises InputError."""
    return parse_fdt(tree_in(read_raw(path), path)[0], path)


def with_memory(tree: DeviceTree, memory: Iterable[Range]) -> DeviceTree:
    """The tree as a boot loader leaves it that writes these ranges [start, end) into the root's memory node.

    A node's numa-node-id says nothing of memory that is only given here.
    """
    nodes = tuple(MemoryNode("/memory", start, end, None, False) for start, end in memory)
    return replace(tree, memory=nodes, nested_memory=(), numa_memory=(), numa_error=None, numa_complete=False)


def parse_fdt(data: bytes, source: str) -> DeviceTree:
    """The device tree in the bytes of a blob. What the kernel passes over is passed over, and told in `problems`.

    Raises InputError, which names a node's path or a byte, for what no kernel reads.
    """
    return parse_root(same_blob(data, source), source)


def parse_root(blob: Blob, source: str) -> DeviceTree:
    """The device tree of a blob's nodes, as `parse_fdt` makes it."""
    problems = list(blob.problems)
    cells = root_cells(blob.root, source, problems)
    translator = Translator(blob.root, source)
    memory, nested = read_memory(blob.root, cells, problems)
    numa_memory, distances, numa_error = read_numa(blob.root, translator)
    if numa_error is not None:
        problems.append(numa_error)
    buses = dma_buses(blob.root, translator, problems)
    return DeviceTree(
        size=blob.size,
        model=blob.root.string("model"),
        compatible=blob.root.strings("compatible"),
        memreserve=blob.memreserve,
        memory=memory,
        nested_memory=nested,
        reserved=read_reserved(blob.root, cells, problems),
        has_reserved_memory=any(node.name == "reserved-memory" for node in blob.root.children),
        chosen=read_chosen(blob.root, cells, problems),
        cpus=read_cpus(blob.root, problems),
        numa_memory=numa_memory,
        distance_map=distances,
        numa_error=numa_error,
        numa_complete=is_complete(blob.root, problems),
        architecture=architecture(blob.root),
        dma_limit=min((bus.limit for bus in buses if bus.limit is not None), default=None),
        dma_buses=buses,
        shape=tuple(_shape(node) for node in blob.root.walk()),
        problems=tuple(problems),
    )


def _shape(node: Node) -> tuple[int, int, int]:
    """What the unflattened tree keeps of a node, see DeviceTree.shape."""
    name = node.name.encode()
    base = 0 if "name" in node.properties else len(name.split(b"@", 1)[0]) + 1
    return len(name) + 1, len(node.properties), base
