"""arch/arm64/mm: memory of the device tree and of EFI, zones, page tables, the layout of virtual memory."""
