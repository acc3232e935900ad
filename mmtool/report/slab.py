"""What `mmtool slab` prints: caches, kmalloc's answers, what scripts did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mmtool.linux.mm.slab import SlabCache
from mmtool.linux.mm.slab_common import KmemCache, SlabBuild
from mmtool.linux.mm.slab_flags import flag_order
from mmtool.linux.mm.slub.layout import SlubCache
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, text_tables
from mmtool.system.slab.kmalloc import FAILS, PAGES, KmallocRun
from mmtool.system.slab.run import LineResult
from mmtool.units import human

_SLUB_FIELDS = (
    "object_size", "size", "align", "inuse", "offset", "red_left_pad", "oo_order", "oo_objects", "min_order",
    "min_objects", "min_partial",
)  # fmt: skip


def slub_fields(cache: SlubCache, build: SlabBuild) -> dict[str, Any]:
    """The fields of struct kmem_cache that the release has, by name."""
    facts = build.facts
    fields = {name: getattr(cache, name) for name in _SLUB_FIELDS}
    if facts.cpu_partial:
        fields["cpu_partial"] = cache.cpu_partial
        if facts.cpu_partial_counts_slabs:
            fields["cpu_partial_slabs"] = cache.cpu_partial_slabs
    if facts.sheaves:
        fields["sheaf_capacity"] = cache.sheaf_capacity
    return fields | {"useroffset": cache.useroffset, "usersize": cache.usersize}


def cache_fields(cache: KmemCache, build: SlabBuild) -> dict[str, Any]:
    """The fields of a cache, by its allocator: SLAB's as /proc/slabinfo names them."""
    if isinstance(cache, SlubCache):
        return slub_fields(cache, build)
    fields = {"size": cache.object_size, "align": cache.align}
    if isinstance(cache, SlabCache):
        fields |= {
            "objsize": cache.size,
            "objperslab": cache.num,
            "pagesperslab": 1 << cache.gfporder,
            "limit": cache.limit,
            "batchcount": cache.batchcount,
            "shared": cache.shared,
        }
    return fields


def cache_document(cache: KmemCache, fields: dict[str, Any]) -> dict[str, Any]:
    """A cache as the document has it."""
    return {
        "name": cache.name,
        **fields,
        "refcount": cache.refcount,
        "flags": flag_order(cache.flags),
        "members": cache.members,
    }


def kernel_document(build: SlabBuild, assumed: Sequence[str]) -> dict[str, Any]:
    """The kernel and the machine that a document is about."""
    kernel = build.kernel
    return {
        "release": kernel.name,
        "arch": kernel.arch,
        "profile": kernel.profile.name,
        "page_size": build.page_size,
        "cpus": build.present_cpus,
        "possible_cpus": build.possible_cpus,
        "nodes": build.nodes,
        "assumed": list(assumed),
    }


def render_caches(
    caches: Sequence[KmemCache],
    refused: Sequence[tuple[str, str]],
    allocator: str,
    build: SlabBuild,
    assumed: Sequence[str],
    output: str,
) -> None:
    """The caches of a boot."""
    if output in ("json", "yaml"):
        doc = {
            "schema": "mmtool.slab-caches/1",
            "allocator": allocator,
            "kernel": kernel_document(build, assumed),
            "caches": [cache_document(c, cache_fields(c, build)) for c in caches],
            "refused": [{"name": name, "why": why} for name, why in refused],
        }
        print_document(doc, output)
        return
    kept = _kept_by_cpus(build)
    table = Table(
        "caches",
        f"Caches of Linux {build.kernel.name} ({allocator.upper()}) on {build.present_cpus} CPUs",
        columns(
            "cache", ("object", Kind.COUNT), ("size", Kind.COUNT), ("align", Kind.COUNT), ("order", Kind.COUNT),
            ("objects", Kind.COUNT), ("lost a slab", Kind.COUNT), ("least order", Kind.COUNT), (kept[0], Kind.COUNT),
            "flags", "shared by",
        ),
    )  # fmt: skip
    table.rows = [_cache_row(cache, build, kept[1]) for cache in caches]
    sys.stdout.write(csv_table(table) if output == "csv" else text_tables([table]))
    if output == "table":
        for name, why in refused:
            sys.stdout.write(f"{name} cannot be created: {why}\n")


