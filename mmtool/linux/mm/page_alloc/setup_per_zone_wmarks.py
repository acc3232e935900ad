"""How much memory a zone keeps back: min_free_kbytes, watermarks and lowmem_reserve of mm/page_alloc.c.

Everything is in pages but for what is called kbytes. A boot works these numbers out twice, each time from what the
zones manage then: `init_per_zone_wmark_min` and `mmtool.linux.mm.khugepaged.hugepage_init`. When the init image and the
initial RAM disk are given back, the watermarks stay; lowmem_reserve follows from 6.18 on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from math import isqrt

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Pgdat, Watermarks, Zone
from mmtool.linux.mm.page_alloc.pageset_limits import zone_pcp_update
from mmtool.linux.mm.page_alloc.tuning import Tuning

SWAP_CLUSTER_MAX = 32
MAX_HIGHMEM_MIN = 128
MIN_FREE_KBYTES = 128
MAX_FREE_KBYTES = 262144
_NONE, _LEAST_OF_NOTHING = Watermarks(), Watermarks(*[SWAP_CLUSTER_MAX] * 4)
"""The watermarks of a zone that manages no page, and of one whose min is a small number in any case."""


@dataclass(frozen=True, slots=True)
class WmarkMoment:
    """What min_free_kbytes and watermarks follow from, at the step that works them out. Pages."""

    step: str
    managed: Mapping[tuple[int, str], int]
    """What each zone, (node, name), manages that manages some."""
    free_buffer_pages: int
    """nr_free_buffer_pages()."""


def wmark_moment(nodes: Sequence[Pgdat], step: str) -> WmarkMoment:
    """How it is now, before `step` sets watermarks. `nodes` are the online ones."""
    managed = {(zone.nid, zone.name): zone.managed_pages for zone in for_each_zone(nodes) if zone.managed_pages}
    return WmarkMoment(step, managed, nr_free_buffer_pages(nodes))


def for_each_zone(nodes: Iterable[Pgdat]) -> Iterator[Zone]:
    """The zones of the online nodes, those without pages included."""
    for pgdat in nodes:
        yield from pgdat.zones


def is_highmem(zone: Zone, nodes: Sequence[Pgdat]) -> bool:
    """is_highmem(): HighMem, and Movable where it is cut out of HighMem."""
    if zone.name == "Movable":
        # Every node has the same kinds of zones.
        there = any(z.name == "HighMem" for z in nodes[0].zones)
        return there and any(z.name == "HighMem" and z.spanned_pages for z in for_each_zone(nodes))
    return zone.name == "HighMem"


def gfp_zone_user(zone: Zone) -> bool:
    """Does a GFP_USER allocation look in this zone? Those up to Normal."""
    return zone.name not in ("HighMem", "Movable", "Device")


def nr_free_buffer_pages(nodes: Sequence[Pgdat]) -> int:
    """nr_free_buffer_pages(): pages above the high watermark, of all zones but HighMem and Movable.

    Before the watermarks are set the first time that is all that the zones manage.
    """
    zones = [z for z in for_each_zone(nodes) if gfp_zone_user(z) and z.populated]
    return sum(max(0, z.managed_pages - z.watermark.high) for z in zones)


def calculate_min_free_kbytes(nodes: Sequence[Pgdat], tuning: Tuning) -> int:
    """calculate_min_free_kbytes(): four times the root of the low memory's kbytes, from 128 to 262144.

    A part of init_per_zone_wmark_min() before 5.16.
    """
    lowmem_kbytes = nr_free_buffer_pages(nodes) << (tuning.page_shift - 10)
    return min(max(isqrt(lowmem_kbytes * 16), MIN_FREE_KBYTES), MAX_FREE_KBYTES)


def setup_per_zone_wmarks(nodes: Sequence[Pgdat], min_free_kbytes: int, tuning: Tuning) -> None:
    """setup_per_zone_wmarks(): each zone's share of min_free_kbytes, and the marks of kswapd above it.

    From 5.14 on the per-CPU lists' limits are worked out anew with them.
    """
    pages_min = min_free_kbytes >> (tuning.page_shift - 10)
    zones = list(for_each_zone(nodes))
    capped = [has_capped_min(zone, nodes) for zone in zones]
    lowmem = sum(zone.managed_pages for zone, cap in zip(zones, capped, strict=True) if not cap)
    for zone, cap in zip(zones, capped, strict=True):
        managed = zone.managed_pages
        if not managed:
            zone.watermark = _LEAST_OF_NOTHING if cap else _NONE
            continue
        share = pages_min * managed // lowmem if lowmem else 0
        least = min(max(managed // 1024, SWAP_CLUSTER_MAX), MAX_HIGHMEM_MIN) if cap else share
        step = max(share >> 2, managed * tuning.watermark_scale_factor // 10000)
        zone.watermark = Watermarks(least, least + step, least + 2 * step, least + 3 * step)
    calculate_totalreserve_pages(nodes)
    for zone in zones:
        if zone.facts.pcp_high_from_watermark:
            zone_pcp_update(zone, tuning)


def has_capped_min(zone: Zone, nodes: Sequence[Pgdat]) -> bool:
    """Is the zone's min watermark a small number, because allocations that may dip below it hardly need the zone?"""
    if zone.name == "Movable" and zone.facts.movable_min_watermark_capped:
        return True
    return is_highmem(zone, nodes)


