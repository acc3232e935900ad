"""Nodes of an x86 machine: arch/x86/mm/numa.c, arch/x86/mm/srat.c and drivers/acpi/numa/srat.c."""

from __future__ import annotations

from collections.abc import Callable

from mmtool.firmware.machine import CpuAffinity
from mmtool.linux.arch.x86.boot import X86Boot
from mmtool.linux.arch.x86.page import PAGE_SHIFT, PAGE_SIZE
from mmtool.linux.drivers.acpi.numa.srat import acpi_numa_init
from mmtool.linux.mm.memblock import NUMA_NO_NODE, MemblockPanic
from mmtool.linux.mm.memblock.dump import memblock_dump_all
from mmtool.linux.mm.numa_emulation import numa_emulation
from mmtool.linux.mm.numa_memblks import (
    NumaError,
    NumaInfo,
    cleanup_meminfo,
    covers_memory,
    register_meminfo,
)
from mmtool.units import round_up

DMA32_END = 1 << 32


def initmem_init(boot: X86Boot) -> None:
    """x86_numa_init(): the SRAT's nodes if they make sense, else one node for everything."""
    if not boot.kernel.enabled("NUMA"):
        mb = boot.memblock
        mb.set_node(0, 2**64 - 1, mb.memory, 0)
        boot.numa.possible = boot.numa.online = {0}
        return
    options = boot.cmdline.all("numa")
    off = any(v and v.startswith("off") for v in options)
    noacpi = any(v and v.startswith("noacpi") for v in options) or boot.cmdline.get("acpi") == "off"
    usable = boot.machine.srat is not None and boot.kernel.enabled("ACPI_NUMA") and not noacpi
    if off or not usable or not _numa_init(boot, x86_acpi_numa_init):
        _numa_init(boot, lambda b: _dummy_numa_init(b, off))
    if not boot.numa.online:
        reach = boot.memblock.max_pfn << PAGE_SHIFT
        raise MemblockPanic(f"no nodes hold the memory, of which it can address {reach:#x} bytes")


def _numa_init(boot: X86Boot, find: Callable[[X86Boot], None]) -> bool:
    """numa_init(): try one source of nodes; False when the kernel rejects it."""
    mb = boot.memblock
    boot.numa.info = NumaInfo()
    boot.numa.possible, boot.numa.online = set(), set()
    no_node = NUMA_NO_NODE if boot.kernel.release.numa_unassigned_is_no_node else mb.max_numnodes
    mb.set_node(0, 2**64 - 1, mb.memory, no_node)
    mb.set_node(0, 2**64 - 1, mb.reserved, no_node)
    mb.clear_hotplug(0, 2**64 - 1)
    try:
        find(boot)
        mb.bottom_up = False
        cleanup_meminfo(boot.numa.info.meminfo, mb, boot.kernel, boot.memblock.max_pfn, boot.log)
    except NumaError:
        return False
    numa_emulation(boot, boot.numa.info, DMA32_END)
    register_meminfo(boot.numa.info, mb)
    if not covers_memory(mb, boot.log):
        return False
    with_memory = {b.nid for b in boot.numa.info.meminfo}
    boot.numa.possible = boot.numa.info.nodes_parsed | with_memory
    boot.numa.online = set(with_memory)
    for nid in sorted(with_memory):
        if boot.kernel.release.numa_prints_initmem:
            _log_initmem(boot, nid)
        alloc_node_data(boot, nid)
    memblock_dump_all(mb, boot.cmdline, boot.log)
    return True


def x86_acpi_numa_init(boot: X86Boot) -> None:
    """x86_acpi_numa_init(): nodes out of the SRAT, distances out of the SLIT."""
    machine, numa = boot.machine, boot.numa.info
    assert machine.srat is not None
    named = {pxm: nid for nid, pxm in (n.values[:2] for n in boot.notes("srat_node"))}

    def say_cpu(cpu: CpuAffinity, node: int) -> None:
        """acpi_numa_processor_affinity_init() and its like for x2APICs."""
        if boot.kernel.release.srat_prints_cpus:
            width = 4 if cpu.apic_id > 0xFF else 2
            boot.log.info(f"SRAT: PXM {cpu.pxm} -> APIC 0x{cpu.apic_id:0{width}x} -> Node {node}")

    def alloc_distance() -> None:
        """numa_alloc_distance(): anywhere, before 6.12 where the direct map reaches."""
        mb = boot.memblock
        if boot.kernel.release.numa_distance_anywhere:
            mb.alloc(numa.table_size, PAGE_SIZE, owner="NUMA distances")
        else:
            mb.phys_alloc_range(numa.table_size, PAGE_SIZE, 0, boot.max_mapped, owner="NUMA distances")

    acpi_numa_init(boot, numa, machine.srat, machine.slit, named=named, say_cpu=say_cpu, alloc_distance=alloc_distance)


def alloc_node_data(boot: X86Boot, nid: int) -> None:
    """alloc_node_data(): the node's pg_data_t, on the node where possible."""
    unit = PAGE_SIZE if boot.kernel.release.node_data_in_pages else boot.kernel.smp_cache_bytes
    size = round_up(boot.kernel.profile.sizes["pg_data_t"], unit)
    base = boot.memblock.phys_alloc_try_nid(size, boot.kernel.smp_cache_bytes, nid, owner=f"NODE_DATA({nid})")
    if not base:
        return
    boot.numa.pgdat_at[nid] = base
    boot.log.info(f"NODE_DATA({nid}) allocated [mem {base:#010x}-{base + size - 1:#010x}]")
    found = boot.memblock.search_pfn_nid(base >> PAGE_SHIFT)
    if found is not None and found[0] != nid:
        boot.log.info(f"    NODE_DATA({nid}) on node {found[0]}")


def _log_initmem(boot: X86Boot, nid: int) -> None:
    """setup_node_data() of before 3.17: the span of a node's blocks, rounded up to the largest zone alignment."""
    align = 1 << (boot.kernel.max_page_order + PAGE_SHIFT)
    blocks = [b for b in boot.numa.info.meminfo if b.nid == nid]
    start = -(-min(b.start for b in blocks) // align) * align
    boot.log.info(f"Initmem setup node {nid} [mem {start:#010x}-{max(b.end for b in blocks) - 1:#010x}]")


def _dummy_numa_init(boot: X86Boot, off: bool) -> None:
    """dummy_numa_init(): node 0 has everything up to max_pfn."""
    end = boot.memblock.max_pfn << PAGE_SHIFT
    boot.log.info("NUMA turned off" if off else "No NUMA configuration found")
    boot.log.info(f"Faking a node at [mem {0:#018x}-{end - 1:#018x}]")
    boot.numa.info.nodes_parsed.add(0)
    boot.numa.info.add_memblk(0, 0, end, boot.log)
