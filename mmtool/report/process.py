"""What a script did to a process: as JSON, and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmtool.linux.fs.proc.task_mmu import Smap
from mmtool.report.table import Kind, Table, columns
from mmtool.system.process_script import Step

SIZES = ("rss", "anon", "anon_huge", "shmem_huge", "hugetlb", "lazyfree", "locked", "private", "thp_eligible")


def row_json(row: Smap) -> dict[str, Any]:
    """A row of smaps; what is 0 is left out."""
    answer: dict[str, Any] = {
        "start": hex(row.start), "end": hex(row.end), "perms": row.perms, "offset": hex(row.offset), "name": row.name,
    }  # fmt: skip
    for name in SIZES:
        value = getattr(row, name)
        if value:
            answer[name] = value
    answer["flags"] = row.flags
    if row.pages:
        answer["pages"] = row.pages
    return answer


def step_json(step: Step) -> dict[str, Any]:
    """One step, as the contract has it, with the reason of what was refused."""
    answer: dict[str, Any] = {"line": step.line, "who": step.who, "ret": step.ret}
    if step.why:
        answer["why"] = step.why
    if step.count is not None:
        answer["count"] = step.count
    if step.signal is not None:
        answer["signal"] = {
            "signal": step.signal.name, "code": step.signal.code, "address": hex(step.signal.addr)
        }  # fmt: skip
    answer |= {"minflt": step.minflt, "majflt": step.majflt, "status": step.status, "meminfo": step.meminfo}
    answer["vmas"] = [row_json(row) for row in step.rows]
    return answer


def run_json(record_id: str | None, steps: Sequence[Step]) -> str:
    """The answer to one record or script, on one line."""
    document: dict[str, Any] = {"schema": "mmtool.process-run/1"}
    if record_id is not None:
        document["id"] = record_id
    document["steps"] = [step_json(step) for step in steps]
    return json.dumps(document)


def run_table(name: str, script: Sequence[str], steps: Sequence[Step]) -> Table:
    """A table for people: each operation, what it returned and why, its faults, tables and mappings afterwards."""
    rows: list[tuple[Any, ...]] = []
    for step in steps:
        text = script[step.line] if step.line >= 0 else "(the child begins)"
        answer = step.ret if step.signal is None else step.signal.name
        if step.count is not None:
            answer = f"{answer} ({step.count} times)"
        faults = str(step.minflt) if not step.majflt else f"{step.minflt}+{step.majflt}"
        tables, mapped = str(step.status["VmPTE"]), str(len(step.rows))
        line = str(step.line) if step.line >= 0 else ""
        rows.append((line, step.who, text, answer, faults, tables, mapped, step.why))
    return Table(
        "steps",
        name,
        columns(
            ("Line", Kind.COUNT), "Who", "Operation", "Returns", ("Faults", Kind.COUNT), ("VmPTE", Kind.COUNT),
            ("Maps", Kind.COUNT), "Why",
        ),
        rows,
    )  # fmt: skip
