"""Memory of arm64 between firmware and zones: arch/arm64/mm/init.c. Bytes, half-open ranges."""

from __future__ import annotations

from mmtool.errors import InputError
from mmtool.firmware.machine import E820Entry, E820Type
from mmtool.linux.arch.arm64.boot import Arm64Boot
from mmtool.linux.arch.arm64.kernel.cpufeature import memstart, memstart_align, pa_bits, va_bits
from mmtool.linux.arch.arm64.mm.dma import arm64_dma32_phys_limit
from mmtool.linux.arch.arm64.mm.mmu import vmemmap_layout
from mmtool.linux.init import late
from mmtool.linux.kernel.dma.swiotlb import (
    IO_TLB_DEFAULT_SIZE,
    IO_TLB_SEGSIZE,
    IO_TLB_SHIFT,
    swiotlb_init,
    swiotlb_size_or_default,
)
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import MEMBLOCK_NOMAP, Memblock
from mmtool.linux.mm.mm_init import MOVABLE, free_area_init, movable_wish
from mmtool.linux.mm.page_alloc.handover import memblock_free_all
from mmtool.units import div_round_up, memparse, round_down, round_up


def arm64_memblock_init(boot: Arm64Boot) -> None:
    """arm64_memblock_init(): what cannot be addressed or is kept out by mem= goes; the image and the initrd stay."""
    mb, kernel = boot.memblock, boot.kernel
    page, top = mb.page_size, 1 << 64
    boot.firmware_map = _memory_map(mb)
    _keep_usable_ranges(boot)
    boot.physmem_bits = pa_bits(boot)
    mb.remove(1 << boot.physmem_bits, top - 1)
    if not mb.memory.total_size:
        raise InputError(boot.machine.origin, "/memory", "no whole page of memory can be addressed")
    image = kernel.profile.image.get("end", 0)
    linear_region_size = 1 << va_bits(boot) - 1
    _keep_linear_region(boot, linear_region_size, (boot.kernel_base or 0) + image if boot.kernel_base else 0)
    limit = next((round_down(memparse(value)[0], page) for value in reversed(boot.cmdline.all("mem")) if value), None)
    if limit is not None:
        boot.log.info(f"Memory limited to {limit >> 20}MB")
        mb.mem_limit_remove_map(limit)
        if boot.kernel_base is not None:
            mb.add(boot.kernel_base, image)
    if boot.initrd is not None:
        _keep_initrd(boot, round_down(boot.initrd[0], page), round_up(boot.initrd[1], page), linear_region_size)
    if boot.kernel_base is not None and image:
        start = kernel.profile.image["stext"] if kernel.release.arm64_head_is_not_text else 0
        mb.reserve(boot.kernel_base + start, image - start, owner="kernel image")
    mb.low_address_limit = boot.dma_phys_limit() - 1
    boot.vmemmap = vmemmap_layout(boot)


def _keep_linear_region(boot: Arm64Boot, size: int, image_end: int) -> None:
    """Memory that the linear map of `size` bytes does not reach goes: what lies above it, else what lies below."""
    mb = boot.memblock
    start, end = memstart(boot), mb.end_of_DRAM() or 0
    if end - start > size and boot.kernel.release.arm64_says_va_bits_too_small:
        boot.log.warn("Memory doesn't fit in the linear mapping, VA_BITS too small")
    mb.remove(max(start + size, image_end), (1 << 64) - 1)
    if start + size < (mb.end_of_DRAM() or 0):
        mb.remove(0, round_up((mb.end_of_DRAM() or 0) - size, memstart_align(boot)))


def _keep_initrd(boot: Arm64Boot, start: int, end: int, linear_region_size: int) -> None:
    """The initial RAM disk is memory again, if the linear map reaches it; else the kernel goes without."""
    mb = boot.memblock
    if start < mb.start_of_DRAM() or end > mb.start_of_DRAM() + linear_region_size:
        boot.log.warn("initrd not fully accessible via the linear mapping -- please check your bootloader ...")
        boot.initrd = None
        return
    mb.add(start, end - start)
    mb.clear_nomap(start, end - start)
    mb.reserve(start, end - start, owner="initrd")


