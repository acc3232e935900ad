"""arch/x86/kernel: setup_arch(), the E820 map, MTRRs, the processor."""
