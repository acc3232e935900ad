"""Where two states of one machine are not the same: a replay's end, and the kernel's."""

from __future__ import annotations

from collections.abc import Iterator

from mmtool.late import dataclass
from mmtool.linux.mm.page_alloc.migratetype import MigrateType
from mmtool.system.state import SystemState, ZoneState


@dataclass(frozen=True)
class Apart:
    """What differs, each in words."""

    lists: tuple[str, ...]
    """Lists, free and per CPU, that are not the same block by block in order: "0/DMA32 order 3 Movable"."""
    pageblocks: tuple[str, ...]
    """Pageblocks of another type: "0x3c00 Movable, Reclaimable in the kernel"."""
    zones: tuple[str, ...]
    """What fragmentation left of a zone's marks: "0/DMA32 boost 512, 0 in the kernel"."""

    def __bool__(self) -> bool:
        return bool(self.lists or self.pageblocks or self.zones)


def apart(model: SystemState, kernel: SystemState, pageblock_order: int) -> Apart:
    """Compare a state with the kernel's. Both have the same nodes and zones."""
    return Apart(
        tuple(what for where, a, b in _zones(model, kernel) for what in _lists(where, a, b)),
        tuple(_pageblocks(model, kernel, pageblock_order)),
        tuple(what for where, a, b in _zones(model, kernel) for what in _marks(where, a, b)),
    )


def _zones(model: SystemState, kernel: SystemState) -> Iterator[tuple[str, ZoneState, ZoneState]]:
    for mine, real in zip(model.nodes, kernel.nodes, strict=True):
        for a, b in zip(mine.zones, real.zones, strict=True):
            yield f"{mine.nid}/{a.name}", a, b


def _lists(where: str, a: ZoneState, b: ZoneState) -> Iterator[str]:
    ours = {(order, kind): runs for order, kind, runs in a.free}
    theirs = {(order, kind): runs for order, kind, runs in b.free}
    for order, kind in sorted(ours.keys() | theirs.keys()):
        if ours.get((order, kind)) != theirs.get((order, kind)):
            yield f"{where} order {order} {kind.label}"
    for cpu in sorted(a.cpus.keys() | b.cpus.keys()):
        mine = a.cpus[cpu].lists if cpu in a.cpus else {}
        real = b.cpus[cpu].lists if cpu in b.cpus else {}
        yield from (
            f"{where} CPU {cpu} list {n}" for n in sorted(mine.keys() | real.keys()) if mine.get(n) != real.get(n)
        )


def _pageblocks(model: SystemState, kernel: SystemState, pageblock_order: int) -> Iterator[str]:
    ours, theirs = (
        {pfn + (n << pageblock_order): kind for pfn, count, kind in state.pageblocks for n in range(count)}
        for state in (model, kernel)
    )
    for pfn in sorted(ours.keys() | theirs.keys()):
        mine, real = ours.get(pfn), theirs.get(pfn)
        if mine != real:
            yield f"{pfn:#x} {_label(mine)}, {_label(real)} in the kernel"


def _label(migratetype: MigrateType | None) -> str:
    return "not there" if migratetype is None else migratetype.label


def _marks(where: str, a: ZoneState, b: ZoneState) -> Iterator[str]:
    for what, mine, real in (
        ("boost", a.boost, b.boost),
        ("nr_reserved_highatomic", a.nr_reserved_highatomic, b.nr_reserved_highatomic),
    ):
        if mine != real:
            yield f"{where} {what} {mine}, {real} in the kernel"
