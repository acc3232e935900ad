"""arch/arm64/kernel: setup_arch(), what the processors can do."""
