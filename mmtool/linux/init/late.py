"""What start_kernel() does once memory was handed over: init/main.c after mem_init(), and the initcalls of mm/."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mmtool.build.kernel import Kernel
from mmtool.linux.init.boot import Boot, GivenBack, Step
from mmtool.linux.mm import khugepaged
from mmtool.linux.mm.free_reserved import Moment
from mmtool.linux.mm.hugetlb import hugetlb_init
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc import handover, pageset_limits, setup_per_zone_wmarks
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.linux.mm.page_alloc.tuning import Tuning
from mmtool.linux.mm.print_info import MemoryCounts, image_parts, mem_init_print_info
from mmtool.linux.mm.system_hash import vfs_caches_init


def steps(kernel: Kernel) -> list[Step[Boot]]:
    """The steps from the end of mem_init() to the start of init, in the release's order."""
    huge: list[Step[Boot]] = [("hugetlb_init", lambda boot: hugetlb_init(boot, boot.hugetlb))]
    if not kernel.release.gigantic_pages_join_late_init:
        huge.append(("gather_bootmem_prealloc", gather_bootmem_prealloc))

    def freed(moment: Moment) -> Callable[[Boot], None]:
        return lambda boot: free_reserved_area(boot, moment)

    return [
        ("setup_per_cpu_pageset", setup_per_cpu_pageset),
        ("efi_enter_virtual_mode", freed(Moment.EFI_ENTER_VIRTUAL_MODE)),
        ("vfs_caches_init", lambda boot: vfs_caches_init(boot, boot.numa, boot.kernel_pages)),
        ("alternative_instructions", freed(Moment.ALTERNATIVE_INSTRUCTIONS)),
        ("page_alloc_init_late", page_alloc_init_late),
        ("cma_init_reserved_areas", cma_init_reserved_areas),
        ("init_per_zone_wmark_min", init_per_zone_wmark_min),
        ("efi_free_boot_services", freed(Moment.ARCH_INITCALL)),
        *huge,
        ("hugepage_init", hugepage_init),
        ("populate_rootfs", freed(Moment.ROOTFS_INITCALL)),
        ("free_initmem", freed(Moment.FREE_INITMEM)),
        ("mark_readonly", freed(Moment.MARK_READONLY)),
    ]


def online(boot: Boot) -> list[Pgdat]:
    """The nodes that are online, by number."""
    return [node for nid, node in sorted(boot.nodes.items()) if nid in boot.numa.online]


def tuning(boot: Boot) -> Tuning:
    """What watermarks and per-CPU lists depend on beside the zones."""
    node_cpus = {nid: count for nid, count in boot.cpus_by_node() if nid is not None}
    return Tuning(boot.kernel.page_shift, boot.cpus, node_cpus or {0: boot.cpus})


def setup_per_cpu_pageset(boot: Boot) -> None:
    """setup_per_cpu_pageset(): limits of the per-CPU lists, before deferred memory comes."""
    pageset_limits.setup_per_cpu_pageset(online(boot), tuning(boot))


def free_reserved_area(boot: Boot, moment: Moment) -> None:
    """free_reserved_area() and its like: what is given back at `moment` joins its zones and the free lists.

    Page by page it goes through the per-CPU lists; here it goes to the free lists as blocks, at once.
    """
    for piece in boot.freed_pieces:
        if piece.moment is not moment:
            continue
        parts = _zone_parts(boot, piece.start, piece.end)
        for zone, start, end in parts:
            handover.free_range(zone, start, end)
            _manage(boot, zone, end - start)
        if piece.printed:
            boot.log.info(piece.message)
        boot.given_back.append(GivenBack(piece.name, piece.end - piece.start, boot.step, _by_zone(parts)))


def _by_zone(parts: Iterable[tuple[Zone, int, int]]) -> dict[tuple[int, str], int]:
    pages: dict[tuple[int, str], int] = {}
    for zone, start, end in parts:
        pages[zone.nid, zone.name] = pages.get((zone.nid, zone.name), 0) + end - start
    return pages


def _zone_parts(boot: Boot, start: int, end: int) -> list[tuple[Zone, int, int]]:
    """The whole pages of bytes [start, end) by zone: (zone, first pfn, one past the last)."""
    parts, shift = [], boot.kernel.page_shift
    for node in online(boot):
        for zone in node.populated_zones():
            first, last = max(start >> shift, zone.zone_start_pfn), min(end >> shift, zone.zone_end_pfn)
            if first < last:
                parts.append((zone, first, last))
    return parts


