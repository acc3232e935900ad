"""Nodes and distances out of the SRAT and the SLIT: drivers/acpi/numa/srat.c, arch/x86/mm/srat.c. Bytes."""

from __future__ import annotations

from mmtool.firmware.machine import CpuAffinity, MemoryAffinity, Slit
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.numa_memblks import LOCAL_DISTANCE, NumaError


def acpi_numa_init(boot: Boot) -> None:
    """acpi_numa_init(): nodes out of the SRAT, first those of CPUs, then those of memory; distances out of the SLIT.

    Nodes are numbered in the order in which their proximity domains turn up. NumaError without a memory entry.
    """
    srat = boot.machine.srat
    assert srat is not None
    # Kernels that do not print the CPUs' entries hide the order; the numbers in other lines stand for it.
    nodes = {pxm: nid for nid, pxm in (n.values[:2] for n in boot.notes("srat_node"))} if not srat.cpus else {}
    for cpu in srat.cpus:
        if cpu.enabled:
            _cpu_affinity(boot, cpu, nodes)
    parsed = 0
    for mem in srat.memory:
        if mem.enabled:
            _memory_affinity(boot, mem, nodes)
            parsed += 1
    boot.max_possible_pfn = max(
        [boot.max_possible_pfn, *(-(-m.end >> boot.kernel.page_shift) for m in srat.memory if m.enabled)]
    )
    if boot.machine.slit is not None:
        _parse_slit(boot, boot.machine.slit, nodes)
    if not parsed:
        raise NumaError("no memory affinity")


def _cpu_affinity(boot: Boot, cpu: CpuAffinity, nodes: dict[int, int]) -> None:
    node = nodes.setdefault(cpu.pxm, len(nodes))
    boot.numa.cpu_nodes[cpu.apic_id] = node
    boot.numa.nodes_parsed.add(node)
    if boot.kernel.arch == "arm64":
        boot.log.info(f"ACPI: NUMA: SRAT: PXM {cpu.pxm} -> MPIDR {cpu.apic_id:#x} -> Node {node}")
    elif boot.kernel.release.srat_prints_cpus:
        width = 4 if cpu.apic_id > 0xFF else 2
        boot.log.info(f"SRAT: PXM {cpu.pxm} -> APIC 0x{cpu.apic_id:0{width}x} -> Node {node}")


def _memory_affinity(boot: Boot, mem: MemoryAffinity, nodes: dict[int, int]) -> None:
    node = nodes.setdefault(mem.pxm, len(nodes))
    hotplug = mem.hotplug and boot.kernel.enabled("MEMORY_HOTPLUG")
    boot.numa.add_memblk(node, mem.start, mem.end, boot.log)
    boot.numa.nodes_parsed.add(node)
    words = (" hotplug" if hotplug else "") + (" non-volatile" if mem.nonvolatile else "")
    boot.log.info(f"ACPI: SRAT: Node {node} PXM {mem.pxm} [mem {mem.start:#010x}-{mem.end - 1:#010x}]{words}")
    if hotplug:
        boot.memblock.mark_hotplug(mem.start, mem.end - mem.start)


def _parse_slit(boot: Boot, slit: Slit, nodes: dict[int, int]) -> None:
    """acpi_parse_slit(): not used unless every node is nearer to itself than to any other."""
    table = slit.distances
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if (value != LOCAL_DISTANCE) if i == j else value <= LOCAL_DISTANCE:
                boot.log.info("ACPI: SLIT table looks invalid. Not used.")
                return
    alloc_distance(boot)
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            if i in nodes and j in nodes:
                boot.numa.set_distance(nodes[i], nodes[j], value, boot.log)


def alloc_distance(boot: Boot) -> None:
    """numa_alloc_distance(): a byte for every pair of nodes; arm64 up to 6.11 has made its table before."""
    if boot.kernel.arch == "arm64" and boot.kernel.release.numa_distances_before_nodes:
        return
    page = boot.memblock.page_size
    count = max(boot.numa.nodes_parsed | {b.nid for b in boot.numa.meminfo}, default=0) + 1
    if boot.kernel.arch == "arm64" or boot.kernel.release.numa_distance_anywhere:
        boot.memblock.alloc(count * count, page, owner="NUMA distances")
    else:
        boot.memblock.phys_alloc_range(count * count, page, 0, boot.max_mapped, owner="NUMA distances")
