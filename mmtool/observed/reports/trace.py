"""The call trace in a report, and who in it asked: the first frame outside of memory management."""

from __future__ import annotations

from mmtool.late import dataclass
from mmtool.regex import regex

_FRAME = regex(
    r"(?P<unsure>\?\s+)?(?<![\w+])\(?(?P<name>[A-Za-z_][\w.]{1,80})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}\)?"
    r"(?:\s+\[(?P<module>(?![0-9a-f]{8,16}\])\w{1,64})\])?"
    r"|\((?P<bare>[A-Za-z_]\w{1,80})(?:\s+\[\w+\])?\)\s+from\b"
)
_START = regex(r"Call [Tt]race|[Bb]acktrace|unwind_backtrace")
_END = regex(r"Mem-[Ii]nfo|memory: usage|Tasks state|DMA per-cpu|\[\s*pid\s*\]|Task in /")
_REGISTERS = regex(r"(?:RIP|PC is at|LR is at|pc|lr)\s*:?\s*(?:[0-9a-f]{4}:)?\s*$")

_OF_MM = (
    # what prints the report
    "dump_stack", "dump_backtrace", "show_stack", "show_trace", "show_mem", "unwind_", "warn_alloc", "dump_header",
    # mm/oom_kill.c, mm/memcontrol.c
    "oom_", "out_of_memory", "mem_cgroup", "memcg_", "try_charge", "charge_memcg", "obj_cgroup", "cgroup_charge",
    "pagefault_out_of_memory", "mm_fault_error",
    # mm/page_alloc.c, mm/page_frag_cache.c, mm/mempolicy.c, mm/mempool.c
    "alloc_page", "alloc_frozen_pages", "alloc_zeroed", "alloc_contig", "alloc_buddy", "get_free_page",
    "get_zeroed_page", "free_pages", "rmqueue", "get_page_from", "page_frag_", "mempolicy", "mempool_", "vma_alloc",
    "folio_alloc", "folio_prealloc", "folio_batch",
    # mm/slub.c, mm/slab_common.c, mm/util.c, mm/percpu.c, mm/kasan
    "kmalloc", "kzalloc", "kmem_", "kvmalloc", "kvzalloc", "krealloc", "kvrealloc", "kmemdup", "do_kmalloc", "slab_",
    "slub_", "new_slab", "allocate_slab", "alloc_slab", "cache_alloc", "cache_grow", "fallback_alloc", "refill_",
    "pcpu_", "percpu_", "alloc_percpu", "kasan_",
    # mm/vmalloc.c, mm/sparse.c, mm/sparse-vmemmap.c
    "vmalloc", "vzalloc", "vmap", "alloc_vmap", "alloc_large", "get_vm_area", "map_vm", "vmemmap", "section_activate",
    "sparse_add", "sparse_buffer",
    # kernel/dma, mm/cma.c
    "dma_alloc", "dma_direct_alloc", "dma_common", "dma_pool_", "cma_", "swiotlb",
    # mm/memory.c, mm/huge_memory.c, mm/hugetlb.c, mm/gup.c, mm/rmap.c
    "handle_mm_fault", "handle_pte_fault", "do_anonymous_page", "do_fault", "do_huge_pmd", "do_swap_page", "do_wp_page",
    "do_read_fault", "do_cow_fault", "do_shared_fault", "do_no_page", "do_nonlinear", "do_pte_missing", "do_numa_page",
    "create_huge_pmd", "anon_vma_", "alloc_anon", "alloc_charge", "pte_alloc", "pmd_alloc", "pud_alloc", "p4d_alloc",
    "wp_page_copy", "finish_fault", "hugetlb_", "alloc_hugetlb", "alloc_huge", "alloc_new_huge", "alloc_fresh",
    "alloc_pool_huge", "alloc_surplus", "faultin_", "get_user_pages", "populate_vma", "mm_populate", "copy_page_range",
    "vm_insert", "insert_page",
    # mm/filemap.c, mm/readahead.c, mm/shmem.c, mm/swap_state.c, mm/zswap.c
    "filemap_", "page_cache_", "pagecache_", "do_page_cache", "add_to_page_cache", "grab_cache_page",
    "find_or_create_page", "generic_file_read", "generic_file_buffered_read", "generic_file_aio_read",
    "generic_perform_write", "read_swap_cache", "read_cache", "ondemand_readahead", "force_page_cache", "do_sync_mmap",
    "swapin_", "alloc_swap", "swap_cluster_readahead", "swap_readahead", "swap_vma_readahead", "shmem_", "zswap_",
    # mm/khugepaged.c, mm/vmscan.c, mm/compaction.c
    "khugepaged", "collapse_", "kcompactd", "balance_pgdat", "kswapd", "shrink_", "try_to_free",
)  # fmt: skip
"""Functions of mm/, and of what stands between a caller and it, by how their names begin (underscores in front left
out)."""
_FAULTS = regex(
    r"_*(?:(?:do_|exc_|asm_exc_|async_|bad_)?(?:user_addr_fault|page_?fault|translation_fault|DataAbort|PrefetchAbort|"
    r"mem_abort)|el\d_|do_el0|dabt_usr|ret_from|handle_fault)",
)
_FAULT_ENTRY = regex(r"_*(?:(?:do_|exc_|asm_exc_)?page_fault|do_user_addr_fault|do_translation_fault|do_mem_abort)\b")


@dataclass(frozen=True, slots=True)
class Trace:
    """Frames innermost first, those that the kernel itself doubts left out; with their modules."""

    frames: tuple[tuple[str, str | None], ...]

    @property
    def asker(self) -> tuple[str, str | None] | None:
        """The first frame outside of memory management: who asked."""
        return next((frame for frame in self.frames if not frame[0].lstrip("_").startswith(_OF_MM)), None)

    @property
    def is_page_fault(self) -> bool:
        """Did the task itself ask, by touching its memory?"""
        asker = self.asker
        return asker is not None and asker[1] is None and _FAULTS.match(asker[0]) is not None

    @property
    def in_page_fault(self) -> bool:
        """Was a page fault being served, of the task or of what the kernel copied for it?"""
        return any(_FAULT_ENTRY.match(name) for name, _ in self.frames)

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
