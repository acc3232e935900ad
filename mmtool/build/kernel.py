"""`Kernel`: which kernel boots - a release's facts and a build's profile in one value."""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

from mmtool.assumption import Assumption
from mmtool.build.fact import Facts
from mmtool.build.profile import Profile
from mmtool.build.release import Release
from mmtool.late import dataclass

WORD_BITS = {"x86_64": 64, "i386": 32, "arm64": 64}
"""Bits of a word by architecture: of those alone that are modelled."""
INIT_MEMBLOCK_REGIONS = 128
CONTIGUOUS_SHIFT = {12: 16, 14: 21, 16: 21}
"""CONT_PTE_SHIFT of arm64 by PAGE_SHIFT."""
LARGEST_ORDER = {12: 10, 14: 11, 16: 13}
"""The default of the largest block's order by PAGE_SHIFT; larger pages are arm64's (arch/arm64/Kconfig)."""

Group = TypeVar("Group", bound=Facts)


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot: `name` as uname -r has it, the release's facts, the build's profile."""

    name: str
    release: Release
    profile: Profile
    assumed: tuple[Assumption, ...] = ()
    """What of this was chosen though nothing shows it."""

    @property
    def arch(self) -> str:
        return self.profile.arch

    # What a boot asks for again and again.

    @cached_property
    def is_64bit(self) -> bool:
        return self.bits_per_long == 64

    @property
    def phys_addr_bits(self) -> int:
        """Bits of phys_addr_t."""
        return 64 if self.is_64bit or self.enabled("X86_PAE") else 32

    def facts(self, group: type[Group]) -> Group:
        """The facts of one subsystem, a class of `mmtool.build.facts`, for this release."""
        return group(self.release.version, self.profile.shown)

    def enabled(self, option: str) -> bool:
        """Is CONFIG_<option> set in this build?"""
        return self.profile.enabled(option)

    def number(self, option: str, default: int) -> int:
        """The value of a numeric CONFIG_<option>."""
        value = self.profile.config.get(option, default)
        return int(value) if not isinstance(value, str) else int(value, 0)

    @property
    def max_numnodes(self) -> int:
        """MAX_NUMNODES: node ids lie below it."""
        return 1 << self.number("NODES_SHIFT", 0) if self.enabled("NUMA") else 1

    @property
    def cpumask_offstack(self) -> bool:
        """CONFIG_CPUMASK_OFFSTACK: masks of CPUs are allocated; x86 needs that for more than 512 CPUs."""
        return self.enabled("CPUMASK_OFFSTACK") or (self.arch != "arm64" and self.number("NR_CPUS", 1) > 512)

    @cached_property
    def section_size_bits(self) -> int:
        """SECTION_SIZE_BITS (asm/sparsemem.h): log2 of a memory section's bytes."""
        if self.arch == "arm64" and self.release.arm64_sections_are_1g:
            return 30
        if self.is_64bit:
            return 29 if self.page_shift == 16 else 27
        return 29 if self.enabled("X86_PAE") else 26

    @property
    def has_arch_pfn_valid(self) -> bool:
        """CONFIG_HAVE_ARCH_PFN_VALID: the architecture tells by itself which pages have a struct page."""
        return self.arch == "arm64" and self.release.arm64_has_own_pfn_valid

    @property
    def vmap_contiguous_shift(self) -> int | None:
        """arch_vmap_pte_supported_shift(): log2 of what vmalloc maps with contiguous entries of the last level."""
        if self.arch == "arm64" and self.release.arm64_vmalloc_contiguous:
            return CONTIGUOUS_SHIFT[self.page_shift]
        return None

    @cached_property
    def page_shift(self) -> int:
        """PAGE_SHIFT: log2 of a page's bytes."""
        return 14 if self.enabled("ARM64_16K_PAGES") else 16 if self.enabled("ARM64_64K_PAGES") else 12

    @cached_property
    def page_size(self) -> int:
        """PAGE_SIZE: a page's bytes."""
        return 1 << self.page_shift

    @cached_property
    def bits_per_long(self) -> int:
        """BITS_PER_LONG, which is a pointer's width too."""
        return WORD_BITS[self.arch]

    @property
    def word_size(self) -> int:
        """sizeof(long), and of a pointer, in bytes."""
        return self.bits_per_long // 8

    @property
    def smp_cache_bytes(self) -> int:
        """SMP_CACHE_BYTES (L1_CACHE_BYTES): what memblock aligns an allocation to that asks for nothing else."""
        return 1 << self.number("X86_L1_CACHE_SHIFT", 6)

    @property
    def arch_dma_minalign(self) -> int | None:
        """ARCH_DMA_MINALIGN: the largest cache line that DMA may meet; None where DMA and caches agree."""
        return 128 if self.arch == "arm64" else None

    @property
    def init_memblock_regions(self) -> tuple[int, int]:
        """INIT_MEMBLOCK_MEMORY_REGIONS, INIT_MEMBLOCK_RESERVED_REGIONS: the room that memblock's lists begin with.

        arm64 with EFI counts on the tables of its interrupt controller, of every CPU (4.20 too, which had it later).
        """
        memory = reserved = INIT_MEMBLOCK_REGIONS
        if self.arch == "arm64" and self.enabled("EFI"):
            if self.release.arm64_efi_memory_has_many_regions:
                memory *= 8
            if self.profile.config.get("ARM_GIC_V3_ITS", True):
                reserved += self.number("NR_CPUS", 1) + 1
        return memory, reserved

    @property
    def max_page_order(self) -> int:
        """MAX_PAGE_ORDER: the largest order of a free block."""
        if self.enabled("FORCE_MAX_ZONEORDER"):
            return self.number("FORCE_MAX_ZONEORDER", 11) - 1
        if self.enabled("ARCH_FORCE_MAX_ORDER"):
            return self.number("ARCH_FORCE_MAX_ORDER", 10) - (not self.release.max_order_is_inclusive)
        return LARGEST_ORDER[self.page_shift]

    @property
    def pageblock_order(self) -> int:
        """pageblock_order: the huge page's order, bounded by the largest block; that bound without huge pages."""
        if not self.enabled("HUGETLB_PAGE"):
            return self.max_page_order
        huge = self.page_shift - 3 if self.is_64bit or self.enabled("X86_PAE") else 10
        return min(huge, self.max_page_order)

    @property
    def migrate_types(self) -> int:
        """MIGRATE_TYPES: unmovable, movable, reclaimable, highatomic, and CMA and isolate where they are built in."""
        isolation = any(self.enabled(o) for o in ("MEMORY_HOTREMOVE", "CMA", "HUGETLB_PAGE", "CONTIG_ALLOC"))
        return 4 + self.enabled("CMA") + isolation
