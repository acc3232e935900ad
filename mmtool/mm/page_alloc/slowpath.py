from __future__ import annotations
def alloc_pages_slowpath(system, ac, steps):
    return None
