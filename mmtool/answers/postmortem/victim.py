"""Whom the OOM killer had to choose by a report's table of processes, and whom it says it chose.

The model is mm/oom_kill.c's (`mmtool.linux.mm.oom_kill`); here is what a report tells of its inputs. Where the report
leaves one open, everything that it can be is tried, and a choice that depends on it is not called certain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from math import gcd

from mmtool.answers.postmortem.zones import node_list
from mmtool.build.fact import Version, parse_version
from mmtool.build.facts.oom import OomFacts
from mmtool.late import dataclass
from mmtool.linux.mm.oom_kill import (
    OOM_SCORE_ADJ_MIN,
    OomConstraint,
    OomControl,
    OomTask,
    constrained_totalpages,
    mem_cgroup_get_max,
    oom_badness,
    oom_kill_process,
    out_of_memory,
    printed_score,
)
from mmtool.observed.reports import Report
from mmtool.observed.reports.kills import KillLine, Said
from mmtool.observed.reports.tasks import TaskRow
from mmtool.units import whole

_ENDLESS = 1 << 50
"""More pages than any machine has: what a total that nothing bounds may be."""
_INIT = 1
_SCORED: tuple[Version, ...] = ((2, 6, 36), (3, 5, 0), (3, 14, 0), (4, 17, 0))
"""One release for each way to weigh while scores were printed."""
_PAGE_SIZES_KB = (4, 8, 16, 32, 64, 256)


class Doubt(Enum):
    """What keeps a computed choice from being certain, or from being computed."""

    NO_TABLE = "no table"
    OLD_BADNESS = "badness before 2.6.36"
    ROWS_LOST = "rows lost"
    TOTAL_UNKNOWN = "total unknown"
    RELEASE_UNKNOWN = "release unknown"
    COLUMNS_MISSING = "columns missing"


class Difference(Enum):
    """Why the kernel chose another process than the table says."""

    ALLOCATING_TASK = "vm.oom_kill_allocating_task"
    NOT_IN_TABLE = "not in table"
    NEVER_CHOSEN = "never chosen"
    TIE = "tie"
    NEGATIVE = "points below 0"
    SIZES_MOVED = "sizes moved"
    UNSEEN = "unseen state"


@dataclass(frozen=True, slots=True)
class Weighed:
    """A process with its points; None for one that is never chosen."""

    row: TaskRow
    points: int | None


@dataclass(frozen=True, slots=True)
class OomAnswer:
    """Who dies, and why. Pages but where another unit is named."""

    constraint: OomConstraint | None
    """None where the report does not tell a cpuset from a policy."""
    cgroup: str | None
    """The cgroup whose limit was hit."""
    task_cgroup: str | None
    totalpages: int | None
    """What adjustments are a thousandth of; the least that it can be where the report leaves it open."""
    page_kb: int
    computed: TaskRow | None
    """Whom the table's numbers choose."""
    points: int | None
    score: int | None
    """As "Kill process ... score N" prints it, before 5.1."""
    doubts: tuple[Doubt, ...]
    ranking: tuple[Weighed, ...]
    """All processes, most points first, and those that are never chosen behind."""
    chosen: KillLine | None
    """Whom the kernel says it chose."""
    died: tuple[KillLine, ...]
    difference: Difference | None
    panics: bool
    no_killable: bool
    allocating_task: bool
    killed: tuple[int, ...]
    """By the model, the victim first; more than that where memory.oom.group is said to be set. Empty where the model
    does not know a victim."""

    @property
    def victim(self) -> tuple[int, str] | None:
        """The chosen process by the model: its pid and name."""
        return (self.computed.pid, self.computed.name) if self.computed is not None else None

    @property
    def by_name(self) -> list[tuple[str, int, int, int]]:
        """Processes by name: how many, resident, swapped out; the largest first. Shared pages count each time."""
        count: Counter[str] = Counter()
        rss: Counter[str] = Counter()
        swapped: Counter[str] = Counter()
        for weighed in self.ranking:
            count[weighed.row.name] += 1
            rss[weighed.row.name] += weighed.row.rss
            swapped[weighed.row.name] += weighed.row.swapents or 0
        names = sorted(count, key=lambda name: (-rss[name] - swapped[name], name))
        return [(name, count[name], rss[name], swapped[name]) for name in names]


