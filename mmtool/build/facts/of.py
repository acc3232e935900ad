"""drivers/of: /reserved-memory, /memreserve/ and linux,usable-memory-range; kernel/dma/coherent.c."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, between, since, until


class OfFacts(Facts):
    """drivers/of: /reserved-memory, /memreserve/ and linux,usable-memory-range; kernel/dma/coherent.c."""

    reserved_mem_keeps_nomap: bool = since("5.13")
    """A placed region with no-map is marked so; before, it leaves memblock's memory. In 6.1, not in 5.10."""
    reserved_mem_packs_regions: bool = since("6.4")
    """A placed region goes next to one that is there. In 6.12, not in 6.1."""
    usable_memory_ranges_are_many: bool = since("5.17")
    """All of linux,usable-memory-range counts, not the first range alone (of: fdt: Add memory for devices by DT
    property "linux,usable-memory-range")."""
    reserved_mem_prints_ranges: bool = since("6.4")
    """Every region of /reserved-memory gets a line (of: reserved-mem: print out reserved-mem details during boot). In
    6.12, not in 6.1."""
    reserved_mem_array_is_sized: bool = since("6.12")
    """The kernel's array of reserved regions is allocated, for as many as there are, before the tree is unflattened
    (of: reserved_mem: Add code to dynamically allocate reserved_mem array). In 6.12, not in 6.1."""
    reserved_mem_keeps_its_node: bool = until("7.0")
    """An entry of that array has six words, not five: where its node is too. In 6.18, not in 7.3."""
    reserved_mem_says_size: bool = since("5.11")
    """A region that has no room is told with its size. In 6.1, not in 5.10."""
    reserved_mem_knows_one_range: bool = between(Change("6.15"), Change("7.0"))
    """A node with several ranges is not in the list of regions. In 6.18, not in 6.12 and 7.3."""
    dma_pool_says_kib: bool = since("7.0")
    """The size of a DMA pool is told in KiB, not in MiB. In 7.3, not in 6.18."""
    reserved_mem_takes_first_range: bool = since("7.0")
    """Of a region's reg the first range is reserved; before, all. In 7.3, not in 6.18."""
    reserved_mem_frees_unmapped_pools: bool = until("7.0")
    """A shared-dma-pool that is reusable and no-map is given back; later it is kept, without a pool. In 6.18, not in
    7.3."""
    memreserve_comes_last: bool = since("6.12")
    """/memreserve/ is reserved after the nodes of /reserved-memory, not before (of: reserved_mem: Restructure)."""
