"""A trace of accesses performed on the model: the pages of `mmtool.observed.accesses` in a memory cgroup."""

from __future__ import annotations

from array import array
from collections import defaultdict

from mmtool.build.facts.reclaim import ReclaimFacts
from mmtool.late import dataclass
from mmtool.linux.mm.folio import (
    PG_ACTIVE,
    PG_DIRTY,
    PG_PRESENT,
    PG_RECLAIM,
    PG_REFERENCED,
    PTE_DIRTY,
    PTE_PRESENT,
    PTE_WRITE,
    PTE_YOUNG,
    PTE_ZERO,
)
from mmtool.linux.mm.memory_state import Mapped, Memory
from mmtool.linux.mm.page_writeback import wb_workfn
from mmtool.linux.mm.swap import folio_mark_accessed
from mmtool.observed.accesses import LOAD, OBJECT_SHIFT, READ, STORE, AccessTrace
from mmtool.system.reclaim_run import ACCESS, FAULTS_BETWEEN_LINES, workload_memory
from mmtool.system.reclaim_script import Workload, WorkloadMachine, WorkloadObject

OPS = ("read", "write", "load", "store")
"""The ways of `mmtool.observed.accesses`, by their numbers, as scripts call them."""
PTES = 512
"""Pages that one page table maps: neighbours within it stay neighbours."""
MOST_SLOTS = 1 << 20
"""Up to so many pages of address space are kept where they are, used or not."""
IN_MEMORY = PG_PRESENT | PTE_ZERO
"""One of these bits is set where an access needs no page; the zero page is as good as one for a load."""
SPARSE = "pages that are never used are left out, so that neighbours in the model are further apart in truth"


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the pages of a trace are in the model: each object's size, and by a page's number object and page in it."""

    objects: tuple[WorkloadObject, ...]
    object_of: array[int]
    page_of: array[int]
    sparse: bool
    """Were pages that are not used left out one by one?"""


def place(trace: AccessTrace) -> Placed:
    """Give each page of a trace a place. Stretches of 512 pages without any that is used are left out.

    Where that would still be too much, so is every page that is not used.
    """
    by_object: dict[int, list[tuple[int, int]]] = defaultdict(list)
    mask = (1 << OBJECT_SHIFT) - 1
    for number, key in enumerate(trace.keys):
        by_object[key >> OBJECT_SHIFT].append((key & mask, number))
    tables = {obj: sorted({page // PTES for page, _ in pages}) for obj, pages in by_object.items()}
    sparse = sum(map(len, tables.values())) * PTES > max(MOST_SLOTS, 4 * len(trace.keys))
    object_of, page_of = array("I", bytes(4 * len(trace.keys))), array("I", bytes(4 * len(trace.keys)))
    objects = []
    for at, (obj, pages) in enumerate(by_object.items()):
        name, anon = trace.objects[obj]
        if sparse:
            pages.sort()
            places = list(range(len(pages)))
        else:
            first = {table: n * PTES for n, table in enumerate(tables[obj])}
            places = [first[page // PTES] + page % PTES for page, _ in pages]
        for place, (_, number) in zip(places, pages, strict=True):
            object_of[number], page_of[number] = at, place
        objects.append(WorkloadObject(name, anon, max(places) + 1))
    return Placed(tuple(objects), object_of, page_of, sparse)


def trace_memory(placed: Placed, machine: WorkloadMachine, facts: ReclaimFacts, lru: str) -> Memory:
    """The memory of a trace before its first access."""
    workload = Workload(machine)
    workload.objects = {f"{n}": WorkloadObject(f"{n}", o.anon, o.pages) for n, o in enumerate(placed.objects)}
    return workload_memory(workload, facts, lru)


@dataclass(slots=True)
class Performed:
    """What accesses came to: how many found their page missing, and which one, from 1 on, failed for want of memory."""

    misses: int = 0
    failed_at: int | None = None


def perform_trace(m: Memory, trace: AccessTrace, placed: Placed) -> Performed:
    """Do the accesses of a trace, one after the other, up to one that fails, as a single line of a script does.

    A page that is loaded from before anything was stored to it is taken to hold data, as in a trace that began later
    than its process. What changes bits alone is done here, as load() and store() do it, the rest where the kernel does.
    """
    done = Performed()
    objects = [m.objects[f"{n}"] for n in range(len(placed.objects))]
    of = [objects[n] for n in placed.object_of]
    slots = array("I", (obj.base + page for obj, page in zip(of, placed.page_of, strict=True)))
    tables = array("I", (slot - page % PTES for slot, page in zip(slots, placed.page_of, strict=True)))
    flags, g = m.flags, m.lru_gen
    used, stored = PG_ACTIVE | PG_REFERENCED, PTE_YOUNG | PTE_DIRTY
    m.stats.read_between(FAULTS_BETWEEN_LINES)
    for at, (op, number) in enumerate(zip(trace.ops, trace.ids, strict=True), 1):
        slot = slots[number]
        f = flags[slot]
        if op == LOAD:
            if f & PTE_PRESENT:
                flags[slot] = f | PTE_YOUNG
                if g is not None:
                    g.pmd_young.add(tables[number])
                continue
        elif op == READ:
            if f & PG_PRESENT:
                obj, page = of[number], placed.page_of[number]
                if obj.prev_page != page:
                    if g is not None or f & used != used:
                        folio_mark_accessed(m, slot)
                    obj.prev_page = page
                continue
        elif op == STORE:
            if f & PTE_WRITE:
                flags[slot] = f | stored
                if g is not None:
                    g.pmd_young.add(tables[number])
                continue
        elif f & (PG_DIRTY | PG_RECLAIM) == PG_DIRTY:
            continue
        done.misses += not f & IN_MEMORY
        if not _served(m, op, of[number], placed.page_of[number]):
            done.failed_at = at
            break
    return done


def _served(m: Memory, op: int, obj: Mapped, page: int) -> bool:
    """An access that may need a page; False where there is no memory for it."""
    slot = obj.base + page
    if op == LOAD and obj.anon and not m.flags[slot] & IN_MEMORY and m.swap_entry[slot] < 0:
        op = STORE
    served = ACCESS[OPS[op]](m, obj, page)
    if m.flusher_woken:
        wb_workfn(m)
    return served