def choose(report: Report, sysctl: Mapping[str, str] | None = None, gone: Collection[int | None] = ()) -> OomAnswer:
    """The choice of one OOM report; `gone` are processes that died for earlier events and are passed over."""
    return _Choice(report, sysctl or {}, gone).answer()


def chosen_process(report: Report) -> KillLine | None:
    """The chosen line with the process that it means: before 4.7 a candidate may be named by one of its threads."""
    chosen, died = report.chosen, report.died
    if chosen is None or chosen.said is not Said.CANDIDATE or not died or report.tasks is None:
        return chosen
    is_thread = report.tasks.find(chosen.pid or 0) is None and report.tasks.find(died[0].pid or 0) is not None
    return died[0] if is_thread and died[0].name == chosen.name else chosen


class _Choice:
    def __init__(self, report: Report, sysctl: Mapping[str, str], gone: Collection[int | None]) -> None:
        self.report = report
        self.rows = report.tasks.rows if report.tasks else ()
        self.gone = gone
        self.page_kb = _page_kb(report)
        self.constraint = _constraint(report)
        self.low, self.high = _totalpages(report, self.constraint, self.page_kb)
        self.panic_on_oom = _number(sysctl.get("vm.panic_on_oom"))
        said = next((line for line in report.kills if line.allocating), None)
        self.oom_group = bool(_number(sysctl.get("memory.oom.group")))
        self.allocating = bool(_number(sysctl.get("vm.oom_kill_allocating_task"))) or said is not None

    def answer(self) -> OomAnswer:
        report, chosen = self.report, chosen_process(self.report)
        versions = self._versions_by_score(list(_versions(report)))
        computed, points, doubts = self._computed(versions)
        facts = OomFacts(versions[-1])
        ranking = [Weighed(row, oom_badness(self._task(row), self.low or 1, facts)) for row in self.rows]
        ranking.sort(key=lambda w: (w.points is None, -(w.points or 0), -w.row.rss))
        said_panic = any(line.said is Said.PANIC for line in report.kills)
        panics = said_panic or (chosen is None and self._out_of_memory(facts, self.low or 1)[1])
        if panics:
            computed = points = None
        died = () if panics else report.died
        allocating = self.allocating and self.constraint is not OomConstraint.MEMCG
        score = printed_score(points, self.low, facts) if points is not None and self.low else None
        return OomAnswer(
            self.constraint, _cgroup(report), _task_cgroup(report), self.low, self.page_kb, computed, points, score,
            doubts, tuple(ranking), chosen, died, self._difference(computed, ranking), panics,
            any(line.said is Said.NOBODY for line in report.kills), allocating, self._killed(computed, facts),
        )  # fmt: skip

    def _killed(self, computed: TaskRow | None, facts: OomFacts) -> tuple[int, ...]:
        """Whoever dies. A cgroup's report has the tasks of the cgroup that ran out; other groups no report tells."""
        if computed is None:
            return ()
        group = self.oom_group and self.constraint is OomConstraint.MEMCG
        return oom_kill_process(computed.pid, (self._task(row) for row in self.rows), facts, oom_group=group)

    def _versions_by_score(self, versions: list[Version]) -> list[Version]:
        """The releases whose rules give the score that was printed: vendors and stable series took changes over."""
        said = next((line for line in self.report.kills if line.score is not None), None)
        row = next((row for row in self.rows if said is not None and row.pid == said.pid), None)
        if said is None or row is None or self.low is None or row.oom_score_adj is None:
            return versions
        task, fitting = self._task(row), []
        for version in (*versions, *(v for v in _SCORED if v not in versions)):
            points = oom_badness(task, self.low, OomFacts(version))
            if points is not None and printed_score(points, self.low, OomFacts(version)) == said.score:
                fitting.append(version)
        kept = [version for version in versions if version in fitting]
        return kept or fitting[:1] or versions

    def _computed(self, versions: list[Version]) -> tuple[TaskRow | None, int | None, tuple[Doubt, ...]]:
        """The choice with its points, and what is in doubt about it."""
        facts = OomFacts(versions[-1])
        doubts = []
        adjusted = any(row.oom_score_adj not in (0, None, OOM_SCORE_ADJ_MIN) for row in self.rows)
        if not self.rows and not self.allocating:
            return None, None, (Doubt.NO_TABLE,)
        if not facts.oom_badness_by_size or any(row.oom_score_adj is None for row in self.rows):
            return None, None, (Doubt.OLD_BADNESS,)
        table = self.report.tasks
        if table is not None and (table.lost or not table.headed):
            doubts.append(Doubt.ROWS_LOST)
        if any(row.swapents is None for row in self.rows):
            doubts.append(Doubt.COLUMNS_MISSING)
        (pid, _), points = self._out_of_memory(facts, self.low or 1), None
        # points are linear in the total, so that who has most at both its ends has most in between
        if adjusted and {pid} != {self._out_of_memory(facts, total)[0] for total in (self.low or 1, self.high)}:
            doubts.append(Doubt.TOTAL_UNKNOWN)
        if any(self._out_of_memory(OomFacts(version), self.low or 1)[0] != pid for version in versions):
            doubts.append(Doubt.RELEASE_UNKNOWN)
        row = next((row for row in self.rows if row.pid == pid), None)
        if row is not None and not (self.allocating and self.constraint is not OomConstraint.MEMCG):
            known = self.low is not None or not row.oom_score_adj
            points = oom_badness(self._task(row), self.low or 1, facts) if known else None
        elif row is None and pid is not None and self.report.comm is not None:
            row = TaskRow(pid, 0, pid, 0, 0, self.report.comm, self.report.oom_score_adj)
        return row, points, tuple(doubts)

    def _out_of_memory(self, facts: OomFacts, totalpages: int) -> tuple[int | None, bool]:
        report = self.report
        control = OomControl(
            self.constraint or OomConstraint.CPUSET, totalpages, report.order == -1, report.pid,
            report.oom_score_adj or 0, self.allocating, self.panic_on_oom,
        )  # fmt: skip
        choice = out_of_memory(control, [self._task(row) for row in self.rows], facts)
        # a panic for want of a process is told only by a table that is there and whole
        certain = choice.panics and (bool(self.panic_on_oom) or bool(self.rows))
        return choice.victim, certain

    def _task(self, row: TaskRow) -> OomTask:
        tables = row.page_tables if row.page_tables is not None else (row.pgtables_bytes or 0) // (self.page_kb << 10)
        return OomTask(
            row.pid, row.name, row.rss, tables, row.swapents or 0, row.oom_score_adj or 0,
            privileged=row.uid == 0, unkillable=row.pid == _INIT or row.pid in self.gone,
        )  # fmt: skip

    def _difference(self, computed: TaskRow | None, ranking: list[Weighed]) -> Difference | None:
        chosen = chosen_process(self.report)
        if chosen is None or computed is None or chosen.pid == computed.pid:
            return None
        if chosen.allocating:
            return Difference.ALLOCATING_TASK
        place = next((weighed for weighed in ranking if weighed.row.pid == chosen.pid), None)
        if place is None:
            return Difference.NOT_IN_TABLE
        if place.points is None:
            return Difference.NEVER_CHOSEN
        first = ranking[0].points or 0
        if place.points == first:
            return Difference.TIE
        if place.points < 0 <= first:
            return Difference.NEGATIVE
        return Difference.SIZES_MOVED if (first - place.points) * 10 < abs(first) else Difference.UNSEEN


