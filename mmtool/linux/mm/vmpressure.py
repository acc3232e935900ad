"""What reclaim of a cgroup tells those who watch its pressure, and whom it wakes for that (mm/vmpressure.c).

Nobody watches here. But the work that would tell them runs in a kernel thread, and the process that is switched back to
afterwards has run since the multi-generational LRU last walked its page tables: the next walk does not pass it over.
"""

from __future__ import annotations

from mmtool.linux.mm.memory_state import Memory

VMPRESSURE_WIN = 512
"""The pages scanned from which on they are told."""
LEVEL_CRITICAL_PRIO = 3
"""At this priority and below, that much is taken to have been scanned at once."""


def vmpressure(m: Memory, scanned: int) -> None:
    """vmpressure() of the cgroup with what is below it: enough pages wake the worker, which runs within reclaim.

    With lazy preemption it runs when the task goes back to user space; by the next reclaim the process has been
    switched to in any case, as try_charge() takes it.
    """
    if m.lru_gen is None or m.facts.preempt_lazy or not m.facts.vmpressure_counts_trees:
        return
    m.tree_scanned += scanned
    if m.tree_scanned >= VMPRESSURE_WIN:
        m.tree_scanned = 0
        m.lru_gen.mm_in_use = True


def vmpressure_prio(m: Memory, priority: int) -> None:
    """vmpressure_prio(): a priority that low is critical by itself."""
    if priority <= LEVEL_CRITICAL_PRIO:
        vmpressure(m, VMPRESSURE_WIN)
