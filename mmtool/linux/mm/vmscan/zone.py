"""What reclaim could free of a zone (mm/vmscan.c), as the allocator and compaction ask."""

from __future__ import annotations

from mmtool.linux.mm.mmzone import Zone

MAX_RECLAIM_RETRIES = 16
"""Rounds without progress after which an allocation, or kswapd on its node, gives up."""


def zone_reclaimable_pages(zone: Zone) -> int:
    """zone_reclaimable_pages(): what lies on the zone's LRU lists, anonymous pages only where there is swap.

    That some stable releases count the free pages of a zone that has none only makes the kernel try more often.
    """
    return zone.lru.reclaimable
