"""A text trace of the page allocator: ftrace's own lines, or perf script's, with kmem events and probes on mm/.

Only what the events say; `mmtool.mm.replay` knows what follows from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmtool.errors import InputError

_LINE = re.compile(
    r"\s*(?P<task>.*?)-?(?P<pid>\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:(?P<flags>[^\s:]+)\s+)?[\d.]+:\s+"
    r"(?:\w+:)?(?P<name>\w+):(?P<rest>.*)"
)
_FIELD = re.compile(r"(\w+)=(\S+)")
ALLOCATOR_EVENTS = frozenset(
    ("mm_page_alloc", "mm_page_free", "mm_page_free_batched", "mm_page_alloc_zone_locked", "mm_page_alloc_extfrag")
)


class TraceEvent(NamedTuple):
    """One line of a trace. `irq` is the letter for interrupt context ("s" soft, "h" hard), "" in a task."""

    line: int
    name: str
    cpu: int
    pid: int
    irq: str
    fields: dict[str, str]

    def number(self, name: str) -> int:
        """A numeric field; KeyError when the event has none of that name."""
        return int(self.fields[name], 0)


def read_events(lines: Iterable[str], source: str) -> list[TraceEvent]:
    """The events of a trace, in its order. InputError when no line is one of the page allocator's."""
    events = list(_events(lines))
    if not any(event.name == "mm_page_alloc" for event in events):
        raise InputError(source, None, "no mm_page_alloc events in it; trace with the kmem events switched on")
    return events


def _events(lines: Iterable[str]) -> Iterator[TraceEvent]:
    for number, line in enumerate(lines, 1):
        m = _LINE.match(line)
        if m is None:
            continue
        flags = m["flags"] or ""
        irq = flags[2] if len(flags) > 2 and flags[2] in "hHsZz" else ""
        fields = dict(_FIELD.findall(m["rest"]))
        yield TraceEvent(number, m["name"], int(m["cpu"]), int(m["pid"]), irq, fields)
