"""The call trace in a report, and who in it asked: the first frame outside of memory management."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FRAME = re.compile(
    r"(?P<unsure>\?\s+)?(?<![\w+])\(?(?P<name>[A-Za-z_][\w.]{1,80})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}\)?(?:\s+\[(?P<module>(?![0-9a-f]{8,16}\])\w{1,64})\])?"
    r"|\((?P<bare>[A-Za-z_]\w{1,80})(?:\s+\[\w+\])?\)\s+from\b"
)
_START = re.compile(r"Call [Tt]race|[Bb]acktrace|unwind_backtrace")
_END = re.compile(r"Mem-[Ii]nfo|memory: usage|Tasks state|DMA per-cpu|\[\s*pid\s*\]|Task in /")
_REGISTERS = re.compile(r"(?:RIP|PC is at|LR is at|pc|lr)\s*:?\s*(?:[0-9a-f]{4}:)?\s*$")

_OF_MM = re.compile(
    r"""_*(?:
      dump_stack|dump_backtrace|show_(?:stack|trace|mem)|unwind_|warn_alloc|nopage|dump_header|oom_|out_of_memory
    | mem_cgroup|memcg_|try_charge|charge_memcg|obj_cgroup|cgroup_charge|pagefault_out_of_memory|mm_fault_error
    | alloc_(?:pages?|frozen_pages|slab|zeroed|contig|vmap|large|new_huge|fresh|pool_huge|buddy|surplus|anon|charge|swap|percpu|task)
    | get_free_page|get_zeroed_page|free_pages|rmqueue|get_page_from
    | kmalloc|kzalloc|kmem_|kvmalloc|kvzalloc|krealloc|kvrealloc|kmemdup|slab_|slub_|new_slab|allocate_slab|cache_(?:alloc|grow)|fallback_alloc|do_kmalloc|pcpu_|percpu_
    | vmalloc|vzalloc|vmap|get_vm_area|map_vm|vmemmap|section_(?:activate|deactivate)|sparse_add|sparse_buffer
    | dma_(?:direct_)?alloc|dma_common|cma_|dma_pool_|swiotlb
    | handle_(?:mm|pte)_fault|do_(?:anonymous_page|fault|huge_pmd|swap_page|wp_page|read_fault|cow_fault|shared_fault|no_page|nonlinear|pte_missing|numa_page)
    | create_huge_pmd|anon_vma_|pte_alloc|pmd_alloc|pud_alloc|p4d_alloc|wp_page_copy|hugetlb_|alloc_hugetlb|faultin_|get_user_pages|populate_vma|mm_populate|finish_fault
    | filemap_|page_cache_|pagecache_|do_page_cache|add_to_page_cache|grab_cache_page|find_or_create_page|generic_file_(?:read|buffered_read|aio_read)
    | read_(?:swap_cache|cache)|ondemand_readahead|force_page_cache|page_cache_sync|do_sync_mmap|swapin_|swap_(?:cluster_)?readahead|shmem_|vma_alloc|folio_(?:alloc|prealloc)|vm_insert|insert_page
    | page_frag_|zswap_|kasan_|refill_|generic_perform_write|folio_batch|mempool_|mempolicy|alloc_mm|copy_p[tmug4]|copy_page_range|dup_mm|khugepaged|collapse_|kcompactd|balance_pgdat|kswapd|shrink_|try_to_free
    )""",
    re.VERBOSE,
)  # fmt: skip
"""Functions of mm/ and of what stands between a caller and it; by how their names begin."""
_FAULTS = re.compile(
    r"_*(?:(?:do_|exc_|asm_exc_|async_|bad_)?(?:user_addr_fault|page_?fault|translation_fault|DataAbort|PrefetchAbort|"
    r"mem_abort)|el\d_|do_el0|dabt_usr|ret_from|handle_fault)",
)
_GENERIC = re.compile(r"_*(?:el\d|do_syscall|entry_SYSCALL|ret_from|system_call|kthread|worker_thread|x64_sys)")


@dataclass(frozen=True, slots=True)
class Trace:
    """Frames innermost first, those that the kernel itself doubts left out; with their modules."""

    frames: tuple[tuple[str, str | None], ...]

    @property
    def asker(self) -> tuple[str, str | None] | None:
        """The first frame outside of memory management: who asked."""
        return next((frame for frame in self.frames if not _OF_MM.match(frame[0])), None)

    @property
    def is_page_fault(self) -> bool:
        """Did the task itself ask, by touching its memory?"""
        asker = self.asker
        return asker is not None and asker[1] is None and _FAULTS.match(asker[0]) is not None

    def has(self, *names: str) -> bool:
        return any(frame[0].split(".")[0] in names for frame in self.frames)


def parse_trace(text: str, start: int, end: int) -> Trace | None:
    """The first call trace within text[start:end]."""
    head = _START.search(text, start, end)
    if head is None:
        return None
    stop = _END.search(text, head.end(), end)
    frames: list[tuple[str, str | None]] = []
    for m in _FRAME.finditer(text, head.start(), stop.start() if stop else end):
        if m["unsure"] or _REGISTERS.search(text, max(start, m.start() - 24), m.start()):
            continue
        frame = (m["name"] or m["bare"], m["module"])
        if not frames or frames[-1][0] != frame[0]:
            frames.append(frame)
        if len(frames) == 200:
            break
    return Trace(tuple(frames)) if frames else None
