"""drivers/base: arch_numa, the nodes of a device tree."""
