"""kernel/dma: bounce buffers (swiotlb) and contiguous memory for devices."""
