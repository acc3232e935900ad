"""The sizes of huge pages on x86: arch/x86/mm/hugetlbpage.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.hugetlb import SupportedSizes

SZ_2M, SZ_4M, SZ_1G = 2 << 20, 4 << 20, 1 << 30


def supported_huge_pages(kernel: Kernel, gb_pages: bool) -> SupportedSizes:
    """arch_hugetlb_valid_size(); gigantic_pages_init() adds 1 GiB where gigantic pages can be made at run time too."""
    if not kernel.is_64bit:
        size = SZ_2M if kernel.enabled("X86_PAE") else SZ_4M
        return SupportedSizes((size,), size, ())
    gigantic = (SZ_1G,) if gb_pages else ()
    registered = gigantic if kernel.profile.config.get("CONTIG_ALLOC", True) else ()
    return SupportedSizes((*gigantic, SZ_2M), SZ_2M, registered)
