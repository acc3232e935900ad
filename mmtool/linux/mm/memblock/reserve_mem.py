"""reserve_mem= of mm/memblock.c (6.11 on): memory with a name, at a place that memblock picks."""

from __future__ import annotations

from mmtool.linux.mm.early import Early
from mmtool.units import memparse

RESERVE_MEM_MAX_ENTRIES = 8
RESERVE_MEM_NAME_SIZE = 16

MALFORMED = "reserve_mem: empty or malformed parameter"


def parse_reserve_mem(value: str, smp_cache_bytes: int) -> tuple[int, int, str] | None:
    """SIZE:ALIGN:NAME as (bytes, bytes, name); None when it is malformed.

    An alignment below a cache line is one; a name has 1 to 15 characters, not all of them blank.
    """
    size, at = memparse(value)
    if not size or value[at : at + 1] != ":":
        return None
    align, at = memparse(value, at + 1)
    name = value[at + 1 :]
    if value[at : at + 1] != ":" or len(name) >= RESERVE_MEM_NAME_SIZE or not name.strip(" \t\n\v\f\r\xa0"):
        return None
    return size, max(align, smp_cache_bytes), name


def reserve_mem(early: Early) -> None:
    """The step: every reserve_mem= in its order, when start_kernel() has printed its command line.

    Up to eight with different names. Before 7.1 the others are refused without a word.
    """
    facts = early.kernel.release
    if not facts.has_reserve_mem:
        return
    names: set[str] = set()
    for value in early.cmdline.all("reserve_mem"):
        problem = _reserve(early, value, names)
        if problem and facts.reserve_mem_says_why:
            early.log.err(problem)


def _reserve(early: Early, value: str | None, names: set[str]) -> str | None:
    """Reserve for one option; what is wrong, if something is."""
    if value is None:
        return MALFORMED
    if len(names) >= RESERVE_MEM_MAX_ENTRIES:
        return "reserve_mem: no more room for reserved memory"
    asked = parse_reserve_mem(value, early.kernel.smp_cache_bytes)
    if asked is None:
        return MALFORMED
    size, align, name = asked
    if name in names:
        return f'reserve_mem: name "{name}" was already used'
    if not early.memblock.phys_alloc(size, align, owner=f"reserve_mem {name}"):
        return "reserve_mem: memblock allocation failed"
    names.add(name)
    return None
