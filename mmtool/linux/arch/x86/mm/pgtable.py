"""Where x86 puts things in virtual memory: pgtable_32_areas.h, fixmap.h, pgtable_64_types.h.

All addresses and sizes are bytes; ranges are half-open.
"""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.arch.x86.page import PAGE_SIZE
from mmtool.linux.mm.address_space import VMALLOC, VMEMMAP, AddressSpace, KernelArea, LayoutInputs
from mmtool.units import div_round_up, memparse, round_down, round_up

PAGE_OFFSETS_32 = {"VMSPLIT_3G_OPT": 0xB0000000, "VMSPLIT_2G": 0x80000000, "VMSPLIT_1G": 0x40000000}
"""PAGE_OFFSET of i386 by how the 4 GiB are split; 3 GiB for processes without one of these."""
FIXADDR_TOP_32 = 0xFFFFF000
VMALLOC_OFFSET = 8 << 20
DEFAULT_VMALLOC_RESERVE = 128 << 20
TOTAL_FIX_BTMAPS = 512
KM_MAX_IDX = {True: {False: 16, True: 33}, False: {False: 20, True: 41}}
"""Slots for temporary mappings a CPU: by kmap_local (else kmap_atomic), by whether they are debugged."""
MAX_IO_APICS = 64
DEBUG_STORE_BUFFER_PAGES = 32
TIB = 1 << 40
BASES_4_LEVELS = (0xFFFF888000000000, 0xFFFFC90000000000, 0xFFFFEA0000000000)
BASES_5_LEVELS = (0xFF11000000000000, 0xFFA0000000000000, 0xFFD4000000000000)
"""Where direct map, vmalloc and vmemmap of x86-64 begin by the levels of its page tables."""
PUD_SHIFT_64 = 30
KERNEL_MAP, MODULES_END = 0xFFFFFFFF80000000, 0xFFFFFFFFFF000000
CPU_ENTRY_AREA_BASE_64 = 0xFFFFFE0000000000
VSYSCALL_ADDR, FIXADDR_TOP_64 = 0xFFFFFFFFFF600000, 0xFFFFFFFFFF7FF000
MAX_IO_APICS_64 = 128


def page_offset_32(kernel: Kernel) -> int:
    """PAGE_OFFSET of i386: where the direct map begins."""
    return next((base for option, base in PAGE_OFFSETS_32.items() if kernel.enabled(option)), 0xC0000000)


def permanent_fixmap_pages(kernel: Kernel) -> int:
    """__end_of_permanent_fixed_addresses of i386: pages below FIXADDR_TOP that have an address from the build on."""
    k = kernel
    debug = k.enabled("DEBUG_KMAP_LOCAL") or k.enabled("DEBUG_HIGHMEM")
    kmap = KM_MAX_IDX[k.release.kmap_local_in_fixmap][debug] * k.number("NR_CPUS", 1)
    permanent = 1 + 1 + 1  # FIX_HOLE, FIX_DBGP_BASE, FIX_EARLYCON_MEM_BASE
    permanent += k.enabled("PROVIDE_OHCI1394_DMA_INIT") + k.enabled("X86_LOCAL_APIC")
    permanent += MAX_IO_APICS if k.enabled("X86_IO_APIC") else 0
    if k.enabled("HIGHMEM") or not k.release.kmap_local_in_fixmap:
        permanent += kmap + k.enabled("PCI_MMCONFIG")
    return permanent + k.enabled("PARAVIRT_XXL") + 2 * k.enabled("ACPI_APEI_GHES")


def _early_ioremap_end(permanent: int, entries: int) -> int:
    """Pages up to the end of the early mappings, which lie below one table of `entries` where they otherwise do not."""
    if (permanent ^ (permanent + TOTAL_FIX_BTMAPS - 1)) & -entries:
        permanent += TOTAL_FIX_BTMAPS - permanent % TOTAL_FIX_BTMAPS
    return permanent + TOTAL_FIX_BTMAPS


def fixmap_pages(kernel: Kernel) -> int:
    """__end_of_fixed_addresses of i386: the same with those of early boot."""
    entries = 512 if kernel.enabled("X86_PAE") else 1024
    return _early_ioremap_end(permanent_fixmap_pages(kernel), entries) + 1 + kernel.enabled("INTEL_TXT")


