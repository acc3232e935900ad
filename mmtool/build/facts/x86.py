"""arch/x86: the firmware's map, setup_arch(), page tables and address space."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Symbol, between, since, until


class X86Facts(Facts):
    """arch/x86: the firmware's map, setup_arch(), page tables and address space."""

    # kernel/e820.c
    e820_prints_gaps: bool = since("7.0", marks=Mark("arch/x86/kernel/e820.c", "device reserved"))
    """The map is printed with its gaps and in new words: "System RAM", "device reserved"."""
    e820_gap_search_ascends: bool = since(
        "7.0", marks=Mark("arch/x86/kernel/e820.c", "e820_search_gap(unsigned long *max_gap_start")
    )
    """The search for the PCI gap goes upwards from address 0; before, downwards from 4 GiB to the first entry."""
    e820_end_counts_acpi: bool = since(
        "6.11", marks=Mark("arch/x86/kernel/e820.c", "E820_TYPE_ACPI", inside="e820__end_ram_pfn")
    )
    """ACPI tables count as RAM when the last page frame is looked for."""
    e820_log_prefix: bool = until(
        "4.16",
        not_in="4.15",
        seen_in="4.19",
        marks=(
            Mark("arch/x86/kernel/e820.c", 'pr_info("e820: BIOS-provided'),
            Mark("arch/x86/kernel/e820.c", 'printk(KERN_INFO "e820: BIOS-provided'),
        ),
    )
    """"e820: " stands before the lines that announce a map, and before the last_pfn and PCI gap lines."""

    esrt_leaves_map: bool = since(
        "5.5", "x86/efi: Update e820 with reserved EFI boot services data to fix kexec breakage", stable="5.4.11"
    )
    """What EFI's tables reserve in boot services data is reserved in the E820 map too."""
    has_mokvar_table: bool = since(
        "5.10",
        "efi: Support for MOK variable config table",
        marks=Mark("arch/x86/kernel/setup.c", "efi_mokvar_table_init"),
    )
    """The table of machine owner keys is kept where the firmware put it."""
    kvm_guest_asks_for_low_ram: bool = since(
        "6.18",
        "x86/kvm: Force legacy PCI hole to UC when overriding MTRRs for TDX/SNP",
        stable="6.12.54",
        marks=Mark("arch/x86/kernel/kvm.c", "e820__end_of_low_ram_pfn"),
    )
    """A guest of KVM looks for the end of low memory before the map is trimmed, with its line."""

    # kernel/setup.c, realmode/init.c
    reserves_first_mib: bool = since(
        "5.13-rc5",
        "x86/setup: Always reserve the first 1M of RAM",
        not_in="5.13-rc1",
        seen_in="5.13-rc6",
        marks=Mark("arch/x86/realmode/init.c", "memblock_reserve(0, SZ_1M)"),
    )
    """All of the first MiB is reserved once the real-mode trampoline has its place; before, the first 64 KiB only."""
    page_0_is_ram: bool = between(
        Change("5.11", "x86/setup: don't remove E820_TYPE_RAM for pfn 0", stable="5.10.11"),
        Change("5.11", 'Revert "x86/setup: don\'t remove E820_TYPE_RAM for pfn 0"', stable="5.10.14"),
    )
    """The first page stays RAM in the map, and memory in memblock."""
    trims_reserve_low: bool = until("3.10", not_in="3.9")
    """X86_RESERVE_LOW leaves the E820 map, not just page 0."""
    low_memory_is_scratch: bool = since(
        "6.16",
        "x86: add KHO support",
        marks=(
            Mark("arch/x86/realmode/init.c", "memblock_clear_kho_scratch(0, SZ_1M)"),
            Symbol("memblock_clear_kho_scratch"),
        ),
    )
    """The first MiB is kexec handover's scratch memory until the real-mode trampoline has its place."""
    reserves_early: bool = since(
        "5.13",
        "x86/setup: Consolidate early memory reservations",
        marks=Mark("arch/x86/kernel/setup.c", "early_reserve_memory"),
    )
    """Low memory, initrd and BIOS regions are reserved before the map is set up (early_reserve_memory())."""
    zones_after_setup_arch: bool = since(
        "7.0", marks=(Mark("init/main.c", "mm_core_init_early"), Symbol("mm_core_init_early", beside="mm_core_init"))
    )
    """free_area_init() runs from mm_core_init(), after setup_arch() has printed its last line."""

    dma32_ends_at_4g: bool = until("4.0", "x86/mm: Fix zone ranges boot printout", not_in="3.13")
    """Zone DMA32 is said to end at 4 GiB, also where memory ends before."""

    # kernel/setup.c, mm: early page tables and what boot takes
    early_page_tables_for_five_levels: bool = since(
        "5.12", not_in="5.11", marks=Mark("arch/x86/mm/init.c", "INIT_PGD_PAGE_TABLES 4")
    )
    """The brk area keeps four pages a mapping for early page tables, not three."""
    cpu_entry_areas_random: bool = since(
        "6.2", "x86/mm: Randomize per-cpu entry area", marks=Mark("arch/x86/mm/cpu_entry_area.c", "init_cea_offsets")
    )
    """KASLR scatters the CPU entry areas over 512 GiB."""
    nosave_lists_entries: bool = until(
        "6.15",
        "x86/e820: Fix handling of subpage regions when calculating nosave ranges in e820__register_nosave_regions()",
        stable="6.1.135 6.6.1-129 6.12.24",
        marks=Mark("arch/x86/kernel/e820.c", "PFN_DOWN(last_addr)", gone=True, inside="e820__register_nosave_regions"),
    )
    """Hibernation's nosave regions are the map's other entries one by one; later, what lies between RAM entries."""
    cpu_local_masks_are_four: bool = until(
        "6.5",
        not_in="6.4",
        marks=(
            Mark("arch/x86/kernel/setup_percpu.c", "cpu_callin_mask", inside="setup_cpu_local_masks"),
            Mark("arch/x86/kernel/cpu/common.c", "cpu_callin_mask", inside="setup_cpu_local_masks"),
        ),
    )
    """setup_cpu_local_masks() allocates masks of initialised, calling-in, called-out and sibling CPUs; then one."""
    setup_data_only_in_memblock: bool = since(
        "6.15",
        not_in="6.14",
        seen_in="6.16",
        marks=Mark("arch/x86/kernel/e820.c", "e820__reserve_setup_data", gone=True, since="4.14"),
    )
    """setup_data is reserved in memblock alone; the E820 map is left as it is."""
    i386_forgets_high_memory: bool = since(
        "6.15-rc3",
        "x86/e820: Discard high memory that can't be addressed by 32-bit systems",
        not_in="6.15-rc2",
        seen_in="6.15",
        marks=(
            Mark("arch/x86/mm/init_32.c", "memblock_remove"),
            Mark("arch/x86/kernel/e820.c", "memblock_remove(PFN_PHYS(max_pfn)"),
        ),
    )
    """i386 removes memory above max_pfn from memblock."""

    # include/asm: the layout of i386
    tss_has_second_bitmap: bool = since(
        "5.5", not_in="5.4", seen_in="5.7", marks=Mark("arch/x86/include/asm/processor.h", "mapall")
    )
    """struct tss_struct has a bitmap of all ports beside the task's own (x86/ioperm)."""
    doublefault_stack_in_entry_area: bool = since(
        "5.5", not_in="5.4", seen_in="5.7", marks=Mark("arch/x86/include/asm/cpu_entry_area.h", "doublefault_stack")
    )
    """The double fault stack of i386 lies in the CPU entry area, with guard pages below both stacks."""
    kmap_local_in_fixmap: bool = since("5.11", marks=Mark("arch/x86/include/asm/fixmap.h", "KM_MAX_IDX"))
    """kmap_local() takes KM_MAX_IDX slots a CPU; before, kmap_atomic() took KM_TYPE_NR."""
    i386_has_cpu_entry_areas: bool = since(
        "4.15",
        "x86/cpu_entry_area: Move it out of the fixmap",
        stable="4.14.1-177",
        marks=Mark("arch/x86/mm/init_32.c", "cpu_entry"),
    )
    """The layout that i386 prints has a line for them; they lie in the fixmap before."""
    i386_prints_layout: bool = until(
        "5.7",
        "x86/mm/init_32: Stop printing the virtual memory layout",
        marks=Mark("arch/x86/mm/init_32.c", "virtual kernel memory layout"),
    )
    """"virtual kernel memory layout:" is printed."""

    # what processors and builds bring
    five_levels_always: bool = since(
        "6.16",
        "x86/mm/64: Make 5-level paging support unconditional",
        marks=Mark("arch/x86/Kconfig", "config X86_5LEVEL", gone=True, since="4.12")
    )
    """Five levels of page tables are no option any more."""
    highmem64g_removed: bool = since(
        "6.15",
        "x86/cpu: Remove CONFIG_HIGHMEM64G support",
        marks=Mark("arch/x86/Kconfig", "config HIGHMEM64G", gone=True),
    )
    """i386 knows no more than 4 GiB."""

    # what is allocated and given back late
    preallocates_vmalloc_tables: bool = since(
        "5.9",
        "x86/mm: Pre-allocate P4D/PUD pages for vmalloc area",
        marks=Mark("arch/x86/mm/init_64.c", "preallocate_vmalloc_pages"),
    )
    """x86-64 allocates the top-level page tables of the vmalloc area before "Memory: ..." is printed."""
    frees_smp_alternatives: bool = until(
        "7.3", marks=Mark("arch/x86/kernel/alternative.c", 'free_init_pages("SMP alternatives"')
    )
    """The list of lock prefixes is given back once it is known that there are several CPUs."""
    smp_alternatives_freed_by_initcall: bool = between(
        Change("7.1", not_in="7.0"),
        Change("7.3"),
        marks=Mark("arch/x86/kernel/alternative.c", "arch_initcall(free_smp_locks)"),
    )
    """That list is given back by an arch_initcall, once deferred memory has come; before, by
    alternative_instructions()."""
    bss_decrypted_serves_hyperv: bool = since(
        "6.6", "x86/hyperv: Add smp support for SEV-SNP guest", marks=Mark("arch/x86/hyperv/ivm.c", "__bss_decrypted")
    )
    """Hyper-V's clock and its start of secondary CPUs keep a page each in .bss..decrypted."""
    boot_services_freed_by_initcall: bool = since(
        "7.0",
        "x86/efi: defer freeing of boot services memory",
        stable="6.1.167 6.12.77 6.18.16-17-33",
        marks=Mark("arch/x86/platform/efi/quirks.c", "arch_initcall(efi_free_boot_services)"),
    )
    """EFI boot services' memory is freed by an arch_initcall; before, by efi_enter_virtual_mode()."""
