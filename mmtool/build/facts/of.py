"""drivers/of: /reserved-memory, /memreserve/ and linux,usable-memory-range; kernel/dma/coherent.c."""

from __future__ import annotations

from mmtool.build.fact import Change, Facts, Mark, Member, between, since, until


class OfFacts(Facts):
    """drivers/of: /reserved-memory, /memreserve/ and linux,usable-memory-range; kernel/dma/coherent.c."""

    reserved_mem_keeps_nomap: bool = since(
        "5.13", not_in="5.12", seen_in="5.14", marks=Mark("drivers/of/of_reserved_mem.c", "memblock_mark_nomap")
    )
    """A placed region with no-map is marked so; before, it leaves memblock's memory."""
    reserved_mem_removes_nomap: bool = until(
        "5.12", 'fdt: Properly handle "no-map" field in the memory region', stable="5.10.20"
    )
    """A region with an address and no-map leaves memblock's memory; later it is marked so."""
    reserved_mem_packs_regions: bool = since(
        "6.5", not_in="6.4", seen_in="6.6", marks=Mark("drivers/of/of_reserved_mem.c", "__reserved_mem_alloc_in_range")
    )
    """A placed region goes next to one that is there."""
    usable_memory_ranges_are_many: bool = since(
        "5.19",
        'of: fdt: Add memory for devices by DT property "linux,usable-memory-range"',
        marks=Mark("drivers/of/fdt.c", "MAX_USABLE_RANGES"),
    )
    """All of linux,usable-memory-range counts, not the first range alone."""
    reserved_mem_prints_ranges: bool = since(
        "6.3",
        "of: reserved-mem: print out reserved-mem details during boot",
        marks=Mark("drivers/of/of_reserved_mem.c", '"nomap"'),
    )
    """Every region of /reserved-memory gets a line."""
    reserved_mem_array_is_sized: bool = since(
        "6.13",
        "of: reserved_mem: Add code to dynamically allocate reserved_mem array",
        stable="6.12.103",
        marks=Mark("drivers/of/of_reserved_mem.c", "alloc_reserved_mem_array"),
    )
    """The kernel's array of reserved regions is allocated, for as many as there are, before the tree is unflattened."""
    reserved_mem_keeps_its_node: bool = until(
        "7.1",
        marks=(Mark("include/linux/of_reserved_mem.h", "unsigned long fdt_node;"), Member("reserved_mem", "fdt_node")),
    )
    """An entry of that array has six words, not five: where its node is too."""
    reserved_mem_says_size: bool = since(
        "6.0", marks=Mark("drivers/of/of_reserved_mem.c", "failed to allocate memory for node '%s': size %lu MiB")
    )
    """A region that has no room is told with its size."""
    reserved_mem_knows_one_range: bool = between(
        Change("6.19", stable="6.18.3-15"),
        Change("7.2"),
        marks=Mark("drivers/of/of_reserved_mem.c", "of_flat_dt_get_addr_size(child"),
    )
    """A node with several ranges is not in the list of regions."""
    elfcorehdr_by_of: bool = since(
        "5.15",
        "of: fdt: Add generic support for handling elf core headers property",
        marks=Mark("drivers/of/fdt.c", "fdt_reserve_elfcorehdr"),
    )
    """A crashed kernel's header is reserved before dynamic regions get their place; before, by arm64 after them."""
    dma_pool_says_kib: bool = since("7.3", marks=Mark("kernel/dma/coherent.c", "KiB"))
    """The size of a DMA pool is told in KiB, not in MiB."""
    reserved_mem_takes_first_range: bool = since(
        "7.2", marks=Mark("drivers/of/of_reserved_mem.c", "only the first is used")
    )
    """Of a region's reg the first range is reserved; before, all."""
    reserved_mem_frees_unmapped_pools: bool = until(
        "7.1",
        marks=(
            Mark("drivers/of/of_reserved_mem.c", "err != 0 && err != -ENOENT", inside="fdt_init_reserved_mem_node"),
            Mark("drivers/of/of_reserved_mem.c", "memblock_phys_free", inside="fdt_init_reserved_mem"),
            Mark("drivers/of/of_reserved_mem.c", "memblock_free(", inside="fdt_init_reserved_mem"),
            Mark("drivers/of/of_reserved_mem.c", "memblock_add(", inside="fdt_init_reserved_mem"),
            Mark(
                "drivers/of/of_reserved_mem.c",
                "of_reserved_mem",
                gone=True,
                inside="fdt_init_reserved_mem",
                until="5.4",
            ),
        ),
    )
    """A shared-dma-pool that is reusable and no-map is given back; later it is kept, without a pool."""
    memreserve_comes_last: bool = since(
        "6.13",
        "of: reserved_mem: Restructure how the reserved memory regions are processed",
        stable="6.12.13",
        marks=Mark(
            "drivers/of/fdt.c",
            "fdt_init_reserved_mem",
            gone=True,
            inside="early_init_fdt_scan_reserved_mem",
            since="5.18",
        ),
    )
    """/memreserve/ is reserved after the nodes of /reserved-memory, not before."""
