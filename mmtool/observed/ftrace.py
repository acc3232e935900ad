"""A text trace of the page allocator: ftrace's own lines, or perf script's, with kmem events and probes on mm/.

Only what the events say; `mmtool.system.replay.run` knows what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mmtool.errors import InputError

EVENTS = frozenset(
    (
        "mm_page_alloc", "mm_page_free", "mm_page_free_batched", "mm_page_alloc_zone_locked",
        "rqbulk", "bulkin", "bulkret", "f1p", "rcvs", "drainzone", "balpg", "balpgr", "isof", "isolblk", "putb",
        "mm_lru_insertion", "mm_page_alloc_extfrag", "mm_page_pcpu_drain", "unresv", "unresvr", "setpfb", "wkswapd",
    )
)  # fmt: skip
"""The events of kmem that are read, and the probes."""

MOST = {"order": 21, "n": 1 << 20, "nid": 1024, "cpu": 1 << 16}
"""What a field's value stays below."""
LONGEST = 24
"""Digits of a number, 0x included."""


class TraceEvent(NamedTuple):
    """One line of a trace. `irq` is the letter for interrupt context ("s" soft, "h" hard), "" in a task."""

    line: int
    name: str
    cpu: int
    pid: int
    irq: str
    masked: bool
    """Were interrupts off?"""
    depth: int
    """How often preemption was switched off; 0 where nothing tells."""
    fields: dict[str, str]

    def text(self, name: str) -> str:
        """A field; ValueError when the event has none of that name."""
        text = self.fields.get(name)
        if text is None:
            raise ValueError(f"no field {name!r}")
        return text

    def number(self, name: str) -> int:
        """A numeric field; ValueError when the event has none of that name, or no number that it could have."""
        text = self.text(name)
        most = MOST.get(name, 1 << 64)
        if len(text) > LONGEST or not -most < (value := int(text, 0)) < most:
            raise ValueError(f"{name}={text[:40]} is beyond what there can be")
        return value


def probes_of(definitions: str) -> frozenset[str]:
    """The names of the probes that tracefs lists in kprobe_events ("p:kprobes/NAME SYMBOL ARGUMENTS")."""
    heads = (line.split()[0] for line in definitions.splitlines() if line.strip())
    return frozenset(head.rpartition(":")[2].rpartition("/")[2] for head in heads)


def _depth(flags: str) -> int:
    """The fourth letter of ftrace's flags: the depth as a hexadecimal digit, or a dot."""
    return int(flags[3], 16) if flags[3:4] in set("0123456789abcdef") else 0


def read_events(lines: Iterable[str], source: str) -> list[TraceEvent]:
    """The events of a trace, in its order. InputError when no line is one of the page allocator's."""
    events = list(_events(lines))
    if not any(event.name == "mm_page_alloc" for event in events):
        raise InputError(source, None, "no mm_page_alloc events in it; trace with the kmem events switched on")
    return events


def _events(lines: Iterable[str]) -> Iterator[TraceEvent]:
    """The lines TASK-PID [CPU] FLAGS TIME: EVENT: FIELDS (ftrace) or TASK PID [CPU] TIME: kmem:EVENT: FIELDS (perf)."""
    for number, line in enumerate(lines, 1):
        head, _, tail = line.partition("] ")
        when, _, told = tail.partition(": ")
        name, _, rest = told.partition(": ")
        name = name.strip().rstrip(":").rpartition(":")[2]
        if name not in EVENTS:
            continue
        task, _, cpu = head.rpartition("[")
        words = task.split("(")[0].split()
        pid = words[-1].rpartition("-")[2] if words else ""
        if not (cpu.isdecimal() and pid.isdecimal() and len(cpu) + len(pid) < LONGEST):
            continue
        flags = when.split()[0] if " " in when.strip() else ""
        irq = flags[2] if len(flags) > 2 and flags[2] in "hHsZz" else ""
        fields = dict(pair for pair in (word.split("=", 1) for word in rest.split()) if len(pair) == 2)
        yield TraceEvent(number, name, int(cpu), int(pid), irq, flags[:1] == "d", _depth(flags), fields)
