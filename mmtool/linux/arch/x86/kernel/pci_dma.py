"""Whether x86 wants bounce buffers: arch/x86/kernel/pci-dma.c."""

from __future__ import annotations

from mmtool.linux.kernel.dma.swiotlb import swiotlb_init, swiotlb_size_or_default
from mmtool.linux.mm.early import Early

MAX_DMA32_PFN = 1 << 20


def pci_swiotlb_detect(early: Early) -> bool:
    """pci_swiotlb_detect(): memory above 4 GiB may be, or the command line asks for it."""
    options = [v for v in early.cmdline.all("swiotlb") if v]
    if any("noforce" in v for v in options) or not early.kernel.is_64bit:
        return False
    iommu = (early.cmdline.get("iommu") or "").split(",")
    forced = any("force" in v.split(",") for v in options) or "soft" in iommu
    return forced or (early.memblock.max_possible_pfn > MAX_DMA32_PFN and "off" not in iommu)


def pci_iommu_alloc(early: Early, cpus: int) -> None:
    """pci_iommu_alloc(): a buffer where it is wanted."""
    if pci_swiotlb_detect(early):
        swiotlb_init(early, swiotlb_size_or_default(early.cmdline), cpus)
