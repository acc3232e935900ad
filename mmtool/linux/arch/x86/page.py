"""Pages of x86 (asm/page_types.h), which have 4 KiB in every build, and what ISA's DMA reaches (asm/dma.h)."""

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
MAX_DMA_ADDRESS = 16 << 20
"""MAX_DMA_ADDRESS as a physical address."""
