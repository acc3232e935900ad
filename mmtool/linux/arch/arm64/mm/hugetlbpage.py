"""The sizes of huge pages on arm64: arch/arm64/mm/hugetlbpage.c."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.mm.hugetlb import SupportedSizes

SZ_64K, SZ_2M, SZ_32M, SZ_512M, SZ_1G, SZ_16G = (n << 10 for n in (64, 2048, 32768, 524288, 1048576, 16777216))
SIZES = {
    12: (SZ_1G, SZ_32M, SZ_2M, SZ_64K),
    14: (SZ_1G, SZ_32M, SZ_2M),
    16: (SZ_16G, SZ_512M, SZ_2M),
}
"""By PAGE_SHIFT: what a PUD, contiguous PMDs, a PMD and contiguous PTEs map, as far as there are such."""


def supported_huge_pages(kernel: Kernel) -> SupportedSizes:
    """arch_hugetlb_valid_size(); hugetlbpage_init() registers all that there are."""
    sizes = SIZES[kernel.page_shift]
    return SupportedSizes(sizes, 1 << 2 * kernel.page_shift - 3, sizes)
