"""drivers/block."""
