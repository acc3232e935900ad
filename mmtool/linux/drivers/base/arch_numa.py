"""Nodes of an arm64 machine: drivers/base/arch_numa.c (arch/arm64/mm/numa.c before 5.12) and drivers/of/of_numa.c."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.linux.drivers.acpi.numa.srat import acpi_numa_init, alloc_distance
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.numa_memblks import NumaError, NumaInfo, cleanup_meminfo, register_meminfo

SMP_CACHE_BYTES = 64
DISTANCES = "NUMA distances"


def arch_numa_init(boot: Boot) -> None:
    """arch_numa_init(): the nodes of the SRAT or, without ACPI, of the device tree; else one node for everything."""
    off = any((value or "").startswith("off") for value in boot.cmdline.all("numa"))
    acpi = bool(boot.machine.acpi) and boot.cmdline.get("acpi") != "off"
    if off or not _with_distances(boot, _acpi_numa_init if acpi else _of_numa_init):
        _with_distances(boot, lambda b: _dummy_numa_init(b, off))
    for nid in sorted(boot.numa.nodes_parsed):
        _alloc_node_data(boot, nid)
    if boot.kernel.cpumask_offstack:
        size = -(-boot.kernel.number("NR_CPUS", 1) // 64) * 8
        for _ in range(max(boot.numa.nodes_parsed) + 1):
            boot.memblock.alloc(size, SMP_CACHE_BYTES, owner="CPU masks")
    boot.possible_nodes = set(boot.numa.nodes_parsed)
    boot.online_nodes = set(boot.numa.nodes_parsed)


def _with_distances(boot: Boot, init: Callable[[Boot], bool]) -> bool:
    """numa_init(): up to 6.11 with a table of distances for all nodes there may be, which goes back where `init` fails.

    Later there is one from the first distance on, see _of_numa_init().
    """
    mb = boot.memblock
    if not boot.kernel.release.numa_distances_before_nodes:
        return init(boot)
    size = mb.max_numnodes**2
    table = mb.alloc(size, mb.page_size, owner=DISTANCES)
    done = init(boot)
    if not done and table is not None:
        mb.phys_free(table, size)
    return done


def _acpi_numa_init(boot: Boot) -> bool:
    """arch_acpi_numa_init(): False where there is no SRAT, or none that makes sense."""
    boot.numa = NumaInfo()
    try:
        if boot.machine.srat is None:
            raise NumaError("no SRAT")
        acpi_numa_init(boot)
    except NumaError:
        boot.log.info("NUMA: Failed to initialise from firmware")
        return False
    # CPUs are numbered in the order of the table's entries.
    boot.numa.cpu_nodes = dict(enumerate(boot.numa.cpu_nodes.values()))
    return _register(boot)


def _of_numa_init(boot: Boot) -> bool:
    """of_numa_init(): numa-node-id of CPUs and memory, distances; False where the tree has none or makes no sense."""
    tree, facts = boot.machine.fdt, boot.kernel.release
    boot.numa = NumaInfo()
    if tree is None or tree.numa_error is not None or not tree.cpus:
        return False
    cpus = [cpu.nid for cpu in tree.cpus if cpu.enabled]
    boot.numa.nodes_parsed |= {nid for nid in cpus if nid is not None}
    for block in tree.numa_memory:
        boot.numa.add_memblk(block.nid, block.start, block.end, boot.log)
        boot.numa.nodes_parsed.add(block.nid)
    if not boot.numa.nodes_parsed or (facts.arch_numa_has_memblks and not tree.numa_complete):
        if not facts.arch_numa_has_memblks:
            boot.log.info("NUMA: No NUMA configuration found")
        return False
    boot.numa.cpu_nodes = {number: nid or 0 for number, nid in enumerate(cpus)}
    for (a, b), value in tree.distance_map.items():
        boot.numa.set_distance(a, b, value, boot.log)
    if not tree.distance_map or facts.numa_distances_before_nodes:
        return _register(boot)
    alloc_distance(boot)
    return _register(boot)


def _register(boot: Boot) -> bool:
    """Give memblock's memory its nodes; False where the kernel rejects them."""
    mb = boot.memblock
    if not boot.kernel.release.arch_numa_has_memblks:
        for block in boot.numa.meminfo:
            mb.set_node(block.start, block.end - block.start, mb.memory, block.nid)
        return all(mb.valid_node(region.nid) for region in mb.memory.regions)
    try:
        cleanup_meminfo(boot.numa.meminfo, mb, boot.kernel, boot.max_pfn, boot.log)
    except NumaError:
        return False
    register_meminfo(boot.numa, mb)
    return all(mb.valid_node(region.nid) for region in mb.memory.regions)


def _dummy_numa_init(boot: Boot, off: bool) -> bool:
    """dummy_numa_init(): node 0 has everything between the first and the last byte of memory."""
    start, end = boot.memblock.start_of_DRAM(), boot.memblock.end_of_DRAM() or 0
    if off:
        boot.log.info("NUMA: NUMA disabled")
    boot.log.info(f"NUMA: Faking a node at [mem {start:#018x}-{end - 1:#018x}]")
    boot.numa = NumaInfo(nodes_parsed={0})
    boot.numa.add_memblk(0, start, end, boot.log)
    return _register(boot)


def _alloc_node_data(boot: Boot, nid: int) -> None:
    """setup_node_data(), later alloc_node_data(): the node's pg_data_t, on the node where possible."""
    size = -(-boot.kernel.profile.sizes["pg_data_t"] // SMP_CACHE_BYTES) * SMP_CACHE_BYTES
    base = boot.memblock.phys_alloc_try_nid(size, SMP_CACHE_BYTES, nid, owner=f"NODE_DATA({nid})")
    if not base:
        return
    boot.node_data[nid] = base
    name = f"NODE_DATA({nid}) allocated" if boot.kernel.release.arch_numa_has_memblks else "NUMA: NODE_DATA"
    boot.log.info(f"{name} [mem {base:#010x}-{base + size - 1:#010x}]")
    found = boot.memblock.search_pfn_nid(base >> boot.kernel.page_shift)
    if found is not None and found[0] != nid:
        boot.log.info(f"NUMA: NODE_DATA({nid}) on node {found[0]}")
