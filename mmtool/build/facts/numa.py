"""mm/numa_memblks.c, arch/x86/mm/numa.c, drivers/base/arch_numa.c, drivers/acpi/numa: nodes and distances."""

from __future__ import annotations

from mmtool.build.fact import Facts, Mark, since, until


class NumaFacts(Facts):
    """mm/numa_memblks.c, arch/x86/mm/numa.c, drivers/base/arch_numa.c, drivers/acpi/numa: nodes and distances."""

    numa_unassigned_is_no_node: bool = since(
        "6.10",
        stable="6.6.1-129",
        marks=(
            Mark("arch/x86/mm/numa.c", "&memblock.memory, NUMA_NO_NODE"),
            Mark("mm/numa_memblks.c", "&memblock.memory, NUMA_NO_NODE"),
        ),
    )
    """Memory without a node has nid -1 while NUMA is set up; before, MAX_NUMNODES."""
    srat_prints_cpus: bool = until("6.12", marks=Mark("arch/x86/mm/srat.c", 'pr_debug("SRAT: PXM', gone=True))
    """"SRAT: PXM P -> APIC A -> Node N" is printed for every CPU entry, not compiled out."""
    numa_clips_to_dram: bool = since("6.12", marks=Mark("mm/numa_memblks.c", "memblock_start_of_DRAM"))
    """Node blocks are clipped to memblock's first and last byte; before, to 0 and max_pfn."""
    numa_distance_anywhere: bool = since(
        "6.12", marks=Mark("mm/numa_memblks.c", "memblock_alloc(", inside="numa_alloc_distance")
    )
    """The table of distances is a plain memblock allocation."""
    node_data_in_pages: bool = until("6.12", marks=Mark("arch/x86/mm/numa.c", "roundup(sizeof(pg_data_t), PAGE_SIZE)"))
    """A pg_data_t takes whole pages."""
    numa_coverage_by_memblock: bool = since(
        "6.8",
        stable="6.6.1-129",
        marks=(
            Mark("arch/x86/mm/numa.c", "memblock_validate_numa_coverage"),
            Mark("mm/numa_memblks.c", "memblock_validate_numa_coverage"),
        ),
    )
    """Memory without a node is counted from memblock (memblock_validate_numa_coverage())."""
    numa_prints_initmem: bool = until("3.17", not_in="3.16")
    """"Initmem setup node N" is printed when the node gets its NODE_DATA, not when its zones are set up."""
    numa_lets_offline_nodes_be: bool = since(
        "5.18",
        "mm: handle uninitialized numa nodes gracefully",
        marks=(
            Mark("mm/page_alloc.c", "arch_alloc_nodedata", inside="free_area_init"),
            Mark("mm/mm_init.c", "arch_alloc_nodedata", inside="free_area_init"),
            Mark("mm/mm_init.c", "alloc_offline_node_data", inside="free_area_init"),
        ),
    )
    """Every possible node gets a pgdat; before, only those online."""
    arch_numa_has_memblks: bool = since(
        "6.12",
        "arch_numa: switch over to numa_memblks",
        marks=(
            Mark("include/linux/numa_memblks.h", "numa_memblks_init"),
            Mark("include/linux/numa_memblks.h", "numa_add_memblk"),
        ),
    )
    """arm64 finds its nodes with the code of x86."""
    numa_distances_before_nodes: bool = until(
        "6.12",
        "arch_numa: switch over to numa_memblks",
        marks=(
            Mark("drivers/base/arch_numa.c", "numa_alloc_distance", since="5.12"),
            Mark("arch/arm64/mm/numa.c", "numa_alloc_distance", since="4.7", until="5.12"),
        ),
    )
    """arm64 allocates a table of distances for all nodes that may be before it looks for any."""
