"""What allocations did, for people and scripts: the outcome, and step by step why."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmtool.linux.mm.page_alloc.outcome import Estimate, ListsMoved, Outcome, Step, ZoneResult, ZoneTry
from mmtool.linux.mm.page_alloc.zone_watermark import (
    ALLOC_CMA,
    ALLOC_HIGHATOMIC,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_NOFRAGMENT,
    ALLOC_NON_BLOCK,
    ALLOC_OOM,
    ALLOC_WMARK_HIGH,
    ALLOC_WMARK_LOW,
    ALLOC_WMARK_MASK,
    Refusal,
)
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.codec.state import state_document
from mmtool.system.restore import state_of
from mmtool.system.script import LineResult
from mmtool.system.system import System

RIGHTS = {
    ALLOC_OOM: "OOM", ALLOC_NON_BLOCK: "NON_BLOCK", ALLOC_MIN_RESERVE: "MIN_RESERVE", ALLOC_CMA: "CMA",
    ALLOC_NOFRAGMENT: "NOFRAGMENT", ALLOC_HIGHATOMIC: "HIGHATOMIC",
}  # fmt: skip

WORDS = {
    "__alloc_pages": "first attempt",
    "__alloc_pages_slowpath": "attempt with the request's own rights",
    "wakeup_kswapd": "kswapd is woken",
    "__alloc_pages_direct_compact": "direct compaction",
    "__alloc_pages_direct_reclaim": "direct reclaim",
    "drain_all_pages": "once more, after all per-CPU lists were given back",
    "__alloc_pages_may_oom": "a last look before the OOM killer",
    "out_of_memory": "__GFP_NOFAIL after the OOM killer: no watermark counts",
    "__alloc_pages_cpuset_fallback": "__GFP_NOFAIL: with a part of the reserves",
    "warn_alloc": "the request fails",
}
"""Kernel functions as people say what they do."""


def mark_name(alloc_flags: int) -> str:
    """Which watermark the rights ask for."""
    if alloc_flags & ALLOC_NO_WATERMARKS:
        return "none"
    return {ALLOC_WMARK_LOW: "low", ALLOC_WMARK_HIGH: "high"}.get(alloc_flags & ALLOC_WMARK_MASK, "min")


def rights(alloc_flags: int) -> list[str]:
    """The flags beside the watermark, by the kernel's names without ALLOC_."""
    return [name for bit, name in RIGHTS.items() if alloc_flags & bit]


def why(tried: ZoneTry, order: int) -> str:
    """A zone's part in an attempt, in words and numbers."""
    check = tried.check
    if tried.result is ZoneResult.TAKEN:
        return "a block is taken"
    if tried.result is ZoneResult.NO_BLOCK:
        return "meets the watermark, but has no block that the request may take"
    if check is None:
        return "below the watermark"
    if check.refusal is Refusal.NO_BLOCK:
        return f"enough pages are free, but no block of order {order} or more of a type that it may take"
    if check.refusal is Refusal.TOO_FEW_LARGE:
        return (
            f"of blocks of order {check.failed_order} or more {check.free_above} pages are free, and more than "
            f"{check.min_above} are needed"
        )
    return f"{check.usable} usable pages are not more than {check.min + check.lowmem_reserve}"


def _try(tried: ZoneTry, order: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "node": tried.zone.nid, "zone": tried.zone.name, "result": tried.result.value, "why": why(tried, order),
    }  # fmt: skip
    check = tried.check
    if check is not None:
        found |= {
            "free": check.free, "usable": check.usable, "mark": check.mark, "min": check.min,
            "reserve": check.lowmem_reserve, "passes": check.ok,
        }  # fmt: skip
    return found


def step_document(step: Step, order: int) -> dict[str, Any]:
    """A step of the path, for JSON."""
    found: dict[str, Any] = {"step": step.function, "does": WORDS.get(step.function, step.function)}
    if step.zones:
        found |= {"watermark": mark_name(step.alloc_flags), "rights": rights(step.alloc_flags)}
        found["zones"] = [_try(tried, order) for tried in step.zones]
    return found | step.detail


