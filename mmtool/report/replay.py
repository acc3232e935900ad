"""How far a replayed trace agreed, for people and scripts."""

from __future__ import annotations

import sys
from typing import Any

from mmtool.report.table import print_document
from mmtool.system.apart import Apart, apart
from mmtool.system.codec.state import state_document
from mmtool.system.replay.run import Miss, Replay
from mmtool.system.restore import state_of
from mmtool.system.system import System

SHOWN = 5


def render(done: Replay, system: System, end: System | None, output: str) -> bool:
    """Print a replay; whether all of it was the kernel's. `end` is the recorded end, if there is."""
    state = state_of(system)
    differs = None if end is None else apart(state, state_of(end), system.kernel.pageblock_order)
    if output == "json":
        document: dict[str, Any] = {
            "schema": "mmtool.replay/1", "allocations": done.allocations, "exact": done.exact, "forced": done.forced,
            "lost": done.lost,
            "first_miss": _miss(done.misses[0]) if done.misses else None,
            "final_lists_equal": None if differs is None else not differs.lists,
            "lists_apart": None if differs is None else list(differs.lists),
            "pageblocks_apart": None if differs is None else list(differs.pageblocks),
            "zones_apart": None if differs is None else list(differs.zones),
            "state": state_document(state, system.kernel),
        }  # fmt: skip
        print_document(document, output)
    else:
        sys.stdout.write("".join(line + "\n" for line in _lines(done, differs)))
    return not done.misses and not differs


def _miss(miss: Miss) -> dict[str, Any]:
    return {"line": miss.line, "order": miss.order, "kernel": miss.kernel, "model": miss.model}


def _lines(done: Replay, differs: Apart | None) -> list[str]:
    lines = [f"{done.exact} of {done.allocations} allocations got the kernel's page"]
    for m in done.misses[:SHOWN]:
        kernel, model = ("none" if pfn is None else f"{pfn:#x}" for pfn in (m.kernel, m.model))
        lines.append(f"line {m.line}: order {m.order}: {model} in the model, {kernel} in the kernel")
    if len(done.misses) > SHOWN:
        lines.append(f"and {len(done.misses) - SHOWN} more")
    if done.misses:
        lines.append(f"went on with the kernel's page {done.forced} times")
    if done.lost:
        lines.append(f"{done.lost} events could not be done after that")
    if differs is not None:
        count = len(differs.lists)
        lines.append(f"{count} lists differ at the end" if count else "every list at the end is the kernel's")
        lines += [*differs.lists[:SHOWN], *differs.pageblocks[:SHOWN], *differs.zones]
    return lines
