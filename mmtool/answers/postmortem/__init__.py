"""Why allocations of a report failed, judged by the rules of the kernel that wrote it."""