def _number(text: str | None) -> int:
    return whole(text) if text is not None else 0


def _versions(report: Report) -> Iterator[Version]:
    """The releases that may have written the table: the one named, else one for each that weighs differently."""
    named = parse_version(report.release) if report.release else None
    row = report.tasks.rows[0] if report.tasks and report.tasks.rows else None
    if row is None:
        yield named or (6, 8, 0)
    elif named is not None:
        # a vendor's 2.6.32 with a column of 2.6.36 weighs as that does
        yield max(named, (2, 6, 36)) if row.oom_score_adj is not None else named
    elif row.rss_anon is not None:
        yield (6, 8, 0)
    elif row.pgtables_bytes is not None:
        yield from ((4, 15, 0), (4, 17, 0), (5, 9, 0))
    elif row.page_tables is not None:
        yield from ((3, 5, 0), (3, 14, 0))
    else:
        yield (2, 6, 36) if row.oom_score_adj is not None else (2, 6, 32)


def _page_kb(report: Report) -> int:
    """The size of a page: Mem-Info's, else what the victim's line and the table say of it, else 4 KiB."""
    if report.mem_info is not None and report.mem_info.page_kb_known:
        return report.mem_info.page_kb
    rows = report.tasks.rows if report.tasks else ()
    for line in report.kills:
        row = next((row for row in rows if row.pid == line.pid and row.total_vm), None)
        kb = dict(line.kb).get("total-vm", 0)
        if row is not None and kb % row.total_vm == 0 and kb // row.total_vm in _PAGE_SIZES_KB:
            return kb // row.total_vm
    together = gcd(*(row.pgtables_bytes or 0 for row in rows)) >> 10 if rows else 0
    return together if len(rows) >= 5 and together in _PAGE_SIZES_KB else 4


