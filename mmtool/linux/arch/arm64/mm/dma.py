"""How far DMA reaches on arm64: zone limits of arch/arm64/mm/init.c."""

from __future__ import annotations

from mmtool.linux.mm.early import Early

FOUR_GIB = 1 << 32


def arm64_dma_phys_limit(early: Early, reach: int | None) -> int:
    """Where ZONE_DMA ends, in bytes: at the `reach` of the least able bus, at most at 4 GiB if memory begins below."""
    mb, facts = early.memblock, early.kernel.release
    start, end = mb.start_of_DRAM(), mb.end_of_DRAM() or 0
    if facts.arm64_dma_zone_by_limit:
        limit = (1 << 64) if reach is None else reach
        return min(min(limit, FOUR_GIB) if start < FOUR_GIB else limit, end)
    bits = min(32, (reach - 1).bit_length()) if reach is not None else 32
    limit = 1 << bits
    if start >= FOUR_GIB:
        limit = 1 << 64
    elif start >= limit:
        limit = FOUR_GIB
    return min(limit, end)
