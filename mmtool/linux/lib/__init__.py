"""lib: what the kernel's code shares."""
