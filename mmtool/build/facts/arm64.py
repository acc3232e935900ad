"""arch/arm64: zones, the image, the address space."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since, until


class Arm64Facts(Facts):
    """arch/arm64: zones, the image, the address space."""

    # mm/init.c, mm/mmu.c, kernel/head.S
    arm64_low_zone_is_dma32: bool = since("4.16", "arm64: replace ZONE_DMA with ZONE_DMA32", not_in="4.14")
    """The zone below 4 GiB is ZONE_DMA32; before, ZONE_DMA."""
    arm64_can_unplug: bool = since("5.7", "arm64/mm: Enable memory hot remove", not_in="5.6")
    """Memory can be taken out, without which there is no zone for device memory."""
    arm64_has_two_dma_zones: bool = since(
        "5.5", "arm64: use both ZONE_DMA and ZONE_DMA32", marks=Mark("arch/arm64/mm/init.c", "ZONE_DMA]", since="4.19")
    )
    """ZONE_DMA below ZONE_DMA32; before, one of them."""
    arm64_dma_zone_by_firmware: bool = since(
        "5.11",
        "arm64: mm: Set ZONE_DMA size based on devicetree's dma-ranges",
        stable="5.10.22",
        marks=Mark("arch/arm64/mm/init.c", "of_dma_get_max_cpu_address"),
    )
    """The device tree says where ZONE_DMA ends; before, it is the first GiB."""
    arm64_reserves_for_devices_early: bool = until(
        "5.11",
        "arm64: mm: Move reserve_crashkernel() into mem_init()",
        stable="5.10.22",
    )
    """The crash kernel and then CMA's default area are reserved in arm64_memblock_init(), below 4 GiB; later below the
    end of ZONE_DMA, in bootmem_init(), CMA first."""
    arm64_says_va_bits_too_small: bool = since("5.11", marks=Mark("arch/arm64/mm/init.c", "VA_BITS too small"))
    """Memory beyond the linear map is told of when it is removed."""
    arm64_dma_zone_by_limit: bool = since(
        "6.12",
        "arm64: support DMA zone above 4GB",
        marks=Mark("arch/arm64/mm/init.c", "max_zone_phys(phys_addr_t zone_limit)"),
    )
    """ZONE_DMA ends at the limit of the buses, not at the next power of two."""
    arm64_head_is_not_text: bool = between(
        Change("5.11", "arm64: omit [_text, _stext) from permanent kernel mapping"),
        Change(
            "6.17",
            "arm64: map [_text, _stext) virtual address range non-executable+read-only",
            stable="6.12.54",
            not_in="6.14",
        ),
        marks=Mark("arch/arm64/mm/init.c", "memblock_reserve(__pa_symbol(_stext)"),
    )
    """The image's first 64 KiB, from _text to _stext, are not kept once the kernel runs."""
    arm64_maps_itself_early: bool = since("6.9", marks=Mark("arch/arm64/kernel/pi/map_kernel.c", "early_map_kernel"))
    """The image has its final page tables, static ones, before setup_arch()."""
    arm64_idmap_is_allocated: bool = between(
        Change("6.0", "arm64: mm: provide idmap pointer to cpu_replace_ttbr1()"),
        Change("6.9"),
        marks=Mark("arch/arm64/mm/mmu.c", "early_pgtable_alloc", inside="create_idmap"),
    )
    """paging_init() allocates the identity map's tables."""
    arm64_text_alias_has_pages: bool = since(
        "7.2", marks=Mark("arch/arm64/mm/mmu.c", "__map_memblock(kernel_start, init_begin")
    )
    """The linear map of the image is as fine as the rest of it; before, blocks where they fit."""
    rodata_on_is_full: bool = since(
        "6.17", not_in="6.14", marks=Mark("arch/arm64/mm/pageattr.c", "bool rodata_full __ro_after_init = true")
    )
    """Read-only data is so in the linear map too unless rodata=noalias says not; RODATA_FULL_DEFAULT_ENABLED is no
    option any more."""
    arm64_swiotlb_always: bool = since(
        "6.5",
        "arm64: enable ARCH_WANT_KMALLOC_DMA_BOUNCE for arm64",
        not_in="6.4",
        seen_in="6.6",
        marks=Mark("arch/arm64/Kconfig", "DMA_BOUNCE_UNALIGNED_KMALLOC"),
    )
    """arm64 has bounce buffers even if devices reach all memory, for small kmalloc() blocks, then 1/1024 of memory."""
    arm64_efi_memory_has_many_regions: bool = since(
        "6.0",
        "memblock,arm64: expand the static memblock memory table",
        marks=Mark("arch/arm64/include/asm/memory.h", "INIT_MEMBLOCK_MEMORY_REGIONS"),
    )
    """With EFI, memblock's list of memory begins with room for eight times as many regions."""
    arm64_finds_mirrored_memory: bool = since(
        "6.0",
        "efi: Make code to find mirrored memory ranges generic",
        marks=Mark("drivers/firmware/efi/efi-init.c", "efi_find_mirror"),
    )
    """efi_init() looks for memory that the firmware keeps twice; before, x86 alone does."""
    arm64_sections_are_1g: bool = until(
        "5.12",
        "arm64/sparsemem: reduce SECTION_SIZE_BITS",
        marks=Mark("arch/arm64/include/asm/sparsemem.h", "SECTION_SIZE_BITS 30"),
    )
    """A section is 1 GiB on arm64; later 128 MiB, and 512 MiB with pages of 64 KiB."""
    arm64_has_own_pfn_valid: bool = until(
        "5.16",
        "arm64/mm: drop HAVE_ARCH_PFN_VALID",
        stable="5.15.17-37",
        marks=(
            Mark("arch/arm64/mm/init.c", "int pfn_valid(unsigned long pfn)", until="5.14"),
            Mark("arch/arm64/mm/init.c", "int pfn_valid(unsigned long pfn)", since="5.15"),
        ),
    )
    """arm64 holds a page valid only if it is memory."""
    arm64_valid_is_mapped: bool = until(
        "5.14",
        "arm64: decouple check whether pfn is in linear map from pfn_valid()",
        marks=(
            Mark("arch/arm64/mm/init.c", "return memblock_is_map_memory(addr)", inside="pfn_valid", since="4.14"),
            Mark("arch/arm64/mm/init.c", "if (!early_section(ms))", inside="pfn_valid", since="5.12", until="5.13"),
        ),
    )
    """A page that is not to be mapped is not valid either."""
    arm64_vmalloc_contiguous: bool = since(
        "6.16",
        "arm64/mm: Support huge pte-mapped pages in vmap",
        marks=Mark("arch/arm64/include/asm/vmalloc.h", "arch_vmap_pte_range_map_size"),
    )
    """arm64 maps vmalloc areas with contiguous entries."""

    # include/asm/memory.h, fixmap.h: the address space
    arm64_has_bpf_region: bool = between(
        Change("5.0"),
        Change("5.17", "arm64/bpf: Remove 128MB limit for BPF JIT programs", stable="5.15.17-18-55 5.16.4"),
        marks=Mark("arch/arm64/include/asm/memory.h", "BPF_JIT_REGION_SIZE"),
    )
    """BPF programs have 128 MiB of their own before the modules."""
    arm64_vmemmap_projects: bool = since(
        "5.11",
        "arm64: mm: make vmemmap region a projection of the linear region",
        marks=(
            Mark("arch/arm64/include/asm/memory.h", "VMEMMAP_SHIFT", until="6.9"),
            Mark("arch/arm64/include/asm/memory.h", "VMEMMAP_RANGE", since="6.9"),
        ),
    )
    """The vmemmap begins where the linear map's first page is, scaled down, and what is above it keeps its distance."""
    arm64_modules_have_2g: bool = since(
        "6.5",
        "arm64: module: rework module VA range selection",
        marks=Mark("arch/arm64/include/asm/memory.h", "MODULES_VSIZE (SZ_2G)"),
    )
    """2 GiB for modules, not 128 MiB."""
    arm64_top_is_fixed: bool = since(
        "6.9",
        "arm64: mm: Reclaim unused vmemmap region for vmalloc use",
        marks=Mark("arch/arm64/include/asm/memory.h", "VMEMMAP_RANGE"),
    )
    """The vmemmap ends 1 GiB below the top, PCI I/O and fixmap lie above it, and vmalloc gets what shorter addresses
    leave of it."""
    arm64_has_lpa2: bool = since("6.9", marks=Mark("arch/arm64/Kconfig", "ARM64_LPA2"))
    """Addresses of 52 bits with small pages too."""
    arm64_fixmap_in_pages: bool = since(
        "6.4",
        "arm64: mm: always map fixmap at page granularity",
        marks=Mark("arch/arm64/include/asm/fixmap.h", "DIV_ROUND_UP(MAX_FDT_SIZE, PAGE_SIZE) + 1"),
    )
    """The device tree's window is a page larger than a tree can be, not 2 MiB."""
    arm64_fixmap_has_vncr: bool = since(
        "6.16",
        "KVM: arm64: nv: Handle mapping of VNCR_EL2 at EL2",
        marks=Mark("arch/arm64/include/asm/fixmap.h", "FIX_VNCR"),
    )
    """A page for every CPU's nested guest."""
    arm64_trampoline_data_always: bool = until(
        "6.0",
        "arm64: entry: simplify trampoline data page",
        marks=Mark("arch/arm64/include/asm/fixmap.h", "FIX_ENTRY_TRAMP_DATA", since="4.14"),
    )
    """The data page of the way into the kernel has a place whatever the build."""
    arm64_btmaps_have_spare_page: bool = since(
        "7.2",
        "arm64: fixmap: Allow 256K early_ioremap() at any offset",
        stable="6.12.111",
        marks=Mark("arch/arm64/include/asm/fixmap.h", "(SZ_256K / PAGE_SIZE) + 1"),
    )
    """An early mapping may begin inside a page and still be 256 KiB."""
