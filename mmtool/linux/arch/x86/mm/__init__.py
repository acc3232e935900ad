"""arch/x86/mm: the direct map, page tables, NUMA, the zones' limits."""
