"""setup_arch() of arm64 and what follows it: arch/arm64/kernel/setup.c, mm/init.c, mm/mmu.c, drivers/of/fdt.c.

Each function is one step, bears the kernel's name for it and changes the `Boot` that it is given.
"""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.linux.arch.arm64.mmu import paging_init, vmemmap_layout
from mmtool.linux.arch.arm64.pgtable import module_init_limits
from mmtool.linux.arch.arm64.processor import pa_bits
from mmtool.linux.drivers.base.arch_numa import arch_numa_init
from mmtool.linux.drivers.firmware.efi.tables import efi_memattr_init, efi_memreserve
from mmtool.linux.drivers.of.fdt import unflatten_device_tree
from mmtool.linux.drivers.of.of_reserved_mem import early_init_fdt_scan_reserved_mem
from mmtool.linux.init import late
from mmtool.linux.init.boot import Boot, Step
from mmtool.linux.init.early import mm_init, setup_command_line
from mmtool.linux.kernel.crash_reserve import reserve_crashkernel_arm64
from mmtool.linux.kernel.dma.swiotlb import swiotlb_init_arm64
from mmtool.linux.mm.cma import dma_contiguous_reserve, dma_numa_cma_reserve
from mmtool.linux.mm.hugetlb import hugetlb_bootmem_alloc
from mmtool.linux.mm.hugetlb_cma import hugetlb_cma_reserve
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP
from mmtool.linux.mm.memblock.dump import memblock_dump_all
from mmtool.linux.mm.mm_init import MOVABLE, free_area_init, movable_wish
from mmtool.linux.mm.page_alloc.handover import memblock_free_all
from mmtool.linux.mm.percpu import setup_per_cpu_areas
from mmtool.linux.mm.sparse import sparse_init
from mmtool.linux.mm.system_hash import calc_nr_kernel_pages
from mmtool.units import memparse

FOUR_GIB = 1 << 32
SZ_2M = 2 << 20
SMP_CACHE_BYTES = 64
CACHED = {"WB", "WT", "WC"}
"""Attributes of which memory has one (is_memory())."""
USABLE = {"Loader Code", "Loader Data", "ACPI Reclaim", "Boot Code", "Boot Data", "Conventional", "Persistent"}
"""EFI types that the kernel may use once it runs (is_usable_memory())."""


def steps(kernel: Kernel) -> list[Step]:
    """The boot's steps for a kernel, in its order: (name, function)."""
    end = late.steps(kernel)
    initcalls = 1 + next(i for i, (name, _) in enumerate(end) if name == "page_alloc_init_late")
    facts = kernel.release
    sparse: list[Step] = [("sparse_init", sparse_init)] if kernel.enabled("SPARSEMEM") else []
    area: list[Step] = [("free_area_init", zone_sizes_init), ("calc_nr_kernel_pages", calc_nr_kernel_pages)]
    huge_cma: list[Step] = [("hugetlb_cma_reserve", hugetlb_cma_reserve)]
    huge: list[Step] = [("hugetlb_bootmem_alloc", hugetlb_bootmem_alloc)]
    pernuma: list[Step] = [("dma_pernuma_cma_reserve", dma_numa_cma_reserve)] if not facts.numa_cma_with_default else []
    late_zones = facts.zones_after_setup_arch
    return [
        ("kernel image", kernel_image),
        ("setup_machine_fdt", setup_machine_fdt),
        ("efi_init", efi_init),
        ("firmware map", firmware_map),
        ("arm64_memblock_init", arm64_memblock_init),
        ("early_init_fdt_scan_reserved_mem", early_init_fdt_scan_reserved_mem),
        ("paging_init", paging_init),
        ("unflatten_device_tree", unflatten_device_tree),
        ("arch_numa_init", arch_numa_init),
        *([] if late_zones else [*huge_cma, *pernuma, *sparse, *area]),
        ("dma_contiguous_reserve", lambda boot: dma_contiguous_reserve(boot, dma_phys_limit(boot))),
        ("reserve_crashkernel", crashkernel),
        ("memblock_dump_all", lambda boot: memblock_dump_all(boot.memblock, boot.cmdline, boot.log)),
        ("request_standard_resources", request_standard_resources),
        *([*area, *huge_cma, *huge, *sparse] if late_zones else []),
        ("setup_command_line", setup_command_line),
        *(huge if not late_zones else []),
        ("setup_per_cpu_areas", setup_per_cpu_areas),
        *mm_init(
            kernel,
            [],
            ("swiotlb_init", lambda boot: swiotlb_init_arm64(boot, dma_phys_limit(boot))),
        ),
        ("mem_init", mem_init),
        *end[:initcalls],
        ("module_init_limits", module_init_limits),
        *end[initcalls:],
    ]


