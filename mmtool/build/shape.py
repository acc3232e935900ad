"""What a profile and a build's options must look like: numbers within what Kconfig and the kernel allow."""

from __future__ import annotations

from typing import Any

from mmtool.shape import Shape, ShapeError, any_of, boolean, integer, mapping, text

NUMBERS = {
    "ARCH_FORCE_MAX_ORDER": (0, 20), "ARM64_PA_BITS": (48, 52), "ARM64_VA_BITS": (36, 52), "BASE_SMALL": (0, 1),
    "CMA_ALIGNMENT": (2, 12), "CMA_AREAS": (0, 1 << 16), "CMA_SIZE_MBYTES": (0, 1 << 20),
    "CMA_SIZE_PERCENTAGE": (0, 100), "FORCE_MAX_ZONEORDER": (1, 21), "KFENCE_NUM_OBJECTS": (1, 65535),
    "KFENCE_SAMPLE_INTERVAL": (0, 1 << 31), "LOG_BUF_SHIFT": (12, 25), "LOG_CPU_MAX_BUF_SHIFT": (0, 21),
    "NODES_SHIFT": (1, 10), "NR_CPUS": (1, 8192), "PAGE_BLOCK_MAX_ORDER": (1, 20), "PAGE_BLOCK_ORDER": (1, 20),
    "PAGE_SHIFT": (12, 16), "PGTABLE_LEVELS": (2, 5), "RANDOMIZE_MEMORY_PHYSICAL_PADDING": (0, 0x40),
    "X86_INTERNODE_CACHE_SHIFT": (4, 12), "X86_L1_CACHE_SHIFT": (4, 7), "X86_RESERVE_LOW": (4, 640),
}  # fmt: skip
"""Options of the kernel's configuration that are numbers the model works with, and their ranges."""
LARGEST_SIZE = 1 << 24
"""Bytes that no structure and no CPU's static data exceeds."""
LARGEST_IMAGE = 1 << 32

_OPTION = any_of(boolean, integer(-(1 << 63), (1 << 64) - 1), text())
_OPTIONS = mapping(text(256), _OPTION)


def options_shape(value: Any, path: str) -> None:
    """CONFIG_ options, without the prefix, and their values."""
    _OPTIONS(value, path)
    for name, (low, high) in NUMBERS.items():
        found = value.get(name, low)
        if isinstance(found, str) and found.isascii():
            try:
                found = int(found[:20], 0)
            except ValueError:
                raise ShapeError(f"{path}/{name}", f"is no number: {found[:40]!r}") from None
        if found is False:
            continue
        integer(low, high)(found, f"{path}/{name}")


SIZES_SHAPE: Shape = mapping(text(256), integer(1, LARGEST_SIZE))
IMAGE_SHAPE: Shape = mapping(text(256), integer(0, LARGEST_IMAGE))
SHOWN_SHAPE: Shape = mapping(text(256), boolean)
