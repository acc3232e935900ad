"""A process's address space: mappings, page tables and faults (mm/mmap.c, vma.c, mremap.c, memory.c and the like)."""
