"""Where x86 puts things in virtual memory: pgtable_32_areas.h, fixmap.h, pgtable_64_types.h.

All addresses and sizes are bytes; ranges are half-open.
"""

from __future__ import annotations

from mmtool.kernel.kernel import Kernel
from mmtool.units import memparse

PAGE_SIZE = 4096
PAGE_OFFSET_32 = 0xC0000000
FIXADDR_TOP_32 = 0xFFFFF000
VMALLOC_OFFSET = 8 << 20
DEFAULT_VMALLOC_RESERVE = 128 << 20
TOTAL_FIX_BTMAPS = 512
KM_MAX_IDX = {True: {False: 16, True: 33}, False: {False: 20, True: 41}}
"""Slots for temporary mappings a CPU: by kmap_local (else kmap_atomic), by whether they are debugged."""
MAX_IO_APICS = 64
DEBUG_STORE_BUFFER_PAGES = 32


def fixmap_pages(kernel: Kernel) -> int:
    """__end_of_fixed_addresses of i386: pages below FIXADDR_TOP that have an address from the build on."""
    k = kernel
    debug = k.enabled("DEBUG_KMAP_LOCAL") or k.enabled("DEBUG_HIGHMEM")
    kmap = KM_MAX_IDX[k.release.kmap_local_in_fixmap][debug] * k.number("NR_CPUS", 1)
    permanent = 1 + 1 + 1  # FIX_HOLE, FIX_DBGP_BASE, FIX_EARLYCON_MEM_BASE
    permanent += k.enabled("PROVIDE_OHCI1394_DMA_INIT") + k.enabled("X86_LOCAL_APIC")
    permanent += MAX_IO_APICS if k.enabled("X86_IO_APIC") else 0
    permanent += kmap + k.enabled("PCI_MMCONFIG") if k.enabled("HIGHMEM") else 0
    permanent += k.enabled("PARAVIRT_XXL") + 2 * k.enabled("ACPI_APEI_GHES")
    entries = 512 if k.enabled("X86_PAE") else 1024
    end = permanent
    if (permanent ^ (permanent + TOTAL_FIX_BTMAPS - 1)) & -entries:
        end = permanent + TOTAL_FIX_BTMAPS - permanent % TOTAL_FIX_BTMAPS
    return end + TOTAL_FIX_BTMAPS + 1 + k.enabled("INTEL_TXT")


def cpu_entry_area_pages(kernel: Kernel) -> int:
    """Pages of struct cpu_entry_area on i386: GDT, entry stack, TSS, debug store, guards, double fault stack."""
    tss = 5 if kernel.release.tss_has_second_bitmap else 3
    guarded = 3 if kernel.release.doublefault_stack_in_entry_area else 0
    return 1 + 1 + guarded + tss + 1 + DEBUG_STORE_BUFFER_PAGES


def _pmd_size_32(kernel: Kernel) -> int:
    return 2 << 20 if kernel.enabled("X86_PAE") else 4 << 20


def fixmap_tables(kernel: Kernel) -> int:
    """Page tables that the fixmaps of i386 take (early_ioremap_page_table_range_init())."""
    pmd = _pmd_size_32(kernel)
    start = (FIXADDR_TOP_32 - (fixmap_pages(kernel) - 1) * PAGE_SIZE) // pmd * pmd
    return -(-(FIXADDR_TOP_32 - start) // pmd)


def cpu_entry_area_tables(kernel: Kernel) -> int:
    """Page tables that the CPU entry areas of i386 take, but for the topmost, which they share with the fixmaps."""
    pmd = _pmd_size_32(kernel)
    top = FIXADDR_TOP_32 - fixmap_pages(kernel) * PAGE_SIZE
    size = (kernel.number("NR_CPUS", 1) * cpu_entry_area_pages(kernel) + 1) * PAGE_SIZE
    base = (top - size) // pmd * pmd
    shared = top // pmd * pmd
    return max(min(-(-size // pmd), (shared - base) // pmd), 0)


def vmalloc_end_32(kernel: Kernel) -> int:
    """VMALLOC_END of i386: below the fixmaps, the CPU entry areas, the LDT and, with HIGHMEM, the pkmap area."""
    pmd = _pmd_size_32(kernel)
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
    return vmalloc_end_32(kernel) - PAGE_OFFSET_32 - vmalloc_reserve


def preallocate_vmalloc_pages(kernel: Kernel, levels: int, *, random: bool) -> int:
    """preallocate_vmalloc_pages(): pages that mem_init() takes for the tables below each top-level entry of vmalloc.

    `random`: KASLR has moved the area, which then almost surely begins inside an entry and ends in one more.
    """
    if not kernel.is_64bit or not kernel.release.preallocates_vmalloc_tables:
        return 0
    entries = (12800 << 40) >> 48 if levels == 5 else (32 << 40) >> 39
    return entries + random


def vmalloc_layout(kernel: Kernel, max_low_pfn: int, levels: int) -> dict[str, tuple[int, int]]:
    """The areas of the kernel's address space, {name: (start, end)}; without KASLR's shifts on x86-64."""
    if not kernel.is_64bit:
        high_memory = PAGE_OFFSET_32 + max_low_pfn * PAGE_SIZE
        return {
            "direct map": (PAGE_OFFSET_32, high_memory),
            "vmalloc": (high_memory + VMALLOC_OFFSET, vmalloc_end_32(kernel)),
            "fixmap": (FIXADDR_TOP_32 - fixmap_pages(kernel) * PAGE_SIZE, FIXADDR_TOP_32),
        }
    tib = 1 << 40
    if levels == 5:
        direct, vmalloc, vmemmap = (0xFF11 << 48, 32 << 50), (0xFFA0 << 48, 12800 * tib), (0xFFD4 << 48, 512 * tib)
    else:
        direct, vmalloc = (0xFFFF8880 << 32, 64 * tib), (0xFFFFC900 << 32, 32 * tib)
        vmemmap = (0xFFFFEA00 << 32, 1 * tib)
    modules_end = 0xFFFFFFFFFF000000
    return {
        "direct map": (direct[0], sum(direct)),
        "vmalloc": (vmalloc[0], sum(vmalloc)),
        "vmemmap": (vmemmap[0], sum(vmemmap)),
        "kernel text": (
            0xFFFFFFFF80000000,
            0xFFFFFFFFA0000000 if not kernel.enabled("RANDOMIZE_BASE") else 0xFFFFFFFFC0000000,
        ),
        "modules": (0xFFFFFFFFC0000000 if kernel.enabled("RANDOMIZE_BASE") else 0xFFFFFFFFA0000000, modules_end),
    }