def _kept_by_cpus(build: SlabBuild) -> tuple[str, str]:
    """What limits the objects that a CPU keeps, and the field that has it."""
    return ("a sheaf", "sheaf_capacity") if build.facts.sheaves_everywhere else ("cpu partial", "cpu_partial")


def _cache_row(cache: KmemCache, build: SlabBuild, kept: str) -> tuple[Any, ...]:
    order, objects, least, limit = slab_shape(cache, kept)
    lost = None if order is None or objects is None else (build.page_size << order) - objects * cache.size
    flags = [flag for flag in flag_order(cache.flags) if flag not in ("CMPXCHG_DOUBLE", "PANIC", "MAY_ACCOUNT")]
    return (
        cache.name, cache.object_size, cache.size, cache.align, order, objects, lost, least, limit,
        " ".join(flags), " ".join(cache.members[1:]),
    )  # fmt: skip


def slab_shape(cache: KmemCache, kept: str) -> tuple[int | None, int | None, int | None, int | None]:
    """A slab's order, its objects, the least order and what a CPU may keep; None for what an allocator has not."""
    if isinstance(cache, SlubCache):
        return cache.oo_order, cache.oo_objects, cache.min_order, getattr(cache, kept)
    if isinstance(cache, SlabCache):
        return cache.gfporder, cache.num, cache.gfporder, cache.limit
    return None, None, None, None


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
        sys.stdout.write("".join(f"{line}\n" for line in explain_kmalloc(runs[0], build)))


def _slab_columns(run: KmallocRun, build: SlabBuild) -> tuple[int | None, int | None, int | None]:
    if run.served == PAGES:
        return (run.ksize // build.page_size).bit_length() - 1, None, None
    if run.cache is None:
        return None, None, None
    order, objects, _, _ = slab_shape(run.cache, "cpu_partial")
    if order is None or objects is None:
        return None, None, None
    return order, objects, (build.page_size << order) - objects * run.cache.size


def explain_kmalloc(run: KmallocRun, build: SlabBuild) -> list[str]:
    """An answer in sentences: what is lost, and what happens when there is no block of the slab's order."""
    if run.served == FAILS:
        return [f"No block of pages is that large: the largest has {human(build.kmalloc_max_size)}."]
    lines = [f"Of the {run.ksize} bytes of the object {run.ksize - run.first} are not asked for."]
    if run.served == PAGES:
        order = (run.ksize // build.page_size).bit_length() - 1
        return [*lines, f"It is a block of order {order} of the page allocator's; without such a block it fails."]
    cache = run.cache
    if not isinstance(cache, SlubCache):
        return lines
    slab = build.page_size << cache.oo_order
    lost = slab - cache.oo_objects * cache.size
    lines.append(
        f"A slab of {cache.name} has {human(slab)} (order {cache.oo_order}) for {cache.oo_objects} objects of "
        f"{cache.size} bytes; {lost} bytes are left over."
    )
    if cache.min_order == cache.oo_order:
        lines.append(f"Without a block of order {cache.oo_order} no smaller slab would do: the allocation fails.")
    else:
        lines.append(
            f"Without a block of order {cache.oo_order} a slab of order {cache.min_order} is taken, with "
            f"{cache.min_objects} object{'s' * (cache.min_objects != 1)}; only without that one does it fail."
        )
    return lines


def render_run(
    results: Sequence[LineResult],
    lines: Sequence[str],
    allocator: str,
    build: SlabBuild,
    assumed: Sequence[str],
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


def _line_document(result: LineResult, build: SlabBuild) -> dict[str, Any]:
    fields = cache_fields(result.cache, build) if result.cache is not None else {}
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
