"""mm/memcontrol.c: a memory cgroup's charges, its limits, and statistics that lag behind."""
