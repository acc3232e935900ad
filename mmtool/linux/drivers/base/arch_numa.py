"""Nodes of a machine without an old way of its own: drivers/base/arch_numa.c (arch/arm64/mm/numa.c before 5.12)."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.firmware.machine import Machine
from mmtool.linux.drivers.acpi.numa.srat import SayCpu, acpi_numa_init
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.numa import Nodes
from mmtool.linux.mm.numa_emulation import numa_emulation
from mmtool.linux.mm.numa_memblks import NumaError, NumaInfo, cleanup_meminfo, register_meminfo
from mmtool.units import div_round_up, round_up

DISTANCES = "NUMA distances"


def arch_numa_init(early: Early, machine: Machine, nodes: Nodes, say_cpu: SayCpu) -> None:
    """arch_numa_init(): the nodes of the SRAT or, without ACPI, of the device tree; else one node for everything."""
    mb, cmdline = early.memblock, early.cmdline
    off = any((value or "").startswith("off") for value in cmdline.all("numa"))
    acpi = bool(machine.acpi) and cmdline.get("acpi") != "off"

    def firmware(info: NumaInfo) -> bool:
        return _acpi_numa_init(early, machine, info, say_cpu) if acpi else _of_numa_init(early, machine, info)

    info = None if off else _numa_init(early, firmware)
    if info is None:
        info = _numa_init(early, lambda info: _dummy_numa_init(early, info, off)) or NumaInfo(nodes_parsed={0})
    nodes.info = info
    for nid in sorted(info.nodes_parsed):
        _alloc_node_data(early, nodes, nid)
    if early.kernel.cpumask_offstack:
        size = div_round_up(early.kernel.number("NR_CPUS", 1), 64) * 8
        for _ in range(max(info.nodes_parsed) + 1):
            mb.alloc(size, mb.smp_cache_bytes, owner="CPU masks")
    nodes.possible = set(info.nodes_parsed)
    nodes.online = set(info.nodes_parsed)


def _numa_init(early: Early, init: Callable[[NumaInfo], bool]) -> NumaInfo | None:
    """numa_init(): what `init` finds; None where it fails.

    Up to 6.11 with a table of distances for all nodes there may be, which goes back then. Later there is one from the
    first distance on, see _alloc_distance().
    """
    mb, info = early.memblock, NumaInfo()
    if not early.kernel.release.numa_distances_before_nodes:
        return info if init(info) else None
    size = mb.max_numnodes**2
    table = mb.alloc(size, mb.page_size, owner=DISTANCES)
    if init(info):
        return info
    if table is not None:
        mb.phys_free(table, size)
    return None


def _alloc_distance(early: Early, info: NumaInfo) -> None:
    """numa_alloc_distance(), where it has not made its table before."""
    if not early.kernel.release.numa_distances_before_nodes:
        early.memblock.alloc(info.table_size, early.memblock.page_size, owner=DISTANCES)


def _acpi_numa_init(early: Early, machine: Machine, info: NumaInfo, say_cpu: SayCpu) -> bool:
    """arch_acpi_numa_init(): False where there is no SRAT, or none that makes sense."""
    named = {pxm: nid for nid, pxm in (n.values[:2] for n in machine.notes if n.kind == "srat_node")}
    try:
        if machine.srat is None:
            raise NumaError("no SRAT")
        acpi_numa_init(
            early, info, machine.srat, machine.slit,
            named=named, say_cpu=say_cpu, alloc_distance=lambda: _alloc_distance(early, info),
        )  # fmt: skip
    except NumaError:
        early.log.info("NUMA: Failed to initialise from firmware")
        return False
    # CPUs are numbered in the order of the table's entries.
    info.cpu_nodes = dict(enumerate(info.cpu_nodes.values()))
    return _register(early, info)


def _of_numa_init(early: Early, machine: Machine, info: NumaInfo) -> bool:
    """of_numa_init() of drivers/of/of_numa.c: numa-node-id of CPUs and memory, distances.

    False where the tree has none or makes no sense.
    """
    tree, facts, log = machine.fdt, early.kernel.release, early.log
    if tree is None or tree.numa_error is not None or not tree.cpus:
        return False
    most = early.memblock.max_numnodes
    cpus = [cpu.nid for cpu in tree.cpus if cpu.enabled]
    for nid in cpus:
        if nid is not None and nid >= most:
            log.warn(f"OF: NUMA: Node id {nid} exceeds maximum value")
        elif nid is not None:
            info.nodes_parsed.add(nid)
    cpus = [nid if nid is not None and nid < most else None for nid in cpus]
    for block in tree.numa_memory:
        if block.nid >= most:
            log.warn(f"OF: NUMA: Node id {block.nid} exceeds maximum value")
            log.warn("OF: NUMA: bad property in memory node")
            return False
        info.add_memblk(block.nid, block.start, block.end, log)
        info.nodes_parsed.add(block.nid)
    if not info.nodes_parsed or (facts.arch_numa_has_memblks and not tree.numa_complete):
        if not facts.arch_numa_has_memblks:
            log.info("NUMA: No NUMA configuration found")
        return False
    info.cpu_nodes = {number: nid or 0 for number, nid in enumerate(cpus)}
    for (a, b), value in tree.distance_map.items():
        info.set_distance(a, b, value, log)
    if tree.distance_map:
        _alloc_distance(early, info)
    return _register(early, info)


def _register(early: Early, info: NumaInfo) -> bool:
    """Give memblock's memory its nodes; False where the kernel rejects them."""
    mb = early.memblock
    if early.kernel.release.arch_numa_has_memblks:
        try:
            cleanup_meminfo(info.meminfo, mb, early.kernel, mb.max_pfn, early.log)
        except NumaError:
            return False
        numa_emulation(early, info, _numa_emu_dma_end(early))
        register_meminfo(info, mb)
    else:
        for block in info.meminfo:
            mb.set_node(block.start, block.end - block.start, mb.memory, block.nid)
    return all(mb.valid_node(region.nid) for region in mb.memory.regions)


