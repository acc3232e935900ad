"""What transparent huge pages want kept free: mm/khugepaged.c and the boot part of mm/huge_memory.c."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.build.kernel import Kernel
from mmtool.firmware.cmdline import Cmdline
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.page_alloc.migratetype import MIGRATE_PCPTYPES
from mmtool.linux.mm.page_alloc.setup_per_zone_wmarks import (
    calculate_min_free_kbytes,
    for_each_zone,
    gfp_zone_user,
    nr_free_buffer_pages,
    setup_per_zone_wmarks,
)
from mmtool.linux.mm.page_alloc.tuning import Tuning

LEAST_RAM_FOR_HUGE_PAGES = 512 << 20
PAGEBLOCKS_A_ZONE = 2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES
THP_MODES = ("always", "madvise", "never")


def hugepage_enabled(kernel: Kernel, cmdline: Cmdline) -> bool:
    """Are transparent huge pages on, for all or for who asks: the build's default, or transparent_hugepage=."""
    mode = "never" if kernel.enabled("TRANSPARENT_HUGEPAGE_NEVER") else "always"
    for value in cmdline.all("transparent_hugepage"):
        mode = value if value in THP_MODES else mode
    return mode != "never"


def recommended_min_free_kbytes(nodes: Sequence[Pgdat], tuning: Tuning) -> int:
    """What set_recommended_min_free_kbytes() asks for: room for pageblocks of each type, at most 5% of low memory.

    Eleven pageblocks for each populated zone up to Normal, of all nodes.
    """
    zones = [zone for zone in for_each_zone(nodes) if zone.populated and gfp_zone_user(zone)]
    wanted = sum(PAGEBLOCKS_A_ZONE << zone.pageblock_order for zone in zones)
    pages = min(wanted, nr_free_buffer_pages(nodes) // 20)
    return pages << (tuning.page_shift - 10)


def hugepage_init(
    nodes: Sequence[Pgdat], min_free_kbytes: int, kernel: Kernel, cmdline: Cmdline, tuning: Tuning
) -> int:
    """hugepage_init(): the last time that a boot sets the watermarks; the min_free_kbytes that holds from then on.

    A subsys_initcall: gigantic pages are in, and on EFI machines boot services' memory is; the init image and the
    initial RAM disk are not. Nothing happens on a machine with less than 512 MiB, or without
    CONFIG_TRANSPARENT_HUGEPAGE. `nodes` are the online ones.
    """
    managed = sum(zone.managed_pages for zone in for_each_zone(nodes))
    if not kernel.enabled("TRANSPARENT_HUGEPAGE") or managed << tuning.page_shift < LEAST_RAM_FOR_HUGE_PAGES:
        return min_free_kbytes
    if hugepage_enabled(kernel, cmdline):
        min_free_kbytes = max(min_free_kbytes, recommended_min_free_kbytes(nodes, tuning))
    elif kernel.release.khugepaged_off_recalculates:
        min_free_kbytes = calculate_min_free_kbytes(nodes, tuning)
    else:
        return min_free_kbytes
    setup_per_zone_wmarks(nodes, min_free_kbytes, tuning)
    return min_free_kbytes
