"""A replay of a memblock=debug log, for people and as JSON."""

from __future__ import annotations

import json

from mmtool.system.memblock_replay import Allocation, Replay

SHOWN = 5


def replay_json(done: Replay) -> str:
    """The mmtool.memblock-replay/1 document: every request with the model's address, null where there is no room."""
    allocations = [
        {
            "line": a.request.line,
            "function": a.request.function,
            "size": a.request.size,
            "align": a.request.align,
            "nid": a.request.nid,
            "from": hex(a.request.start),
            "max_addr": hex(a.request.end),
            "address": None if a.address is None else hex(a.address),
        }
        for a in done.allocations
    ]
    return json.dumps({"schema": "mmtool.memblock-replay/1", "allocations": allocations}, indent=1)


def replay_lines(done: Replay) -> list[str]:
    """How many allocations agree with the log's answers, and the first that do not."""
    total, answered, misses = len(done.allocations), done.answered, done.misses
    lines = [f"{answered - len(misses)} of {answered} allocations agree with the log"]
    if answered < total:
        lines[0] += f"; {total - answered} have no answer in it, the model's addresses were taken"
    lines += [miss_line(a) for a in misses[:SHOWN]]
    if len(misses) > SHOWN:
        lines.append(f"and {len(misses) - SHOWN} more")
    if misses:
        lines.append(f"went on from the kernel's address {len(misses)} times")
    lines += [f"line {line}: the dump reserves other bytes than the model's state" for line in done.dumps_apart]
    return lines


def miss_line(a: Allocation) -> str:
    """Where one allocation went in the model and in the kernel, and which way they are apart."""
    r = a.request
    asked = f"line {r.line}: {r.function} of {r.size} bytes, align {r.align:#x}, for {r.caller or 'an unknown caller'}"
    if a.kernel is None:
        return f"{asked}: the kernel found no room, the model {a.address or 0:#x}"
    if a.address is None:
        return f"{asked}: the model finds no room, the kernel found {a.kernel:#x}"
    if a.address > a.kernel:
        why = "something above the kernel's place was taken, or out of reach, that the log does not show"
    else:
        why = "the kernel's place is taken in the model: the log does not show that it was free"
    return f"{asked}: {a.address:#x} in the model, {a.kernel:#x} in the kernel; {why}"
