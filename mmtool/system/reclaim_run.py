"""Running a workload on the model: what each line of its script did, and which pages are where after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from functools import partial
from typing import TypeVar

from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.errors import InputError, UsageError
from mmtool.late import dataclass
from mmtool.linux.fs.ext4.inode import INODE_TABLE_PAGES, ext4_buffered_write_iter
from mmtool.linux.mm.filemap import filemap_read
from mmtool.linux.mm.folio import (
    LRU_NAMES,
    PG_ACTIVE,
    PG_PRESENT,
    PG_REFERENCED,
    PG_UNEVICTABLE,
    PTE_PRESENT,
    PTE_ZERO,
)
from mmtool.linux.mm.madvise import fadvise, madvise
from mmtool.linux.mm.memcontrol.charge import memory_high_write, memory_max_write, memory_reclaim
from mmtool.linux.mm.memory import do_mlock, do_munlock, load, store
from mmtool.linux.mm.memory_state import MAX_NR_GENS, PAGE_COUNTER_MAX, Mapped, Memory
from mmtool.linux.mm.page_writeback import filemap_fdatawrite, wb_workfn
from mmtool.linux.mm.swap import lru_add_drain
from mmtool.linux.mm.swap_state import is_swapped, reclaim_swap_cache
from mmtool.linux.mm.swapfile.swap_info import swp_offset, swp_type
from mmtool.linux.mm.vmscan.scan_control import SWAPPINESS_ANON_ONLY, Balance
from mmtool.system.reclaim_script import Step, Workload

PAGE_SIZE = 4096
Counts = tuple[dict[str, int], dict[str, int], dict[Balance, int]]
"""vmstat, memory.events and the rounds of reclaim, as they were."""
_K = TypeVar("_K")
_Access = tuple[str, Mapped, int]
MOST_FAILED = 50
"""Accesses that may find no memory: before each fails the kernel tries sixteen times over to reclaim some."""
A_ROUND = 3
"""Accesses that a round of reclaim counts for."""
TOLD, LINE = 20, 500
"""Pages that are told of after the lines for each access that a script may ask for, and for how many a line counts."""
FAULTS_BETWEEN_LINES = 140
"""Read faults of the cgroup's process between two lines, enough for memory.stat to be brought up to date."""


@dataclass(slots=True)
class LineOutcome:
    """A line of the script and the state right after it; counts in pages."""

    line: int
    does: str
    rc: int
    pages: dict[str, str]
    swap: dict[str, list[tuple[int, int, int, int]]]
    lists: dict[str, int]
    counters: dict[str, int]
    memory: int
    memory_swap: int
    generations: list[list[int]] | None
    """Of the multi-generational LRU, oldest first: sequence number, anonymous pages, pages of files."""
    events: dict[str, int]
    """memory.events, what the line added."""
    balances: dict[Balance, int]
    """Rounds of reclaim on the classic LRU, by why they scanned what they did."""


@dataclass(slots=True)
class WorkloadRun:
    """The run of a whole script."""

    lru: str
    lines: list[LineOutcome] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)


def run_workload(workload: Workload, facts: ReclaimFacts, lru: str = "classic") -> WorkloadRun:
    """Perform a workload under a release's rules.

    Raises InputError, with the line, where it finds no memory left, where reclaim takes too many rounds for what the
    script may ask for, and where the lines tell of more than anybody reads.
    """
    if lru == "mglru" and not facts.lru_gen:
        raise UsageError("this release has no multi-generational LRU")
    m = workload_memory(workload, facts, lru)
    run = WorkloadRun(lru)
    failed = told = 0
    most_rounds = workload.most // A_ROUND
    for step in workload.steps:
        told += LINE + step.range[1] - step.range[0] + sum(obj.pages for obj in m.objects.values())
        if told > TOLD * workload.most:
            raise InputError(workload.source, step.line, f"{told} pages are told of by here; make two of it, {_ALLOW}")
        before = dict(m.vmstat), dict(m.memcg.events), dict(m.balances)
        m.stats.read_between(FAULTS_BETWEEN_LINES)
        if m.lru_gen is not None:
            m.lru_gen.mm_in_use = True
        try:
            rc = perform(m, step, MOST_FAILED - failed, most_rounds)
        except _TooManyRounds:
            rounds = f"more than {most_rounds} rounds of reclaim by here"
            raise InputError(workload.source, step.line, f"{rounds}; give the script more memory, {_ALLOW}") from None
        failed += max(rc, 0)
        if failed >= MOST_FAILED:
            raise InputError(workload.source, step.line, f"{failed} accesses found no memory; give the script more")
        run.lines.append(_outcome(m, step, rc, before))
    run.events = dict(m.memcg.events)
    return run


