"""Which pages vmalloc maps a large area with: arch_vmap_pmd_supported(), arch_vmap_pte_supported_shift()."""

from __future__ import annotations

from mmtool.build.kernel import Kernel

CONT_PTE_SIZE = {12: 64 << 10, 14: 2 << 20, 16: 2 << 20}
"""What arm64 maps with contiguous entries of the last level, in bytes by PAGE_SHIFT."""


def huge_vmap_shift(kernel: Kernel, size: int, online_nodes: int = 1) -> int:
    """log2 of the pages that an area of `size` bytes is first tried with, PAGE_SHIFT if not with larger ones.

    For callers that allow huge pages, which 64-bit kernels of 5.18 on take. Before 6.13 each online node's share must
    be as large as a huge page; `online_nodes` is 1 for an area on one node.
    """
    facts = kernel.release
    if not facts.hash_in_huge_vmalloc or not kernel.is_64bit:
        return kernel.page_shift
    share = size // max(online_nodes, 1) if facts.vmalloc_huge_by_node else size
    pmd = 2 * kernel.page_shift - 3
    if share >= 1 << pmd:
        return pmd
    contiguous = CONT_PTE_SIZE[kernel.page_shift]
    if kernel.arch == "arm64" and facts.arm64_vmalloc_contiguous and share >= contiguous:
        return contiguous.bit_length() - 1
    return kernel.page_shift
