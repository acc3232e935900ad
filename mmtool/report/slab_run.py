"""What `mmtool slab run` prints: the answers of a script, line by line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mmtool.linux.mm.slab_common import SlabBuild
from mmtool.report.slab import kernel_document
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.system.codec.state import state_document
from mmtool.system.restore import state_of
from mmtool.system.slab.run import LineResult, Pages
from mmtool.system.slab.system_pages import SystemPages


def render_run(
    results: Sequence[LineResult],
    lines: Sequence[str],
    allocator: str,
    build: SlabBuild,
    assumed: Sequence[str],
    pages: Pages,
    output: str,
) -> None:
    """What each line of a script answered."""
    answers = [_line_document(result, build) for result in results]
    if output in ("json", "yaml"):
        doc = {
            "schema": "mmtool.slab-run/1",
            "allocator": allocator,
            "kernel": kernel_document(build, assumed),
            "lines": answers,
        }
        if isinstance(pages, SystemPages):
            doc["pages"] = {"reclaimable": pages.reclaimable, "unreclaimable": pages.unreclaimable}
            doc["state"] = state_document(state_of(pages.system), pages.system.kernel)
        print_document(doc, output)
        return
    table = Table(
        "run",
        f"Linux {build.kernel.name} ({allocator.upper()}) on {build.present_cpus} CPUs",
        columns(
            ("line", Kind.COUNT), "call", ("got", Kind.COUNT), ("live", Kind.COUNT), ("slabs", Kind.COUNT),
            ("partial", Kind.COUNT), ("of CPUs", Kind.COUNT), "taken from",
        ),
    )  # fmt: skip
    for answer in answers:
        counters = answer.get("counters", {})
        got = answer.get("got", answer.get("freed"))
        table.rows.append(
            (answer["line"], lines[answer["line"] - 1].strip(), got, answer.get("live"), _all(counters.get("slabs")),
             _all(counters.get("partial")), _all(counters.get("cpu_slabs")), _taken_from(answer))
        )  # fmt: skip
    sys.stdout.write(csv_table(table) if output == "csv" else text_tables([table]))
    if output == "csv":
        return
    said = "".join(f"line {answer['line']}: {line}\n" for answer in answers for line in answer.get("log", ()))
    if isinstance(pages, SystemPages):
        said += (
            f"The script's slabs have {pages.reclaimable + pages.unreclaimable} pages of the state "
            f"(SReclaimable {pages.reclaimable}, SUnreclaim {pages.unreclaimable}).\n"
        )
    sys.stdout.write(prose(said))


def _line_document(result: LineResult, build: SlabBuild) -> dict[str, Any]:
    fields = result.cache.fields(build.facts) if result.cache is not None else {}
    return {"line": result.line, **fields, **result.answer}


def _all(count: Any) -> int | None:
    found: int | None = count["all"] if isinstance(count, dict) else count
    return found


def _taken_from(answer: dict[str, Any]) -> str:
    """Which slabs an allocation's objects are of, the first few of them; which cache served."""
    if "slabs" not in answer:
        return str(answer.get("cache") or answer.get("why", ""))
    runs = [f"{slab}: {count}" for slab, count in answer["slabs"][:4]]
    new = sum(run[1] for run in answer["objects"] if run[0] == "new")
    more = f", {len(answer['slabs']) - 4} more" if len(answer["slabs"]) > 4 else ""
    return f"slab {', '.join(runs)}{more}; {new} places never used before" if runs else ""