def _memory_map(mb: Memblock) -> tuple[E820Entry, ...]:
    """What firmware called memory, as a map: memblock's while nothing of it has been taken away."""
    kinds = (E820Type.RESERVED if r.flags & MEMBLOCK_NOMAP else E820Type.RAM for r in mb.memory.regions)
    return tuple(E820Entry(r.base, r.end, kind) for r, kind in zip(mb.memory.regions, kinds, strict=True))


def arch_zone_limits_init(early: Early, dma_limit: int, max_pfn: int) -> list[tuple[str, int]]:
    """arch_zone_limits_init(), before 7.0 in zone_sizes_init(): the limit of each zone type that is built in."""
    kernel = early.kernel
    limits: list[tuple[str, int]] = []
    facts, dma32_limit = kernel.release, arm64_dma32_phys_limit(early)
    if not facts.arm64_has_two_dma_zones:
        limits.append(("DMA32" if facts.arm64_low_zone_is_dma32 else "DMA", dma32_limit >> kernel.page_shift))
    else:
        if kernel.enabled("ZONE_DMA"):
            limits.append(("DMA", dma_limit >> kernel.page_shift))
        if kernel.enabled("ZONE_DMA32"):
            limits.append(("DMA32", dma32_limit >> kernel.page_shift))
    limits += [("Normal", max_pfn), (MOVABLE, 0)]
    if kernel.enabled("ZONE_DEVICE") and facts.arm64_can_unplug:
        limits.append(("Device", 0))
    return limits


def zone_sizes_init(boot: Arm64Boot) -> None:
    """zone_sizes_init(): zones and memory map of every node."""
    mb, kernel = boot.memblock, boot.kernel
    boot.zone_limits = arch_zone_limits_init(boot, boot.dma_phys_limit(), mb.max_pfn)
    boot.numa.pgdat = free_area_init(
        mb, kernel, boot.zone_limits, movable_wish(boot.cmdline, kernel), boot.log,
        possible_nodes=boot.numa.possible, online_nodes=boot.numa.online,
    )  # fmt: skip


def _keep_usable_ranges(boot: Arm64Boot) -> None:
    """early_init_dt_check_for_usable_mem_range() (5.17 on), fdt_enforce_memory_region(): what a crash kernel may use.

    The first range of linux,usable-memory-range, and from 5.17 on the others too.
    """
    ranges = boot.tree.chosen.usable_memory_ranges
    if not ranges:
        return
    (start, end), *more = ranges
    boot.memblock.cap_memory_range(start, end - start)
    if boot.kernel.release.usable_memory_ranges_are_many:
        for start, end in more:
            boot.memblock.add(start, end - start)


def mem_init(boot: Arm64Boot) -> None:
    """memblock_free_all(): memory goes to the buddy allocator."""
    mb, kernel = boot.memblock, boot.kernel
    boot.totalram_pages = memblock_free_all(
        mb.memory.regions, mb.reserved.regions, boot.nodes, max_low_pfn=mb.max_pfn,
        mirrored_kernelcore=movable_wish(boot.cmdline, kernel).mirror, page_shift=kernel.page_shift,
    )  # fmt: skip
    if not kernel.release.prints_memory_late:
        late.print_memory(boot)


def swiotlb_init_arm64(boot: Arm64Boot) -> None:
    """arm64's mem_init() and arch_mm_preinit(): a buffer if memory lies beyond DMA's limit, else a small one or none.

    A small one, for blocks of kmalloc() that share cache lines, has 1 MiB for each GiB of memory, from 6.5 on.
    """
    mb, options = boot.memblock, boot.cmdline.all("swiotlb")
    size, beyond = swiotlb_size_or_default(boot.cmdline), mb.max_pfn * mb.page_size > boot.dma_phys_limit()
    if any("noforce" in (value or "") for value in options):
        return
    if boot.kernel.release.arm64_swiotlb_always and not beyond:
        small = min(size, div_round_up(mb.phys_mem_size(), 1024))
        if size == IO_TLB_DEFAULT_SIZE:
            size = round_up(small, IO_TLB_SEGSIZE << IO_TLB_SHIFT)
            boot.log.info(f"software IO TLB: SWIOTLB bounce buffer size adjusted to {size >> 20}MB")
    elif not beyond and not any("force" in (value or "").split(",") for value in options):
        return
    swiotlb_init(boot, size, boot.cpus, verbose=True)
