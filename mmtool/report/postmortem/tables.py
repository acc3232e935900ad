"""The tables of a report: its zones with the terms of the check."""

from __future__ import annotations

from mmtool.answers.postmortem.verdict import Judgement, ZoneVerdict
from mmtool.linux.mm.page_alloc.zone_watermark import Refusal
from mmtool.report.postmortem.words import mask_names, page_kb, pages, reason
from mmtool.report.table import Kind, Table, columns


def zone_table(j: Judgement) -> Table:
    """A line for each zone: the terms of the check."""
    title = "Zones, in pages: usable must exceed mark + reserve, and a block be there"
    if j.last_try:
        title += " (high marks: the OOM killer's last try)"
    first = "high" if j.last_try else "min"
    t = Table(
        "zones", title,
        columns("node", "zone", "result", ("free", Kind.PAGES), ("usable", Kind.PAGES_ONLY), (first, Kind.PAGES_ONLY),
                ("mark", Kind.PAGES_ONLY), ("reserve", Kind.PAGES_ONLY), "largest block"),
        page_shift=(page_kb(j) << 10).bit_length() - 1,
    )  # fmt: skip
    for zone in j.zones:
        check = zone.check
        t.rows.append((
            zone.dump.nid, zone.dump.name, why(zone, j), pages(zone, j, "free"), check.usable if check else None,
            pages(zone, j, first), check.min if check else None, check.lowmem_reserve if check else None,
            largest_block(zone),
        ))  # fmt: skip
    return t


def why(zone: ZoneVerdict, j: Judgement) -> str:
    """Why a zone does not give the block, or that it does."""
    if zone.exclusion is not None:
        return f"not asked: {zone.exclusion.value}"
    check = zone.check
    if check is None:
        return {True: "passes without watermarks", False: "no free block", None: "numbers missing"}[zone.passes]
    if zone.passes is None:
        return "open: " + _open(zone)
    if zone.passes:
        return "passes" + (f": a block of order {check.block_order}" if check.block_order is not None else "")
    if check.refusal is Refusal.BELOW_MARK:
        denied = [f"{n} {who}" for n, who in ((check.cma, "are CMA's"), (check.highatomic, "are HighAtomic's")) if n]
        return f"below the mark by {check.short}" + (f"; {', '.join(denied)}" if denied else "")
    if check.refusal is Refusal.TOO_FEW_LARGE:
        return (
            f"in blocks of order {check.failed_order} or more only {check.free_above} count, "
            f"more than {check.min_above} are needed"
        )
    return f"no free block of order {check.order} or more for this type"


def _open(zone: ZoneVerdict) -> str:
    """What keeps a zone's result open."""
    if "reserved_highatomic" not in zone.dump.kb and zone.dump.blocks is not None and "managed" in zone.dump.kb:
        return "the reserve for atomic requests is not printed"
    return "the numbers that would decide are missing"


def largest_block(zone: ZoneVerdict) -> str:
    """The largest free block, with the types of such blocks."""
    blocks = zone.dump.blocks or ()
    order = next((o for o in range(len(blocks) - 1, -1, -1) if blocks[o].count), None)
    if order is None:
        return "none" if blocks else ""
    letters = blocks[order].letters
    return f"order {order}" + (f" ({letters})" if letters else "")


def all_zones(judged: list[Judgement]) -> Table:
    """A line for each zone of each report; one without zones for a report that has none."""
    t = Table("explain", "Reports", columns(
        "line", "kind", "order", "gfp", "verdict", "cause", "node", "zone",
        ("free", Kind.PAGES_ONLY), ("usable", Kind.PAGES_ONLY), ("min", Kind.PAGES_ONLY), ("mark", Kind.PAGES_ONLY),
        ("reserve", Kind.PAGES_ONLY), "result",
    ))  # fmt: skip
    if judged:
        t.page_shift = (page_kb(judged[0]) << 10).bit_length() - 1
    for j in judged:
        names = "|".join(mask_names(j)) if j.report.mask is not None else None
        head = (j.report.line, j.report.kind.value, j.report.order, names, j.verdict.value, j.cause.value)
        for zone in j.zones:
            check = zone.check
            t.rows.append((
                *head, zone.dump.nid, zone.dump.name, pages(zone, j, "free"), check.usable if check else None,
                pages(zone, j, "min"), check.min if check else None, check.lowmem_reserve if check else None,
                why(zone, j),
            ))  # fmt: skip
        if not j.zones:
            t.rows.append((*head, None, None, None, None, None, None, None, reason(j)))
    return t
