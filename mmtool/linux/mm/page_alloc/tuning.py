"""What the page allocator's numbers depend on beside the zones: page size, CPUs, and the sysctls of vm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mmtool.late import dataclass

LOWMEM_RESERVE_RATIO = {"DMA": 256, "DMA32": 256, "Normal": 32, "HighMem": 0, "Movable": 0}
"""sysctl_lowmem_reserve_ratio: a zone keeps one page for so many pages of the zones above it; 0 for none."""


@dataclass(frozen=True)
class Tuning:
    """What the arithmetic of watermarks and per-CPU lists needs beside the zones."""

    page_shift: int = 12
    online_cpus: int = 1
    node_cpus: Mapping[int, int] = field(default_factory=dict)
    """How many CPUs are online on each node (cpumask_of_node()); a node that is not named has none."""
    watermark_scale_factor: int = 10
    """vm.watermark_scale_factor: the distance between watermarks, in ten thousandths of a zone."""
    lowmem_reserve_ratio: Mapping[str, int] = field(default_factory=lambda: LOWMEM_RESERVE_RATIO)
