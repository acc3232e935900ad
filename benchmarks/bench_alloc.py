"""How fast the allocator is: single pages by the full path, and single pages to and fro between a CPU and its lists.

python benchmarks/bench_alloc.py; exit status 1 when one of the goals is missed. CPU time, the best of a few rounds, on
a machine of 64 GiB (6.12) and one with a small preferred zone (6.1).
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

from mmtool.build.choose import kernel_for
from mmtool.firmware.read import read_capture
from mmtool.linux.init.main import start_kernel
from mmtool.system.of_boot import state_of_boot
from mmtool.system.restore import system_of
from mmtool.system.state import SystemState
from mmtool.system.system import System

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"
MACHINES = ("x86-6.12-64g", "x86-6.1-movablecore")
ALLOCATIONS = 200_000
ALLOCATIONS_PER_SECOND = 300_000
TURNS = 500_000
SECONDS_FOR_TURNS = 2.0
ROUNDS = 3


def machine(name: str) -> tuple[SystemState, System]:
    booted = start_kernel(found := read_capture(str(CAPTURES / name)), kernel_for(found))
    state = state_of_boot(booted)
    return state, system_of(state, booted.kernel)


def full_path(system: System, gfp: int) -> float:
    """Allocations a second, of single pages that are kept."""
    start = process_time()
    for _ in range(ALLOCATIONS):
        system.alloc_pfn(gfp)
    return ALLOCATIONS / (process_time() - start)


def to_and_fro(system: System, gfp: int) -> float:
    """Seconds for TURNS allocations and as many frees, a hundred pages at a time."""
    start = process_time()
    for _ in range(TURNS // 100):
        pages = [system.alloc_pfn(gfp) for _ in range(100)]
        for pfn in pages:
            assert pfn is not None
            system.free_pages(pfn)
    return process_time() - start


def main() -> int:
    good = True
    for name in MACHINES:
        state, system = machine(name)
        gfp = system.gfp.parse("GFP_KERNEL")
        speed = max(full_path(system_of(state, system.kernel), gfp) for _ in range(ROUNDS))
        seconds = min(to_and_fro(system_of(state, system.kernel), gfp) for _ in range(ROUNDS))
        print(f"{name}: {speed:,.0f} allocations a second; {2 * TURNS:,} allocations and frees in {seconds:.2f} s")
        good = good and speed >= ALLOCATIONS_PER_SECOND and seconds < SECONDS_FOR_TURNS
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
