"""What one kind of request means on one machine: struct alloc_context of mm/internal.h, worked out once."""

from __future__ import annotations

from mmtool.build.gfp import GfpFlags
from mmtool.build.release import Release
from mmtool.late import dataclass
from mmtool.linux.mm.mmzone import Zone
from mmtool.linux.mm.page_alloc.migratetype import MigrateType


@dataclass(frozen=True, slots=True)
class AllocContext:
    """A request: its mask, order and node, and which zones, type and per-CPU list that comes to."""

    gfp: int
    flags: GfpFlags
    """What the bits of `gfp` mean."""
    order: int
    nid: int
    nodemask: frozenset[int] | None
    migratetype: MigrateType
    highest_zoneidx: int
    """The highest zone that the mask allows; lowmem_reserve is looked up with it."""
    zones: tuple[Zone, ...]
    """The zones that may serve it, in the order of the zonelist (those of the nodemask)."""
    every_zone: tuple[Zone, ...]
    """The zonelist without regard to the nodemask, for requests that may ignore policies."""
    pindex: int | None
    """The per-CPU list that serves it; None for orders without one."""
    alloc_flags: int
    """The rights of the first attempt, at the low watermark."""
    facts: Release
    nodes_online: int
    can_compact: bool
    """gfp_compaction_allowed(): the build has compaction, and the request may do I/O."""
    lowmem: bool
    """Does the mask exclude zones from Normal on, whose lack kills nobody?"""