def setup_per_zone_lowmem_reserve(nodes: Sequence[Pgdat], tuning: Tuning) -> None:
    """setup_per_zone_lowmem_reserve(): what a zone keeps from allocations that could have used a higher one.

    lowmem_reserve[j], /proc/zoneinfo's "protection", is one page for `ratio` pages of the zones above, up to the
    one of index j.
    """
    for pgdat in nodes:
        nothing = (0,) * len(pgdat.zones)
        for i, zone in enumerate(pgdat.zones):
            ratio = tuning.lowmem_reserve_ratio.get(zone.name, 0)
            if ratio and zone.managed_pages:
                above = accumulate(z.managed_pages for z in pgdat.zones[i + 1 :])
                zone.lowmem_reserve = (*nothing[: i + 1], *(pages // ratio for pages in above))
            else:
                zone.lowmem_reserve = nothing
    calculate_totalreserve_pages(nodes)


def calculate_totalreserve_pages(nodes: Sequence[Pgdat]) -> int:
    """calculate_totalreserve_pages(): what no user can have; sets each node's, returns their sum.

    The high watermark and the largest lowmem_reserve of each zone, at most what it manages.
    """
    for pgdat in nodes:
        pgdat.totalreserve_pages = sum(
            min(max(zone.lowmem_reserve, default=0) + zone.watermark.high, zone.managed_pages)
            for zone in pgdat.zones
            if zone.managed_pages
        )
    return sum(pgdat.totalreserve_pages for pgdat in nodes)


def init_per_zone_wmark_min(nodes: Sequence[Pgdat], tuning: Tuning) -> int:
    """init_per_zone_wmark_min(): the first watermarks and reserves; min_free_kbytes.

    A postcore_initcall: all deferred memory has come, CMA areas are in, the init image and the initial RAM disk are
    not, nor are gigantic pages. `nodes` are the online ones.
    """
    min_free_kbytes = calculate_min_free_kbytes(nodes, tuning)
    setup_per_zone_wmarks(nodes, min_free_kbytes, tuning)
    setup_per_zone_lowmem_reserve(nodes, tuning)
    return min_free_kbytes


def adjust_managed_page_count(nodes: Sequence[Pgdat], zone: Zone, pages: int, tuning: Tuning) -> None:
    """adjust_managed_page_count(): a zone manages `pages` more, since reserved ones were given back."""
    zone.managed_pages += pages
    if zone.facts.lowmem_reserve_follows_managed:
        setup_per_zone_lowmem_reserve(nodes, tuning)
