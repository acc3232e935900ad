"""mm/memblock.c: the allocator of early boot."""

from mmtool.linux.mm.memblock.handover import FreedMemory, chunk_runs
from mmtool.linux.mm.memblock.memblock import (
    MEMBLOCK_ALLOC_ACCESSIBLE,
    MEMBLOCK_ALLOC_NOLEAKTRACE,
    NUMA_NO_NODE,
    Change,
    Memblock,
)
from mmtool.linux.mm.memblock.regions import (
    ENOMEM,
    MEMBLOCK_DRIVER_MANAGED,
    MEMBLOCK_HOTPLUG,
    MEMBLOCK_KHO_SCRATCH,
    MEMBLOCK_MIRROR,
    MEMBLOCK_NOMAP,
    MEMBLOCK_NONE,
    MEMBLOCK_RSRV_HUGETLB,
    MEMBLOCK_RSRV_KERN,
    MEMBLOCK_RSRV_NOINIT,
    MemblockBug,
    MemblockPanic,
    MemblockRegion,
    MemblockType,
)

__all__ = [
    "ENOMEM",
    "MEMBLOCK_ALLOC_ACCESSIBLE",
    "MEMBLOCK_ALLOC_NOLEAKTRACE",
    "MEMBLOCK_DRIVER_MANAGED",
    "MEMBLOCK_HOTPLUG",
    "MEMBLOCK_KHO_SCRATCH",
    "MEMBLOCK_MIRROR",
    "MEMBLOCK_NOMAP",
    "MEMBLOCK_NONE",
    "MEMBLOCK_RSRV_HUGETLB",
    "MEMBLOCK_RSRV_KERN",
    "MEMBLOCK_RSRV_NOINIT",
    "NUMA_NO_NODE",
    "Change",
    "FreedMemory",
    "Memblock",
    "MemblockBug",
    "MemblockPanic",
    "MemblockRegion",
    "MemblockType",
    "chunk_runs",
]