def _numa_emu_dma_end(early: Early) -> int:
    """numa_emu_dma_end(): where memory begins, and 4 GiB on."""
    return early.memblock.start_of_DRAM() + (1 << 32)


def _dummy_numa_init(early: Early, info: NumaInfo, off: bool) -> bool:
    """dummy_numa_init(): node 0 has everything between the first and the last byte of memory."""
    start, end = early.memblock.start_of_DRAM(), early.memblock.end_of_DRAM() or 0
    if off:
        early.log.info("NUMA: NUMA disabled")
    early.log.info(f"NUMA: Faking a node at [mem {start:#018x}-{end - 1:#018x}]")
    info.nodes_parsed = {0}
    info.add_memblk(0, start, end, early.log)
    return _register(early, info)


def _alloc_node_data(early: Early, nodes: Nodes, nid: int) -> None:
    """setup_node_data(), later alloc_node_data(): the node's pg_data_t, on the node where possible."""
    mb, kernel, log = early.memblock, early.kernel, early.log
    size = round_up(kernel.profile.sizes["pg_data_t"], mb.smp_cache_bytes)
    base = mb.phys_alloc_try_nid(size, mb.smp_cache_bytes, nid, owner=f"NODE_DATA({nid})")
    if not base:
        return
    nodes.pgdat_at[nid] = base
    name = f"NODE_DATA({nid}) allocated" if kernel.release.arch_numa_has_memblks else "NUMA: NODE_DATA"
    log.info(f"{name} [mem {base:#010x}-{base + size - 1:#010x}]")
    found = mb.search_pfn_nid(base >> kernel.page_shift)
    if found is not None and found[0] != nid:
        log.info(f"NUMA: NODE_DATA({nid}) on node {found[0]}")
