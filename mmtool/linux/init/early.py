"""What start_kernel() does on every architecture between setup_arch() and the hand-over: init/main.c, printk."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.linux.init.boot import B, Boot, Step
from mmtool.linux.mm.hugetlb import hugetlb_bootmem_alloc, hugetlb_setup
from mmtool.linux.mm.hugetlb_cma import hugetlb_cma_reserve
from mmtool.linux.mm.memblock.reserve_mem import reserve_mem
from mmtool.linux.mm.sparse import sparse_init
from mmtool.linux.mm.system_hash import calc_nr_kernel_pages, vfs_caches_init_early
from mmtool.linux.mm.zonelist import build_all_zonelists
from mmtool.units import memparse

LOG_ALIGN, PRB_AVGBITS, PRB_DESC_SIZE, PRINTK_INFO_SIZE = 4, 5, 24, 88


def setup_command_line(boot: Boot) -> None:
    """setup_command_line(): a copy to keep and one to take apart."""
    for _ in range(2):
        boot.memblock.alloc(len(boot.cmdline.text) + 1, boot.memblock.smp_cache_bytes, owner="command line")


def setup_log_buf(boot: Boot, *, early: bool) -> None:
    """setup_log_buf(): a larger log buffer, by log_buf_len= or (late) because there are many CPUs."""
    k = boot.kernel
    default = 1 << k.number("LOG_BUF_SHIFT", 17)
    option = boot.cmdline.get("log_buf_len")
    wish = memparse(option)[0] if option else 0
    extra = (boot.cpus - 1) << k.number("LOG_CPU_MAX_BUF_SHIFT", 12)
    if not wish and not early and extra > default // 2:
        wish = extra + default
    size = 1 << (wish - 1).bit_length() if wish else 0
    if size <= default or boot.log_buf_len is not None:
        return
    boot.log_buf_len = size
    boot.memblock.alloc(size, LOG_ALIGN, owner="log buffer")
    if k.release.log_buffer_has_descriptors:
        sizes = k.profile.sizes
        for record in (sizes.get("prb_desc", PRB_DESC_SIZE), sizes.get("printk_info", PRINTK_INFO_SIZE)):
            boot.memblock.alloc((size >> PRB_AVGBITS) * record, LOG_ALIGN, owner="log buffer")


def zonelists(boot: Boot) -> None:
    """build_all_zonelists() at boot."""
    distance = boot.numa.info.node_distance
    boot.zonelists = build_all_zonelists(boot.nodes, distance, boot.numa.online, boot.kernel, boot.log)


def count_kernel_pages(boot: Boot) -> None:
    """The end of free_area_init(): calc_nr_kernel_pages(), before 6.10 a part of free_area_init_core()."""
    boot.kernel_pages = calc_nr_kernel_pages(boot, boot.numa)


# Stages of mm/ as steps of any architecture.
SPARSE_INIT: Step[Boot] = (
    "sparse_init", lambda boot: sparse_init(boot, boot.numa, boot.vmemmap, boot.physmem_bits)
)  # fmt: skip
CALC_NR_KERNEL_PAGES: Step[Boot] = ("calc_nr_kernel_pages", count_kernel_pages)
HUGETLB_CMA_RESERVE: Step[Boot] = (
    "hugetlb_cma_reserve", lambda boot: hugetlb_cma_reserve(boot, boot.hugetlb, boot.cma)
)  # fmt: skip
HUGETLB_BOOTMEM_ALLOC: Step[Boot] = (
    "hugetlb_bootmem_alloc", lambda boot: hugetlb_bootmem_alloc(boot, boot.hugetlb)
)  # fmt: skip


def mm_init(kernel: Kernel, trap_init: list[Step[B]], swiotlb: Step[B]) -> list[Step[B]]:
    """The steps from zonelists to bounce buffers, in the release's order; `trap_init` are the architecture's."""
    facts = kernel.release
    lists: list[Step[B]] = [("build_all_zonelists", zonelists)]
    between: list[Step[B]] = [
        ("hugetlb_setup", lambda boot: hugetlb_setup(boot, boot.hugetlb)),
        ("reserve_mem", reserve_mem),
        ("setup_log_buf", lambda boot: setup_log_buf(boot, early=False)),
        ("vfs_caches_init_early", lambda boot: vfs_caches_init_early(boot, boot.numa, boot.kernel_pages)),
        *trap_init,
    ]
    if not facts.zonelists_in_mm_init:
        return [*lists, *between, swiotlb]
    return [*between, swiotlb, *lists] if facts.swiotlb_before_zonelists else [*between, *lists, swiotlb]
