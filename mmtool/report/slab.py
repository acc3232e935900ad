"""What `mmtool slab` prints: caches, kmalloc's answers, what scripts did."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mmtool.linux.mm.slab_common import KmemCache, SlabBuild
from mmtool.linux.mm.slab_flags import flag_order
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables


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
            "caches": [cache_document(c, c.fields(build.facts)) for c in caches],
            "refused": [{"name": name, "why": why} for name, why in refused],
        }
        print_document(doc, output)
        return
    table = Table(
        "caches",
        f"Caches of Linux {build.kernel.name} ({allocator.upper()}) on {build.present_cpus} CPUs",
        columns(
            "cache", ("object", Kind.COUNT), ("size", Kind.COUNT), ("align", Kind.COUNT), ("order", Kind.COUNT),
            ("objects", Kind.COUNT), ("lost a slab", Kind.COUNT), ("least order", Kind.COUNT),
            ("a CPU keeps", Kind.COUNT), "flags", "shared by",
        ),
    )  # fmt: skip
    table.rows = [_cache_row(cache, build) for cache in caches]
    sys.stdout.write(csv_table(table) if output == "csv" else text_tables([table]))
    if output == "table":
        sys.stdout.write(prose("".join(f"{name} cannot be created: {why}\n" for name, why in refused)))


def _cache_row(cache: KmemCache, build: SlabBuild) -> tuple[Any, ...]:
    shape = cache.shape()
    flags = [flag for flag in flag_order(cache.flags) if flag not in ("CMPXCHG_DOUBLE", "PANIC", "MAY_ACCOUNT")]
    return (
        cache.name, cache.object_size, cache.size, cache.align, shape.order, shape.objects,
        shape.left_over(cache.size, build.page_size), shape.least_order, shape.kept,
        " ".join(flags), " ".join(cache.members[1:]),
    )  # fmt: skip
