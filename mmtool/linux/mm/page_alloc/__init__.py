"""mm/page_alloc.c: the buddy allocator, from the hand-over to an allocation under pressure."""
