"""The kernel's kernel/: the crash kernel's reservation, and DMA's pools in dma/."""
