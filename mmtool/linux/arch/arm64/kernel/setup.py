"""setup_arch() of arm64 and what follows it: arch/arm64/kernel/setup.c, efi-init.c.

Each function is one step, bears the kernel's name for it and changes the `Boot` that it is given.
"""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.machine import CpuAffinity
from mmtool.linux.arch.arm64.boot import Arm64Boot
from mmtool.linux.arch.arm64.kernel.module import module_init_limits
from mmtool.linux.arch.arm64.mm.crash_reserve import reserve_crashkernel
from mmtool.linux.arch.arm64.mm.init import arm64_memblock_init, mem_init, swiotlb_init_arm64, zone_sizes_init
from mmtool.linux.arch.arm64.mm.mmu import paging_init
from mmtool.linux.drivers.base.arch_numa import arch_numa_init
from mmtool.linux.drivers.firmware.efi.tables import efi_find_mirror, efi_memattr_init, efi_memreserve
from mmtool.linux.drivers.of.fdt import unflatten_device_tree
from mmtool.linux.drivers.of.of_reserved_mem import early_init_fdt_scan_reserved_mem, fdt_scan_reserved_mem_reg_nodes
from mmtool.linux.init import late
from mmtool.linux.init.boot import Step
from mmtool.linux.init.early import (
    CALC_NR_KERNEL_PAGES,
    HUGETLB_BOOTMEM_ALLOC,
    HUGETLB_CMA_RESERVE,
    SPARSE_INIT,
    mm_init,
    setup_command_line,
)
from mmtool.linux.kernel.dma.contiguous import dma_contiguous_reserve, dma_numa_cma_reserve
from mmtool.linux.mm.memblock.dump import memblock_dump_all
from mmtool.linux.mm.mm_init import parse_movable
from mmtool.linux.mm.percpu import FirstChunk, module_reserve, pcpu_embed_first_chunk
from mmtool.units import round_down, round_up

SZ_2M = 2 << 20
CACHED = {"WB", "WT", "WC"}
"""Attributes of which memory has one (is_memory())."""
USABLE = {"Loader Code", "Loader Data", "ACPI Reclaim", "Boot Code", "Boot Data", "Conventional", "Persistent"}
"""EFI types that the kernel may use once it runs (is_usable_memory())."""


ArmStep = Step[Arm64Boot]


def steps(kernel: Kernel) -> list[ArmStep]:
    """The boot's steps for a kernel, in its order: (name, function)."""
    end = late.steps(kernel)
    initcalls = 1 + next(i for i, (name, _) in enumerate(end) if name == "page_alloc_init_late")
    facts = kernel.release
    sparse: list[ArmStep] = [SPARSE_INIT] if kernel.enabled("SPARSEMEM") else []
    area: list[ArmStep] = [("free_area_init", zone_sizes_init), CALC_NR_KERNEL_PAGES]
    pernuma: list[ArmStep] = []
    if not facts.numa_cma_with_default:
        pernuma = [("dma_pernuma_cma_reserve", lambda boot: dma_numa_cma_reserve(boot, boot.cma, boot.numa))]
    late_zones = facts.zones_after_setup_arch
    devices: list[ArmStep] = [
        ("reserve_crashkernel", lambda boot: reserve_crashkernel(boot, boot.cma, boot.crash_window())),
        ("dma_contiguous_reserve", lambda boot: dma_contiguous_reserve(boot, boot.cma, boot.numa, boot.dma_reach())),
    ]
    return [
        ("kernel image", kernel_image),
        ("setup_machine_fdt", setup_machine_fdt),
        ("parse_early_param", parse_early_param),
        ("efi_init", efi_init),
        ("arm64_memblock_init", arm64_memblock_init),
        ("early_init_fdt_scan_reserved_mem", scan_reserved_mem),
        *(devices if facts.arm64_reserves_for_devices_early else []),
        ("paging_init", paging_init),
        ("unflatten_device_tree", unflatten),
        ("arch_numa_init", numa),
        *([] if late_zones else [HUGETLB_CMA_RESERVE, *pernuma, *sparse, *area]),
        *(devices[::-1] if not facts.arm64_reserves_for_devices_early else []),
        ("memblock_dump_all", lambda boot: memblock_dump_all(boot.memblock, boot.cmdline, boot.log)),
        ("request_standard_resources", request_standard_resources),
        *([*area, HUGETLB_CMA_RESERVE, HUGETLB_BOOTMEM_ALLOC, *sparse] if late_zones else []),
        ("setup_command_line", setup_command_line),
        *([HUGETLB_BOOTMEM_ALLOC] if not late_zones else []),
        ("setup_per_cpu_areas", setup_per_cpu_areas),
        *mm_init(kernel, [], ("swiotlb_init", swiotlb_init_arm64)),
        ("mem_init", mem_init),
        *end[:initcalls],
        ("module_init_limits", module_init_limits),
        *end[initcalls:],
    ]


def scan_reserved_mem(boot: Arm64Boot) -> None:
    """early_init_fdt_scan_reserved_mem(), the last of arm64_memblock_init()."""
    early_init_fdt_scan_reserved_mem(boot, boot.tree, boot.reserved_mem, boot.cma)


def unflatten(boot: Arm64Boot) -> None:
    """unflatten_device_tree(), not where ACPI describes the machine.

    From 6.13 and 6.12.13 on /reserved-memory's regions come before.
    """
    if boot.machine.acpi or "device_node" not in boot.kernel.profile.sizes:
        return
    if boot.kernel.release.reserved_mem_array_is_sized:
        fdt_scan_reserved_mem_reg_nodes(boot, boot.tree, boot.reserved_mem, boot.cma)
    unflatten_device_tree(boot, boot.tree)


