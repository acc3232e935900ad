"""Does a report add up? Its zones against the machine's pages, and what the zones that it does not show hold.

Zones may be missing because the kernel leaves them out (nodes outside of a policy or a cpuset, zones above the
request's own), or because the text lost them; only then a verdict would rest on a part of the memory.
"""

from __future__ import annotations

from mmtool.answers.postmortem.zones import node_list, zone_types
from mmtool.late import dataclass
from mmtool.observed.reports import MemInfo, Report

PRESENT_DRIFT = 33
"""Up to 3.7 "present" left out the memory map, a thirty-third of memory at most."""
MOST_ZONES = 1100
"""More zones than a machine of 1024 nodes shows."""
FREE_DRIFT = 4
"""Counters of single CPUs make the sum of the zones' free pages differ from the machine's by less than a quarter."""
FREE_DRIFT_PAGES = 1024


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the zones of a report leave out, in pages; None for what it does not tell."""

    present: int | None
    free: int | None
    why: str | None
    """Why the kernel left it out; None where the text must have lost it, or where nothing is hidden."""
    lost: bool
    """Lines are lost."""


def hidden(report: Report, info: MemInfo, highest_zone: str | None) -> Hidden:
    """What a report's zones leave out, and whether that is the kernel's doing."""
    kb = info.page_kb
    present = _difference(info.pages.get("ram"), [zone.kb.get("present") for zone in info.zones], kb)
    free = _difference(info.totals.get("free"), [zone.kb.get("free", zone.sum_kb) for zone in info.zones], kb)
    shown = {zone.nid for zone in info.zones}
    ram, machine_free = info.pages.get("ram", 0), info.totals.get("free", 0)
    if present is not None and present >= 0:
        lacks = present * PRESENT_DRIFT > ram
    elif free is not None:
        lacks = free > max(FREE_DRIFT_PAGES, machine_free // FREE_DRIFT)
        # a number that wrapped below 0 adds up to nothing; the free pages then tell
    else:
        # nothing to add up with: a zone that is there in part tells that more may be lost
        lacks = any("present" not in zone.kb for zone in info.zones)
    lacks = lacks or len(info.zones) > MOST_ZONES
    # a zone without its line, or no zone that has pages: no machine is so
    lacks = lacks or any(not zone.kb for zone in info.zones)
    lacks = lacks or not any(zone.kb.get("present", 1) for zone in info.zones)
    nodes_without_zones = bool(info.named_nodes - shown) and len(info.named_nodes) > 1
    if not lacks and not nodes_without_zones:
        return Hidden(present, free, None, False)
    if why := _left_out(report, info, highest_zone, present, shown):
        return Hidden(present, free, why, False)
    return Hidden(present, free, None, lacks or (nodes_without_zones and present is None))


def _difference(whole: int | None, parts: list[int | None], kb: int) -> int | None:
    if whole is None or None in parts:
        return None
    return whole - sum(part or 0 for part in parts) // kb


def _left_out(
    report: Report, info: MemInfo, highest_zone: str | None, present: int | None, shown: set[int]
) -> str | None:
    """Why the kernel itself would show no more than these zones."""
    allowed = node_list(report.nodemask) or node_list(report.mems_allowed)
    if allowed is not None and shown == allowed and (info.named_nodes - allowed or report.nodemask or 0 not in allowed):
        return f"nodes other than {report.nodemask or report.mems_allowed}"
    highmem = info.pages.get("highmem")
    if highest_zone is not None:
        types = zone_types(info)
        above = types[types.index(highest_zone) + 1 :] if highest_zone in types else ()
        tallest = max((types.index(zone.name) for zone in info.zones if zone.name in types), default=0)
        if highmem and present == highmem and not any(zone.name == "HighMem" for zone in info.zones):
            return "HighMem"
        if highmem == 0 and "HighMem" in above:
            return None
        if above and tallest <= types.index(highest_zone) and _reserve_rises(info, types, highest_zone):
            return f"zones above {highest_zone}"
    return None


def _reserve_rises(info: MemInfo, types: tuple[str, ...], highest_zone: str) -> bool:
    """Does lowmem_reserve[] tell of pages in the zones above, and of none between those shown?"""
    index = types.index(highest_zone)
    for zone in info.zones:
        reserve = zone.lowmem_reserve
        if reserve and index + 1 < len(reserve) and reserve[-1] > reserve[index]:
            own = types.index(zone.name)
            names = {z.name for z in info.zones if z.nid == zone.nid}
            between = [types[i] for i in range(own + 1, index + 1) if reserve[i] > reserve[i - 1]]
            return set(between) <= names
    return False
