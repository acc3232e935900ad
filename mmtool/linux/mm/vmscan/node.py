"""Reclaim, as an estimate: pages of files on the LRU lists can be freed, others cannot (mm/vmscan.c).

Which pages are clean, mapped or referenced nobody says. So what is on the file lists counts as reclaimable and swap
as absent; slab caches are left alone. kswapd has no time of its own: what it would do, it does when it is woken.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.page_alloc.buddy import free_one_page
from mmtool.linux.mm.page_alloc.zone_watermark import zone_watermark_ok

SWAP_CLUSTER_MAX = 32
"""The pages that a round of direct reclaim is content with."""
MAX_RECLAIM_RETRIES = 16
"""kswapd gives up on a node after so many rounds that freed nothing."""


def zone_reclaimable_pages(zone: Zone) -> int:
    """zone_reclaimable_pages(): what reclaim could free of a zone.

    That some stable releases count the free pages of a zone that has none only makes the kernel try more often.
    """
    return zone.lru.reclaimable


def _reclaim(zone: Zone, want: int) -> int:
    """Free up to `want` pages of a zone; how many there were."""
    freed = 0
    for start, end in zone.lru.reclaim(want):
        for pfn in range(start, end):
            free_one_page(zone, pfn, 0)
        freed += end - start
    return freed


def try_to_free_pages(nodes: Iterable[Pgdat], zones: Iterable[Zone]) -> int:
    """try_to_free_pages(): a round of direct reclaim in the zones of a request; the pages freed."""
    freed = 0
    for zone in zones:
        freed += _reclaim(zone, SWAP_CLUSTER_MAX - freed)
        if freed >= SWAP_CLUSTER_MAX:
            break
    if freed:
        for node in nodes:
            node.kswapd_failures = 0
    return freed


def pgdat_balanced(node: Pgdat, order: int, highest_zoneidx: int) -> bool:
    """pgdat_balanced(): does a zone of the node that the request may use meet its high watermark?"""
    zones = [zone for zone in node.populated_zones() if zone.zone_idx <= highest_zoneidx]
    return not zones or any(
        zone_watermark_ok(zone, order, zone.watermark.high + zone.watermark_boost, highest_zoneidx, 0, zone.facts).ok
        for zone in zones
    )


def wakeup_kswapd(node: Pgdat, order: int, highest_zoneidx: int) -> int | None:
    """wakeup_kswapd() and what kswapd does then; the pages it freed, None when it is not woken.

    It sleeps on where the node is balanced and no watermark is boosted, and where it failed too often.
    """
    if node.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return None
    boosted = any(zone.watermark_boost for zone in node.populated_zones())
    if not boosted and pgdat_balanced(node, order, highest_zoneidx):
        return None
    return balance_pgdat(node, order, highest_zoneidx)


def balance_pgdat(node: Pgdat, order: int, highest_zoneidx: int) -> int:
    """kswapd() with balance_pgdat(): reclaim until the node is balanced or reclaim fails; the pages freed.

    Each round takes the boosts off the watermarks that it found.
    """
    freed = 0
    while True:
        boosts = sum(zone.watermark_boost for zone in node.populated_zones())
        round_freed = 0
        for zone in node.populated_zones():
            zone.watermark_boost = 0
            if zone.zone_idx <= highest_zoneidx:
                short = zone.watermark.high + boosts - zone.nr_free_pages
                round_freed += _reclaim(zone, max(SWAP_CLUSTER_MAX, short))
        freed += round_freed
        node.kswapd_failures = 0 if round_freed else node.kswapd_failures + 1
        if node.kswapd_failures >= MAX_RECLAIM_RETRIES or pgdat_balanced(node, order, highest_zoneidx):
            return freed
