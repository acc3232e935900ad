"""Which slab caches the boot of a build creates: lists recorded from boots, a JSON object a cache, in order."""

from __future__ import annotations

import gzip
from pathlib import Path

_SHIPPED = Path(__file__).parent


def recorded_caches(profile: str) -> list[str] | None:
    """The lines of the list for the build that a shipped profile is of; None where no boot of it was recorded.

    kmalloc's caches are left out: they follow from the build. Sizes of the allocator's own structures are those of the
    recorded machine, with few CPUs and one node.
    """
    path = _SHIPPED / f"{profile}.jsonl.gz"
    return gzip.decompress(path.read_bytes()).decode().splitlines() if path.is_file() else None
