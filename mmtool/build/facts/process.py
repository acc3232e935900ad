"""Facts about a process's address space: mm/mmap.c, vma.c, mremap.c, mprotect.c, memory.c, huge_memory.c."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, between, since, until


class ProcessFacts(Facts):
    """What differs between releases in placing, merging, faulting and accounting a process's memory."""

    # mm/mmap.c, mm/vma.c: merging
    mmap_looks_at_next_first: bool = between(
        Change("6.1", "mm/mmap: use advanced maple tree API for mmap_region()"),
        Change("6.12", "mm: avoid using vma_merge() for new VMAs"),
        marks=Mark("mm/mmap.c", "/* Attempt to expand an old mapping */"),
    )
    "A new mapping that both neighbours would take, but not together, joins the upper; else the lower."
    brk_expands_only: bool = since(
        "6.1", "mm/mmap: change do_brk_flags() to expand existing VMA and add do_brk_munmap()"
    )
    "The heap grows only out of the mapping that ends at the break, never into the one above."
    unfaulted_takes_anon_vma: bool = since(
        "6.16", "mm/vma: fix incorrectly disallowed anonymous VMA merges", not_in="6.14",
        marks=Mark("mm/vma.c", "vma_is_fork_child", since="6.19"),
    )  # fmt: skip
    "A mapping without pages may be merged with the neighbour whose anon_vma the changed range has."
    has_sticky_flags: bool = since(
        "6.19", "mm: implement sticky VMA flags", marks=Mark("include/linux/mm.h", "STICKY"),
    )  # fmt: skip
    "Soft-dirty and guard marks do not keep mappings apart; the merged one has them all."
    has_anon_pgoff: bool = since("7.3", not_in="7.2", marks=Mark("mm/vma.c", "needs_adjacent_anon_pgoff"))
    "Private file mappings keep an offset for their anonymous pages, which must run on for a merge."

    # mm/mmap.c, mm/vma.c: order of checks
    mmap_charges_before_unmap: bool = since(
        "6.12", "mm/vma: track start and end for munmap in vma_munmap_struct",
        marks=Mark("mm/vma.c", "vms_gather_munmap_vmas"),
    )  # fmt: skip
    "Limits and charge are checked before what is in the way goes, and what that has charged counts."
    mmap_passes_unmap_error: bool = since(
        "6.12", "mm/vma: track start and end for munmap in vma_munmap_struct",
        marks=Mark("mm/vma.c", "vms_gather_munmap_vmas"),
    )  # fmt: skip
    "What mmap() says is what the unmapping of the range said, not always ENOMEM."
    stack_means_no_huge_pages: bool = since(
        "6.7",
        "mm/mmap: map MAP_STACK to VM_NOHUGEPAGE",
        marks=Mark("include/linux/mman.h", "MAP_STACK, VM_NOHUGEPAGE", since="6.8"),
    )
    "MAP_STACK keeps a mapping from huge pages."
    has_droppable: bool = since(
        "6.11", "mm: add MAP_DROPPABLE for designating always lazily freeable mappings",
        marks=Mark("mm/mmap.c", "MAP_DROPPABLE"),
    )  # fmt: skip
    "MAP_DROPPABLE is known."

    # mm/huge_memory.c: placement
    aligns_files: bool = since(
        "5.18", "mm/readahead: Align file mappings for non-DAX",
        marks=Mark("mm/huge_memory.c", "IS_DAX(filp->f_mapping->host)", gone=True, inside="thp_get_unmapped_area"),
    )  # fmt: skip
    "Large mappings of files on ext4, xfs and the like are aligned to huge pages."
    aligns_anonymous: bool = since(
        "6.7", "mm: align larger anonymous mappings on THP boundaries", marks=Mark("mm/mmap.c", "are THP aligned")
    )
    "Large anonymous mappings are aligned to huge pages."
    aligns_without_hint_only: bool = since(
        "6.13", "mm: respect mmap hint address when aligning for THP", stable="6.12.5",
        marks=Mark("mm/mmap.c", "&& !addr /* no hint */"),
    )  # fmt: skip
    "... but not where a hint was given."
    aligns_multiples_only: bool = since(
        "6.12", "mm, mmap: limit THP alignment of anonymous mappings to PMD-aligned sizes", stable="6.11.1-11",
        marks=Mark("mm/mmap.c", "IS_ALIGNED(len, PMD_SIZE)"),
    )  # fmt: skip
    "... and only when their length is a multiple of a huge page."
    thp_aligns_to_top: bool = since(
        "6.8", "mm: thp_get_unmapped_area must honour topdown preference",
        marks=Mark("mm/huge_memory.c", "!off_sub"),
    )  # fmt: skip
    "An area that happens to be aligned is moved up by the padding."
    hugetlb_hint_rounds_up: bool = since(
        "6.13", "mm: make hugetlb mappings go through mm_get_unmapped_area_vmflags",
        marks=Mark("arch/x86/mm/hugetlbpage.c", "hugetlb_get_unmapped_area_topdown", gone=True),
    )  # fmt: skip
    "A hint for a hugetlb mapping is rounded up on x86 too; before, down."
    has_mthp: bool = since(
        "6.8", "mm: thp: introduce multi-size THP sysfs interface", marks=Mark("mm/huge_memory.c", "hugepages-%lukB")
    )
    "Smaller large folios, with a directory hugepages-<size>kB each."
    huge_zero_write_allocates: bool = since(
        "6.13", not_in="6.12",
        marks=Mark("mm/huge_memory.c", "do_huge_zero_wp_pmd"),
    )  # fmt: skip
    "A write to the huge zero page brings a huge page; before, the zero page's entry is split."

    special_mappings_stay_whole: bool = since(
        "5.11", "mm: forbid splitting special mappings", marks=Mark("mm/mmap.c", "special_mapping_split")
    )
    "The vdso and its data may not be split."

    # mm/mremap.c
    mremap_looks_up_first: bool = since(
        "5.16", "mm, hugepages: add mremap() support for hugepage backed vma",
        marks=Mark("mm/mremap.c", "move_hugetlb_page_tables"),
    )  # fmt: skip
    "Nothing mapped at the address is EFAULT before anything else; hugetlb memory may be moved."
    mremap_extension_merges: bool = since(
        "6.1", "mm: add merging after mremap resize", marks=Mark("mm/mremap.c", "extension_start", until="6.7")
    )
    "A mapping that grew in place merges with the one that it now reaches."
    dontunmap_of_files: bool = since("5.13", "mm: Extend MREMAP_DONTUNMAP to non-anonymous mappings", not_in="5.10")
    "MREMAP_DONTUNMAP is not for anonymous memory alone."
    mremap_keeps_source_apart: bool = since(
        "7.2", stable="6.12.117",
        marks=Mark("mm/mremap.c", "pgoff_unfaulted"),
    )  # fmt: skip
    "MREMAP_DONTUNMAP does not merge the new mapping with its source."
    mremap_checks_first: bool = since(
        "6.17",
        "mm/mremap: permit mremap() move of multiple VMAs",
        not_in="6.14",
        marks=Mark("mm/mremap.c", "remap_move"),
    )
    "Arguments are looked at before mappings, and a move of the same length may take in several mappings."
    mremap_charges_shrink: bool = between(
        Change("6.17", "mm/mremap: refactor mremap() system call implementation"), Change("7.2", not_in="7.1"),
        marks=Mark("mm/mremap.c", "vrm_calc_charge", until="7.2"),
    )  # fmt: skip
    "A move that also shrinks charges what it gave up, and nobody gives that back."
    dontunmap_counts_locked: bool = between(
        Change("6.16", "mm/mremap: refactor mremap() system call implementation"),
        Change("7.3", "mm/mremap: account mm->locked_vm correctly for MREMAP_DONTUNMAP", "7.2.8"),
        marks=Mark("mm/mremap.c", "vrm_stat_account", until="7.2"),
    )  # fmt: skip
    "MREMAP_DONTUNMAP of locked memory counts the new mapping as locked on top of the old one."
    dontunmap_marks_next: bool = until(
        "5.11", "mm/mremap: for MREMAP_DONTUNMAP check security_vm_enough_memory_mm()", not_in="5.10",
        marks=Mark("mm/mremap.c", "VM_ACCOUNT && !(flags & MREMAP_DONTUNMAP)", gone=True, until="6.15"),
    )  # fmt: skip
    "MREMAP_DONTUNMAP in the midst of a charged mapping marks the mapping behind it as charged."
    mremap_counts_worst_case: bool = since("7.1", marks=Mark("mm/mremap.c", "__check_map_count_against_split"))
    "The limit on mappings is compared with the most that a move may need; before, with three fewer."

    mremap_realigns: bool = since(
        "6.7", "mm/mremap: optimize the start addresses in move_page_tables()",
        marks=Mark("mm/mremap.c", "try_realign_addr"),
    )  # fmt: skip
    "A move begins at a table's bound where nothing lies below the two mappings there."
    mremap_looks_at_puds: bool = since(
        "5.11", "mm: speedup mremap on 1GB or larger regions", marks=Mark("mm/mremap.c", "alloc_new_pud")
    )
    "A move makes the upper tables of the new place wherever the old one has a table of the PMD's level."
    unmapped_area_knows_min_addr: bool = since(
        "6.4",
        "mm: move 'mmap_min_addr' logic from callers into vm_unmapped_area()",
        marks=(
            Mark("mm/mmap.c", "low_limit = mmap_min_addr"),
            Mark("mm/vma.c", "low_limit = mmap_min_addr"),
        ),
    )
    "No area below vm.mmap_min_addr is found; before, x86-64 finds them, and only privilege may have them."

    # mm/memory.c, mm/mprotect.c
    has_anon_exclusive: bool = since(
        "5.19", "mm: remember exclusively mapped anonymous pages with PG_anon_exclusive",
        marks=Mark("include/linux/page-flags.h", "AnonExclusive"),
    )  # fmt: skip
    "Pages that are a process's alone are marked, and written without a copy."
    large_folios_track_owner: bool = since(
        "6.15", "mm/rmap: basic MM owner tracking for large folios (!hugetlb)", not_in="6.14", seen_in="6.17",
        marks=Mark("mm/memory.c", "__wp_can_reuse_large_anon_folio"),
    )  # fmt: skip
    "A large folio that one process alone maps is written without copies."
    mprotect_makes_writable: bool = since(
        "6.0", "mm/mprotect: try avoiding write faults for exclusive anonymous pages when changing protection",
        marks=Mark("mm/mprotect.c", "can_change_pte_writable"),
    )  # fmt: skip
    "mprotect() back to writable makes the process's own pages writable at once."
    mprotect_makes_huge_writable: bool = since(
        "6.2", "mm/huge_memory: try avoiding write faults when changing PMD protection", not_in="6.1",
        marks=Mark("mm/huge_memory.c", "can_change_pmd_writable"),
    )  # fmt: skip
    "... huge pages too."
    mprotect_uncharges: bool = since(
        "6.7", "mm/mprotect: allow unfaulted VMAs to be unaccounted on mprotect()",
        marks=Mark("mm/mprotect.c", "!vma->anon_vma"),
    )  # fmt: skip
    "A private mapping without pages that loses its write permission gives its charge back."
    mprotect_goes_by_iterator: bool = since(
        "6.3", "mm/mprotect: use maple tree navigation instead of VMA linked list",
        marks=Mark("mm/mprotect.c", "for_each_vma_range(vmi, vma, end)"),
    )  # fmt: skip
    "The next mapping is the one after the changed range, whatever merged."
    vdso_has_datastore: bool = since(
        "6.15",
        "vdso: Add generic time data storage",
        not_in="6.14",
        seen_in="6.17",
        marks=Mark("lib/vdso/datastore.c", "vvar_fault"),
    )
    "The vdso's data lies in pages for time, time namespaces and random numbers; clocks of hypervisors apart."
    vvar_inserts_pages: bool = since("7.1", marks=Mark("lib/vdso/datastore.c", "get_page(page)"))
    "The vdso's data is pages that may be unmapped, not bare frames."
    vvar_has_every_page: bool = since(
        "7.2", not_in="7.1", marks=Mark("lib/vdso/datastore.c", "vdso_initdata", since="7.2")
    )
    "All pages of the vdso's data are there, used or not."
    batches_of_31: bool = since(
        "6.9", "mm: increase folio batch size", marks=Mark("include/linux/pagevec.h", "PAGEVEC_SIZE\t31", until="7.1")
    )
    "LRU operations wait in batches of 31, before of 15."
    populate_drains: bool = since("5.18", marks=Mark("mm/mlock.c", "lru_add_drain();"))
    "Populating and locking empty the LRU's batches first."
    unmap_drains: bool = until("6.14", marks=Mark("mm/vma.c", "lru_add_drain", since="6.12"))
    "Unmapping empties the LRU's batches."
    shared_write_retries: bool = until(
        "6.0",
        "mm: avoid unnecessary page fault retires on shared memory types",
        marks=Mark("include/linux/mm_types.h", "VM_FAULT_COMPLETED", gone=True),
    )
    "The first write to a page of shared memory is done twice, and counted as no minor fault."

    # mm/mseal.c, mm/madvise.c
    has_mseal: bool = since("6.10", "mseal: add mseal syscall", marks=Mark("mm/mseal.c", "SYSCALL_DEFINE3(mseal"))
    "mseal() is known (64-bit kernels)."
    seals_checked_one_by_one: bool = since(
        "6.12",
        "mm/munmap: replace can_modify_mm with can_modify_vma",
        marks=Mark("mm/mmap.c", "can_modify_mm", gone=True, since="6.10"),
    )
    "What lies before a sealed mapping is changed before the seal refuses; before, seals were looked at first."
    has_populate: bool = since(
        "5.14", "mm/madvise: introduce MADV_POPULATE_(READ|WRITE) to prefault page tables",
        marks=Mark("mm/madvise.c", "MADV_POPULATE_READ"),
    )  # fmt: skip
    "MADV_POPULATE_READ and _WRITE are known."
    populate_stops_at_holes: bool = since(
        "6.9", "mm/madvise: make MADV_POPULATE_(READ|WRITE) handle VM_FAULT_RETRY properly",
        stable="6.6.1-129 6.8.1-8-12",
        marks=Mark("mm/madvise.c", "faultin_page_range"),
    )  # fmt: skip
    "Populating ends at a hole; before, it goes on behind it."
    has_dontneed_locked: bool = since(
        "5.18", "mm: madvise: MADV_DONTNEED_LOCKED", marks=Mark("mm/madvise.c", "MADV_DONTNEED_LOCKED")
    )
    "MADV_DONTNEED_LOCKED is known."
    hugetlb_dontneed: bool = since(
        "5.18", "mm: enable MADV_DONTNEED for hugetlb mappings", marks=Mark("mm/madvise.c", "huge_page_mask")
    )
    "MADV_DONTNEED gives hugetlb pages back."
    has_collapse: bool = since(
        "6.1", "mm/madvise: introduce MADV_COLLAPSE sync hugepage collapse", marks=Mark("mm/madvise.c", "MADV_COLLAPSE")
    )
    "MADV_COLLAPSE is known."
    has_guards: bool = since(
        "6.13", "mm: madvise: implement lightweight guard page mechanism", marks=Mark("mm/madvise.c", "guard_install")
    )
    "MADV_GUARD_INSTALL and _REMOVE are known."
    guards_in_files: bool = since(
        "6.15", "mm: allow guard regions in file-backed and read-only mappings", not_in="6.12",
        marks=Mark("mm/madvise.c", "guard_install", since="6.15"),
    )  # fmt: skip
    "... also in mappings of files."
    dofork_refuses_special: bool = since(
        "7.0", marks=Mark("mm/madvise.c", "case MADV_DOFORK: if (new_flags & VM_SPECIAL")
    )
    "MADV_DOFORK refuses every special mapping; before, those of I/O memory alone."
    lone_last_page_stays_out: bool = since("6.12", not_in="6.1")
    "A fault behind a ramfs file's end does not map its last page where that is the window's only one (seen so)."
    fork_skips_shared_hugetlb: bool = since("5.19", marks=Mark("mm/memory.c", "vma_needs_copy"))
    "A fork leaves the entries of shared hugetlb mappings to faults."

    # fs/binfmt_elf.c, arch/x86/entry/vdso/vma.c
    static_pie_is_aligned: bool = since(
        "6.11", "binfmt_elf: Honor PT_LOAD alignment for static PIE", stable="6.1.140 6.6.1-92-129",
        marks=Mark("fs/binfmt_elf.c", "alignment > ELF_MIN_ALIGN", since="5.19"),
    )  # fmt: skip
    "A static PIE is placed as its segments ask; before, at any page."
    static_pie_brk_moves: bool = since(
        "6.15", "binfmt_elf: Move brk for static PIE even if ASLR disabled", stable="6.1.140 6.6.92 6.12.30",
        marks=Mark("fs/binfmt_elf.c", "brk_moved"),
    )  # fmt: skip
    "A static PIE's heap lies apart without randomisation too, and a page is left before any random heap."
    vdso_above_stack: bool = until(
        "6.9", "x86/vdso: Remove vdso randomization",
        marks=Mark("arch/x86/entry/vdso/vma.c", "map_vdso_randomized", since="4.14"),
    )  # fmt: skip
    "The vdso of 64-bit programs lies above the stack where there is room."

    # fs/proc/task_mmu.c, fs/proc/page.c
    kpageflags_call_anon_ksm: bool = between(
        Change("6.10"), Change("6.17", not_in="6.14"),
        marks=Mark("fs/proc/page.c", "if (mapping & PAGE_MAPPING_KSM)"),
    )  # fmt: skip
    "/proc/kpageflags says of every anonymous page that KSM merged it."
    smaps_names_lockonfault: bool = since("6.2", not_in="6.1", marks=Mark("fs/proc/task_mmu.c", '"lf"'))
    "VmFlags has a name for MLOCK_ONFAULT; before, it is ??."
    heap_is_strict: bool = since("6.6", "mm: factor out VMA stack and heap checks", not_in="6.1")
    "A mapping that only touches the heap's bounds is not called [heap]."
