"""mm/slub.c: the slab allocator without queues - layout, debugging, CPU slabs, partial lists, sheaves."""