def outcome_document(outcome: Outcome, system: System) -> dict[str, Any]:
    """An outcome, for JSON. Page frame numbers are null where they are made up."""
    pfn = None if system.synthetic else outcome.pfn
    return {
        "ok": outcome.ok, "pfn": pfn, "phys": None if pfn is None else f"{pfn << system.kernel.page_shift:#x}",
        "node": outcome.zone.nid if outcome.zone else None, "zone": outcome.zone.name if outcome.zone else None,
        "reason": outcome.reason or None, "estimates": [e.value for e in outcome.estimates],
        "path": [step_document(step, outcome.order) for step in outcome.path],
        **({"lists": _lists_document(outcome.moved)} if outcome.moved is not None else {}),
    }  # fmt: skip


def _lists_document(moved: ListsMoved) -> dict[str, Any]:
    return {
        "taken": {str(o): n for o, n in moved.taken.items()},
        "put_back": {str(o): n for o, n in moved.put_back.items()}, "cpu_pages": moved.listed,
    }  # fmt: skip


def lists_said(outcome: Outcome, system: System) -> str:
    """What an allocation did to its zone's lists, in words."""
    moved, order, cpu = outcome.moved, outcome.order, system.cpu
    assert moved is not None
    if outcome.block is None:
        return f"CPU {cpu}'s own list had it; no free list changed"
    head, largest = outcome.block
    place = "" if system.synthetic else f" at {head << system.kernel.page_shift:#x}"
    said = [f"order {largest}{place} taken"]
    if moved.taken != {largest: 1}:
        others = {o: n - (o == largest) for o, n in moved.taken.items() if n - (o == largest)}
        said[0] += f"; for the list with it {_orders(others)}" if others and largest in moved.taken else ""
        if largest not in moved.taken:
            said[0] += f"; with what the list got the free lists lose {_orders(moved.taken)}"
    if moved.listed > 0:
        said.append(f"{moved.listed >> order} more of order {order} for CPU {cpu}'s list")
    if moved.put_back:
        said.append(f"{_orders(moved.put_back)} put back")
    return ", ".join(said)


def _orders(blocks: Mapping[int, int]) -> str:
    """Orders of blocks from the largest down: "orders 9 to 3" where there is one of each."""
    orders = sorted(blocks, reverse=True)
    if set(blocks.values()) != {1}:
        return ", ".join(f"{blocks[o]} of order {o}" for o in orders)
    if len(orders) > 2 and orders[0] - orders[-1] == len(orders) - 1:
        return f"orders {orders[0]} to {orders[-1]}"
    return f"order{'s' * (len(orders) > 1)} {', '.join(map(str, orders))}"


def render_outcomes(
    outcomes: Sequence[Outcome], allocated: int, without: int | None, system: System, output: str, explain: bool
) -> None:
    """Print outcomes to standard output; `allocated` counts those that succeeded, also where not all are listed.

    `without` counts those that do if reclaim frees nothing; None where that is no question.
    """
    if output in ("json", "yaml"):
        document = {
            "schema": "mmtool.alloc/1", "allocated": allocated,
            "without_reclaim": without,
            "outcomes": [outcome_document(o, system) for o in outcomes],
            "state": state_document(state_of(system), system.kernel),
        }  # fmt: skip
        print_document(document, output)
        return
    table = _outcome_table(outcomes, system)
    if allocated > len(outcomes):
        table.title = f"Allocations ({allocated} succeeded, not all are listed)"
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    tables = [table]
    if explain:
        tables += _explained(outcomes, system)
    sys.stdout.write(text_tables(tables))
    names = dict.fromkeys(e for o in outcomes for e in o.estimates)
    sys.stdout.write(_estimates(names, [] if without is None else [f"if reclaim frees nothing {without} succeed"]))


def _estimates(names: Iterable[Estimate], bounds: Sequence[str]) -> str:
    """What makes an answer an estimate, below it; "" for a result."""
    said = [e.value for e in names]
    if not said:
        return ""
    return "\nAn estimate; the state does not tell\n" + "".join(f"  - {text}\n" for text in [*said, *bounds])


