"""mm/numa_memblks.c, arch/x86/mm/numa.c, drivers/base/arch_numa.c, drivers/acpi/numa: nodes and distances."""

from __future__ import annotations

from mmtool.build.fact import Facts, since, until


class NumaFacts(Facts):
    """mm/numa_memblks.c, arch/x86/mm/numa.c, drivers/base/arch_numa.c, drivers/acpi/numa: nodes and distances."""

    numa_unassigned_is_no_node: bool = since("6.10")
    """Memory without a node has nid -1 while NUMA is set up; before, MAX_NUMNODES."""
    srat_prints_cpus: bool = until("6.12")
    """"SRAT: PXM P -> APIC A -> Node N" is printed for every CPU entry, not compiled out."""
    numa_clips_to_dram: bool = since("6.12")
    """Node blocks are clipped to memblock's first and last byte; before, to 0 and max_pfn."""
    numa_distance_anywhere: bool = since("6.12")
    """The table of distances is a plain memblock allocation."""
    node_data_in_pages: bool = until("6.12")
    """A pg_data_t takes whole pages."""
    numa_coverage_by_memblock: bool = since("6.8")
    """Memory without a node is counted from memblock (memblock_validate_numa_coverage())."""
    numa_prints_initmem: bool = until("3.17")
    """"Initmem setup node N" is printed when the node gets its NODE_DATA, not when its zones are set up."""
    numa_lets_offline_nodes_be: bool = since("5.18")
    """Every possible node gets a pgdat; before, only those online (mm: handle uninitialized numa nodes gracefully)."""
    arch_numa_has_memblks: bool = since("6.12")
    """arm64 finds its nodes with the code of x86 (arch_numa: switch over to numa_memblks)."""
    numa_distances_before_nodes: bool = until("6.12")
    """arm64 allocates a table of distances for all nodes that may be before it looks for any (arch_numa: switch over to
    numa_memblks). In 6.1, not in 6.12."""
