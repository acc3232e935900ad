"""What the events of a replay tell of kswapd: when it is at work, and which boosts of watermarks it works off.

`System`'s reclaim frees nothing by itself here: what kswapd frees are events of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Pgdat, Zone
from mmtool.linux.mm.vmscan.node import pgdat_balanced
from mmtool.observed.ftrace import TraceEvent
from mmtool.system.system import System


@dataclass
class _Balance:
    """A pass of balance_pgdat(): its zones, and the boosts that it found and works off.

    It may be put off right where it begins, before it looks at the boosts and says that it is at work.
    """

    zones: list[Zone]
    boosts: list[int]
    active: bool | None = None
    """Does it say that it is at work? None: nothing has told yet."""
    late: bool = False
    """Was it put off where it began?"""

    def comes_to(self, *, active: bool) -> None:
        """It is at work now, or has been."""
        if self.late and not self.active:
            self.boosts = [zone.watermark_boost for zone in self.zones]
        self.active = active
        for zone in self.zones:
            zone.reclaim_active = active


@dataclass
class _Highest:
    """What a node's kswapd is to balance: kswapd_highest_zoneidx of its node, and what kswapd() read of it last."""

    last: int
    asked: int | None = None

    def wake(self, highest_zoneidx: int) -> None:
        """wakeup_kswapd()."""
        self.asked = highest_zoneidx if self.asked is None else max(self.asked, highest_zoneidx)

    def balance(self) -> int:
        """kswapd(), before it calls balance_pgdat(); the highest zone that this is about."""
        self.last, self.asked = self.last if self.asked is None else self.asked, None
        return self.last


class Kswapds:
    """The kswapds of all nodes, as far as the events have told."""

    def __init__(self, system: System, events: Sequence[TraceEvent]) -> None:
        self.system = system
        self.highest = {nid: _Highest(len(node.zones)) for nid, node in system.nodes.items()}
        self.balances: dict[int, _Balance] = {}
        """Passes on their way, by their tasks' numbers."""
        self.last_balance = {
            system.cpu_nodes[event.cpu]: index for index, event in enumerate(events) if event.name == "balpg"
        }
        """Each node's last balance_pgdat(); a node whose kswapd never runs again was given up (kswapd_failures)."""
        self.just_worked_off: list[tuple[Zone, int]] = []
        """The boosts that were worked off by the last event."""

    def acts(self, event: TraceEvent) -> None:
        """Whoever an event is of acts: a kswapd that does is at work."""
        balance = self.balances.get(event.pid)
        if balance is not None:
            balance.comes_to(active=True)

    def wake(self, index: int, zone: Zone, order: int, highest_zoneidx: int) -> None:
        """wakeup_kswapd(), at an event: it sleeps on where the node is balanced and nothing is boosted."""
        self.highest[zone.nid].wake(highest_zoneidx)
        if index > self.last_balance.get(zone.nid, -1):
            return
        node = self.system.nodes[zone.nid]
        boosted = any(other.watermark_boost for other in node.populated_zones() if other.zone_idx <= highest_zoneidx)
        if boosted or not pgdat_balanced(node, order, highest_zoneidx):
            self._awake(node, True)

    @staticmethod
    def _awake(node: Pgdat, awake: bool) -> None:
        for zone in node.populated_zones():
            zone.kswapd_awake = awake

    def begins(self, event: TraceEvent) -> None:
        """balance_pgdat() begins, on a CPU of its node."""
        node = self.system.nodes[self.system.cpu_nodes[event.cpu]]
        highest = self.highest[node.nid].balance()
        zones = [zone for zone in node.populated_zones() if zone.zone_idx <= highest]
        self.balances[event.pid] = _Balance(zones, [zone.watermark_boost for zone in zones])

    def ends(self, event: TraceEvent) -> None:
        """balance_pgdat() ends, and has worked off the boosts that it found."""
        self.just_worked_off = []
        self._awake(self.system.nodes[self.system.cpu_nodes[event.cpu]], False)
        balance = self.balances.pop(event.pid, None)
        if balance is None:
            return
        balance.comes_to(active=False)
        for zone, boost in zip(balance.zones, balance.boosts, strict=True):
            worked_off = min(zone.watermark_boost, boost)
            zone.watermark_boost -= worked_off
            if worked_off:
                self.just_worked_off.append((zone, worked_off))

    def shown_by_free(self, event: TraceEvent, zone: Zone, order: int, *, drains: bool) -> None:
        """A free shows whether kswapd is at work in a zone: whether it drains a list that is not full."""
        pcp = zone.per_cpu_pageset[event.cpu]
        count = pcp.count + (1 << order)
        if not min(pcp.batch << 2, pcp.high) <= count < pcp.high:
            return
        for balance in self.balances.values():
            if balance.active is None and any(zone is other for other in balance.zones):
                if drains:
                    balance.comes_to(active=True)
                else:
                    balance.late = True
