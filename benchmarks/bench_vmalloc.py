"""How fast vmalloc is: pairs of vmalloc() and vfree() of 16 KiB, addresses and pages both.

python benchmarks/bench_vmalloc.py; exit status 1 when the goal is missed. CPU time, the best of a few rounds, on
kernels with and without nodes of lazily freed areas, right after a boot and with areas in use between holes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

from mmtool.build.choose import kernel_for
from mmtool.firmware.read import read_capture
from mmtool.linux.init.main import start_kernel
from mmtool.linux.mm.vmalloc.restore import vmalloc_of
from mmtool.linux.mm.vmalloc.vmalloc import Vmalloc
from mmtool.system.of_boot import state_of_boot
from mmtool.system.restore import system_of

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"
MACHINES = ("x86-6.12-64g", "x86-6.1-movablecore", "x86-5.10-swiotlb")
PAIRS = 50_000
PAIRS_PER_SECOND = 100_000
ROUNDS = 5
SIZE = 16 << 10


def machine(name: str) -> Vmalloc:
    found = read_capture(str(CAPTURES / name))
    booted = start_kernel(found, kernel_for(found), cmdline="nokaslr")
    state = state_of_boot(booted)
    system = system_of(state, booted.kernel)
    assert state.vmalloc is not None
    total = sum(zone.managed_pages for zone in system.zones())
    return vmalloc_of(state.vmalloc, booted.kernel, system, totalram_pages=total, online_nodes=len(system.nodes))


def use(v: Vmalloc) -> None:
    """Stacks, tables and holes, about as a boot leaves them."""
    areas = [v.vmalloc_node_range(SIZE, v.gfp.mask("GFP_KERNEL"), align=SIZE) for _ in range(150)]
    for area in areas[1::5]:
        assert area is not None
        v.vfree(area.addr)
    v.space.purge()


def measure(v: Vmalloc) -> float:
    """Pairs a second."""
    start = process_time()
    for _ in range(PAIRS):
        area = v.vmalloc(SIZE)
        assert area is not None
        v.vfree(area.addr)
    return PAIRS / (process_time() - start)


def main() -> int:
    good = True
    for name in MACHINES:
        v = machine(name)
        fresh = max(measure(v) for _ in range(ROUNDS))
        use(v)
        used = max(measure(v) for _ in range(ROUNDS))
        print(f"{name}: {fresh:.0f} pairs a second after a boot, {used:.0f} with {len(v.space.busy)} areas in use")
        good &= min(fresh, used) >= PAIRS_PER_SECOND
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
