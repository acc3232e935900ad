"""What a capture is made of: each file, where a running kernel has it, and what lacking it costs."""

from __future__ import annotations

from mmtool.late import dataclass


@dataclass(frozen=True)
class Source:
    """A file of a capture, or several by a pattern."""

    path: str
    """Where the machine has it, without the first slash, and where the capture has it if `name` is empty."""
    cost: str
    """What stays unknown without it."""
    optional: bool = False
    """Not every machine has it: it costs something only where it is there and cannot be read."""
    name: str = ""


FREE_LISTS = "the free blocks stay unknown: nothing to compare the model's with, no state for alloc"

ACPI_TABLES = "sys/firmware/acpi/tables"

SYSCTLS = (
    "max_map_count", "mmap_min_addr", "numa_zonelist_order", "oom_kill_allocating_task", "overcommit_kbytes",
    "overcommit_memory", "overcommit_ratio", "page-cluster", "panic_on_oom", "percpu_pagelist_high_fraction",
    "swappiness", "vfs_cache_pressure", "zone_reclaim_mode",
)  # fmt: skip
"""Settings of memory management that need not be there."""

SOURCES = (
    Source(f"{ACPI_TABLES}/SRAT", "nodes are known from the log alone", optional=True, name="SRAT.aml"),
    Source(f"{ACPI_TABLES}/SLIT", "distances between nodes are taken as 10 and 20", optional=True, name="SLIT.aml"),
    Source("proc/version", "the kernel's release is known from the log alone"),
    Source("proc/cmdline", "the command line is known from the log alone"),
    Source("proc/zoneinfo", "nothing to compare zones and watermarks with"),
    Source("proc/buddyinfo", "the free blocks stay unknown: nothing to compare the model's with, no state for alloc"),
    Source("proc/pagetypeinfo", "free blocks are not told apart by mobility"),
    Source("proc/iomem", "where the kernel's image lies stays unknown"),
    Source("proc/vmallocinfo", "who uses the vmalloc area stays unknown", optional=True),
    Source("proc/slabinfo", "whose the slabs are stays unknown", optional=True),
    Source("proc/meminfo", "nothing to compare MemTotal with"),
    Source("proc/vmstat", "what reclaim has done so far stays unknown", optional=True),
    Source("proc/swaps", "how much swap there is stays unknown", optional=True),
    Source("proc/sys/vm/min_free_kbytes", "nothing to compare it with"),
    *(Source(f"proc/sys/vm/{name}", "it is taken as by default", optional=True) for name in SYSCTLS),
    Source("proc/sys/vm/lowmem_reserve_ratio", "reserves are taken as by default", optional=True),
    Source("proc/sys/vm/watermark_*_factor", "watermarks are taken as by default", optional=True),
    Source("sys/devices/system/node/node[0-9]*/cpulist", "nodes' processors stay unknown", optional=True),
    Source("sys/devices/system/node/node[0-9]*/distance", "nothing to compare distances with", optional=True),
    Source("sys/devices/system/node/node[0-9]*/meminfo", "nodes' memory stays unknown", optional=True),
    Source("sys/devices/system/node/has_normal_memory", "which nodes have memory stays unknown", optional=True),
    Source("sys/devices/system/node/online", "which nodes are online stays unknown", optional=True),
    Source("sys/devices/system/cpu/online", "how many processors there are stays unknown", optional=True),
    Source("sys/devices/system/cpu/possible", "how many processors may come stays unknown", optional=True),
    Source("sys/devices/system/memory/block_size_bytes", "the memory block size stays unknown", optional=True),
    Source("sys/kernel/mm/hugepages/*/nr_hugepages", "the number of huge pages stays unknown", optional=True),
    Source("sys/kernel/mm/cma/*/*", "how much of each CMA area is free stays unknown", optional=True),
    Source("sys/kernel/mm/lru_gen/*", "which LRU the kernel has stays unknown", optional=True),
    Source("sys/kernel/mm/transparent_hugepage/enabled", "huge pages are taken as by default", optional=True),
    Source("sys/kernel/debug/memblock/*", "memblock's lists stay unknown", optional=True),
    Source("sys/block/zram*/mm_stat", "how well pages compress stays unknown", optional=True),
    Source("sys/block/zram*/disksize", "how large a zram device is stays unknown", optional=True),
    Source("sys/fs/cgroup/memory.stat", "the root cgroup's LRU lists stay unknown", optional=True),
    Source("sys/fs/cgroup/memory/memory.stat", "the root cgroup's LRU lists stay unknown", optional=True),
)

LOG_COST = "what the machine told its kernel at boot (processors, MTRRs, EFI, the initial RAM disk) stays unknown"
LOST_START = (
    "it has lost its beginning: the map comes from elsewhere, what else the machine told its kernel stays unknown; "
    "log_buf_len= keeps more"
)
MAP_COST = "the firmware's map is known from the log alone"
TREE_COST = "the machine has neither /sys/firmware/memmap nor a device tree: its map is known from the log alone"
CONFIG_COST = "no profile can be made of this kernel's build; one that mmtool has, or a generic one, stands in"
SYSTEM_MAP_COST = "where the parts of the kernel's image lie is taken from a profile"

CONFIGS = ("proc/config.gz", "boot/config-{release}", "lib/modules/{release}/config")
SYSTEM_MAPS = ("boot/System.map-{release}", "lib/modules/{release}/System.map")
