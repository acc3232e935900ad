"""How much memory does a workload need? Refaults over memory.max, under a kernel's own rules.

A first estimate is strict LRU's, at every size from one pass (`mmtool.answers.stack_distance`). What is answered comes
from the kernel's model, run at chosen sizes: it is no stack algorithm, so more memory may once cost more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from typing import Protocol

from mmtool.answers.stack_distance import StackDistances
from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.late import dataclass
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.observed.accesses import AccessTrace
from mmtool.system.reclaim_run import FAULTS_BETWEEN_LINES, OTHER, accesses_of, do_accesses, perform, workload_memory
from mmtool.system.reclaim_script import SwapDevice, Workload, WorkloadMachine
from mmtool.system.reclaim_trace import IN_MEMORY, SPARSE, perform_trace, place, trace_memory

LRUS = ("classic", "mglru")
EVERY_SIZE = 2_000_000
"""Accesses that are worth it to try every size above an answer too."""
SMALLEST = 64
"""Pages of the smallest size that is run unasked: a batch of charges."""
CHARGED_AHEAD = 128
"""Pages beyond those in use from which on no limit is met: what the CPU has charged in advance."""


@dataclass(frozen=True, slots=True)
class FitPoint:
    """What the kernel's model did with a memory.max; counts of pages and accesses over the whole run."""

    memory_max: int
    misses: int
    """Accesses whose page was not in memory, first uses among them."""
    refaults_file: int
    refaults_anon: int
    scanned: int
    reclaimed: int
    swapped_in: int
    swapped_out: int
    failed_at: int | None = None
    """The access, from 1 on, that found no memory: the OOM killer ends the job, and so ends the run."""

    @property
    def refaults(self) -> int:
        """workingset_refault_file and _anon."""
        return self.refaults_file + self.refaults_anon


class Source(Protocol):
    """What is run: a script or a trace."""

    form: str
    accesses: int
    footprint: int
    """Different pages."""
    merged: int
    ignored: dict[str, int]
    rests_on: list[str]

    def ids(self) -> Iterable[int]:
        """The accesses, by numbers of pages below `footprint`."""

    def run(self, facts: ReclaimFacts, lru: str, memory_max: int) -> FitPoint:
        """The kernel's model with that memory.max."""


def _point(m: Memory, memory_max: int, misses: int, failed_at: int | None) -> FitPoint:
    v = m.vmstat
    return FitPoint(
        memory_max, misses, v["workingset_refault_file"], v["workingset_refault_anon"],
        v["pgscan_file"] + v["pgscan_anon"], v["pgsteal_file"] + v["pgsteal_anon"],
        v["pswpin"], v["pswpout"], failed_at,
    )  # fmt: skip


class ScriptSource:
    """A script of `mmtool reclaim run`; what it answers is what that command counts."""

    merged = 0

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.form = "script"
        self.ignored: dict[str, int] = {}
        self.rests_on = _script_rests_on(workload)
        bases, at = {}, 0
        for obj in workload.objects.values():
            bases[obj.name] = at
            at += obj.pages
        number: dict[int, int] = {}
        self._ids = [number.setdefault(page, len(number)) for page in _pages_of(workload, bases)]
        self.accesses, self.footprint = len(self._ids), len(number)

    def ids(self) -> Iterable[int]:
        return self._ids

    def run(self, facts: ReclaimFacts, lru: str, memory_max: int) -> FitPoint:
        m = workload_memory(replace(self.workload, machine=replace(self.workload.machine, max=memory_max)), facts, lru)
        misses = done = 0

        def counted(accesses: Iterator[tuple[str, Mapped, int]]) -> Iterator[tuple[str, Mapped, int]]:
            nonlocal misses, done
            for access in accesses:
                done += 1
                misses += not m.flags[access[1].base + access[2]] & IN_MEMORY
                yield access

        for step in self.workload.steps:
            m.stats.read_between(FAULTS_BETWEEN_LINES)
            if m.lru_gen is not None:
                m.lru_gen.mm_in_use = True
            if step.op in OTHER:
                perform(m, step)
            elif do_accesses(m, counted(accesses_of(m, step)), 1):
                return _point(m, memory_max, misses, done)
        return _point(m, memory_max, misses, None)


def _pages_of(workload: Workload, bases: dict[str, int]) -> Iterator[int]:
    for step in workload.steps:
        if step.op == "mix":
            yield from (bases[name] + page for _, name, page in step.mix)
        elif step.pages:
            base = bases[step.target]
            yield from (base + page for page in step.pages)


def _script_rests_on(workload: Workload) -> list[str]:
    said = []
    sets = [step for step in workload.steps if step.op == "set" and step.words[0] == "memory.max"]
    if sets:
        said.append(f"line {sets[0].line} sets memory.max: a size here is what the script begins with")
    others = sorted({step.op for step in workload.steps} & OTHER.keys())
    if others:
        said.append(f"the estimate knows accesses alone, not {', '.join(others)}")
    return said


