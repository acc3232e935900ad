"""Which pages vmalloc maps a large area with: arch_vmap_pmd_supported(), arch_vmap_pte_supported_shift()."""

from __future__ import annotations

from mmtool.build.kernel import Kernel


def huge_vmap_shift(kernel: Kernel, size: int, online_nodes: int = 1) -> int:
    """log2 of the pages that an area of `size` bytes is first tried with, PAGE_SHIFT if not with larger ones.

    For callers that allow huge pages, which 64-bit kernels of 5.18 on take. Before 6.13 each online node's share must
    be as large as a huge page; `online_nodes` is 1 for an area on one node.
    """
    facts = kernel.release
    if not facts.hash_in_huge_vmalloc or kernel.bits_per_long != 64:
        return kernel.page_shift
    share = size // max(online_nodes, 1) if facts.vmalloc_huge_by_node else size
    pmd = 2 * kernel.page_shift - 3
    if share >= 1 << pmd:
        return pmd
    contiguous = kernel.vmap_contiguous_shift
    return contiguous if contiguous is not None and share >= 1 << contiguous else kernel.page_shift