def _constraint(report: Report) -> OomConstraint | None:
    """What limited the allocation: as the kernel says, else as the dump shows; None for a cpuset or a policy."""
    said = next((line.constraint for line in report.kills if line.constraint), None)
    if said is not None:
        return next((c for c in OomConstraint if c.value == said), None)
    if report.memcg:
        return OomConstraint.MEMCG
    info = report.mem_info
    if report.order == -1:
        return OomConstraint.NONE
    if info is None or "ram" not in info.pages:
        return OomConstraint.NONE if report.mems_allowed in (None, "0") and not report.headless else None
    shown = {zone.nid for zone in info.zones}
    nodes = node_list(report.nodemask)
    if nodes is not None and shown <= nodes and not _all_shown(report):
        return OomConstraint.MEMORY_POLICY
    if len(shown) > 1 or _all_shown(report) or shown == {0}:
        return OomConstraint.NONE
    return None


def _all_shown(report: Report) -> bool:
    """Do the zones of the dump make up the machine's memory?"""
    info = report.mem_info
    if info is None or "ram" not in info.pages:
        return False
    present = sum(zone.kb.get("present", 0) for zone in info.zones) // info.page_kb
    return present >= info.pages["ram"]


def _totalpages(report: Report, constraint: OomConstraint | None, page_kb: int) -> tuple[int | None, int]:
    """oc->totalpages: the least that the report leaves possible (None: it says nothing), and the most."""
    if constraint is OomConstraint.MEMCG:
        return _memcg_totalpages(report, page_kb)
    info = report.mem_info
    if info is None:
        return None, _ENDLESS
    swap = info.swap.get("total", 0) // page_kb
    if constraint in (OomConstraint.CPUSET, OomConstraint.MEMORY_POLICY):
        nodes = node_list(report.nodemask if constraint is OomConstraint.MEMORY_POLICY else report.mems_allowed)
        zones = [zone for zone in info.zones if nodes is None or zone.nid in nodes]
        allowed: int | None = sum(zone.kb.get("present", 0) for zone in zones) // page_kb
    elif "ram" in info.pages:
        allowed = info.pages["ram"] - info.pages.get("reserved", 0)
    else:
        managed = [zone.kb["managed"] for zone in info.zones if "managed" in zone.kb]
        allowed = sum(managed) // page_kb or None
    if allowed is None:
        return None, _ENDLESS
    total = constrained_totalpages(constraint or OomConstraint.NONE, allowed, swap)
    return total, total if "total" in info.swap and constraint is not None else _ENDLESS


def _memcg_totalpages(report: Report, page_kb: int) -> tuple[int | None, int]:
    """A cgroup's limit with the swap that it may use; how much swap there is, no report of a cgroup says."""
    counters = report.cgroup.counters if report.cgroup else {}
    if "memory" not in counters:
        return None, _ENDLESS
    limit = counters["memory"].limit // page_kb
    memsw, swap = counters.get("memory+swap"), counters.get("swap")
    used = swap.usage if swap else max(0, memsw.usage - counters["memory"].usage) if memsw else 0
    ends = [
        mem_cgroup_get_max(
            limit, swap.limit // page_kb if swap else _ENDLESS, memsw.limit // page_kb if memsw else None, there
        )
        for there in (used // page_kb, _ENDLESS)
    ]
    return constrained_totalpages(OomConstraint.MEMCG, ends[0], 0), ends[1]


def _cgroup(report: Report) -> str | None:
    said = next((line.oom_memcg for line in report.kills if line.oom_memcg), None)
    return said or (report.cgroup.path if report.cgroup else None)


def _task_cgroup(report: Report) -> str | None:
    said = next((line.task_memcg for line in report.kills if line.task_memcg), None)
    return said or (report.cgroup.task_path if report.cgroup else None)