class TraceSource:
    """A trace of accesses; `machine` without its limits."""

    def __init__(self, trace: AccessTrace, machine: WorkloadMachine) -> None:
        self.trace, self.machine = trace, machine
        self.placed = place(trace)
        self.form, self.merged, self.ignored = trace.form, trace.merged, trace.ignored
        self.accesses, self.footprint = len(trace.ids), len(trace.keys)
        self.rests_on = [*trace.rests_on, *_trace_rests_on(trace, machine)]
        if self.placed.sparse:
            self.rests_on.append(SPARSE)

    def ids(self) -> Iterable[int]:
        return self.trace.ids

    def run(self, facts: ReclaimFacts, lru: str, memory_max: int) -> FitPoint:
        m = trace_memory(self.placed, replace(self.machine, max=memory_max), facts, lru)
        done = perform_trace(m, self.trace, self.placed)
        return _point(m, memory_max, done.misses, done.failed_at)


def _trace_rests_on(trace: AccessTrace, machine: WorkloadMachine) -> list[str]:
    said = [
        "one CPU, one process, no readahead; memory statistics are brought up to date by their number of changes "
        "alone, since a trace has no time",
    ]
    if any(anon for _, anon in trace.objects):
        said.append("anonymous pages that are loaded from before they are stored to hold data")
        if not machine.swap:
            said.append("there is no swap: what anonymous memory does not fit fails; give --swap")
    return said


def swap_for(trace: AccessTrace) -> tuple[SwapDevice, ...]:
    """A RAM disk that holds all anonymous pages of a trace, and the cluster that stays unused; none without such."""
    return (SwapDevice("ram", len(trace.keys) + 1024),) if any(anon for _, anon in trace.objects) else ()


@dataclass(slots=True)
class Target:
    """The smallest memory.max from which on there are few enough refaults, and what that rests on."""

    lru: str
    best: FitPoint | None
    """None where no size will do."""
    below: FitPoint | None
    """The largest smaller size that was tried: it is too little."""
    tried: int
    every: bool
    """Was every larger size tried too?"""


@dataclass(slots=True)
class Fit:
    """The answer: estimate, points of the curve by LRU, targets."""

    source: Source
    estimate: StackDistances
    curve: dict[str, list[FitPoint]] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    target_refaults: int | None = None


def fit_curve(source: Source, facts: ReclaimFacts, lrus: Iterable[str], sizes: list[int] | None, points: int) -> Fit:
    """Run the model at `sizes`, or at about `points` of them where the estimate changes most."""
    fit = Fit(source, StackDistances(source.ids(), source.footprint))
    chosen = sizes or chosen_sizes(fit.estimate, source.footprint, points)
    for lru in lrus:
        fit.curve[lru] = [source.run(facts, lru, size) for size in chosen]
    return fit


def fit_target(source: Source, facts: ReclaimFacts, lrus: Iterable[str], refaults: int) -> Fit:
    """The smallest memory.max from which on there are at most so many refaults, for each LRU."""
    fit = Fit(source, StackDistances(source.ids(), source.footprint), target_refaults=refaults)
    for lru in lrus:
        search = _Search(source, facts, lru, refaults)
        fit.targets.append(search.smallest(fit.estimate.smallest(refaults)))
        fit.curve[lru] = search.points()
    return fit


def chosen_sizes(estimate: StackDistances, footprint: int, points: int) -> list[int]:
    """Sizes to run: half where strict LRU's misses fall by equal parts, half by equal factors, up to where all fits."""
    top = footprint + CHARGED_AHEAD
    parts = [size for size, _ in estimate.steps(max(points // 2, 1))[1:]]
    least = max(min([top // 16, *parts]), min(SMALLEST, top))
    n = max(points - len(parts) - 1, 1)
    factors = [round(least * (top / least) ** (k / n)) for k in range(n)]
    return sorted(size for size in {*parts, *factors, top} if size >= least)


class _Search:
    """Looks for the smallest memory.max of one LRU; each size is run once."""

    def __init__(self, source: Source, facts: ReclaimFacts, lru: str, refaults: int) -> None:
        self.source, self.facts, self.lru, self.refaults = source, facts, lru, refaults
        self._done: dict[int, FitPoint] = {}

    def points(self) -> list[FitPoint]:
        """What was run, by size."""
        return [self._done[size] for size in sorted(self._done)]

    def _will_do(self, size: int) -> bool:
        if size not in self._done:
            self._done[size] = self.source.run(self.facts, self.lru, size)
        point = self._done[size]
        return point.refaults <= self.refaults and point.failed_at is None

    def smallest(self, guess: int) -> Target:
        """From the estimate's guess out to a size that will do and one that will not; then between them."""
        top = self.source.footprint + CHARGED_AHEAD
        guess = min(max(guess, 1), top)
        step = max(guess // 32, 1)
        low, high = 0, guess
        if self._will_do(guess):
            while high > 1:
                low = max(high - step, 0)
                if not low or not self._will_do(low):
                    break
                high, step = low, step * 2
        else:
            while not self._will_do(high):
                if high >= top:
                    return Target(self.lru, None, self._done[high], len(self._done), False)
                low, high, step = high, min(high + step, top), step * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._will_do(middle) else (middle, high)
        every = (top - high) * self.source.accesses <= EVERY_SIZE
        if every:
            high = next((size + 1 for size in range(top, high, -1) if not self._will_do(size)), high)
        below = max((size for size in self._done if size < high), default=None)
        return Target(self.lru, self._done[high], None if below is None else self._done[below], len(self._done), every)
