"""drivers/firmware."""
