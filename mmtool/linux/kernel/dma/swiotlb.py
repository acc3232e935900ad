"""Bounce buffers for devices that cannot reach all memory: kernel/dma/swiotlb.c, arch/x86/kernel/pci-dma.c. Bytes."""

from __future__ import annotations

import re

from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.init.boot import Boot

SMP_CACHE_BYTES = 64
IO_TLB_MIN_SIZE = 1 << 20
MAX_DMA32_PFN = 1 << 20
IO_TLB_SHIFT = 11
IO_TLB_SEGSIZE = 128
IO_TLB_DEFAULT_SIZE = 64 << 20

_AREAS = re.compile(r"[0-9a-fA-Fx]*,([0-9]+)")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")


def swiotlb_size_or_default(cmdline: Cmdline) -> int:
    """The buffer's size in bytes: 64 MiB, or what swiotlb=SLABS asks for, in segments of 128 slabs of 2 KiB.

    Models setup_io_tlb_npages() and swiotlb_size_or_default(), before an architecture adjusts the size.
    """
    slabs = 0
    for value in cmdline.all("swiotlb"):
        if m := _NUMBER.match(value or ""):
            base = 16 if m[0][:2] in ("0x", "0X") else 8 if m[0][0] == "0" else 10
            slabs = -(-int(m[0], base) // IO_TLB_SEGSIZE) * IO_TLB_SEGSIZE
    return slabs << IO_TLB_SHIFT or IO_TLB_DEFAULT_SIZE


def pci_swiotlb_detect(boot: Boot) -> bool:
    """pci_swiotlb_detect(): memory above 4 GiB may be, or the command line asks for it."""
    options = [v for v in boot.cmdline.all("swiotlb") if v]
    if any("noforce" in v for v in options) or not boot.kernel.is_64bit:
        return False
    iommu = (boot.cmdline.get("iommu") or "").split(",")
    forced = any("force" in v.split(",") for v in options) or "soft" in iommu
    return forced or (boot.max_possible_pfn > MAX_DMA32_PFN and "off" not in iommu)


def swiotlb_init_x86(boot: Boot) -> None:
    """pci_iommu_alloc() of x86: a buffer where it is wanted."""
    if pci_swiotlb_detect(boot):
        swiotlb_init(boot, swiotlb_size_or_default(boot.cmdline))


def swiotlb_init_arm64(boot: Boot, dma_limit: int) -> None:
    """arm64's mem_init() and arch_mm_preinit(): a buffer if memory lies beyond `dma_limit`, else a small one or none.

    A small one, for blocks of kmalloc() that share cache lines, has 1 MiB for each GiB of memory, from 6.5 on.
    """
    mb, options = boot.memblock, boot.cmdline.all("swiotlb")
    size, beyond = swiotlb_size_or_default(boot.cmdline), boot.max_pfn * mb.page_size > dma_limit
    if any("noforce" in (value or "") for value in options):
        return
    if boot.kernel.release.arm64_swiotlb_always and not beyond:
        small = min(size, -(-mb.phys_mem_size() // 1024))
        if size == IO_TLB_DEFAULT_SIZE:
            size = -(-small // (IO_TLB_SEGSIZE << IO_TLB_SHIFT)) * (IO_TLB_SEGSIZE << IO_TLB_SHIFT)
            boot.log.info(f"software IO TLB: SWIOTLB bounce buffer size adjusted to {size >> 20}MB")
    elif not beyond and not any("force" in (value or "").split(",") for value in options):
        return
    swiotlb_init(boot, size)


def swiotlb_init(boot: Boot, size: int) -> None:
    """swiotlb_init(): a buffer of `size` bytes in low memory, halved until it fits, and the tables that keep track."""
    mb, k = boot.memblock, boot.kernel
    page = mb.page_size
    slabs, areas = size >> IO_TLB_SHIFT, 0
    if k.release.swiotlb_has_areas:
        areas, slabs = _areas(boot, slabs)
    while mb.alloc_low(-(-(slabs << IO_TLB_SHIFT) // page) * page, page, owner="swiotlb") is None:
        if slabs << IO_TLB_SHIFT <= IO_TLB_MIN_SIZE or not k.release.swiotlb_retries_smaller:
            return
        slabs = -(-(slabs // 2) // IO_TLB_SEGSIZE) * IO_TLB_SEGSIZE
    sizes = k.profile.sizes
    per_slab = (sizes["io_tlb_slot"],) if k.release.swiotlb_has_slots else (4, 8)
    for record in per_slab:
        mb.alloc(-(-slabs * record // page) * page, page, owner="swiotlb")
    if areas:
        areas = min(areas, max(slabs // IO_TLB_SEGSIZE, 1))
        mb.alloc(areas * sizes["io_tlb_area"], SMP_CACHE_BYTES, owner="swiotlb")


def _areas(boot: Boot, slabs: int) -> tuple[int, int]:
    """swiotlb_adjust_nareas(): how many areas with a lock of their own, and how many slabs then, 128 an area at least.

    Both are powers of two. An area for every CPU, or as many as swiotlb=SLABS,AREAS says.
    """
    asked = [m[1] for value in boot.cmdline.all("swiotlb") if (m := _AREAS.match(value or ""))]
    wanted = int(asked[-1]) if asked else boot.cpus
    areas = 1 << (max(wanted, 1) - 1).bit_length()
    boot.log.info(f"software IO TLB: area num {areas}.")
    whole = 1 << (max(slabs, areas * IO_TLB_SEGSIZE) - 1).bit_length()
    if whole != slabs:
        boot.log.info(f"software IO TLB: SWIOTLB bounce buffer size roundup to {whole << IO_TLB_SHIFT >> 20}MB")
    return areas, whole
