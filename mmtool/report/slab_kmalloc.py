"""What `mmtool slab kmalloc` prints: which cache serves which sizes, and why that costs what it does."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mmtool.linux.mm.slab_common import SlabBuild
from mmtool.report.slab import kernel_document
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.system.slab.kmalloc import FAILS, PAGES, KmallocRun
from mmtool.units import human


def render_kmalloc(
    runs: Sequence[KmallocRun], gfp: str, allocator: str, build: SlabBuild, assumed: Sequence[str], output: str
) -> None:
    """What kmalloc() answers for sizes."""
    if output in ("json", "yaml"):
        doc = {
            "schema": "mmtool.slab-kmalloc/1",
            "allocator": allocator,
            "kernel": kernel_document(build, assumed),
            "gfp": gfp,
            "map": [[run.first, run.last, run.ksize, run.served] for run in runs],
        }
        print_document(doc, output)
        return
    table = Table(
        "kmalloc",
        f"kmalloc({gfp}) on Linux {build.kernel.name} ({allocator.upper()})",
        columns(
            ("from", Kind.COUNT), ("to", Kind.COUNT), "served by", ("ksize", Kind.COUNT), ("lost at most", Kind.COUNT),
            ("order", Kind.COUNT), ("objects a slab", Kind.COUNT), ("lost a slab", Kind.COUNT),
        ),
    )  # fmt: skip
    for run in runs:
        lost = run.ksize - run.first if run.ksize else None
        table.rows.append((run.first, run.last, run.served, run.ksize or None, lost, *_slab_columns(run, build)))
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    sys.stdout.write(text_tables([table]))
    if len(runs) == 1:
        sys.stdout.write(prose("".join(f"{line}\n" for line in explain_kmalloc(runs[0], build))))


def _slab_columns(run: KmallocRun, build: SlabBuild) -> tuple[int | None, int | None, int | None]:
    if run.served == PAGES:
        return (run.ksize // build.page_size).bit_length() - 1, None, None
    if run.cache is None:
        return None, None, None
    shape = run.cache.shape()
    return shape.order, shape.objects, shape.left_over(run.cache.size, build.page_size)


def explain_kmalloc(run: KmallocRun, build: SlabBuild) -> list[str]:
    """An answer in sentences: what is lost, and what happens when there is no block of the slab's order."""
    if run.served == FAILS:
        return [f"No block of pages is that large: the largest has {human(build.kmalloc_max_size)}."]
    lines = [f"Of the {run.ksize} bytes of the object {run.ksize - run.first} are not asked for."]
    if run.served == PAGES:
        pages = run.ksize // build.page_size
        block = f"a block of order {pages.bit_length() - 1} of the page allocator's"
        return [*lines, f"It is {block}; without such a block it fails."]
    cache = run.cache
    if cache is None:
        return lines
    order, objects, least, _ = cache.shape()
    if order is None or objects is None or least is None:
        return lines
    lines.append(
        f"A slab of {cache.name} has {human(build.page_size << order)} (order {order}) for {objects} objects of "
        f"{cache.size} bytes; {cache.shape().left_over(cache.size, build.page_size)} bytes are left over."
    )
    if least == order:
        return [*lines, f"Without a block of order {order} no smaller slab would do: the allocation fails."]
    few = (build.page_size << least) // cache.size
    return [
        *lines,
        f"Without a block of order {order} a slab of order {least} is taken, with {few} object{'s' * (few != 1)}; "
        "only without that one does it fail.",
    ]
