"""Reclaim on a node whose lists are known by their lengths alone: kswapd and direct reclaim (mm/vmscan.c).

How much is scanned, of which kind and in which zones, follows from the lengths. Which pages are clean, mapped or used
nobody says; so what is on an inactive list is taken to be freed (`NodeReclaim.frees`), anonymous pages where there is
swap, or, for the other bound, nothing is. What a node has reclaimed before is not known either: its costs start at 0.
Slab caches are left alone. kswapd has no time of its own: what it would do, it does when it is woken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmtool.late import dataclass
from mmtool.linux.mm.compaction import compact_gap, compaction_suitable
from mmtool.linux.mm.folio import LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON, LRU_INACTIVE_FILE
from mmtool.linux.mm.mmzone import PAGE_ALLOC_COSTLY_ORDER, Pgdat, Zone
from mmtool.linux.mm.page_alloc.buddy import free_one_page
from mmtool.linux.mm.page_alloc.zone_watermark import zone_watermark_ok
from mmtool.linux.mm.vmscan.balance import inactive_too_few, leave_smaller_kind, scan_balance
from mmtool.linux.mm.vmscan.scan_control import DEF_PRIORITY, SWAP_CLUSTER_MAX
from mmtool.linux.mm.vmscan.zone import MAX_RECLAIM_RETRIES

EVICTABLE = (LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE)


@dataclass(slots=True)
class NodeReclaim:
    """A run of reclaim on nodes: struct scan_control without what only single pages tell."""

    reclaim_idx: int
    """The highest zone that pages are taken from."""
    order: int = 0
    frees: bool = True
    """Are the pages that are scanned free afterwards? Else none is."""
    swappiness: int = 60
    nr_to_reclaim: int = SWAP_CLUSTER_MAX
    kswapd: bool = False
    may_swap: bool = True
    priority: int = DEF_PRIORITY
    nr_reclaimed: int = 0
    nr_scanned: int = 0
    anon_cost: int = 0
    file_cost: int = 0
    force_deactivate: bool = False
    skipped_deactivate: bool = False
    compaction_ready: bool = False

    @property
    def in_compaction(self) -> bool:
        """in_reclaim_compaction(): is it rather a block that is wanted than pages?"""
        return self.order > 0 and (self.order > PAGE_ALLOC_COSTLY_ORDER or self.priority < DEF_PRIORITY - 2)


def _eligible(node: Pgdat, reclaim_idx: int) -> list[Zone]:
    return [zone for zone in node.populated_zones() if zone.zone_idx <= reclaim_idx]


def lruvec_lru_size(zones: Sequence[Zone], lru: int) -> int:
    """lruvec_lru_size(): the pages of a list that lie in these zones."""
    return sum(zone.lru.size[lru] for zone in zones)


def get_scan_count(node: Pgdat, zones: Sequence[Zone], sc: NodeReclaim) -> list[int]:
    """get_scan_count() of a node: how much of each list to scan.

    file_is_tiny: where free pages and those of files together are below the high watermarks, anonymous ones go.
    """
    size = [lruvec_lru_size(zones, lru) for lru in EVICTABLE]
    swap = bool(node.populated_zones()) and node.populated_zones()[0].lru.swap.pages > 0
    everywhere = node.populated_zones()
    all_sizes = [lruvec_lru_size(everywhere, lru) for lru in EVICTABLE]
    files = all_sizes[LRU_INACTIVE_FILE] + all_sizes[LRU_ACTIVE_FILE] + sum(zone.nr_free_pages for zone in everywhere)
    tiny = (
        files <= sum(_high_mark(zone) for zone in everywhere)
        and not _may_deactivate(sc, all_sizes, 0)
        and all_sizes[LRU_INACTIVE_ANON] >> sc.priority > 0
    )
    trim = all_sizes[LRU_INACTIVE_FILE] >> sc.priority > 0 and not _may_deactivate(sc, all_sizes, 1)
    if not sc.may_swap or not swap:
        share = 0, 1, 1
    elif not sc.priority and sc.swappiness:
        share = 1, 1, 1
    elif tiny:
        share = 1, 0, 1
    elif trim:
        share = 0, 1, 1
    else:
        share = scan_balance(sc.swappiness, sc.anon_cost, sc.file_cost)
    return [(size[lru] >> sc.priority) * share[lru >> 1] // share[2] for lru in EVICTABLE]


def _high_mark(zone: Zone) -> int:
    return zone.watermark.high + zone.watermark_boost


def _may_deactivate(sc: NodeReclaim, size: Sequence[int], file: int) -> bool:
    """May active pages become inactive? Refaults since the last reclaim, the other reason, are not known."""
    return sc.force_deactivate or inactive_too_few(size[2 * file], size[2 * file + 1])


def _shares(zones: Sequence[Zone], lru: int, count: int) -> list[tuple[Zone, int]]:
    """How many of `count` pages off a list's end lie in each zone: as many as its part of the list, by lengths."""
    whole = lruvec_lru_size(zones, lru)
    count = min(count, whole)
    shares, given, seen = [], 0, 0
    for zone in zones:
        seen += zone.lru.size[lru]
        upto = count * seen // whole if whole else 0
        shares.append((zone, upto - given))
        given = upto
    return shares


