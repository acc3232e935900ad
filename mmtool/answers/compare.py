"""Two boots side by side: only what differs, each difference with its amount.

Sizes in bytes, zones and marks in pages, free blocks as their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from mmtool.answers.ledger import MemoryLedger, memory_ledger
from mmtool.late import dataclass
from mmtool.linux.init.boot import Boot
from mmtool.linux.kernel.printk import Level
from mmtool.linux.mm.mmzone import Zone


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not the same, in `unit`: "bytes", "pages" or "blocks". None where only one boot has it."""

    section: str
    what: str
    unit: str
    before: int | None
    after: int | None

    @property
    def amount(self) -> int:
        """By how much it grew; an absent thing counts nothing."""
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True, slots=True)
class Move:
    """Reserved memory of one owner that lies elsewhere: its ranges [start, end), none where it has none."""

    owner: str
    before: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Comparison:
    """What differs between two boots; what "memory" grew by, less what "takers" did, is what MemTotal grew by."""

    changes: tuple[Change, ...]
    moves: tuple[Move, ...]
    memtotal: tuple[int, int]
    warnings: tuple[str, ...] = ()
    """What the second kernel complains of in its log, and the first does not."""


Key = tuple[str, str, str]
"""section, what, unit"""

ZONE_FIELDS: tuple[tuple[str, str, Callable[[Zone], int]], ...] = (
    ("zones", "start_pfn", lambda zone: zone.zone_start_pfn),
    ("zones", "spanned", lambda zone: zone.spanned_pages),
    ("zones", "present", lambda zone: zone.present_pages),
    ("zones", "managed", lambda zone: zone.managed_pages),
    ("marks", "min", lambda zone: zone.watermark.min),
    ("marks", "low", lambda zone: zone.watermark.low),
    ("marks", "high", lambda zone: zone.watermark.high),
)


def compare(before: Boot, after: Boot) -> Comparison:
    """Every difference between two finished boots, by section: memory, takers, zones, marks, free, available."""
    ledgers = memory_ledger(before), memory_ledger(after)
    old, new = (dict(_values(boot, ledger)) for boot, ledger in zip((before, after), ledgers, strict=True))
    keys = [*old, *(key for key in new if key not in old)]
    order = {section: i for i, section in enumerate(dict.fromkeys(section for section, _, _ in keys))}
    changes = [Change(*key, old.get(key), new.get(key)) for key in keys if (old.get(key) or 0) != (new.get(key) or 0)]
    places = _places(before), _places(after)
    owners = dict.fromkeys((*places[0], *places[1]))
    known = _warnings(before)
    moves = [Move(owner, places[0].get(owner, ()), places[1].get(owner, ())) for owner in owners]
    return Comparison(
        tuple(sorted(changes, key=lambda change: order[change.section])),
        tuple(move for move in moves if move.before != move.after),
        (ledgers[0].memtotal, ledgers[1].memtotal),
        tuple(text for text in _warnings(after) if text not in known),
    )


def _warnings(boot: Boot) -> dict[str, None]:
    return dict.fromkeys(line.text for line in boot.log.lines if line.level <= Level.WARNING)


def _places(boot: Boot) -> dict[str, tuple[tuple[int, int], ...]]:
    """Where each owner's reserved memory lies, upwards, by where the first of it does."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for start, end, owner in sorted(boot.memblock.ledger.entries):
        places[owner].append((start, end))
    return {owner: tuple(ranges) for owner, ranges in places.items()}


def _values(boot: Boot, ledger: MemoryLedger) -> Iterator[tuple[Key, int]]:
    yield ("memory", "memory in the firmware's map", "bytes"), ledger.installed
    takers: dict[str, int] = defaultdict(int)
    for line in ledger.lines:
        takers[line.taker] += line.amount
    for taker, amount in takers.items():
        yield ("takers", taker, "bytes"), amount
    zones = [zone for _, node in sorted(boot.nodes.items()) for zone in node.populated_zones()]
    for section in ("zones", "marks"):
        for zone in zones:
            for where, name, value in ZONE_FIELDS:
                if where == section:
                    yield (section, f"{zone.nid}/{zone.name} {name}", "pages"), value(zone)
    for zone in zones:
        for order, count in enumerate(zone.nr_free):
            yield ("free lists", f"{zone.nid}/{zone.name} order {order}", "blocks"), count
    yield ("available", "min_free_kbytes", "bytes"), boot.min_free_kbytes << 10
    page = boot.memblock.page_size
    yield ("available", "CMA", "bytes"), sum(area.size for area in boot.cma.areas)
    yield ("available", "free", "bytes"), sum(zone.nr_free_pages for zone in zones) * page
    yield ("available", "MemTotal", "bytes"), ledger.memtotal
