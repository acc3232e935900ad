"""What zsmalloc's size classes are, and what a script did to a zram device: tables and documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from textwrap import wrap
from typing import Any

from mmtool.answers.zram_plan import Sample, ZramPlan
from mmtool.linux.drivers.block.zram.zram_drv import MmStat
from mmtool.linux.mm.zsmalloc import ZsPool
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.zram_script import ZramResult
from mmtool.units import human


def render_classes(pool: ZsPool, output: str) -> None:
    """Which requests share zspages."""
    if output in ("json", "yaml"):
        rows = [list(row) for row in pool.class_map()]
        document: dict[str, Any] = {"schema": "mmtool.zram-classes/1", "huge_class_size": pool.huge_class_size}
        print_document(document | {"map": rows}, output)
        return
    table = Table(
        "classes",
        f"Size classes of zsmalloc: from {pool.huge_class_size} bytes on an object takes a page for itself",
        columns(
            ("from", Kind.COUNT), ("to", Kind.COUNT), ("pages of a zspage", Kind.COUNT), ("objects in it", Kind.COUNT),
            ("bytes an object takes", Kind.COUNT),
        ),
    )  # fmt: skip
    size = pool.layout.page_size
    table.rows = [(first, last, pages, n, pages * size // n) for first, last, pages, n in pool.class_map()]
    sys.stdout.write(csv_table(table) if output == "csv" else text_tables([table]))


def render_plan(sample: Sample, plans: Sequence[ZramPlan], memory: int, limit: int, kernel: str, output: str) -> None:
    """Devices of several sizes, full of pages like the sample's."""
    said = _plan_rests_on(sample, plans)
    if output in ("json", "yaml"):
        document = {
            "schema": "mmtool.zram-plan/1", "kernel": kernel, "memory": memory, "limit": limit,
            "sample": {
                "from": "mm_stat" if sample.sizes is None else "sizes", "pages": sample.pages,
                "same_pages": sample.same_pages, "huge_pages": sample.huge_pages, "compressed": sample.compressed,
            },
            "plans": [asdict(p) | {"cost": p.cost, "gain": p.gain, "left": memory - p.cost} for p in plans],
            "rests_on": said,
        }  # fmt: skip
        print_document(document, output)
        return
    table = Table(
        "plans",
        "Devices full of such pages",
        columns(
            ("disksize", Kind.SIZE_ONLY), ("of memory %", Kind.COUNT), ("holds", Kind.SIZE_ONLY),
            ("pool", Kind.SIZE_ONLY), ("at least", Kind.SIZE_ONLY), ("table", Kind.SIZE_ONLY),
            ("handles", Kind.SIZE_ONLY), ("left for the rest", Kind.SIZE_ONLY), ("gain", Kind.SIZE_ONLY),
        ),
    )  # fmt: skip
    table.rows = [
        (p.disksize, round(100 * p.disksize / memory), p.holds, p.pool, p.pool_least, p.table, p.handles,
         memory - p.cost, p.gain)
        for p in plans
    ]  # fmt: skip
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    head = f"{human(memory)} of memory, Linux {kernel}"
    if limit:
        head += f", mem_limit {human(limit)}"
    sys.stdout.write(f"{head}\n{_sample_says(sample)}\n\n{text_tables([table])}\nWhat this rests on\n")
    for text in said:
        sys.stdout.write("\n".join(wrap(text, 100, initial_indent="  - ", subsequent_indent="    ")) + "\n")


def _sample_says(sample: Sample) -> str:
    normal = sample.pages - sample.same_pages
    huge = "" if sample.huge_pages is None else f", {100 * sample.huge_pages / sample.pages:.1f}% do not compress"
    average = f"{sample.compressed / normal:.0f}" if normal else "0"
    return (
        f"{sample.pages} pages: {100 * sample.same_pages / sample.pages:.1f}% are of one word over and over{huge}; "
        f"{average} bytes a page of the rest"
    )


def _plan_rests_on(sample: Sample, plans: Sequence[ZramPlan]) -> list[str]:
    said = ["all pages compress as those of the sample do, and the device is full"]
    if sample.sizes is None:
        said.append(
            "pool: in proportion to what the device took, with what it has half empty; no packing can come below "
            "`at least`, the compressed bytes alone"
        )
    else:
        said.append(
            "pool: zsmalloc's classes of this release, every page written once; pages that come and go leave zspages "
            "half empty until they are compacted"
        )
    if any(p.table is None for p in plans):
        said.append("the table of entries is left out: the size of an entry is not known here on 32 bits")
    return [*said, "left out: the descriptors of zspages, per-CPU buffers of the compressor"]


def render_run(results: Sequence[ZramResult], output: str) -> None:
    """The state of the device after each line of a script."""
    if output in ("json", "yaml"):
        print_document({"schema": "mmtool.zram-run/1", "lines": [_document(r) for r in results]}, output)
        return
    table = Table(
        "lines",
        "What the device holds after each line",
        columns(
            ("line", Kind.COUNT), "does", ("data", Kind.SIZE_ONLY), ("compressed", Kind.SIZE_ONLY),
            ("memory", Kind.SIZE_ONLY), ("peak", Kind.SIZE_ONLY), ("memory of data %", Kind.COUNT),
            ("same-filled", Kind.COUNT), ("huge", Kind.COUNT), ("failed", Kind.COUNT),
        ),
    )  # fmt: skip
    for r in results:
        s = r.mm_stat
        share = round(100 * s.mem_used_total / s.orig_data_size, 1) if s.orig_data_size else None
        table.rows.append(
            (r.line, r.does, s.orig_data_size, s.compr_data_size, s.mem_used_total, s.mem_used_max, share,
             s.same_pages, s.huge_pages, r.failed)
        )  # fmt: skip
    sys.stdout.write(csv_table(table) if output == "csv" else text_tables([table]))


_STAT = tuple(field.name for field in fields(MmStat))


def _document(result: ZramResult) -> dict[str, Any]:
    stat = {name: value for name in _STAT if (value := getattr(result.mm_stat, name)) is not None}
    document = {"line": result.line, "does": result.does, "mm_stat": stat, "pages": result.pages}
    return document | ({"rc": result.failed} if result.failed else {})
