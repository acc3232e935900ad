"""arch/arm64: zones, the image, the address space."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, between, since, until


class Arm64Facts(Facts):
    """arch/arm64: zones, the image, the address space."""

    # mm/init.c, mm/mmu.c, kernel/head.S
    arm64_dma_zone_by_limit: bool = since("6.12")
    """ZONE_DMA ends at the limit of the buses, not at the next power of two (arm64: support DMA zone above 4GB)."""
    arm64_head_is_not_text: bool = between(Change("5.11"), Change("6.9"))
    """The image's first 64 KiB, from _text to _stext, are not kept once the kernel runs (arm64: omit [_text, _stext)
    from permanent kernel mapping). In 6.1, not in 5.10 and 6.12."""
    arm64_maps_itself_early: bool = since("6.9")
    """The image has its final page tables, static ones, before setup_arch() (arm64: mm: create initial fixmap and image
    mappings from C code). In 6.12, not in 6.1."""
    arm64_idmap_is_allocated: bool = between(Change("6.0"), Change("6.9"))
    """paging_init() allocates the identity map's tables (arm64: mm: provide idmap pointer to cpu_replace_ttbr1()). In
    6.1, not in 5.10 and 6.12."""
    arm64_text_alias_has_pages: bool = since("7.0")
    """The linear map of the image is as fine as the rest of it; before, blocks where they fit. In 7.3, not in 6.18."""
    rodata_on_is_full: bool = since("6.18")
    """Read-only data is so in the linear map too unless rodata=noalias says not; RODATA_FULL_DEFAULT_ENABLED is no
    option any more. In 6.18, not in 6.12."""
    arm64_swiotlb_always: bool = since("6.5")
    """arm64 has bounce buffers even if devices reach all memory, for small kmalloc() blocks, then 1/1024 of memory
    (arm64: enable ARCH_WANT_KMALLOC_DMA_BOUNCE). In 6.12, not in 6.1."""
    arm64_sections_are_1g: bool = until("5.12")
    """A section is 1 GiB on arm64; later 128 MiB, and 512 MiB with pages of 64 KiB (arm64/sparsemem: reduce
    SECTION_SIZE_BITS)."""
    arm64_has_own_pfn_valid: bool = until("5.14")
    """arm64 holds a page valid only if it is memory, so that no hole has one (arm64: drop pfn_valid_within)."""
    arm64_vmalloc_contiguous: bool = since("6.16")
    """arm64 maps vmalloc areas with contiguous entries (arm64/mm: Support huge pte-mapped pages in vmap)."""

    # include/asm/memory.h, fixmap.h: the address space
    arm64_has_bpf_region: bool = until("5.17")
    """BPF programs have 128 MiB of their own before the modules (arm64/bpf: Remove 128MB limit for BPF JIT programs).
    In 5.10, not in 6.1."""
    arm64_vmemmap_projects: bool = since("5.11")
    """The vmemmap begins where the linear map's first page is, scaled down, and what is above it keeps its distance
    (arm64: mm: make vmemmap region a projection of the linear region). In 6.1, not in 5.10."""
    arm64_modules_have_2g: bool = since("6.5")
    """2 GiB for modules, not 128 MiB (arm64: module: rework module VA range selection). In 6.12, not in 6.1."""
    arm64_top_is_fixed: bool = since("6.9")
    """The vmemmap ends 1 GiB below the top, PCI I/O and fixmap lie above it, and vmalloc gets what shorter addresses
    leave of it (arm64: mm: Reclaim unused vmemmap region for vmalloc use). In 6.12, not in 6.1."""
    arm64_has_lpa2: bool = since("6.9")
    """Addresses of 52 bits with small pages too (arm64: mm: add LPA2 and 5 level paging support). In 6.12, not in
    6.1."""
    arm64_fixmap_in_pages: bool = since("6.4")
    """The device tree's window is a page larger than a tree can be, not 2 MiB (arm64: mm: always map fixmap at page
    granularity). In 6.12, not in 6.1."""
    arm64_fixmap_has_vncr: bool = since("6.16")
    """A page for every CPU's nested guest (KVM: arm64: nv: Handle mapping of VNCR_EL2 at EL2). In 7.3, not in 6.12."""
    arm64_trampoline_data_always: bool = until("6.0")
    """The data page of the way into the kernel has a place whatever the build (arm64: entry: simplify trampoline data
    page). In 5.10, not in 6.1."""
    arm64_btmaps_have_spare_page: bool = since("7.0")
    """An early mapping may begin inside a page and still be 256 KiB; in 7.3, not in 6.12."""
