"""How far DMA reaches on arm64: zone limits of arch/arm64/mm/init.c."""

from __future__ import annotations

from mmtool.linux.mm.early import Early
from mmtool.units import round_down

FOUR_GIB = 1 << 32
ZONE_DMA_BITS = 30
"""ARM64_ZONE_DMA_BITS of 5.5 to 5.10: the Raspberry Pi 4 reaches 1 GiB."""


def max_zone_phys(early: Early, bits: int) -> int:
    """max_zone_phys() up to 5.10: where a zone of `bits` address bits ends, from a multiple of its size on."""
    start, end = early.memblock.start_of_DRAM(), early.memblock.end_of_DRAM() or 0
    return min(round_down(start, 1 << bits) + (1 << bits), end)


def arm64_dma32_phys_limit(early: Early) -> int:
    """Where ZONE_DMA32 ends, in bytes: at 4 GiB, or with memory."""
    if not early.kernel.release.arm64_dma_zone_by_firmware:
        return max_zone_phys(early, 32)
    return min(FOUR_GIB, early.memblock.end_of_DRAM() or 0)


def arm64_dma_phys_limit(early: Early, reach: int | None) -> int:
    """Where ZONE_DMA ends, in bytes: at the `reach` of the least able bus, at most at 4 GiB if memory begins below."""
    mb, facts = early.memblock, early.kernel.release
    start, end = mb.start_of_DRAM(), mb.end_of_DRAM() or 0
    if not facts.arm64_dma_zone_by_firmware:
        return max_zone_phys(early, ZONE_DMA_BITS if facts.arm64_has_two_dma_zones else 32)
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
