"""Who died and why, as `mmtool explain` says it."""

from __future__ import annotations

from typing import Any

from mmtool.answers.postmortem.verdict import Judgement
from mmtool.answers.postmortem.victim import Difference, Doubt, OomAnswer
from mmtool.linux.mm.oom_kill import OomConstraint
from mmtool.observed.reports.kills import KillLine, Said
from mmtool.report.table import Kind, Table, columns
from mmtool.units import human

_DOUBTS = {
    Doubt.NO_TABLE: "the table of processes is not in the log",
    Doubt.OLD_BADNESS: "before 2.6.36 the size of the address space, children, run time and niceness counted, "
    "which the table does not have",
    Doubt.ROWS_LOST: "rows of the table are lost",
    Doubt.TOTAL_UNKNOWN: "how much swap there is would decide, and a cgroup's report does not say it",
    Doubt.RELEASE_UNKNOWN: "the release would decide, and the log does not name it",
    Doubt.COLUMNS_MISSING: "swap and page tables count, and the table of this release does not have them",
}
_DIFFERENCES = {
    Difference.ALLOCATING_TASK: "vm.oom_kill_allocating_task chose who asked",
    Difference.NOT_IN_TABLE: "it is not in what is left of the table",
    Difference.NEVER_CHOSEN: "by the table it may not be chosen: the table is of another moment, or another process "
    "with its memory was",
    Difference.TIE: "their points are equal",
    Difference.NEGATIVE: "its points are below 0, which linux-next of July 2020 took for the most of all "
    "(mended before 5.9)",
    Difference.SIZES_MOVED: "sizes moved between the choice and the dump",
    Difference.UNSEEN: "the kernel passes over who is exiting, reaped already or in vfork(), and takes who runs "
    "swapoff first: neither is in the report",
}


def who_died(j: Judgement) -> str:
    """Who was chosen and who died, in a clause; "" when the report does not say."""
    if j.oom is None:
        return ""
    chosen, died = j.oom.chosen, j.oom.died
    if j.oom.panics:
        return "; the kernel panicked instead of killing" if not chosen else ""
    if not died:
        if j.oom.no_killable:
            return "; no process could be killed"
        return f"; {_named(chosen)} was chosen" if chosen else ""
    first = died[0]
    if first.said is Said.EXITING:
        return f"; {_named(first)} was chosen, and is exiting already"
    candidate_line = next((line for line in j.report.kills if line.said is Said.CANDIDATE), None)
    if candidate_line is not None and chosen is first and candidate_line.pid != first.pid:
        return f"; {_named(first)} was killed for it (chosen by its thread {candidate_line.pid})"
    if chosen is not None and chosen.said is Said.CANDIDATE and chosen.pid != first.pid:
        candidate = f"{_named(chosen)} was chosen (score {chosen.score})"
        return f"; {candidate}, and its child {_named(first)} was killed in its place"
    others = f", and {len(died) - 1} more with it" if len(died) > 1 else ""
    return f"; {_named(first)} was killed for it{others}"


def victim_words(j: Judgement) -> list[str]:
    """Sentences about the choice: who has most points, and why the kernel's is another."""
    oom = j.oom
    if oom is None:
        return []
    said = _of_kill_lines(j)
    if oom.computed is not None and oom.points is not None:
        whom = f"{oom.computed.name} ({oom.computed.pid})"
        score = f", a score of {oom.score}" if oom.score is not None and _prints_score(oom) else ""
        said.append(f"by the table {whom} has most points: {oom.points}{score}{_terms(oom)}")
    elif oom.computed is not None and oom.allocating_task:
        said.append(f"vm.oom_kill_allocating_task: who asked dies, {oom.computed.name} ({oom.computed.pid})")
    if len(oom.killed) > 1 and not oom.died:
        said.append(f"memory.oom.group: {len(oom.killed) - 1} more of its cgroup are killed with it")
    if oom.difference is not None and oom.chosen is not None:
        said.append(f"the kernel chose {_named(oom.chosen)}: {_DIFFERENCES[oom.difference]}")
    if oom.ranking or oom.chosen is None:
        said += [f"not certain: {_DOUBTS[doubt]}" for doubt in oom.doubts if doubt is not Doubt.NO_TABLE or oom.chosen]
    if oom.no_killable:
        said.append("no killable processes: all that are left are init, kernel threads or have oom_score_adj -1000")
    if oom.panics:
        said.append("vm.panic_on_oom: the kernel panics and kills nobody")
    return said


def _of_kill_lines(j: Judgement) -> list[str]:
    """Whose event it was and what the victim had, where the lines of the kill are all that is left."""
    oom = j.oom
    if oom is None or not oom.died:
        return []
    said = []
    first = oom.died[0]
    if j.report.headless and oom.constraint is not None and oom.constraint is not OomConstraint.MEMCG:
        said.append(f"the machine was out of memory, not a cgroup ({oom.constraint.value})")
    elif j.report.headless and oom.constraint is None and first.memcg is False:
        said.append("the machine was out of memory, not a cgroup")
    if oom.task_cgroup and oom.task_cgroup not in ("/", oom.cgroup):
        said.append(f"its cgroup is {oom.task_cgroup}")
    kb = dict(first.kb)
    if kb and not any(weighed.row.pid == first.pid for weighed in oom.ranking):
        parts = [f"{human(kb[name] << 10)} {what}" for name, what in _SIZES.items() if kb.get(name)]
        said.append(f"{_named(first)} had {', '.join(parts) or 'nothing'}")
    return said


