"""drivers/acpi/numa: nodes and distances out of SRAT and SLIT."""
