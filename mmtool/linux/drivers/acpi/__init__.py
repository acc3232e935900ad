"""drivers/acpi."""
