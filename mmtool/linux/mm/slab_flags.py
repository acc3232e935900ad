"""include/linux/slab.h: the flags of caches, by their names without SLAB_."""

from __future__ import annotations

Flags = frozenset[str]

DEBUG_FLAGS: Flags = frozenset({"CONSISTENCY_CHECKS", "RED_ZONE", "POISON", "STORE_USER", "TRACE"})
DEBUG_METADATA_FLAGS: Flags = frozenset({"RED_ZONE", "POISON", "STORE_USER"})
"""Those that make objects larger."""
DEBUG_DEFAULT_FLAGS: Flags = frozenset({"CONSISTENCY_CHECKS", "RED_ZONE", "POISON", "STORE_USER"})
NO_CMPXCHG: Flags = frozenset({"CONSISTENCY_CHECKS", "STORE_USER", "TRACE"})
NEVER_MERGE: Flags = frozenset(
    {"RED_ZONE", "POISON", "STORE_USER", "TRACE", "TYPESAFE_BY_RCU", "NOLEAKTRACE", "FAILSLAB", "NO_MERGE"}
)
MERGE_SAME: Flags = frozenset({"RECLAIM_ACCOUNT", "CACHE_DMA", "CACHE_DMA32", "ACCOUNT", "MAY_ACCOUNT"})
"""Merged caches agree in these."""
PERMITTED: Flags = DEBUG_FLAGS | {
    "HWCACHE_ALIGN", "CACHE_DMA", "CACHE_DMA32", "PANIC", "TYPESAFE_BY_RCU", "DEBUG_OBJECTS", "NOLEAKTRACE",
    "RECLAIM_ACCOUNT", "ACCOUNT", "NO_USER_FLAGS", "KMALLOC", "NO_MERGE", "SKIP_KFENCE",
}  # fmt: skip
"""SLAB_FLAGS_PERMITTED: what kmem_cache_create() takes."""
KNOWN: Flags = PERMITTED | {
    "FAILSLAB", "KASAN", "OBJECT_POISON", "CMPXCHG_DOUBLE", "NO_OBJ_EXT", "OBJ_EXT_IN_OBJ", "NO_SHEAVES",
    "MAY_ACCOUNT", "TEMPORARY",
}  # fmt: skip
"""Every flag's name."""


def flag_order(flags: Flags) -> list[str]:
    """The flags as a list that does not depend on chance."""
    return sorted(flags)
