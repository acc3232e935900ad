"""Where arm64 puts things in virtual memory: asm/memory.h, asm/pgtable.h, asm/fixmap.h. Bytes; ranges are half-open."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.address_space import VMALLOC, VMEMMAP, AddressSpace, KernelArea, LayoutInputs
from mmtool.units import div_round_up

TOP = 1 << 64
SZ_64K, SZ_2M, SZ_8M, SZ_16M, SZ_32M = 64 << 10, 2 << 20, 8 << 20, 16 << 20, 32 << 20
SZ_128M, SZ_256M, SZ_1G, SZ_2G = 128 << 20, 256 << 20, 1 << 30, 2 << 30
PCI_IO_SIZE = SZ_16M
MAX_FDT_SIZE = SZ_2M
NR_FIX_BTMAPS_SIZE, FIX_BTMAPS_SLOTS = 256 << 10, 7


def level_shift(kernel: Kernel, level: int) -> int:
    """ARM64_HW_PGTABLE_LEVEL_SHIFT(): log2 of what an entry of page table `level` (0 to 3) maps."""
    return (kernel.page_shift - 3) * (4 - level) + 3


def pmd_shift(kernel: Kernel) -> int:
    """PMD_SHIFT: with two levels the PMD is folded into the topmost."""
    return level_shift(kernel, 2)


def pud_shift(kernel: Kernel) -> int:
    """PUD_SHIFT: with fewer than four levels the PUD is folded into the topmost."""
    return level_shift(kernel, max(4 - kernel.number("PGTABLE_LEVELS", 4), 1))


def va_bits_min(kernel: Kernel) -> int:
    """VA_BITS_MIN: bits of a kernel address on processors without 52-bit addresses."""
    bits = kernel.number("ARM64_VA_BITS", 48)
    if bits <= 48:
        return bits
    return 47 if kernel.page_shift == 14 and kernel.release.arm64_has_lpa2 else 48


def va_bits_actual(inputs: LayoutInputs) -> int:
    """vabits_actual: VA_BITS where the processor has so many."""
    kernel = inputs.kernel
    return kernel.number("ARM64_VA_BITS", 48) if inputs.long_addresses else va_bits_min(kernel)


def page_end(bits: int) -> int:
    """_PAGE_END(): the middle of an address space of `bits` bits, where the linear map ends."""
    return TOP - (1 << bits - 1)


def fixmap_pages(kernel: Kernel) -> tuple[int, int]:
    """__end_of_permanent_fixed_addresses and __end_of_fixed_addresses: pages that have an address from the build on."""
    k, page = kernel, kernel.page_size
    facts = k.release
    fdt = div_round_up(MAX_FDT_SIZE, page) + 2 if facts.arm64_fixmap_in_pages else (MAX_FDT_SIZE + SZ_2M) // page
    pages = 1 + fdt + 2  # FIX_HOLE, the device tree, FIX_EARLYCON_MEM_BASE, FIX_TEXT_POKE0
    if facts.arm64_fixmap_has_vncr and k.enabled("KVM"):
        pages += k.number("NR_CPUS", 1) + 1
    if k.enabled("ACPI_APEI_GHES"):
        pages += 4 if k.enabled("ARM_SDE_INTERFACE") else 2
    if k.enabled("UNMAP_KERNEL_AT_EL0"):
        pages += 3 + (facts.arm64_trampoline_data_always or k.enabled("RELOCATABLE"))
    slot = NR_FIX_BTMAPS_SIZE // page + facts.arm64_btmaps_have_spare_page
    tables = 5 if facts.arm64_has_lpa2 else 4
    return pages, pages + slot * FIX_BTMAPS_SLOTS + tables


def modules_start(kernel: Kernel) -> int:
    """MODULES_VADDR, behind the room for BPF programs where there is one."""
    start = page_end(va_bits_min(kernel))
    return start + SZ_128M if kernel.release.arm64_has_bpf_region else start


def modules_end(kernel: Kernel) -> int:
    """MODULES_END, where the vmalloc area begins."""
    return modules_start(kernel) + (SZ_2G if kernel.release.arm64_modules_have_2g else SZ_128M)


def vmemmap_size(kernel: Kernel) -> int:
    """VMEMMAP_SIZE: a struct page for every page of the linear map; its size as a power of two before 6.9."""
    size = kernel.profile.sizes["struct_page"]
    if not kernel.release.arm64_top_is_fixed:
        size = 1 << (size - 1).bit_length()
    span = page_end(va_bits_min(kernel)) - (TOP - (1 << kernel.number("ARM64_VA_BITS", 48)))
    return (span >> kernel.page_shift) * size


def _tail(inputs: LayoutInputs) -> tuple[int, tuple[int, int], int, int]:
    """(end of vmalloc, the vmemmap, start of PCI I/O, FIXADDR_TOP) as the release puts them.

    From 6.9 on the part of the vmemmap that shorter addresses leave unused is vmalloc's.
    """
    kernel, size = inputs.kernel, vmemmap_size(inputs.kernel)
    facts, page = kernel.release, kernel.profile.sizes["struct_page"]
    bits = kernel.number("ARM64_VA_BITS", 48)
    if facts.arm64_top_is_fixed:
        end = TOP - SZ_1G
        unused = (1 << bits) - (1 << va_bits_actual(inputs)) >> kernel.page_shift
        start = end - size + unused * page
        return start - SZ_8M, (start, end), end + SZ_8M, TOP - SZ_8M
    if facts.arm64_vmemmap_projects:
        shift = kernel.page_shift - (page - 1).bit_length()
        start = TOP - (1 << bits - shift)
        return start - SZ_256M, (start, start + size), start - SZ_8M - PCI_IO_SIZE, start - SZ_32M
    start = TOP - size - SZ_2M
    pci = start - SZ_2M - PCI_IO_SIZE
    return TOP - (1 << pud_shift(kernel)) - size - SZ_64K, (start, start + size), pci, pci - SZ_2M


def address_space(inputs: LayoutInputs) -> AddressSpace:
    """The areas of the kernel's address space; KASLR moves none of them, only the image and memory within."""
    kernel, page = inputs.kernel, inputs.kernel.page_size
    end, vmemmap, pci, fixaddr_top = _tail(inputs)
    permanent, fixed = (pages * page for pages in fixmap_pages(kernel))
    low = page_end(va_bits_min(kernel))
    areas = [
        KernelArea("linear map", TOP - (1 << va_bits_actual(inputs)), low),
        *([KernelArea("BPF", low, low + SZ_128M)] if kernel.release.arm64_has_bpf_region else []),
        KernelArea("modules", modules_start(kernel), modules_end(kernel)),
        KernelArea(VMALLOC, modules_end(kernel), end),
        KernelArea(VMEMMAP, *vmemmap),
        KernelArea("PCI I/O", pci, pci + PCI_IO_SIZE),
        KernelArea("early ioremap", fixaddr_top - fixed, fixaddr_top - permanent),
        KernelArea("fixmap", fixaddr_top - permanent, fixaddr_top),
    ]
    order = pud_shift(kernel) if kernel.page_shift == 12 else pmd_shift(kernel)
    return AddressSpace(tuple(sorted(areas, key=lambda area: area.start)), end, order)