def kernel_image(boot: Boot) -> None:
    """Where the image lies, if that is known: /proc/iomem's "Kernel code" leaves its head out where the kernel does."""
    if boot.kernel_base is not None and boot.kernel.release.arm64_head_is_not_text:
        boot.kernel_base -= boot.kernel.profile.image.get("stext", 0)


def setup_machine_fdt(boot: Boot) -> None:
    """setup_machine_fdt(): the blob is reserved and the tree's memory becomes memblock's, in whole pages.

    Where the boot loader put the blob is in no file; most put it at the next 2 MiB behind the initial RAM disk.
    """
    tree, mb = boot.machine.fdt, boot.memblock
    if tree is None:
        raise InputError(boot.machine.origin, None, "an arm64 kernel needs a device tree; give it with --dtb")
    # EFI's map follows the version line: a log that has lost the one has lost part of the other.
    if not tree.memory and (not boot.machine.efi or boot.machine.version_line is None):
        advice = (
            "take /sys/firmware/fdt of the running machine; where EFI boots, add a log made with efi=debug (--dmesg)"
        )
        raise InputError(boot.machine.origin, "/", f"no memory node says where memory is; {advice}")
    if boot.machine.efi:
        _efi_stub_put(boot, tree.size)
    elif boot.initrd is not None:
        mb.reserve(-(-boot.initrd[1] // SZ_2M) * SZ_2M, tree.size, owner="device tree")
    page = mb.page_size
    for node in tree.memory:
        start, end = -(-node.start // page) * page, node.end // page * page
        if start < end:
            mb.add(start, end - start)
            if node.hotpluggable:
                mb.mark_hotplug(start, end - start)


def _efi_stub_put(boot: Boot, size: int) -> None:
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


def efi_init(boot: Boot) -> None:
    """efi_init(), reserve_regions(): where EFI booted the kernel, memory is what EFI's map says and nothing else."""
    mb = boot.memblock
    if not boot.machine.efi or boot.machine.version_line is None:
        return
    efi_memreserve(boot)
    efi_memattr_init(boot)
    memblock_dump_all(mb, boot.cmdline, boot.log)
    mb.remove(0, (1 << 64) - 1)
    page = mb.page_size
    for region in boot.machine.efi:
        start, end = region.start // page * page, -(-region.end // page) * page
        if not CACHED & set(region.attributes) or (
            "SP" in region.attributes and boot.kernel.enabled("EFI_SOFT_RESERVE")
        ):
            continue
        mb.add(start, end - start)
        if region.type not in USABLE or "WB" not in region.attributes:
            mb.mark_nomap(start, end - start)
        if region.type == "ACPI Reclaim":
            mb.reserve(start, end - start, owner="ACPI tables")
    mmap = boot.machine.fdt.chosen.uefi_mmap if boot.machine.fdt is not None else None
    if mmap is not None:
        start = mmap[0] // page * page
        mb.reserve(start, -(-mmap[1] // page) * page - start, owner="EFI memory map")


def firmware_map(boot: Boot) -> None:
    """What firmware called memory, as a map: from here on the kernel knows memblock only."""
    regions = [(r.base, r.end, r.flags & MEMBLOCK_NOMAP) for r in boot.memblock.memory.regions]
    kinds = ((start, end, E820Type.RESERVED if nomap else E820Type.RAM) for start, end, nomap in regions)
    boot.e820_firmware = tuple(E820Entry(start, end, kind) for start, end, kind in kinds)
    boot.e820.append(boot.e820_firmware)


def arm64_memblock_init(boot: Boot) -> None:
    """arm64_memblock_init(): what cannot be addressed or is kept out by mem= goes; the image and the initrd stay."""
    mb, kernel = boot.memblock, boot.kernel
    page, top = mb.page_size, 1 << 64
    _keep_usable_ranges(boot)
    boot.physmem_bits = pa_bits(boot)
    mb.remove(1 << boot.physmem_bits, top - 1)
    if not mb.memory.total_size:
        raise InputError(boot.machine.origin, "/memory", "no whole page of memory can be addressed")
    image = kernel.profile.image.get("end", 0)
    limit = next((memparse(value)[0] // page * page for value in reversed(boot.cmdline.all("mem")) if value), None)
    if limit is not None:
        boot.log.info(f"Memory limited to {limit >> 20}MB")
        mb.mem_limit_remove_map(limit)
        if boot.kernel_base is not None:
            mb.add(boot.kernel_base, image)
    if boot.initrd is not None:
        start, end = boot.initrd[0] // page * page, -(-boot.initrd[1] // page) * page
        mb.add(start, end - start)
        mb.clear_nomap(start, end - start)
        mb.reserve(start, end - start, owner="initrd")
    if boot.kernel_base is not None and image:
        start = kernel.profile.image["stext"] if kernel.release.arm64_head_is_not_text else 0
        mb.reserve(boot.kernel_base + start, image - start, owner="kernel image")
    mb.low_address_limit = dma_phys_limit(boot) - 1
    boot.vmemmap = vmemmap_layout(boot)


def dma_phys_limit(boot: Boot) -> int:
    """Where ZONE_DMA ends, in bytes: at the reach of the least able bus, at most at 4 GiB if memory begins below."""
    mb, facts = boot.memblock, boot.kernel.release
    start, end = mb.start_of_DRAM(), mb.end_of_DRAM() or 0
    reach = boot.machine.fdt.dma_limit if boot.machine.fdt is not None else None
    if facts.arm64_dma_zone_by_limit:
        limit = (1 << 64) if reach is None else reach
        return min(min(limit, FOUR_GIB) if start < FOUR_GIB else limit, end)
    bits = min(32, (reach - 1).bit_length()) if reach is not None else 32
    limit = 1 << bits
    if start >= FOUR_GIB:
        limit = 1 << 64
    elif start >= limit:
        limit = FOUR_GIB
    return min(limit, end)


def zone_sizes_init(boot: Boot) -> None:
    """zone_sizes_init(): zones and memory map of every node; from 7.0 on arch_zone_limits_init()."""
    kernel, shift = boot.kernel, boot.kernel.page_shift
    limits: list[tuple[str, int]] = []
    if kernel.enabled("ZONE_DMA"):
        limits.append(("DMA", dma_phys_limit(boot) >> shift))
    if kernel.enabled("ZONE_DMA32"):
        limits.append(("DMA32", min(FOUR_GIB, boot.memblock.end_of_DRAM() or 0) >> shift))
    limits += [("Normal", boot.max_pfn), (MOVABLE, 0)]
    if kernel.enabled("ZONE_DEVICE") and kernel.release.has_zone_device:
        limits.append(("Device", 0))
    boot.nodes = free_area_init(
        boot.memblock, kernel, limits, movable_wish(boot.cmdline, kernel), boot.log,
        possible_nodes=boot.possible_nodes, online_nodes=boot.online_nodes,
    )  # fmt: skip


def _keep_usable_ranges(boot: Boot) -> None:
    """early_init_dt_check_for_usable_mem_range() (5.17 on), fdt_enforce_memory_region(): what a crash kernel may use.

    The first range of linux,usable-memory-range, and from 5.17 on the others too.
    """
    ranges = boot.machine.fdt.chosen.usable_memory_ranges if boot.machine.fdt is not None else ()
    if not ranges:
        return
    (start, end), *more = ranges
    boot.memblock.cap_memory_range(start, end - start)
    if boot.kernel.release.usable_memory_ranges_are_many:
        for start, end in more:
            boot.memblock.add(start, end - start)


def crashkernel(boot: Boot) -> None:
    """reserve_crashkernel(), later arch_reserve_crashkernel(): below the reach of DMA, then anywhere."""
    reserve_crashkernel_arm64(boot, dma_phys_limit(boot), pa_bits(boot))


def request_standard_resources(boot: Boot) -> None:
    """request_standard_resources(): a resource for every region of memory, in one array."""
    mb = boot.memblock
    mb.alloc(boot.kernel.profile.sizes["resource"] * mb.memory.cnt, SMP_CACHE_BYTES, owner="resources")


def mem_init(boot: Boot) -> None:
    """memblock_free_all(): memory goes to the buddy allocator."""
    mb, kernel = boot.memblock, boot.kernel
    boot.totalram_pages = memblock_free_all(
        mb.memory.regions, mb.reserved.regions, boot.nodes, max_low_pfn=boot.max_pfn,
        mirrored_kernelcore=movable_wish(boot.cmdline, kernel).mirror, page_shift=kernel.page_shift,
    )  # fmt: skip
    if not kernel.release.prints_memory_late:
        late.print_memory(boot)
