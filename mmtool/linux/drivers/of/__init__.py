"""drivers/of: what the device tree says of memory, and its /reserved-memory."""
