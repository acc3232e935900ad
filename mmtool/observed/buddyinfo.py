"""/proc/buddyinfo: how many free blocks of each order a zone has (frag_show() of mm/vmstat.c)."""

from __future__ import annotations

from mmtool.errors import InputError
from mmtool.late import dataclass
from mmtool.regex import regex

_LINE = regex(r"Node (\d{1,19}), zone +(\S+)((?: +\d{1,19})+) *")


@dataclass(frozen=True, slots=True)
class ZoneBlocks:
    """One zone's free blocks by order, of all types."""

    nid: int
    name: str
    nr_free: tuple[int, ...]

    @property
    def free_pages(self) -> int:
        return sum(count << order for order, count in enumerate(self.nr_free))


def parse_buddyinfo(text: str, source: str) -> tuple[ZoneBlocks, ...]:
    """The zones of a /proc/buddyinfo. InputError, at the line, for another text or a line that breaks off."""
    zones: list[ZoneBlocks] = []
    for number, line in enumerate(text.splitlines(), 1):
        m = _LINE.fullmatch(line)
        if m is None:
            raise InputError(source, number, f"is no line of /proc/buddyinfo: {line.strip()[:60]!r}")
        zone = ZoneBlocks(int(m[1]), m[2], tuple(int(n) for n in m[3].split()))
        if zones and len(zone.nr_free) != len(zones[0].nr_free):
            orders = len(zones[0].nr_free)
            raise InputError(source, number, f"has {len(zone.nr_free)} orders where the first zone has {orders}")
        if any((z.nid, z.name) == (zone.nid, zone.name) for z in zones):
            raise InputError(source, number, f"zone {zone.name} of node {zone.nid} comes twice")
        zones.append(zone)
    if not zones:
        raise InputError(source, None, "is empty; /proc/buddyinfo has lines 'Node 0, zone DMA 1 0 ...'")
    return tuple(zones)
