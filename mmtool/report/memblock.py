"""memblock in words: the kernel's own dump of it, and how a model's script run compares with a recorded one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmtool.mm.memblock import Memblock, MemblockType
    from mmtool.mm.memblock.script import Outcome
    from mmtool.observed.memblock_records import Comparison


def dump_lines(mb: Memblock, *, physmem: bool = False) -> list[str]:
    """The lines of the "MEMBLOCK configuration:" block that memblock=debug prints, without time stamps.

    Models __memblock_dump_all(). Addresses are as wide as phys_addr_t: 8 digits where it has 32 bits, else
    16. `physmem`: the kernel has that list (CONFIG_HAVE_MEMBLOCK_PHYS_MAP) and prints it too.
    """
    memory, reserved = (_address(mb, t.total_size) for t in (mb.memory, mb.reserved))
    lines = ["MEMBLOCK configuration:", f" memory size = {memory} reserved size = {reserved}"]
    for type_ in (mb.memory, mb.reserved, *([mb.physmem] if physmem else [])):
        lines.append(f" {type_.name}.cnt  = {type_.cnt:#x}")
        lines += _region_lines(mb, type_)
    return lines


def _address(mb: Memblock, value: int) -> str:
    return f"0x{value & mb.phys_addr_max:0{mb.phys_addr_max.bit_length() // 4}x}"


def _region_lines(mb: Memblock, type_: MemblockType) -> Iterator[str]:
    for i, r in enumerate(type_.regions):
        known = r.nid != mb.max_numnodes
        if mb.release.memblock_any_invalid_node_means_any:
            known = mb.valid_node(r.nid)
        node = f" on node {r.nid}" if mb.numa and known else ""
        first, last, size = (_address(mb, n) for n in (r.base, r.end - 1, r.size))
        yield f" {type_.name}[{i:#x}]\t[{first}-{last}], {size} bytes{node} flags: {r.flags:#x}"


def run_json(record_id: str, run: Outcome, *, states: bool) -> str:
    """One line of JSON that says what a script did; `states`: with the state after each operation."""
    line = {"id": record_id, "outcome": run.outcome, "results": run.results, "state": run.state}
    if states:
        line["states_after"] = run.states_after
    return json.dumps(line)


def comparison_lines(comparisons: Sequence[Comparison], shown: int = 5) -> list[str]:
    """How many of the records agree, and for the first `shown` that do not, where and how they differ."""
    compared = [c for c in comparisons if c.recorded]
    apart = [c for c in compared if c.difference]
    lines = [f"{len(compared) - len(apart)} of {len(compared)} records agree"]
    if len(compared) < len(comparisons):
        lines[0] += f", {len(comparisons) - len(compared)} hold no results to compare with"
    lines += [f"{c.id} (line {c.line}): {c.difference}" for c in apart[:shown]]
    if len(apart) > shown:
        lines.append(f"and {len(apart) - shown} more")
    return lines