def cpu_entry_area_pages(kernel: Kernel) -> int:
    """Pages of struct cpu_entry_area on i386: GDT, entry stack, TSS, debug store, guards, double fault stack."""
    tss = 5 if kernel.release.tss_has_second_bitmap else 3
    guarded = 3 if kernel.release.doublefault_stack_in_entry_area else 0
    return 1 + 1 + guarded + tss + 1 + DEBUG_STORE_BUFFER_PAGES


def pmd_size_32(kernel: Kernel) -> int:
    """PMD_SIZE of i386: bytes that one page table maps."""
    return 2 << 20 if kernel.enabled("X86_PAE") else 4 << 20


def fixmap_tables(kernel: Kernel) -> int:
    """Page tables that the fixmaps of i386 take (early_ioremap_page_table_range_init())."""
    pmd = pmd_size_32(kernel)
    start = (FIXADDR_TOP_32 - (fixmap_pages(kernel) - 1) * PAGE_SIZE) // pmd * pmd
    return div_round_up(FIXADDR_TOP_32 - start, pmd)


def cpu_entry_area_tables(kernel: Kernel) -> int:
    """Page tables that the CPU entry areas of i386 take, but for the topmost, which they share with the fixmaps."""
    pmd = pmd_size_32(kernel)
    top = FIXADDR_TOP_32 - fixmap_pages(kernel) * PAGE_SIZE
    size = (kernel.number("NR_CPUS", 1) * cpu_entry_area_pages(kernel) + 1) * PAGE_SIZE
    base = (top - size) // pmd * pmd
    shared = round_down(top, pmd)
    return max(min(div_round_up(size, pmd), (shared - base) // pmd), 0)


def vmalloc_end_32(kernel: Kernel) -> int:
    """VMALLOC_END of i386: below the fixmaps, the CPU entry areas, the LDT and, with HIGHMEM, the pkmap area."""
    pmd = pmd_size_32(kernel)
    at = FIXADDR_TOP_32 - fixmap_pages(kernel) * PAGE_SIZE
    areas = kernel.number("NR_CPUS", 1) * cpu_entry_area_pages(kernel) + 1
    at = (at - areas * PAGE_SIZE) // pmd * pmd
    at = (at - PAGE_SIZE) // pmd * pmd
    if kernel.enabled("HIGHMEM"):
        at = (at - PAGE_SIZE) // pmd * pmd
    return at - 2 * PAGE_SIZE


def vmalloc_reserve_32(option: str | None) -> int:
    """__VMALLOC_RESERVE: vmalloc= and the guard hole before the area, else 128 MiB (parse_vmalloc())."""
    return DEFAULT_VMALLOC_RESERVE if not option else memparse(option)[0] + VMALLOC_OFFSET


def maxmem_32(kernel: Kernel, vmalloc_reserve: int) -> int:
    """MAXMEM of i386: bytes of memory that can be mapped directly, with `vmalloc_reserve` bytes kept for vmalloc."""
    return vmalloc_end_32(kernel) - page_offset_32(kernel) - vmalloc_reserve


def preallocate_vmalloc_pages(kernel: Kernel, levels: int, *, random: bool) -> int:
    """preallocate_vmalloc_pages(): pages that mem_init() takes for the tables below each top-level entry of vmalloc.

    `random`: KASLR has moved the area, which then almost surely begins inside an entry and ends in one more.
    """
    if not kernel.is_64bit or not kernel.release.preallocates_vmalloc_tables:
        return 0
    entries = (12800 << 40) >> 48 if levels == 5 else (32 << 40) >> 39
    return entries + random


def layout_32(inputs: LayoutInputs) -> list[KernelArea]:
    """The areas of i386, from the direct map up to the fixmaps."""
    k = inputs.kernel
    pmd = pmd_size_32(k)
    high_memory = page_offset_32(k) + inputs.max_low_pfn * PAGE_SIZE
    fixmap = FIXADDR_TOP_32 - fixmap_pages(k) * PAGE_SIZE
    permanent = FIXADDR_TOP_32 - permanent_fixmap_pages(k) * PAGE_SIZE
    areas = k.number("NR_CPUS", 1) * cpu_entry_area_pages(k) + 1
    entry = (fixmap - areas * PAGE_SIZE) // pmd * pmd
    ldt = (entry - PAGE_SIZE) // pmd * pmd
    pkmap = (ldt - PAGE_SIZE) // pmd * pmd
    return [
        KernelArea("direct map", page_offset_32(k), high_memory),
        KernelArea(VMALLOC, high_memory + VMALLOC_OFFSET, vmalloc_end_32(k)),
        *([KernelArea("pkmap", pkmap, pkmap + pmd)] if k.enabled("HIGHMEM") else []),
        KernelArea("LDT remap", ldt, ldt + pmd),
        KernelArea("CPU entry areas", entry, entry + areas * PAGE_SIZE),
        KernelArea("early ioremap", fixmap, permanent),
        KernelArea("fixmap", permanent, FIXADDR_TOP_32),
    ]


def fixmap_pages_64(kernel: Kernel) -> tuple[int, int]:
    """__end_of_permanent_fixed_addresses and __end_of_fixed_addresses of x86-64, in pages below FIXADDR_TOP."""
    k = kernel
    permanent = (FIXADDR_TOP_64 - VSYSCALL_ADDR) // PAGE_SIZE + 1 if k.enabled("X86_VSYSCALL_EMULATION") else 0
    permanent += 2  # FIX_DBGP_BASE, FIX_EARLYCON_MEM_BASE
    permanent += k.enabled("PROVIDE_OHCI1394_DMA_INIT") + k.enabled("X86_LOCAL_APIC")
    permanent += MAX_IO_APICS_64 if k.enabled("X86_IO_APIC") else 0
    permanent += k.enabled("PARAVIRT_XXL") + 2 * k.enabled("ACPI_APEI_GHES")
    return permanent, _early_ioremap_end(permanent, 512) + k.enabled("INTEL_TXT")


def layout_64(inputs: LayoutInputs) -> list[KernelArea]:
    """The areas of x86-64. KASLR moves the first three (kernel_randomize_memory()), and cuts the direct map to size.

    Memory that may be plugged in later is counted in, RANDOMIZE_MEMORY_PHYSICAL_PADDING TiB of it.
    """
    k = inputs.kernel
    five = inputs.levels == 5
    random = inputs.kaslr and k.enabled("RANDOMIZE_MEMORY")
    physical = 1 << (52 if five else 46)
    direct, vmalloc, vmemmap = BASES_5_LEVELS if five else BASES_4_LEVELS
    size = (12800 if five else 32) * TIB
    if k.enabled("KMSAN"):
        size //= 4
    if random and not k.enabled("ZONE_DEVICE"):
        padding = k.number("RANDOMIZE_MEMORY_PHYSICAL_PADDING", 10 if k.enabled("MEMORY_HOTPLUG") else 0)
        physical = min(physical, (div_round_up(inputs.max_pfn * PAGE_SIZE, TIB) + padding) * TIB)
    map_size = physical // PAGE_SIZE * k.profile.sizes["struct_page"]
    text_end = KERNEL_MAP + ((1 << 30) if k.enabled("RANDOMIZE_BASE") else 512 << 20)
    permanent, fixed = (pages * PAGE_SIZE for pages in fixmap_pages_64(k))
    return [
        KernelArea("direct map", direct, direct + physical, not random),
        KernelArea(VMALLOC, vmalloc, vmalloc + size, not random),
        KernelArea(VMEMMAP, vmemmap, vmemmap + (round_up(map_size, TIB) if random else map_size), not random),
        KernelArea("CPU entry areas", CPU_ENTRY_AREA_BASE_64, CPU_ENTRY_AREA_BASE_64 + (512 << 30)),
        KernelArea("kernel text", KERNEL_MAP, text_end),
        KernelArea("modules", text_end, MODULES_END),
        KernelArea("early ioremap", FIXADDR_TOP_64 - fixed, FIXADDR_TOP_64 - permanent),
        KernelArea("fixmap", FIXADDR_TOP_64 - permanent, FIXADDR_TOP_64),
    ]


def address_space(inputs: LayoutInputs) -> AddressSpace:
    """The areas of the kernel's address space."""
    if inputs.kernel.is_64bit:
        areas = layout_64(inputs)
        last = next(area.end for area in areas if area.name == VMALLOC) - 1
        other = (BASES_4_LEVELS if inputs.levels == 5 else BASES_5_LEVELS)[0]
        return AddressSpace(tuple(areas), last, PUD_SHIFT_64, other)
    order = pmd_size_32(inputs.kernel).bit_length() - 1
    return AddressSpace(tuple(layout_32(inputs)), vmalloc_end_32(inputs.kernel), order)
