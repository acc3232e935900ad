"""What zsmalloc's size classes are, and what a script did to a zram device: tables and documents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mmtool.linux.mm.zsmalloc import ZsPool
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.zram_script import ZramResult


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


def _document(result: ZramResult) -> dict[str, Any]:
    stat = {name: value for name, value in asdict(result.mm_stat).items() if value is not None}
    document = {"line": result.line, "does": result.does, "mm_stat": stat, "pages": result.pages}
    return document | ({"rc": result.failed} if result.failed else {})