_SIZES = {
    "anon-rss": "anonymous",
    "file-rss": "of files",
    "shmem-rss": "of shared memory resident",
    "pgtables": "of page tables",
    "total-vm": "of address space",
}


def tasks_table(j: Judgement, top: int) -> Table | None:
    """The processes with most points."""
    oom = j.oom
    if oom is None or not oom.ranking:
        return None
    shown = oom.ranking[:top]
    t = Table(
        "tasks", f"Processes: the {len(shown)} with most points of {len(oom.ranking)}, in pages",
        columns(("pid", Kind.COUNT), "name", ("points", Kind.COUNT), ("rss", Kind.PAGES), ("swapped", Kind.PAGES),
                ("page tables", Kind.COUNT), ("adj", Kind.COUNT), "result"),
        page_shift=(oom.page_kb << 10).bit_length() - 1,
    )  # fmt: skip
    dead = {line.pid for line in oom.died}
    for weighed in shown:
        row = weighed.row
        tables = row.page_tables
        if tables is None and row.pgtables_bytes is not None:
            tables = row.pgtables_bytes // (oom.page_kb << 10)
        chosen = oom.chosen is not None and oom.chosen.pid == row.pid
        never = "never chosen" if weighed.points is None else ""
        result = "killed" if row.pid in dead else "chosen" if chosen else never
        t.rows.append((row.pid, row.name, weighed.points, row.rss, row.swapents, tables, row.oom_score_adj, result))
    return t


def names_table(j: Judgement, top: int) -> Table | None:
    """The processes summed by name, where some have one name."""
    oom = j.oom
    if oom is None:
        return None
    names = oom.by_name
    if len(names) == len(oom.ranking) or len(names) < 2:
        return None
    t = Table(
        "names", "By name (pages that processes share count for each of them)",
        columns("name", ("processes", Kind.COUNT), ("rss", Kind.PAGES), ("swapped", Kind.PAGES)),
        page_shift=(oom.page_kb << 10).bit_length() - 1,
    )  # fmt: skip
    t.rows += names[: min(top, 3)]
    return t


def oom_document(oom: OomAnswer, top: int) -> dict[str, Any]:
    """The choice for scripts. Pages but where another unit is named."""
    victim = oom.victim
    if oom.panics:
        killed = []
    elif oom.died:
        killed = [line.pid for line in oom.died]
    else:
        killed = list(oom.killed)
    return {
        "constraint": oom.constraint.value if oom.constraint else None,
        "cgroup": oom.cgroup if oom.constraint is OomConstraint.MEMCG else None,
        "task_cgroup": oom.task_cgroup,
        "victim": {"pid": victim[0], "name": victim[1]} if victim else None,
        "killed": killed,
        "panics": oom.panics,
        "points": oom.points,
        "score": oom.score,
        "totalpages": oom.totalpages,
        "certain": victim is not None and not oom.doubts,
        "doubts": [_DOUBTS[doubt] for doubt in oom.doubts],
        "chosen": _line_document(oom.chosen) if oom.chosen else None,
        "died": [_line_document(line) for line in oom.died],
        "difference": _DIFFERENCES[oom.difference] if oom.difference else None,
        "no_killable": oom.no_killable,
        "processes": [
            {
                "pid": w.row.pid, "name": w.row.name, "uid": w.row.uid, "points": w.points, "rss": w.row.rss,
                "swapents": w.row.swapents, "oom_score_adj": w.row.oom_score_adj,
            }
            for w in oom.ranking[:top]
        ],
        "by_name": [
            {"name": name, "processes": n, "rss": rss, "swapents": swapped}
            for name, n, rss, swapped in oom.by_name[:top]
        ],
    }  # fmt: skip


def _line_document(line: KillLine) -> dict[str, Any]:
    return {"pid": line.pid, "name": line.name, "score": line.score, "kb": dict(line.kb)}


def _named(line: KillLine) -> str:
    return f"{line.name} ({line.pid})"


def _prints_score(oom: OomAnswer) -> bool:
    return oom.chosen is not None and oom.chosen.score is not None


def _terms(oom: OomAnswer) -> str:
    """The points of the computed victim, term by term."""
    row = oom.computed
    if row is None:
        return ""
    kb = oom.page_kb
    words = [f"{human(row.rss * kb << 10)} resident"]
    if row.swapents:
        words.append(f"{human(row.swapents * kb << 10)} swapped out")
    if row.oom_score_adj:
        words.append(f"oom_score_adj {row.oom_score_adj}")
    return f" ({', '.join(words)})"