def _shrink_inactive_list(zones: Sequence[Zone], lru: int, count: int, sc: NodeReclaim) -> int:
    """shrink_inactive_list() by lengths; the pages freed."""
    scanned = freed = 0
    for zone, share in _shares(zones, lru, count):
        scanned += share
        swap = zone.lru.swap
        takes = min(share, swap.pages) if lru == LRU_INACTIVE_ANON else share
        if not sc.frees:
            continue
        if lru == LRU_INACTIVE_ANON:
            swap.pages -= takes
        for start, end in zone.lru.take(lru, takes):
            for pfn in range(start, end):
                free_one_page(zone, pfn, 0)
        freed += takes
    sc.nr_scanned += scanned
    if lru == LRU_INACTIVE_ANON:
        sc.anon_cost += freed * SWAP_CLUSTER_MAX + scanned - freed
    else:
        sc.file_cost += scanned - freed
    return freed


def _shrink_active_list(zones: Sequence[Zone], lru: int, count: int) -> None:
    """shrink_active_list() by lengths."""
    for zone, share in _shares(zones, lru, count):
        zone.lru.size[lru] -= share
        zone.lru.size[lru - 1] += share


def _shrink_lruvec(node: Pgdat, zones: Sequence[Zone], sc: NodeReclaim) -> None:
    """shrink_lruvec() of a node's lists; direct reclaim at the first priority scans all that it set out to."""
    nr = get_scan_count(node, zones, sc)
    targets = nr.copy()
    reclaimed = 0
    whole = not sc.kswapd and sc.priority == DEF_PRIORITY
    while nr[LRU_INACTIVE_ANON] or nr[LRU_INACTIVE_FILE] or nr[LRU_ACTIVE_FILE]:
        for lru in EVICTABLE:
            if not nr[lru]:
                continue
            scan = min(nr[lru], SWAP_CLUSTER_MAX)
            nr[lru] -= scan
            if not lru & 1:
                reclaimed += _shrink_inactive_list(zones, lru, scan, sc)
            elif _may_deactivate(sc, [lruvec_lru_size(zones, each) for each in EVICTABLE], lru >> 1):
                _shrink_active_list(zones, lru, scan)
            else:
                sc.skipped_deactivate = True
        if reclaimed >= sc.nr_to_reclaim and not whole and not leave_smaller_kind(nr, targets):
            break
    sc.nr_reclaimed += reclaimed


def shrink_node(node: Pgdat, sc: NodeReclaim) -> None:
    """shrink_node(): once, and again where a block is wanted and pages come without making it yet."""
    zones = _eligible(node, sc.reclaim_idx)
    while True:
        before = sc.nr_reclaimed
        _shrink_lruvec(node, zones, sc)
        reclaimed = sc.nr_reclaimed - before
        if reclaimed:
            node.kswapd_failures = 0
        if not _should_continue_reclaim(zones, reclaimed, sc):
            return


def _should_continue_reclaim(zones: Sequence[Zone], reclaimed: int, sc: NodeReclaim) -> bool:
    """should_continue_reclaim(): not where a zone has the block or could be compacted, or too little is left."""
    if not sc.in_compaction or not reclaimed:
        return False
    for zone in zones:
        if _min_ok(zone, sc) or compaction_suitable(zone, sc.order, sc.reclaim_idx):
            return False
    left = lruvec_lru_size(zones, LRU_INACTIVE_FILE)
    if zones and zones[0].lru.swap.pages > 0:
        left += lruvec_lru_size(zones, LRU_INACTIVE_ANON)
    return left > compact_gap(sc.order)


def _min_ok(zone: Zone, sc: NodeReclaim) -> bool:
    mark = zone.watermark.min + zone.watermark_boost
    return zone_watermark_ok(zone, sc.order, mark, sc.reclaim_idx, 0, zone.facts).ok


def _compaction_ready(zone: Zone, sc: NodeReclaim) -> bool:
    """compaction_ready(): is there room enough above the high watermark that compaction should have its turn?"""
    if _min_ok(zone, sc):
        return True
    if not compaction_suitable(zone, sc.order, sc.reclaim_idx):
        return False
    mark = _high_mark(zone) + compact_gap(sc.order)
    return zone_watermark_ok(zone, 0, mark, sc.reclaim_idx, 0, zone.facts).ok


def _shrink_zones(nodes: dict[int, Pgdat], zones: Iterable[Zone], sc: NodeReclaim) -> None:
    """shrink_zones(): the nodes of a zonelist, each once."""
    last = None
    for zone in zones:
        if sc.order > PAGE_ALLOC_COSTLY_ORDER and _compaction_ready(zone, sc):
            sc.compaction_ready = True
            continue
        if zone.nid != last:
            last = zone.nid
            shrink_node(nodes[zone.nid], sc)


