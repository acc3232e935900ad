"""What a script did to a process: as JSON, and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mmtool.linux.fs.proc.task_mmu import Smap
from mmtool.report.table import Kind, Table, columns
from mmtool.system.process_memory import Backing
from mmtool.system.process_script import Step
from mmtool.system.process_strace import Compared

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


def run_json(record_id: str | None, steps: Sequence[Step], memory: dict[str, Any] | None = None) -> str:
    """The answer to one record or script, on one line."""
    document: dict[str, Any] = {"schema": "mmtool.process-run/1"}
    if record_id is not None:
        document["id"] = record_id
    document["steps"] = [step_json(step) for step in steps]
    if memory is not None:
        document["memory"] = memory
    return json.dumps(document)


def run_table(name: str, script: Sequence[str], steps: Sequence[Step], numbers: Sequence[int] = ()) -> Table:
    """A table for people: each operation, what it returned and why, its faults, tables and mappings afterwards."""
    rows: list[tuple[Any, ...]] = []
    for step in steps:
        text = script[step.line] if step.line >= 0 else "(the child begins)"
        answer = step.ret if step.signal is None else step.signal.name
        if step.count is not None:
            answer = f"{answer} ({step.count} times)"
        faults = str(step.minflt) if not step.majflt else f"{step.minflt}+{step.majflt}"
        tables, mapped = str(step.status["VmPTE"]), str(len(step.rows))
        line = "" if step.line < 0 else str(numbers[step.line]) if numbers else str(step.line)
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


def memory_json(backing: Backing, held: dict[str, int]) -> dict[str, Any]:
    """The pages that the process held at its end, and what was free before, then and after it."""
    zones = [
        {"node": zone.nid, "zone": zone.name, "before": before, "with": during, "after": after}
        for zone, before, during, after in zip(backing.system.zones(), *backing.free, strict=True)
    ]
    return {"pages": held, "refused": backing.refused, "free": zones}


def memory_tables(memory: dict[str, Any]) -> list[Table]:
    """The same for people."""
    held = [*memory["pages"].items(), ("not to be had", memory["refused"])]
    free = [tuple(zone.values()) for zone in memory["free"] if zone["before"]]
    counts = (("Before", Kind.COUNT), ("With it", Kind.COUNT), ("After its exit", Kind.COUNT))
    return [
        Table("held", "Pages of the process at its end", columns("What", ("Pages", Kind.COUNT)), held),
        Table("free", "Free pages", columns(("Node", Kind.COUNT), "Zone", *counts), free),
    ]


def trace_json(done: Sequence[Compared]) -> str:
    """A trace that was done again: every call that could be, and where kernel and model differ."""
    compared = [d for d in done if d.agrees is not None]
    calls = [
        {"line": d.call.line, "pid": d.call.pid, "call": d.call.name, "kernel": d.call.result, "model": d.model}
        | ({"why": d.why} if d.why else {})
        | ({} if d.agrees is None else {"agrees": d.agrees})
        for d in done
    ]
    agree = sum(bool(d.agrees) for d in compared)
    return json.dumps({"schema": "mmtool.process-trace/1", "compared": len(compared), "agree": agree, "calls": calls})


def trace_tables(done: Sequence[Compared]) -> list[Table]:
    """How many calls of each kind agree, and those that do not."""
    names = sorted({d.call.name for d in done if d.agrees is not None})
    counts = []
    for name in names:
        answers = [bool(d.agrees) for d in done if d.call.name == name]
        counts.append((name, len(answers), sum(answers), len(answers) - sum(answers)))
    total = (sum(row[1] for row in counts), sum(row[2] for row in counts), sum(row[3] for row in counts))
    heads = columns("Call", ("Calls", Kind.COUNT), ("Agree", Kind.COUNT), ("Differ", Kind.COUNT))
    tables = [Table("calls", "Kernel and model", heads, [*counts, ("all", *total)])]
    differ = [d for d in done if d.agrees is False]
    if differ:
        rows = [
            (
                str(d.call.line),
                str(d.call.pid),
                f"{d.call.name}({', '.join(d.call.args)})",
                d.call.result or "",
                d.model,
                d.why,
            )
            for d in differ
        ]
        heads = columns(("Line", Kind.COUNT), ("Process", Kind.COUNT), "Call", "Kernel", "Model", "Why")
        tables.append(Table("differences", "Where they differ", heads, rows))
    return tables


def layout_json(
    record_id: str | None, rows: Sequence[tuple[int, int, str, int, str]], where: dict[str, int | str]
) -> str:
    """A layout, on one line."""
    document: dict[str, Any] = {"schema": "mmtool.process-layout/1"}
    if record_id is not None:
        document["id"] = record_id
    document["vmas"] = [[hex(a), hex(b), perms, hex(offset), name] for a, b, perms, offset, name in rows]
    document["layout"] = {k: hex(v) if isinstance(v, int) else v for k, v in where.items()}
    return json.dumps(document)


def ranges_json(record_id: str | None, found: dict[str, tuple[int, int, int]]) -> str:
    """The ranges of randomisation, on one line."""
    document: dict[str, Any] = {"schema": "mmtool.process-layout/1"}
    if record_id is not None:
        document["id"] = record_id
    document["ranges"] = {k: {"min": hex(lo), "max": hex(hi), "align": step} for k, (lo, hi, step) in found.items()}
    return json.dumps(document)


def layout_tables(
    rows: Sequence[tuple[int, int, str, int, str]] = (),
    where: dict[str, int | str] | None = None,
    ranges: dict[str, tuple[int, int, int]] | None = None,
) -> list[Table]:
    """A layout or its ranges, for people."""
    tables = []
    if rows:
        mapped = columns(("Start", Kind.ADDRESS), ("End", Kind.ADDRESS), "Perms", ("Offset", Kind.ADDRESS), "Name")
        tables.append(Table("mappings", "Mappings after exec", mapped, list(rows)))
    if where is not None:
        places: list[tuple[Any, ...]] = [(k, hex(v) if isinstance(v, int) else v) for k, v in where.items()]
        tables.append(Table("places", "Places", columns("What", "Where"), places))
    if ranges is not None:
        titles = columns(
            "What", ("Lowest", Kind.ADDRESS), ("Highest", Kind.ADDRESS), ("Step", Kind.COUNT), ("Bits", Kind.COUNT)
        )
        bits = [
            (k, lo, hi, step, ((hi - lo) // step).bit_length() if step else 0) for k, (lo, hi, step) in ranges.items()
        ]
        tables.append(Table("ranges", "Ranges with randomisation on", titles, list(bits)))
    return tables


def explain_tables(operation: str, step: Step, before: Sequence[Smap]) -> list[Table]:
    """One operation: what it returned and why, and the mappings that it took away, changed or brought."""
    answer = step.ret if step.signal is None else f"{step.signal.name} at {step.signal.addr:#x}"
    facts: list[tuple[Any, ...]] = [("returns", answer)]
    if step.why:
        facts.append(("why", step.why))
    facts += [("faults", step.minflt + step.majflt), ("page tables", f"{step.status['VmPTE']} KiB")]
    facts.append(("Committed_AS", f"{step.meminfo['Committed_AS']} KiB"))
    old, new = {_key(r): r for r in before}, {_key(r): r for r in step.rows}
    rows = [("-", *k) for k in old if k not in new] + [("+", *k) for k in new if k not in old]
    rows.sort(key=lambda r: (r[1], r[0] == "+"))
    titles = columns(
        "", ("Start", Kind.ADDRESS), ("End", Kind.ADDRESS), "Perms", "Name", ("Rss KiB", Kind.COUNT), "Flags", "Pages"
    )
    return [
        Table("operation", operation, columns("What", "Says"), facts),
        Table("changes", "Mappings before (-) and after (+), where they differ", titles, list(rows)),
    ]


def _key(row: Smap) -> tuple[int, int, str, str, int, str, str]:
    pages = row.pages if len(row.pages) <= 40 else row.pages[:37] + "..."
    return (row.start, row.end, row.perms, row.name, row.rss, row.flags, pages)
