"""How many pages a CPU keeps of a zone: the limits of the per-CPU page lists, mm/page_alloc.c.

All numbers are pages.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmtool.build.release import Release
from mmtool.linux.mm.mmzone import PagesetLimits, Pgdat, Zone
from mmtool.linux.mm.page_alloc.tuning import Tuning

MIN_PERCPU_PAGELIST_HIGH_FRACTION = 8


def zone_batchsize(managed: int, page_shift: int, facts: Release) -> int:
    """zone_batchsize(): how many pages the per-CPU lists move at once, for a zone of `managed` pages.

    A thousandth of the zone, at most 1 MiB (512 KiB before 4.20), a quarter of that, then one less than a power of two;
    0 for a small zone. The later form (in 7.3: a 4096th of the zone, at most 256 KiB, at least 1) comes to the same
    once zone_pcp_update() has made 1 of 0.
    """
    most = (1 << 20 if facts.pcp_batch_up_to_mib else 512 << 10) >> page_shift
    batch = max(min(managed // 1024, most) // 4, 1)
    rounded = batch + batch // 2
    return (1 << (rounded.bit_length() - 1)) - 1


def split_cpus(nid: int, tuning: Tuning) -> int:
    """Between how many CPUs a zone's pages are split: those of its node, all that are online where it has none."""
    return tuning.node_cpus.get(nid, 0) or max(tuning.online_cpus, 1)


def zone_highsize(total_pages: int, batch: int, cpus: int) -> int:
    """zone_highsize(): `total_pages` split between `cpus`, at least four batches (5.14 on)."""
    return max(total_pages // cpus, batch << 2)


def zone_pcp_update(zone: Zone, tuning: Tuning) -> None:
    """zone_set_pageset_high_and_batch(): a populated zone's limits from what it manages and its low watermark.

    Before 5.14 (pageset_set_batch()) high is six batches. From 6.7 on each CPU's high moves between high_min and
    high_max, which comes from an eighth of the zone.
    """
    if not zone.populated:
        return
    facts = zone.facts
    size = zone_batchsize(zone.managed_pages, tuning.page_shift, facts)
    batch = max(1, size)
    if not facts.pcp_high_from_watermark:
        zone.pageset = PagesetLimits(batch, 6 * size, 6 * size)
        return
    cpus = split_cpus(zone.nid, tuning)
    high = most = zone_highsize(zone.watermark.low, batch, cpus)
    if facts.pcp_high_is_tuned:
        most = zone_highsize(zone.managed_pages // MIN_PERCPU_PAGELIST_HIGH_FRACTION, batch, cpus)
    zone.pageset = PagesetLimits(batch, high, most)


def setup_per_cpu_pageset(nodes: Iterable[Pgdat], tuning: Tuning) -> None:
    """setup_per_cpu_pageset(): lists for all populated zones, from what they manage before the deferred memory comes.

    Before 5.14 nothing but the end of page_alloc_init_late(), on kernels that defer, calls zone_pcp_update() again.
    """
    for pgdat in nodes:
        for zone in pgdat.zones:
            zone_pcp_update(zone, tuning)


def pcp_high_at_init(zone: Zone) -> int:
    """The high that /proc/zoneinfo shows for a CPU when init starts: what the zone's lists may hold.

    From 6.7 on the number is the list's history: 0 until the CPU touches the zone, then high_min at least, and more
    with every refill. So it is a guess: that nobody has asked for pages of a zone so small that its batch is 1 (DMA of
    x86), and that the other lists have not grown.
    """
    limits = zone.pageset
    if limits is None or (zone.facts.pcp_high_is_tuned and limits.batch == 1):
        return 0
    return limits.high_min


def pcp_high_may_be(zone: Zone, high: int) -> bool:
    """Can a CPU's high be `high` once init runs? Before 6.7 it is one number.

    From 6.7 on nr_pcp_alloc() and nr_pcp_high() clamp it to the limits of that moment: it is 0 on a list that its CPU
    never used, and down to four batches on one not used since setup_per_cpu_pageset(), which the watermarks follow.
    Where most of a zone was deferred at that moment its batch was smaller, which is not looked at here.
    """
    limits = zone.pageset
    if limits is None or not zone.facts.pcp_high_is_tuned:
        return high == pcp_high_at_init(zone)
    return high == 0 or zone_highsize(0, limits.batch, 1) <= high <= limits.high_max