def try_to_free_pages(nodes: dict[int, Pgdat], zones: Sequence[Zone], sc: NodeReclaim) -> int:
    """try_to_free_pages(): direct reclaim for a request; the pages freed, or 1 where compaction should go on."""
    while True:
        while sc.priority >= 0:
            _shrink_zones(nodes, zones, sc)
            if sc.nr_reclaimed >= sc.nr_to_reclaim or sc.compaction_ready:
                break
            sc.priority -= 1
        if sc.nr_reclaimed or sc.compaction_ready:
            return sc.nr_reclaimed or 1
        if not sc.skipped_deactivate:
            return 0
        sc.force_deactivate, sc.skipped_deactivate, sc.priority = True, False, DEF_PRIORITY


def pgdat_balanced(node: Pgdat, order: int, highest_zoneidx: int) -> bool:
    """pgdat_balanced(): does a zone of the node that the request may use meet its high watermark?"""
    zones = _eligible(node, highest_zoneidx)
    return not zones or any(
        zone_watermark_ok(zone, order, _high_mark(zone), highest_zoneidx, 0, zone.facts).ok for zone in zones
    )


def wakeup_kswapd(node: Pgdat, order: int, highest_zoneidx: int, *, frees: bool = True) -> int | None:
    """wakeup_kswapd() and what kswapd does then; the pages it freed, None when it is not woken.

    It sleeps on where the node is balanced and no watermark is boosted, and where it failed too often.
    """
    if node.kswapd_failures >= MAX_RECLAIM_RETRIES:
        return None
    boosted = any(zone.watermark_boost for zone in node.populated_zones())
    if not boosted and pgdat_balanced(node, order, highest_zoneidx):
        return None
    freed = 0
    while True:
        freed += balance_pgdat(node, order, highest_zoneidx, frees=frees)
        if node.kswapd_failures >= MAX_RECLAIM_RETRIES or pgdat_balanced(node, order, highest_zoneidx):
            return freed


def balance_pgdat(node: Pgdat, order: int, highest_zoneidx: int, *, frees: bool = True) -> int:
    """balance_pgdat(): a run of kswapd, until the node is balanced and what watermarks were boosted by is freed.

    A boost alone swaps nothing out and is given up when a round frees nothing; it comes off the watermarks all the
    same. Returns the pages freed.
    """
    zones = _eligible(node, highest_zoneidx)
    boosts = {zone.zone_idx: zone.watermark_boost for zone in zones}
    boost = sum(boosts.values())
    sc = NodeReclaim(highest_zoneidx, order, frees, kswapd=True)
    gives_up = False
    while sc.priority >= 1:
        balanced = pgdat_balanced(node, sc.order, highest_zoneidx)
        if not balanced and boost:
            boost, sc.priority = 0, DEF_PRIORITY
            continue
        if balanced and not boost:
            break
        raises = not (boost and sc.priority == DEF_PRIORITY - 2)
        sc.may_swap = not boost
        _age_node(node, sc)
        before = sc.nr_reclaimed
        raises &= not _kswapd_shrink_node(node, zones, sc)
        freed = sc.nr_reclaimed - before
        boost -= min(boost, freed)
        if boost and not freed:
            gives_up = True
            break
        if raises or not freed:
            sc.priority -= 1
    else:
        gives_up = True
    if gives_up and not sc.nr_reclaimed:
        node.kswapd_failures += 1
    for zone in zones:
        zone.watermark_boost -= min(zone.watermark_boost, boosts[zone.zone_idx])
    return sc.nr_reclaimed


def _age_node(node: Pgdat, sc: NodeReclaim) -> None:
    """kswapd_age_node(), age_active_anon(): anonymous pages become inactive where few are and swap could take them."""
    zones = node.populated_zones()
    sizes = [lruvec_lru_size(zones, lru) for lru in EVICTABLE]
    if zones and zones[0].lru.swap.pages > 0 and inactive_too_few(sizes[LRU_INACTIVE_ANON], sizes[LRU_ACTIVE_ANON]):
        _shrink_active_list(zones, LRU_ACTIVE_ANON, SWAP_CLUSTER_MAX)


def _kswapd_shrink_node(node: Pgdat, zones: Sequence[Zone], sc: NodeReclaim) -> bool:
    """kswapd_shrink_node(): the high watermarks' worth at a time; was as much scanned as wanted?"""
    sc.nr_to_reclaim = sum(max(_high_mark(zone), SWAP_CLUSTER_MAX) for zone in zones)
    sc.nr_scanned = 0
    shrink_node(node, sc)
    if sc.order and sc.nr_reclaimed >= compact_gap(sc.order):
        # It has freed enough that compaction can make the block: from now on single pages are enough.
        sc.order = 0
    return sc.nr_scanned >= sc.nr_to_reclaim
