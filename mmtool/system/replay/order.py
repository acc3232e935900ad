"""Which events of a trace belong together: whose they are, with which an allocation or a free is over."""

from __future__ import annotations

from collections.abc import Sequence

from mmtool.observed.ftrace import TraceEvent

NO_PAGE = (0, 2**64 - 1, 2**32 - 1)
"""The pfns that an event prints for an allocation that failed."""
Who = tuple[int, str]
"""Who does what an event tells: a task (its number, ""), or a CPU's interrupts (the CPU, "s" or "h")."""


def who_of(event: TraceEvent) -> Who:
    """Whose an event is."""
    return (event.cpu, event.irq) if event.irq else (event.pid, "")


def page_of(event: TraceEvent) -> int | None:
    """The page that an event names; None where it says that there is none."""
    pfn = event.number("pfn")
    return None if pfn in NO_PAGE else pfn


def next_own(events: Sequence[TraceEvent]) -> list[int | None]:
    """For each event the index of the next one of whoever it is about."""
    found: list[int | None] = [None] * len(events)
    upcoming: dict[Who, int] = {}
    for index in range(len(events) - 1, -1, -1):
        who = who_of(events[index])
        found[index], upcoming[who] = upcoming.get(who), index
    return found


def next_of_task(events: Sequence[TraceEvent]) -> list[int | None]:
    """For each event the index of the next one of the task that the CPU was running, interrupts left out."""
    found: list[int | None] = [None] * len(events)
    upcoming: dict[int, int] = {}
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        found[index] = upcoming.get(event.pid)
        if not event.irq:
            upcoming[event.pid] = index
    return found


def named_before(events: Sequence[TraceEvent]) -> dict[int, int]:
    """For each mm_page_alloc the index of the last event before it that names its page in an allocation or a free."""
    before: dict[int, int] = {}
    last: dict[str, int] = {}
    for index, event in enumerate(events):
        if event.name in ("mm_page_alloc", "mm_page_free"):
            pfn = event.fields.get("pfn", "")
            if event.name == "mm_page_alloc" and pfn in last:
                before[index] = last[pfn]
            last[pfn] = index
    return before


def ends_of_allocations(events: Sequence[TraceEvent]) -> dict[int, int]:
    """For each event that may belong to an allocation the index of the mm_page_alloc with which it is over."""
    ends: dict[int, int] = {}
    upcoming: dict[Who, int] = {}
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        if event.name == "mm_page_alloc":
            upcoming[who_of(event)] = ends[index] = index
        elif event.name in ("rqbulk", "wkswapd", "unresv", "mm_page_alloc_zone_locked", "mm_page_alloc_extfrag"):
            end = upcoming.get(who_of(event))
            if end is not None:
                ends[index] = end
    return ends


def ends_of_frees(events: Sequence[TraceEvent]) -> set[int]:
    """The indices of mm_page_free events that only announce: the page is freed when it is named again.

    A list of pages is shown whole before the first is freed; each is named once more when its turn comes
    (mm_page_free_batched), or when it goes past the per-CPU lists (the probe on free_onepage_of()).
    """
    announced: set[int] = set()
    upcoming: dict[str, bool] = {}
    for index in range(len(events) - 1, -1, -1):
        event = events[index]
        if event.name == "mm_page_free":
            pfn = event.fields.get("pfn", "")
            if upcoming.get(pfn):
                announced.add(index)
            upcoming[pfn] = False
        elif event.name in ("mm_page_free_batched", "f1p"):
            upcoming[event.fields.get("pfn", "")] = True
        elif event.name == "mm_page_alloc":
            upcoming[event.fields.get("pfn", "")] = False
    return announced
