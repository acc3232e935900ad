"""What differs between kernel releases, in one value: the facts of the subsystems that a boot goes through.

The model asks for a fact by its name and never compares versions (`mmtool.build.fact`). Distribution kernels are taken
as the mainline release that they are built from.
"""

from __future__ import annotations

from functools import lru_cache

from mmtool.build.fact import Version
from mmtool.build.facts.arm64 import Arm64Facts
from mmtool.build.facts.cma import CmaFacts
from mmtool.build.facts.crash_reserve import CrashReserveFacts
from mmtool.build.facts.memblock import MemblockFacts
from mmtool.build.facts.mm_init import MmInitFacts
from mmtool.build.facts.numa import NumaFacts
from mmtool.build.facts.of import OfFacts
from mmtool.build.facts.page_alloc import PageAllocFacts
from mmtool.build.facts.vmalloc import VmallocFacts
from mmtool.build.facts.x86 import X86Facts


class Release(
    X86Facts,
    Arm64Facts,
    OfFacts,
    MemblockFacts,
    NumaFacts,
    CrashReserveFacts,
    CmaFacts,
    MmInitFacts,
    PageAllocFacts,
    VmallocFacts,
):
    """What differs between kernel releases, one named fact a difference."""


@lru_cache(maxsize=64)
def release_facts(version: Version) -> Release:
    """The facts of a kernel release (major, minor, patch)."""
    return Release(version)
