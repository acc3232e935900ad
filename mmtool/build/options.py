"""What a profile keeps of a kernel's configuration and of its types: one list each, with what it is for."""

from __future__ import annotations

from collections.abc import Mapping

from mmtool.late import dataclass


@dataclass(frozen=True)
class ConfigOption:
    """CONFIG_<name>, and what the model has it for.

    `no_counts`: a kernel without it is told apart from one of which nothing is known, so that "is not set" is kept
    too; `absent_is_no`: it has no prompt, and a configuration that does not mention it has it off.
    """

    name: str
    use: str
    no_counts: bool = False
    absent_is_no: bool = False


def _options(use: str, names: str) -> list[ConfigOption]:
    return [ConfigOption(name, use) for name in names.split()]


OPTIONS: tuple[ConfigOption, ...] = (
    *_options("zones", "ZONE_DMA ZONE_DMA32 ZONE_DEVICE HIGHMEM X86_PAE"),
    *_options("nodes", "NUMA NUMA_EMU ACPI_NUMA NODES_SHIFT"),
    *_options("processors", "NR_CPUS CPUMASK_OFFSTACK X86_LOCAL_APIC X86_IO_APIC"),
    *_options("memory model", "SPARSEMEM"),
    *_options("memory model", "DEFERRED_STRUCT_PAGE_INIT MEMORY_HOTPLUG MEMORY_HOTREMOVE"),
    *_options("page size", "PAGE_SHIFT ARM64_4K_PAGES ARM64_16K_PAGES ARM64_64K_PAGES PGTABLE_LEVELS"),
    *_options(
        "address space", "X86_5LEVEL ARM64_VA_BITS ARM64_PA_BITS VMSPLIT_3G_OPT VMSPLIT_2G VMSPLIT_1G"
    ),
    *_options("largest block", "ARCH_FORCE_MAX_ORDER FORCE_MAX_ZONEORDER PAGE_BLOCK_ORDER PAGE_BLOCK_MAX_ORDER"),
    *_options("huge pages", "HUGETLB_PAGE HUGETLB_PAGE_OPTIMIZE_VMEMMAP"),
    *_options("huge pages", "TRANSPARENT_HUGEPAGE"),
    *_options("huge pages", "TRANSPARENT_HUGEPAGE_NEVER"),
    *_options("CMA", "CMA DMA_CMA CMA_AREAS CMA_ALIGNMENT CMA_SIZE_MBYTES CMA_SIZE_PERCENTAGE"),
    *_options("CMA", "CMA_SIZE_SEL_PERCENTAGE CMA_SIZE_SEL_MIN CMA_SIZE_SEL_MAX"),
    *_options("CMA of each node", "DMA_PERNUMA_CMA DMA_NUMA_CMA CMA_SIZE_PERNUMA"),
    ConfigOption("CONTIG_ALLOC", "CMA, gigantic pages at run time", absent_is_no=True),
    ConfigOption("KEXEC_CORE", "crashkernel=", absent_is_no=True),
    ConfigOption("CRASH_RESERVE", "crashkernel=, from 6.9 on", no_counts=True),
    *_options("where the kernel lies", "RANDOMIZE_BASE RANDOMIZE_MEMORY RELOCATABLE"),
    *_options("where the kernel lies", "RANDOMIZE_MEMORY_PHYSICAL_PADDING RANDOMIZE_MODULE_REGION_FULL"),
    *_options("first MiB and PCI hole", "X86_RESERVE_LOW PCI_MMCONFIG"),
    *_options("edits of the map", "EFI_SOFT_RESERVE"),
    *_options("reserved at boot", "HIBERNATION SWIOTLB INTEL_TXT"),
    *_options("reserved at boot", "PROVIDE_OHCI1394_DMA_INIT EFI CRASH_DUMP ARM_GIC_V3_ITS"),
    ConfigOption("MODULES", "per-CPU memory kept for modules", no_counts=True),
    *_options("log buffer", "LOG_BUF_SHIFT LOG_CPU_MAX_BUF_SHIFT"),
    *_options("page tables", "UNMAP_KERNEL_AT_EL0"),
    *_options("page tables", "RODATA_FULL_DEFAULT_ENABLED"),
    *_options("fixmap", "X86_VSYSCALL_EMULATION PARAVIRT_XXL ACPI_APEI_GHES"),
    *_options("fixmap", "DEBUG_HIGHMEM DEBUG_KMAP_LOCAL KVM ARM_SDE_INTERFACE"),
    *_options(".bss..decrypted", "AMD_MEM_ENCRYPT PARAVIRT_CLOCK HYPERV_TIMER"),
    *_options("data of every page", "KASAN KMSAN"),
    *_options("data of every page", "MEM_ALLOC_PROFILING KFENCE KFENCE_NUM_OBJECTS KFENCE_SAMPLE_INTERVAL"),
    *_options("allocator", "MEMCG SLUB SLAB BASE_SMALL X86_L1_CACHE_SHIFT X86_INTERNODE_CACHE_SHIFT"),
    *_options("allocator", "COMPACTION INIT_ON_FREE_DEFAULT_ON"),
    *_options("slabs", "SLOB SLUB_TINY SLUB_DEBUG SLUB_DEBUG_ON SLUB_CPU_PARTIAL SLAB_MERGE_DEFAULT"),
    *_options("slabs", "SLAB_FREELIST_RANDOM SLAB_BUCKETS HARDENED_USERCOPY"),
    *_options("slabs", "RANDOM_KMALLOC_CACHES KMALLOC_PARTITION_CACHES"),
)
"""The configuration that the model asks for: each name that it does is here, and none that it does not."""

STRUCTURES: Mapping[str, str] = {
    "struct_page": "page",
    "pg_data_t": "pglist_data",
    "zone": "zone",
    "per_cpu_pages": "per_cpu_pages",
    "mem_section": "mem_section",
    "mem_section_usage": "mem_section_usage",
    "memblock_region": "memblock_region",
    "resource": "resource",
    "firmware_map_entry": "firmware_map_entry",
    "nosave_region": "nosave_region",
    "device_node": "device_node",
    "property": "property",
    "pcpu_alloc_info": "pcpu_alloc_info",
    "pcpu_group_info": "pcpu_group_info",
    "pcpu_chunk": "pcpu_chunk",
    "pcpu_block_md": "pcpu_block_md",
    "io_tlb_slot": "io_tlb_slot",
    "io_tlb_area": "io_tlb_area",
    "printk_info": "printk_info",
    "prb_desc": "prb_desc",
    "cma": "cma",
    "kmem_cache": "kmem_cache",
    "kmem_cache_node": "kmem_cache_node",
}
"""Size in a profile -> the structure whose size it is; a kernel that has none such has no such size."""
