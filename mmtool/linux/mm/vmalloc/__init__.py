"""Virtually contiguous memory: mm/vmalloc.c, from the tree of free addresses to vmalloc() and its relatives."""
