"""How a boot's cost grows with the machine: 64 TiB on 8 nodes against 2 GiB on one.

python benchmarks/boot_scale.py; exit status 1 when the large machine takes more than 1.5 times the time or the memory
of the small one. Untouched memory is ranges in the model, so that only the nodes should cost something: two machines
between them tell apart what memory costs and what nodes do.
"""

from __future__ import annotations

import sys
import tracemalloc
from time import process_time

from mmtool.build.choose import kernel_for
from mmtool.firmware.machine import CpuAffinity, E820Entry, E820Type, LogNote, Machine, MemoryAffinity, Srat
from mmtool.linux.init.main import start_kernel

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
LIMIT = 1.5


def machine(nodes: int, size: int) -> Machine:
    """`size` bytes of RAM around the hole below 4 GiB, spread evenly over nodes with a CPU each."""
    low = min(size, 3 * GIB)
    top = 4 * GIB + size - low if size > low else low
    e820 = [E820Entry(0, 0x9FC00, E820Type.RAM), E820Entry(MIB, low, E820Type.RAM)]
    if top > low:
        e820.append(E820Entry(4 * GIB, top, E820Type.RAM))
    edges = [top * n // nodes // GIB * GIB for n in range(nodes)] + [top]
    cpus = [CpuAffinity(nid, nid) for nid in range(nodes)]
    memory = [MemoryAffinity(nid, edges[nid], edges[nid + 1]) for nid in range(nodes)]
    # Machines of that size map themselves with pages of 1 GiB, and the log says so.
    notes = (LogNote("gb_pages", (), 1),)
    return Machine("table", tuple(e820), srat=Srat((*cpus, *memory)), cpus=nodes, notes=notes)


def seconds(m: Machine) -> float:
    """The CPU time of one boot."""
    kernel = kernel_for(m)
    start = process_time()
    start_kernel(m, kernel)
    return process_time() - start


def peak(m: Machine) -> int:
    """Bytes that one boot takes at most."""
    kernel = kernel_for(m)
    tracemalloc.start()
    booted = start_kernel(m, kernel)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(z.present_pages for node in booted.nodes.values() for z in node.zones) > 0
    return most


def main() -> int:
    # 64 TiB are all that four levels of page tables reach, the hole below 4 GiB included.
    most = 64 * TIB - GIB
    machines = [machine(1, 2 * GIB), machine(1, most), machine(8, 16 * GIB), machine(8, most)]
    # Turn about, so that a busy moment of this computer meets all of them.
    times = [min(times) for times in zip(*[[seconds(m) for m in machines] for _ in range(20)], strict=True)]
    peaks = [peak(m) for m in machines]
    names = ("2 GiB", "64 TiB", "16 GiB on 8 nodes", "64 TiB on 8 nodes")
    for name, time, memory in zip(names, times, peaks, strict=True):
        print(
            f"{name:18} {time * 1e3:4.1f} ms ({time / times[0]:.2f} times the smallest), "
            f"{memory / MIB:.2f} MiB ({memory / peaks[0]:.2f} times)"
        )
    return 0 if times[-1] <= LIMIT * times[0] and peaks[-1] <= LIMIT * peaks[0] else 1


if __name__ == "__main__":
    sys.exit(main())
