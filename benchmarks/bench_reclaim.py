"""How fast reclaim is: accesses that hit, accesses that reclaim, and what a page takes.

python benchmarks/bench_reclaim.py; exit status 1 when a goal is missed. CPU time, the best of a few rounds, through the
same loop as `mmtool reclaim run`. An access that reclaims is one of a cyclic scan of a file that does not fit: each one
brings a page in, and another goes.
"""

from __future__ import annotations

import sys
import tracemalloc
from time import process_time

from mmtool.build.fact import parse_series
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.system.reclaim_run import perform, workload_memory
from mmtool.system.reclaim_script import parse_workload

ROUNDS = 2
MOST = 1_000_000
HITS_PER_SECOND = 1_000_000
RECLAIMS_PER_SECOND = 150_000
BYTES_A_PAGE = 60
KERNELS = (("6.12", "classic"), ("7.3", "classic"), ("6.12", "mglru"), ("7.3", "mglru"))
HIT = ("machine max=40000", "file A 20000", "{op} A seq 0-19999", "{op} A seq 0-19999 times=15")
SCAN = ("machine max=20000", "file A 40000", "{op} A seq 0-39999", "{op} A seq 0-39999 times=2")


def facts(release: str) -> ReclaimFacts:
    version = parse_series(release)
    assert version is not None
    return ReclaimFacts(version)


def rate(lines: tuple[str, ...], op: str, release: str, lru: str) -> float:
    """Accesses a second of the last line."""
    workload = parse_workload([line.format(op=op) for line in lines], "-", most=MOST)
    *before, last = workload.steps
    best = 0.0
    for _ in range(ROUNDS):
        m = workload_memory(workload, facts(release), lru)
        for step in before:
            perform(m, step)
        start = process_time()
        perform(m, last)
        best = max(best, len(last.pages) / (process_time() - start))
    return best


def bytes_a_page(pages: int = 200_000) -> float:
    """Memory that the model takes for each page of an object, with half of them in memory."""
    workload = parse_workload([f"machine max={pages}", f"file A {pages}", f"read A seq 0-{pages // 2}"], "-", most=MOST)
    tracemalloc.start()
    m = workload_memory(workload, facts("6.12"))
    perform(m, workload.steps[0])
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / len(m.flags)


def main() -> int:
    missed = 0
    for what, lines, goal in (("hit", HIT, HITS_PER_SECOND), ("reclaim", SCAN, RECLAIMS_PER_SECOND)):
        for op in ("read", "load"):
            for release, lru in KERNELS:
                speed = rate(lines, op, release, lru)
                missed += speed < goal
                print(f"{what:8}{op:5}{release:5} {lru:8}{speed:>12,.0f} a second, goal {goal:,}")
    page = bytes_a_page()
    print(f"{page:.0f} bytes a page, goal {BYTES_A_PAGE}")
    return int(missed > 0 or page > BYTES_A_PAGE)


if __name__ == "__main__":
    sys.exit(main())