def _outcome_table(outcomes: Iterable[Outcome], system: System) -> Table:
    t = Table(
        "outcomes", "Allocations",
        columns("order", "gfp", "result", "node", "zone", ("pfn", Kind.COUNT), ("address", Kind.ADDRESS), "reason"),
    )  # fmt: skip
    for o in outcomes:
        pfn = None if system.synthetic else o.pfn
        address = None if pfn is None else pfn << system.kernel.page_shift
        node, name = (str(o.zone.nid), o.zone.name) if o.zone else (None, None)
        gfp = system.gfp.format(o.gfp) or f"{o.gfp:#x}"
        t.rows.append((str(o.order), gfp, "ok" if o.ok else "fails", node, name, pfn, address, o.reason))
    return t


def _explained(outcomes: Sequence[Outcome], system: System) -> list[Table]:
    """The path of the first outcome, and of the last if that failed."""
    chosen = [outcomes[0]] + ([outcomes[-1]] if len(outcomes) > 1 and not outcomes[-1].ok else [])
    return [
        table
        for number, outcome in enumerate(chosen)
        for table in (_request_table(outcome, system), _path_table(outcome, number, system.kernel.page_shift))
    ]


def _request_table(outcome: Outcome, system: System) -> Table:
    """Where the request may look and what it did to the lists there."""
    t = Table("request", "The request", columns("what", "says"))
    zones = " > ".join(f"{zone.nid}/{zone.name}" for zone in outcome.looked_in) or "no zone"
    t.rows.append(("looks in", f"{zones} (mmtool boot --why zonelists says why in this order)"))
    if outcome.moved is not None:
        t.rows.append(("lists", lists_said(outcome, system)))
    return t


def _path_table(outcome: Outcome, number: int, page_shift: int) -> Table:
    title = "Step by step" if not number else "The one that failed, step by step"
    t = Table(
        "path", title,
        columns(
            "step", "zone", "result", ("free", Kind.PAGES_ONLY), ("usable", Kind.PAGES_ONLY), ("mark", Kind.PAGES_ONLY),
            ("reserve", Kind.PAGES_ONLY), "watermark", "rights",
        ),
        page_shift=page_shift,
    )  # fmt: skip
    for step in outcome.path:
        does = WORDS.get(step.function, step.function)
        detail = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in step.detail.items())
        if not step.zones:
            t.rows.append((does, None, detail, None, None, None, None, None, None))
        for i, tried in enumerate(step.zones):
            check = tried.check
            numbers = (check.free, check.usable, check.min, check.lowmem_reserve) if check else (None,) * 4
            mark = (mark_name(step.alloc_flags), " ".join(rights(step.alloc_flags))) if not i else ("", "")
            zone = f"{tried.zone.nid}/{tried.zone.name}"
            t.rows.append((does if not i else "", zone, why(tried, outcome.order), *numbers, *mark))
    return t


# Scripts


def render_script(results: Sequence[LineResult], system: System, output: str) -> None:
    """Print what the lines of a script did."""
    if output in ("json", "yaml"):
        document = {
            "schema": "mmtool.alloc-script/1", "lines": [_line(r) for r in results],
            "state": state_document(state_of(system), system.kernel),
        }  # fmt: skip
        print_document(document, output)
        return
    estimated = any(r.without_reclaim is not None for r in results)
    bound = [("if reclaim frees nothing", Kind.COUNT)] if estimated else []
    t = Table(
        "lines", "Lines of the script",
        columns(("line", Kind.COUNT), ("allocated", Kind.COUNT), *bound, "zones", "stopped", ("freed", Kind.COUNT),
                ("kept", Kind.COUNT)),
    )  # fmt: skip
    for r in results:
        zones = " ".join(f"{nid}/{name}:{n}" for (nid, name), n in r.zones.items())
        t.rows.append((r.line, r.allocated, *[r.without_reclaim] * len(bound), zones, r.stopped, r.freed, r.kept))
    if output == "csv":
        sys.stdout.write(csv_table(t))
        return
    sys.stdout.write(text_tables([t]) + _estimates(dict.fromkeys(e for r in results for e in r.estimates), []))


def _line(r: LineResult) -> dict[str, Any]:
    if r.freed is not None:
        return {"line": r.line, "freed": r.freed, "kept": r.kept}
    zones = {f"{nid}/{name}": n for (nid, name), n in r.zones.items()}
    found: dict[str, Any] = {"line": r.line, "allocated": r.allocated, "zones": zones, "stopped": r.stopped}
    found["estimates"] = [e.value for e in r.estimates]
    return found | {"without_reclaim": r.without_reclaim}