_ALLOW = "or allow more: --accesses N"


class _TooManyRounds(Exception):
    """Reclaim has taken more rounds than are waited for."""


def workload_memory(workload: Workload, facts: ReclaimFacts, lru: str = "classic") -> Memory:
    """The memory of a workload before its first line."""
    machine = workload.machine
    m = Memory(facts, lru_gen=lru == "mglru", swappiness=machine.swappiness)
    m.memcg.max = PAGE_COUNTER_MAX if machine.max is None else machine.max
    m.memcg.high = PAGE_COUNTER_MAX if machine.high is None else machine.high
    for obj in workload.objects.values():
        m.add_object(obj.name, obj.anon, obj.pages)
    if facts.drop_caches_drops_all:
        m.add_inode_table(INODE_TABLE_PAGES)
    m.fault_around = 1 << max(machine.fault_around // PAGE_SIZE, 1).bit_length() - 1
    m.page_cluster = machine.page_cluster
    m.pages_elsewhere = machine.elsewhere
    m.swap.drop_swap_cache = partial(reclaim_swap_cache, m)
    for device in machine.swap:
        # The virtual disk is rotational to the kernel; RAM disks and zram are not, and are done at once.
        fast = device.kind != "disk"
        m.swap.swapon(device.pages, device.priority, solidstate=fast, synchronous=fast)
    m.start()
    return m


def perform(m: Memory, step: Step, most_failed: int = MOST_FAILED, most_rounds: int | None = None) -> int:
    """Do what a line says, up to so many accesses that fail; 0, a negative error number, or how many failed."""
    if step.op in OTHER:
        rc = OTHER[step.op](m, step)
        wb_workfn(m)
        return rc
    accesses = accesses_of(m, step)
    return do_accesses(m, accesses if most_rounds is None else _up_to(m, accesses, most_rounds), most_failed)


def _up_to(m: Memory, accesses: Iterable[_Access], most_rounds: int) -> Iterator[_Access]:
    """The accesses, up to so many rounds of reclaim."""
    for access in accesses:
        if m.rounds > most_rounds:
            raise _TooManyRounds
        yield access


def accesses_of(m: Memory, step: Step) -> Iterator[_Access]:
    """The accesses of a line, in order; none where it does something else."""
    if step.op == "mix":
        return ((op, m.objects[name], page) for op, name, page in step.mix)
    return ((step.op, m.objects[step.target], page) for page in step.pages)


def _advise(m: Memory, step: Step) -> int:
    return madvise(m, m.objects[step.target], step.words[0], *step.range)


def _fadvise(m: Memory, step: Step) -> int:
    return fadvise(m, m.objects[step.target], step.words[0], *step.range)


def _mlock(m: Memory, step: Step) -> int:
    do_mlock(m, m.objects[step.target], *step.range)
    return 0


def _munlock(m: Memory, step: Step) -> int:
    do_munlock(m, m.objects[step.target], *step.range)
    return 0


def _sync(m: Memory, step: Step) -> int:
    obj = m.objects[step.target]
    filemap_fdatawrite(m, range(obj.base, obj.base + obj.pages))
    return 0


def _set(m: Memory, step: Step) -> int:
    what, text = step.words
    if what == "swappiness":
        m.swappiness = int(text)
    else:
        write = memory_max_write if what == "memory.max" else memory_high_write
        write(m, PAGE_COUNTER_MAX if text == "max" else int(text))
    return 0


def _reclaim(m: Memory, step: Step) -> int:
    pages, text = step.words
    swappiness = SWAPPINESS_ANON_ONLY if text == "max" else int(text) if text else None
    return memory_reclaim(m, int(pages), swappiness)


OTHER: dict[str, Callable[[Memory, Step], int]] = {
    "advise": _advise, "fadvise": _fadvise, "mlock": _mlock, "munlock": _munlock, "sync": _sync, "set": _set,
    "reclaim": _reclaim,
}  # fmt: skip


def do_accesses(m: Memory, accesses: Iterable[_Access], most_failed: int) -> int:
    """Perform accesses one by one, until so many have failed; how many did.

    So that a load or a store sets the accessed bit whatever the CPU remembers of the page tables, the process flushes
    its TLB before one that comes after a system call or a fault. It does so with mprotect() of a page that it has
    locked, and making such a page writable again empties the CPU's batches (populate_vma_page_range()).
    """
    failed, stale, faults = 0, True, 0
    vmstat = m.vmstat
    for op, obj, page in accesses:
        if op in ("read", "write"):
            stale = True
        elif stale or vmstat["pgfault"] != faults:
            lru_add_drain(m)
            faults = vmstat["pgfault"]
            stale = False
        done = ACCESS[op](m, obj, page)
        if m.flusher_woken:
            wb_workfn(m)
        if not done:
            failed += 1
            if failed >= most_failed:
                break
    return failed


ACCESS: dict[str, Callable[[Memory, Mapped, int], bool]] = {
    "read": filemap_read, "write": ext4_buffered_write_iter, "load": load, "store": store,
}  # fmt: skip


def _outcome(m: Memory, step: Step, rc: int, before: Counts) -> LineOutcome:
    return LineOutcome(
        line=step.line, does=step.text, rc=rc,
        pages={obj.name: _pages(m, obj) for obj in m.objects.values()},
        swap={obj.name: runs for obj in m.objects.values() if (runs := _swap(m, obj))},
        lists=dict(zip(LRU_NAMES, m.lruvec.size, strict=True)),
        counters=_more(m.vmstat, before[0]),
        memory=m.memcg.usage, memory_swap=m.swap.charged,
        generations=_generations(m), events=_more(m.memcg.events, before[1]), balances=_more(m.balances, before[2]),
    )  # fmt: skip


def _more(now: dict[_K, int], before: dict[_K, int]) -> dict[_K, int]:
    """What was added, without what was not."""
    return {name: n - before.get(name, 0) for name, n in now.items() if n != before.get(name, 0)}


def _generations(m: Memory) -> list[list[int]] | None:
    """As /sys/kernel/debug/lru_gen has them."""
    g = m.lru_gen
    if g is None:
        return None
    return [[seq, *(max(n, 0) for n in g.nr_pages[seq % MAX_NR_GENS])] for seq in range(min(g.min_seq), g.max_seq + 1)]


def _letter(m: Memory, slot: int) -> str:
    flags = m.flags[slot]
    if flags & PTE_ZERO:
        return "z"
    if not flags & PTE_PRESENT:
        if is_swapped(m, slot):
            return "s"
        return "r" if flags & PG_PRESENT else "."
    if flags & PG_UNEVICTABLE:
        return "u"
    if m.lru_gen is not None:
        return "i"
    letter = "a" if flags & PG_ACTIVE else "i"
    return letter.upper() if flags & PG_REFERENCED else letter


def _pages(m: Memory, obj: Mapped) -> str:
    """A letter a page, as run lengths."""
    text, last, count = [], "", 0
    for slot in range(obj.base, obj.base + obj.pages):
        letter = _letter(m, slot)
        if letter == last:
            count += 1
            continue
        text.append(f"{count}{last}" if count > 1 else last)
        last, count = letter, 1
    text.append(f"{count}{last}" if count > 1 else last)
    return "".join(text)


def _swap(m: Memory, obj: Mapped) -> list[tuple[int, int, int, int]]:
    """Runs of pages with consecutive offsets in swap: (page, area, offset, pages)."""
    runs: list[tuple[int, int, int, int]] = []
    for page in range(obj.pages):
        slot = obj.base + page
        if not is_swapped(m, slot):
            continue
        area, offset = swp_type(m.swap_entry[slot]), swp_offset(m.swap_entry[slot])
        if runs:
            first, last_area, start, n = runs[-1]
            if (page, area, offset) == (first + n, last_area, start + n):
                runs[-1] = (first, area, start, n + 1)
                continue
        runs.append((page, area, offset, 1))
    return runs
