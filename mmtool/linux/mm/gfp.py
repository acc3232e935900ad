"""What a gfp mask asks of the zones: include/linux/gfp.h."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.build.gfp import GfpFlags
from mmtool.linux.mm.page_alloc.migratetype import MigrateType


def gfp_zone(mask: int, flags: GfpFlags, zones: Sequence[str]) -> str:
    """gfp_zone(): the highest zone that the mask allows, out of the build's `zones`, lowest first.

    A build without the zone asked for takes Normal. Contradicting zone flags (DMA and HIGHMEM) are a bug of the
    caller that the kernel answers with its lowest zone.
    """
    dma, highmem, dma32, movable = (flags.has(mask, f"__GFP_{z}") for z in ("DMA", "HIGHMEM", "DMA32", "MOVABLE"))
    if dma + highmem + dma32 > 1:
        return zones[0]
    if highmem and movable:
        return "Movable"
    wanted = "DMA" if dma else "DMA32" if dma32 else "HighMem" if highmem else "Normal"
    return wanted if wanted in zones else "Normal"


def gfp_migratetype(mask: int, flags: GfpFlags) -> MigrateType:
    """gfp_migratetype(): which pageblocks the allocation belongs to (allocflags_to_migratetype until 4.4)."""
    if flags.has(mask, "__GFP_MOVABLE"):
        return MigrateType.MOVABLE
    return MigrateType.RECLAIMABLE if flags.has(mask, "__GFP_RECLAIMABLE") else MigrateType.UNMOVABLE
