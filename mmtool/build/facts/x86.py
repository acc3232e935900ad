"""arch/x86: the firmware's map, setup_arch(), page tables and address space."""

from __future__ import annotations

from mmtool.build.fact import Facts, since, until


class X86Facts(Facts):
    """arch/x86: the firmware's map, setup_arch(), page tables and address space."""

    # kernel/e820.c
    e820_prints_gaps: bool = since("7.0")
    """The map is printed with its gaps and in new words: "System RAM", "device reserved"."""
    e820_gap_search_ascends: bool = since("7.0")
    """The search for the PCI gap goes upwards from address 0; before, downwards from 4 GiB to the first entry."""
    e820_end_counts_acpi: bool = since("6.10")
    """ACPI tables count as RAM when the last page frame is looked for."""
    e820_log_prefix: bool = until("4.15")
    """"e820: " stands before the lines that announce a map, and before the last_pfn and PCI gap lines."""

    # kernel/setup.c, realmode/init.c
    reserves_first_mib: bool = since("5.13")
    """All of the first MiB is reserved once the real-mode trampoline has its place; before, the first 64 KiB only."""
    trims_reserve_low: bool = until("3.10")
    """X86_RESERVE_LOW leaves the E820 map, not just page 0."""
    low_memory_is_scratch: bool = since("6.16")
    """The first MiB is kexec handover's scratch memory until the real-mode trampoline has its place."""
    reserves_early: bool = since("5.13")
    """Low memory, initrd and BIOS regions are reserved before the map is set up (early_reserve_memory())."""
    zones_after_setup_arch: bool = since("7.0")
    """free_area_init() runs from mm_core_init(), after setup_arch() has printed its last line."""

    # kernel/setup.c, mm: early page tables and what boot takes
    early_page_tables_for_five_levels: bool = since("5.15")
    """The brk area keeps four pages a mapping for early page tables, not three."""
    cpu_entry_areas_random: bool = since("6.2")
    """KASLR scatters the CPU entry areas over 512 GiB (x86/mm: Randomize per-cpu entry area)."""
    nosave_lists_entries: bool = until("5.12")
    """Hibernation's nosave regions are the map's other entries one by one; later, what lies between RAM entries."""
    mpc_reserved_early: bool = until("6.9")
    """The MP table is looked for before the map goes to memblock."""
    cpu_local_masks_are_four: bool = until("6.5")
    """setup_cpu_local_masks() allocates masks of initialised, calling-in, called-out and sibling CPUs; then one."""
    setup_data_only_in_memblock: bool = since("7.0")
    """setup_data is reserved in memblock alone; the E820 map is left as it is."""
    i386_forgets_high_memory: bool = since("6.15")
    """i386 removes memory above max_pfn from memblock."""

    # include/asm: the layout of i386
    tss_has_second_bitmap: bool = since("5.5")
    """struct tss_struct has a bitmap of all ports beside the task's own (x86/ioperm)."""
    doublefault_stack_in_entry_area: bool = since("5.5")
    """The double fault stack of i386 lies in the CPU entry area, with guard pages below both stacks."""
    kmap_local_in_fixmap: bool = since("5.11")
    """kmap_local() takes KM_MAX_IDX slots a CPU; before, kmap_atomic() took KM_TYPE_NR."""
    i386_has_cpu_entry_areas: bool = since("4.15")
    """The layout that i386 prints has a line for them; they lie in the fixmap before."""
    i386_prints_layout: bool = until("5.7")
    """"virtual kernel memory layout:" is printed (x86/mm/init_32: Stop printing the virtual memory layout)."""

    # what processors and builds bring
    five_levels_always: bool = since("6.17")
    """Five levels of page tables are no option any more (x86/mm/64: Always enable 5-level paging)."""
    highmem64g_removed: bool = since("6.15")
    """i386 knows no more than 4 GiB (x86/cpu: Remove CONFIG_HIGHMEM64G)."""

    # what is allocated and given back late
    preallocates_vmalloc_tables: bool = since("5.9")
    """x86-64 allocates the top-level page tables of the vmalloc area before "Memory: ..." is printed
    (x86/mm: Pre-allocate P4D/PUD pages for vmalloc area)."""
    frees_smp_alternatives: bool = until("7.0")
    """The list of lock prefixes is given back once it is known that there are several CPUs; in 6.18, not in 7.3."""
    bss_decrypted_serves_hyperv: bool = since("6.6")
    """Hyper-V's start of secondary CPUs keeps a page in .bss..decrypted; in 6.12, not in 6.1."""
    boot_services_freed_by_initcall: bool = since("7.0", stable="6.1.170 6.12.90")
    """EFI boot services' memory is freed by an arch_initcall; before, by efi_enter_virtual_mode(). In 7.3, 6.1.176 and
    6.12.107."""
