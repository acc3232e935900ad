"""arm64: from a device tree to zones."""
