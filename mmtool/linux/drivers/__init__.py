"""drivers/: what firmware drivers do to memory while the kernel boots."""
