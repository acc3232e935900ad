"""What start_kernel() does when memory has been handed over: init/main.c from mem_init() on, and the initcalls of mm/."""

from __future__ import annotations

from mmtool.init.boot import Boot
from mmtool.mm import khugepaged
from mmtool.mm.page_alloc import handover, pcp, watermarks
from mmtool.mm.page_alloc.tuning import Tuning
from mmtool.mm.page_alloc.zone import Pgdat

PAGE_SHIFT = 12


def online(boot: Boot) -> list[Pgdat]:
    """The nodes that are online, by number."""
    return [node for nid, node in sorted(boot.nodes.items()) if nid in boot.online_nodes]


def tuning(boot: Boot) -> Tuning:
    """What watermarks and per-CPU lists depend on beside the zones."""
    node_cpus = {nid: count for nid, count in boot.cpus_by_node() if nid is not None}
    return Tuning(PAGE_SHIFT, boot.cpus, node_cpus or {0: boot.cpus})


def setup_per_cpu_pageset(boot: Boot) -> None:
    """setup_per_cpu_pageset(): limits of the per-CPU lists, before deferred memory comes."""
    pcp.setup_per_cpu_pageset(online(boot), tuning(boot))


def page_alloc_init_late(boot: Boot) -> None:
    """page_alloc_init_late(): memory whose struct pages were left for now is set up and freed, node by node."""
    mb = boot.memblock
    handover.page_alloc_init_late(mb.memory.regions, mb.reserved.regions, boot.nodes)
    if boot.kernel.enabled("DEFERRED_STRUCT_PAGE_INIT"):
        pcp.setup_per_cpu_pageset(online(boot), tuning(boot))


def init_per_zone_wmark_min(boot: Boot) -> None:
    """init_per_zone_wmark_min(), a postcore_initcall: the first watermarks."""
    boot.min_free_kbytes = watermarks.init_per_zone_wmark_min(online(boot), tuning(boot))


def hugetlb_gather(boot: Boot) -> None:
    """gather_bootmem_prealloc(): gigantic pages, taken from memblock, count as managed again."""
    for h in boot.hugetlb.hstates:
        for address, _ in h.pages:
            pfn = address >> PAGE_SHIFT
            for node in boot.nodes.values():
                for zone in node.zones:
                    if zone.spans(pfn):
                        watermarks.adjust_managed_page_count(online(boot), zone, h.size >> PAGE_SHIFT, tuning(boot))


def hugepage_init(boot: Boot) -> None:
    """hugepage_init(), a subsys_initcall: transparent huge pages raise min_free_kbytes."""
    boot.min_free_kbytes = khugepaged.hugepage_init(
        online(boot), boot.min_free_kbytes, boot.kernel, boot.cmdline, tuning(boot)
    )
