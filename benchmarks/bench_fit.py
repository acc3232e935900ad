"""How fast a trace is read, its stack distances are measured, and the model performs it: hits, and reclaim all the way.

python benchmarks/bench_fit.py; exit status 1 when one of the goals is missed. CPU time, in accesses a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import process_time

from mmtool.answers.reclaim_fit import TraceSource, swap_for
from mmtool.answers.stack_distance import StackDistances
from mmtool.build.fact import parse_series
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.observed.accesses import AccessTrace, read_accesses
from mmtool.system.reclaim_script import WorkloadMachine, random_numbers

ACCESSES, PAGES = 500_000, 20_000
GOALS = {
    "page numbers read": 500_000, "addresses read": 500_000, "stack distances": 400_000, "hits, classic": 1_000_000,
    "hits, mglru": 1_000_000, "cyclic scan, classic": 80_000, "cyclic scan, mglru": 80_000,
}  # fmt: skip


def pages() -> list[int]:
    """A few pages often, many seldom."""
    numbers = random_numbers(1)
    return [min(next(numbers) % PAGES, next(numbers) % PAGES, next(numbers) % PAGES) for _ in range(ACCESSES)]


def timed(work: Callable[[], object]) -> float:
    """Accesses a second."""
    start = process_time()
    work()
    return ACCESSES / (process_time() - start)


def loads(used: list[int]) -> AccessTrace:
    return read_accesses((b" L %x,8\n" % (page << 12) for page in used), "-")


def main() -> int:
    used = pages()
    plain = [b"r data:%d\n" % page for page in used]
    lackey = [b" L %x,8\n" % (page << 12) for page in used]
    version = parse_series("6.12")
    assert version is not None
    facts = ReclaimFacts(version)
    trace = loads(used)
    hits = TraceSource(trace, WorkloadMachine(swap=swap_for(trace)))
    scan = read_accesses((b"%d\n" % (n % PAGES) for n in range(ACCESSES)), "-")
    misses = TraceSource(scan, WorkloadMachine())
    speed = {
        "page numbers read": timed(lambda: read_accesses(plain, "-")),
        "addresses read": timed(lambda: read_accesses(lackey, "-")),
        "stack distances": timed(lambda: StackDistances(trace.ids, len(trace.keys))),
        "hits, classic": timed(lambda: hits.run(facts, "classic", 2 * PAGES)),
        "hits, mglru": timed(lambda: hits.run(facts, "mglru", 2 * PAGES)),
        "cyclic scan, classic": timed(lambda: misses.run(facts, "classic", PAGES // 2)),
        "cyclic scan, mglru": timed(lambda: misses.run(facts, "mglru", PAGES // 2)),
    }
    for name, reached in speed.items():
        print(f"{name}: {reached:,.0f} a second (goal {GOALS[name]:,})")
    return 0 if all(reached >= GOALS[name] for name, reached in speed.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
