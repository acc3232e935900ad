"""Who dies when memory is out: out_of_memory() of mm/oom_kill.c, from 2.6.36 to 7.3, on the processes it looks at.

What the kernel knows of a process beyond its sizes (whether it has been reaped already, is in vfork()) is a flag of
`OomTask`; whoever has no such knowledge leaves it out, and says so. All sizes in pages. A process that runs swapoff
goes first whatever its points (oom_task_origin()), which nothing outside the kernel shows; it is not modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from mmtool.build.facts.oom import OomFacts
from mmtool.late import dataclass

OOM_SCORE_ADJ_MIN = -1000
"""Of a process that is never chosen."""
ROOT_BONUS = 30
"""Thousandths, and 3% of the usage later."""


class OomConstraint(Enum):
    """enum oom_constraint: what limited the allocation."""

    NONE = "CONSTRAINT_NONE"
    CPUSET = "CONSTRAINT_CPUSET"
    MEMORY_POLICY = "CONSTRAINT_MEMORY_POLICY"
    MEMCG = "CONSTRAINT_MEMCG"


@dataclass(frozen=True, slots=True)
class OomTask:
    """A process (thread group) as the OOM killer sees it."""

    pid: int
    name: str
    rss: int
    pgtables: int
    """Page tables of all levels, in whole pages of them together."""
    swapents: int
    oom_score_adj: int
    privileged: bool = False
    """CAP_SYS_ADMIN."""
    unkillable: bool = False
    """init, a kernel thread, in vfork(), or reaped already (MMF_OOM_SKIP)."""


@dataclass(frozen=True, slots=True)
class OomControl:
    """struct oom_control with the sysctls: what the killer is called with."""

    constraint: OomConstraint
    totalpages: int
    """What may be used where memory ran out: see constrained_alloc()."""
    sysrq: bool = False
    """SysRq+f: order is -1."""
    current: int | None = None
    """The process that asked."""
    current_adj: int = 0
    oom_kill_allocating_task: bool = False
    panic_on_oom: int = 0


@dataclass(frozen=True, slots=True)
class OomChoice:
    """What out_of_memory() does: a process to kill, a panic, or neither."""

    victim: int | None = None
    """The process that is chosen; before 5.1 a child may die in its place."""
    points: int | None = None
    """Its points; None where it was not chosen by them."""
    panics: bool = False


def constrained_totalpages(constraint: OomConstraint, allowed_pages: int, swap_pages: int) -> int:
    """oc->totalpages of constrained_alloc().

    `allowed_pages`: the machine's managed pages, of a cpuset or a policy those present on its nodes, of a memory cgroup
    its limit. `swap_pages`: all swap, of a cgroup what it may use of it.
    """
    total = allowed_pages + swap_pages
    return max(1, total) if constraint is OomConstraint.MEMCG else total


def mem_cgroup_get_max(memory_max: int, swap_max: int, memsw_max: int | None, total_swap_pages: int) -> int:
    """What a cgroup may use of memory and swap: with `memsw_max` (v1) both together, else `swap_max` (v2).

    A swappiness of 0, with which swap does not count, is in no report.
    """
    if memsw_max is not None:
        return min(memory_max + total_swap_pages, max(memory_max, memsw_max))
    return memory_max + min(swap_max, total_swap_pages)


def oom_badness(task: OomTask, totalpages: int, facts: OomFacts) -> int | None:
    """oom_badness() from 2.6.36 on: a process's points; None for one that is never chosen."""
    if task.unkillable or task.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return None
    points = task.rss + task.swapents + (task.pgtables if facts.oom_counts_page_tables else 0)
    adj = task.oom_score_adj
    if facts.oom_points_are_thousandths:
        points = points * 1000 // max(1, totalpages) - (ROOT_BONUS if task.privileged else 0) + adj
        return min(max(1, points), 1000)
    if task.privileged and facts.oom_root_bonus_of_total:
        adj -= ROOT_BONUS
    if task.privileged and facts.oom_root_bonus_of_usage:
        points -= points * 3 // 100
    points += adj * (totalpages // 1000)
    return points if facts.oom_points_below_one else max(1, points)


def printed_score(points: int, totalpages: int, facts: OomFacts) -> int:
    """The score of "Kill process ... score N or sacrifice child": thousandths of `totalpages` (before 5.1)."""
    return points if facts.oom_points_are_thousandths else points * 1000 // max(1, totalpages)


def select_bad_process(tasks: Iterable[OomTask], totalpages: int, facts: OomFacts) -> tuple[OomTask, int] | None:
    """The process with most points, and them; `tasks` in the order of the kernel's walk."""
    chosen: tuple[OomTask, int] | None = None
    for task in tasks:
        points = oom_badness(task, totalpages, facts)
        if points is None:
            continue
        if chosen is None or points > chosen[1] or (points == chosen[1] and facts.oom_tie_goes_to_last):
            chosen = task, points
    return chosen


def check_panic_on_oom(control: OomControl) -> bool:
    """Does vm.panic_on_oom end it? 1 does where the whole machine is out of memory, 2 always; SysRq+f never does."""
    if not control.panic_on_oom or control.sysrq:
        return False
    return control.panic_on_oom == 2 or control.constraint is OomConstraint.NONE


def out_of_memory(control: OomControl, tasks: Sequence[OomTask], facts: OomFacts) -> OomChoice:
    """What the killer does with these processes; no victim where nobody may be killed.

    Without a victim the kernel panics, but in a cgroup and for SysRq+f.
    """
    if check_panic_on_oom(control):
        return OomChoice(panics=True)
    globally = control.constraint is not OomConstraint.MEMCG
    spared = {task.pid for task in tasks if task.unkillable}
    may_die = control.current not in spared and control.current_adj != OOM_SCORE_ADJ_MIN
    if globally and control.oom_kill_allocating_task and control.current is not None and may_die:
        return OomChoice(control.current)
    chosen = select_bad_process(tasks, control.totalpages, facts)
    if chosen is None:
        return OomChoice(panics=globally and not control.sysrq)
    return OomChoice(chosen[0].pid, chosen[1])


def oom_kill_process(victim: int, tasks: Iterable[OomTask], facts: OomFacts, *, oom_group: bool) -> tuple[int, ...]:
    """oom_kill_process(): who is killed, the chosen process first.

    `tasks` are those of the cgroup whose memory.oom.group is set, the highest up to the one that ran out, if
    `oom_group`: then all of them die that may be chosen (oom_kill_memcg_member()). The kernel says so in a line
    "Tasks in ... are going to be killed due to memory.oom.group set"; it may name the victim a second time.
    """
    if not oom_group or not facts.oom_kills_groups:
        return (victim,)
    others = (task for task in tasks if task.pid != victim)
    return (victim, *(task.pid for task in others if not task.unkillable and task.oom_score_adj != OOM_SCORE_ADJ_MIN))
