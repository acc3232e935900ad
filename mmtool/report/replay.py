"""How far a replayed trace agreed, for people and scripts."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.report.table import print_document
from mmtool.system.replay import Miss, Replay
from mmtool.system.state import SystemState, state_of
from mmtool.system.system import System
from mmtool.system.write import state_document

SHOWN = 5


def lists_apart(model: SystemState, kernel: SystemState) -> list[str]:
    """The lists, free and per CPU, that are not the same block by block in order: "0/DMA32 order 3 Movable"."""
    apart = []
    for mine, real in zip(model.nodes, kernel.nodes, strict=True):
        for a, b in zip(mine.zones, real.zones, strict=True):
            where = f"{mine.nid}/{a.name}"
            ours = {(order, kind): runs for order, kind, runs in a.free}
            theirs = {(order, kind): runs for order, kind, runs in b.free}
            keys = sorted(ours.keys() | theirs.keys())
            apart += [f"{where} order {o} {t.label}" for o, t in keys if ours.get((o, t)) != theirs.get((o, t))]
            for cpu in sorted(a.cpus.keys() | b.cpus.keys()):
                mine_lists = a.cpus[cpu].lists if cpu in a.cpus else {}
                real_lists = b.cpus[cpu].lists if cpu in b.cpus else {}
                numbers = sorted(mine_lists.keys() | real_lists.keys())
                apart += [f"{where} CPU {cpu} list {n}" for n in numbers if mine_lists.get(n) != real_lists.get(n)]
    return apart


def render(done: Replay, system: System, end: System | None, output: str) -> bool:
    """Print a replay; whether every page and every list was the kernel's. `end` is the recorded end, if there is."""
    state = state_of(system)
    apart = None if end is None else lists_apart(state, state_of(end))
    if output == "json":
        document: dict[str, Any] = {
            "schema": "mmtool.replay/1", "allocations": done.allocations, "exact": done.exact, "forced": done.forced,
            "first_miss": _miss(done.misses[0]) if done.misses else None,
            "final_lists_equal": None if apart is None else not apart, "lists_apart": apart,
            "state": state_document(state, system.kernel),
        }  # fmt: skip
        print_document(document, output)
    else:
        sys.stdout.write("".join(line + "\n" for line in _lines(done, apart)))
    return not done.misses and not apart


def _miss(miss: Miss) -> dict[str, Any]:
    return {"line": miss.line, "order": miss.order, "kernel": miss.kernel, "model": miss.model}


def _lines(done: Replay, apart: list[str] | None) -> list[str]:
    lines = [f"{done.exact} of {done.allocations} allocations got the kernel's page"]
    for m in done.misses[:SHOWN]:
        kernel, model = ("none" if pfn is None else f"{pfn:#x}" for pfn in (m.kernel, m.model))
        lines.append(f"line {m.line}: order {m.order}: {model} in the model, {kernel} in the kernel")
    if len(done.misses) > SHOWN:
        lines.append(f"and {len(done.misses) - SHOWN} more")
    if done.misses:
        lines.append(f"went on with the kernel's page {done.forced} times")
    if apart is not None:
        lines.append(f"{len(apart)} lists differ at the end" if apart else "every list at the end is the kernel's")
        lines += apart[:SHOWN]
    return lines