def numa(boot: Arm64Boot) -> None:
    """bootmem_init()'s arch_numa_init()."""

    def say_cpu(cpu: CpuAffinity, node: int) -> None:
        """acpi_numa_gicc_affinity_init() of arch/arm64/kernel/acpi_numa.c."""
        boot.log.info(f"ACPI: NUMA: SRAT: PXM {cpu.pxm} -> MPIDR {cpu.apic_id:#x} -> Node {node}")

    arch_numa_init(boot, boot.machine, boot.numa, say_cpu)


def setup_per_cpu_areas(boot: Arm64Boot) -> None:
    """setup_per_cpu_areas() of drivers/base/arch_numa.c and mm/percpu.c: MAX_DMA_ADDRESS is where memory begins."""
    how = FirstChunk(module_reserve(boot.kernel), boot.kernel.page_size, 0)
    pcpu_embed_first_chunk(boot, how, boot.cpus_by_node())


def kernel_image(boot: Arm64Boot) -> None:
    """Where the image lies, if that is known: /proc/iomem's "Kernel code" leaves its head out where the kernel does."""
    if boot.kernel_base is not None and boot.kernel.release.arm64_head_is_not_text:
        boot.kernel_base -= boot.kernel.profile.image.get("stext", 0)


def setup_machine_fdt(boot: Arm64Boot) -> None:
    """setup_machine_fdt(): the blob is reserved and the tree's memory becomes memblock's, in whole pages.

    Where the boot loader put the blob is in no file; most put it at the next 2 MiB behind the initial RAM disk.
    """
    tree, mb = boot.tree, boot.memblock
    # EFI's map follows the version line: a log that has lost the one has lost part of the other.
    if not tree.memory and (not boot.machine.efi or boot.machine.version_line is None):
        advice = (
            "take /sys/firmware/fdt of the running machine; where EFI boots, add a log made with efi=debug (--dmesg)"
        )
        raise InputError(boot.machine.origin, "/", f"no memory node says where memory is; {advice}")
    if boot.machine.efi:
        _efi_stub_put(boot, tree.size)
    elif boot.initrd is not None:
        mb.reserve(round_up(boot.initrd[1], SZ_2M), tree.size, owner="device tree")
    page = mb.page_size
    for node in tree.memory:
        start, end = round_up(node.start, page), round_down(node.end, page)
        if start < end:
            mb.add(start, end - start)
            if node.hotpluggable:
                mb.mark_hotplug(start, end - start)


def _efi_stub_put(boot: Arm64Boot, size: int) -> None:
    """allocate_new_fdt_and_exit_boot() of the EFI stub: the tree has 2 MiB of its own, below the initial RAM disk.

    EFI gives memory from the top down, and its map joins both to one range. What is left of it above is the RAM disk,
    where a table tells of one, but for the end of its last page, which hardly any file fills.
    """
    areas = [r for r in boot.machine.efi if r.type == "Loader Data" and r.end - r.start >= SZ_2M]
    if not areas:
        return
    area = max(areas, key=lambda r: r.start)
    boot.memblock.reserve(area.start, size, owner="device tree")
    if boot.initrd is None and any(n.text == "INITRD" for n in boot.notes("efi_table")):
        rest = area.start + SZ_2M, area.end - 1
        boot.initrd = rest if rest[0] < rest[1] else None


def parse_early_param(boot: Arm64Boot) -> None:
    """parse_early_param(): movable_node and kernelcore=mirror; mem= takes effect in arm64_memblock_init()."""
    parse_movable(boot)


def efi_init(boot: Arm64Boot) -> None:
    """efi_init(), reserve_regions(): where EFI booted the kernel, memory is what EFI's map says and nothing else."""
    mb = boot.memblock
    if not boot.machine.efi or boot.machine.version_line is None:
        return
    tables = boot.notes("efi_table")
    efi_memreserve(boot, tables)
    efi_memattr_init(boot, tables, len(boot.notes("memattr")))
    memblock_dump_all(mb, boot.cmdline, boot.log)
    mb.remove(0, (1 << 64) - 1)
    page = mb.page_size
    for region in boot.machine.efi:
        start, end = round_down(region.start, page), round_up(region.end, page)
        if not CACHED & set(region.attributes) or (
            "SP" in region.attributes and boot.kernel.enabled("EFI_SOFT_RESERVE")
        ):
            continue
        mb.add(start, end - start)
        if region.type not in USABLE or "WB" not in region.attributes:
            mb.mark_nomap(start, end - start)
        if region.type == "ACPI Reclaim":
            mb.reserve(start, end - start, owner="ACPI tables")
    if boot.kernel.release.arm64_finds_mirrored_memory:
        efi_find_mirror(boot, boot.machine.efi)
    mmap = boot.tree.chosen.uefi_mmap
    if mmap is not None:
        start = round_down(mmap[0], page)
        mb.reserve(start, round_up(mmap[1], page) - start, owner="EFI memory map")


def request_standard_resources(boot: Arm64Boot) -> None:
    """request_standard_resources(): a resource for every region of memory, in one array."""
    mb = boot.memblock
    mb.alloc(boot.kernel.profile.sizes["resource"] * mb.memory.cnt, mb.smp_cache_bytes, owner="resources")
