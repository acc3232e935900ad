"""Nodes and distances out of the SRAT and the SLIT: drivers/acpi/numa/srat.c. Bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmtool.firmware.machine import CpuAffinity, MemoryAffinity, Slit, Srat
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.numa_memblks import LOCAL_DISTANCE, NumaError, NumaInfo
from mmtool.units import div_round_up

NR_NODE_MEMBLKS = 2
"""Blocks of memory that the SRAT may name, for each node that there may be."""

SayCpu = Callable[[CpuAffinity, int], None]
"""What an architecture prints about the entry of a CPU and its node."""


def acpi_numa_init(
    early: Early, numa: NumaInfo, srat: Srat, slit: Slit | None, *,
    named: Mapping[int, int], say_cpu: SayCpu, alloc_distance: Callable[[], None],
) -> None:  # fmt: skip
    """acpi_numa_init(): nodes out of the SRAT, first those of CPUs, then those of memory; distances out of the SLIT.

    Nodes are numbered in the order in which their proximity domains turn up. Kernels that do not print the CPUs'
    entries hide that order; `named`, {proximity domain: node}, is what other lines of their log tell of it.
    `alloc_distance` makes room for the table. NumaError without a memory entry.
    """
    nodes = dict(named) if not srat.cpus else {}
    for cpu in srat.cpus:
        if cpu.enabled:
            node = nodes.setdefault(cpu.pxm, len(nodes))
            numa.cpu_nodes[cpu.apic_id] = node
            numa.nodes_parsed.add(node)
            say_cpu(cpu, node)
    memory = [entry for entry in srat.memory if entry.enabled]
    for entry in memory:
        _memory_affinity(early, numa, entry, nodes)
    ends = (div_round_up(entry.end, early.kernel.page_size) for entry in memory)
    early.memblock.max_possible_pfn = max([early.memblock.max_possible_pfn, *ends])
    if slit is not None:
        _parse_slit(early, numa, slit, nodes, alloc_distance)
    if not memory:
        raise NumaError("no memory affinity")


def _memory_affinity(early: Early, numa: NumaInfo, mem: MemoryAffinity, nodes: dict[int, int]) -> None:
    """acpi_numa_memory_affinity_init(): an entry of memory. NumaError for one more than there is room for."""
    node = nodes.setdefault(mem.pxm, len(nodes))
    hotplug = mem.hotplug and early.kernel.enabled("MEMORY_HOTPLUG")
    if len(numa.meminfo) >= NR_NODE_MEMBLKS * early.memblock.max_numnodes:
        early.log.err("too many memblk ranges")
        where = f"[mem {mem.start:#010x}-{mem.end - 1:#010x}]"
        early.log.err(f"ACPI: SRAT: Failed to add memblk to node {node} {where}")
        early.log.err("ACPI: SRAT: SRAT not used.")
        raise NumaError("too many memblk ranges")
    numa.add_memblk(node, mem.start, mem.end, early.log)
    numa.nodes_parsed.add(node)
    words = (" hotplug" if hotplug else "") + (" non-volatile" if mem.nonvolatile else "")
    early.log.info(f"ACPI: SRAT: Node {node} PXM {mem.pxm} [mem {mem.start:#010x}-{mem.end - 1:#010x}]{words}")
    if hotplug:
        early.memblock.mark_hotplug(mem.start, mem.end - mem.start)


def _parse_slit(
    early: Early, numa: NumaInfo, slit: Slit, nodes: dict[int, int], alloc_distance: Callable[[], None]
) -> None:
    """acpi_parse_slit(): not used unless every node is nearer to itself than to any other."""
    table = slit.distances
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if (value != LOCAL_DISTANCE) if i == j else value <= LOCAL_DISTANCE:
                early.log.info("ACPI: SLIT table looks invalid. Not used.")
                return
    alloc_distance()
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if i in nodes and j in nodes:
                numa.set_distance(nodes[i], nodes[j], value, early.log)