def _manage(boot: Boot, zone: Zone, pages: int) -> None:
    """A zone has more pages to give."""
    boot.totalram_pages += pages
    setup_per_zone_wmarks.adjust_managed_page_count(online(boot), zone, pages, tuning(boot))


def page_alloc_init_late(boot: Boot) -> None:
    """page_alloc_init_late(): memory whose struct pages were left for now is set up and freed, node by node."""
    mb, facts = boot.memblock, boot.kernel.release
    handover.page_alloc_init_late(mb.memory.regions, mb.reserved.regions, boot.nodes, boot.kernel.page_shift)
    free_reserved_area(boot, Moment.PAGE_ALLOC_INIT_LATE)
    if boot.kernel.enabled("DEFERRED_STRUCT_PAGE_INIT"):
        pageset_limits.setup_per_cpu_pageset(online(boot), tuning(boot))
    if facts.gigantic_pages_join_late_init:
        gather_bootmem_prealloc(boot)
    if facts.prints_memory_late:
        print_memory(boot)


def print_memory(boot: Boot, *, taken: int = 0) -> None:
    """mem_init_print_info(); `taken` pages of what is free have been allocated since the hand-over.

    They come from the zone that the boot CPU looks into first, which grows when nothing of it is free yet.
    """
    nodes, kernel, mb = online(boot), boot.kernel, boot.memblock
    zones = [zone for node in nodes for zone in node.zones]
    first = nodes[0].populated_zones()[-1:] if nodes else []
    if taken and first and not first[0].nr_free_pages:
        per_section = 1 << kernel.section_size_bits - kernel.page_shift
        handover.deferred_grow_zone(
            mb.memory.regions, mb.reserved.regions, boot.nodes, first[0], 0,
            pages_per_section=per_section, page_shift=kernel.page_shift,
        )  # fmt: skip
    counts = MemoryCounts(
        free=sum(zone.nr_free_pages for zone in zones) - taken,
        present=sum(zone.present_pages for zone in zones),
        total=boot.totalram_pages,
        cma=sum(area.size for area in boot.cma.areas) >> kernel.page_shift,
        high=sum(z.managed_pages for z in zones if z.name == "HighMem") if kernel.enabled("HIGHMEM") else None,
    )
    boot.log.info(mem_init_print_info(counts, image_parts(kernel.profile.image), kernel.page_shift))


def cma_init_reserved_areas(boot: Boot) -> None:
    """cma_init_reserved_areas(), a core_initcall: pages kept for CMA are managed, and free for movable data."""
    for area in boot.cma.areas:
        parts = [part for base, size in area.ranges for part in _zone_parts(boot, base, base + size)]
        for zone, start, end in parts:
            zone.pageblocks.set_heads(start, end, MigrateType.CMA)
            handover.free_range(zone, start, end)
            _manage(boot, zone, end - start)
        name = f"CMA area {area.name}, for movable data"
        boot.given_back.append(GivenBack(name, area.size, boot.step, _by_zone(parts)))


def init_per_zone_wmark_min(boot: Boot) -> None:
    """init_per_zone_wmark_min(), a postcore_initcall: the first watermarks."""
    boot.wmark_moments.append(setup_per_zone_wmarks.wmark_moment(online(boot), boot.step))
    boot.min_free_kbytes = setup_per_zone_wmarks.init_per_zone_wmark_min(online(boot), tuning(boot))


def gather_bootmem_prealloc(boot: Boot) -> None:
    """gather_bootmem_prealloc(): gigantic pages, taken from memblock, count as managed again."""
    for h in boot.hugetlb.hstates:
        parts = [part for address, _ in h.pages for part in _zone_parts(boot, address, address + h.size)]
        for zone, start, end in parts:
            _manage(boot, zone, end - start)
        if h.pages:
            name, size = "huge pages, which MemTotal counts", len(h.pages) * h.size
            boot.given_back.append(GivenBack(name, size, boot.step, _by_zone(parts)))


def hugepage_init(boot: Boot) -> None:
    """hugepage_init(), a subsys_initcall: transparent huge pages raise min_free_kbytes."""
    boot.wmark_moments.append(setup_per_zone_wmarks.wmark_moment(online(boot), boot.step))
    boot.min_free_kbytes = khugepaged.hugepage_init(
        online(boot), boot.min_free_kbytes, boot.kernel, boot.cmdline, tuning(boot)
    )
