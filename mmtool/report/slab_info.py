"""What `mmtool slab info` prints: whose the slabs are, and what other options would cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mmtool.answers.slab_use import Price, Use, total
from mmtool.observed.slabinfo import SlabInfo
from mmtool.report.table import Kind, Table, columns, csv_table, print_document, prose, text_tables
from mmtool.units import human


def render_uses(info: SlabInfo, uses: Sequence[Use], page_size: int, output: str) -> None:
    """Every cache's share, and the sums."""
    pages, in_use, empty, left = (
        sum(getattr(use, name) for use in uses) for name in ("pages", "in_use", "empty", "left_over")
    )
    if output in ("json", "yaml"):
        doc: dict[str, Any] = {
            "schema": "mmtool.slab-info/1",
            "source": info.source,
            "pages": pages,
            "in_use_bytes": in_use,
            "empty_bytes": empty,
            "left_over_bytes": left,
            "caches": [
                {
                    "name": use.cache.name,
                    "active": use.cache.active,
                    "objects": use.cache.objects,
                    "size": use.cache.size,
                    "slabs": use.cache.slabs,
                    "pages": use.pages,
                    "in_use_bytes": use.in_use,
                    "empty_bytes": use.empty,
                    "left_over_bytes": use.left_over,
                    "grown_pages": use.grown,
                }
                for use in uses
            ],
        }
        print_document(doc, output)
        return
    table = Table(
        "slabinfo",
        f"Slabs of {info.source}",
        columns(
            "cache", ("pages", Kind.PAGES), ("grown by", Kind.COUNT), ("in use", Kind.SIZE_ONLY),
            ("empty places", Kind.SIZE_ONLY), ("left over", Kind.SIZE_ONLY), ("active", Kind.COUNT),
            ("objects", Kind.COUNT), ("size", Kind.COUNT),
        ),
        page_shift=page_size.bit_length() - 1,
    )  # fmt: skip
    table.rows = [
        (use.cache.name, use.pages, use.grown, use.in_use, use.empty, use.left_over, use.cache.active,
         use.cache.objects, use.cache.size)
        for use in uses
    ]  # fmt: skip
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    held = pages * page_size
    said = (
        f"{human(held)} in {pages} pages: {human(in_use)} in objects in use, {human(empty)} in empty places, "
        f"{human(left)} left over in slabs.\n\n"
    )
    sys.stdout.write(prose(said) + text_tables([table]))


def render_prices(info: SlabInfo, prices: Sequence[Price], options: str, page_size: int, output: str) -> None:
    """What other options cost, the dearest cache first."""
    more = total(prices)
    apart = sum(price.apart for price in prices)
    if output in ("json", "yaml"):
        doc = {
            "schema": "mmtool.slab-prices/1",
            "source": info.source,
            "options": options,
            "more_pages": more,
            "caches_apart": apart,
            "caches": [
                {
                    "name": price.name,
                    "active": price.active,
                    "now_pages": price.now,
                    "then_pages": price.then,
                    "apart": price.apart,
                    "known": price.known,
                }
                for price in prices
            ],
        }
        print_document(doc, output)
        return
    table = Table(
        "prices",
        f"The objects of {info.source}, in full slabs, now and with {options}",
        columns(
            "cache", ("active", Kind.COUNT), ("pages now", Kind.COUNT), ("pages then", Kind.COUNT),
            ("more", Kind.COUNT), ("caches apart", Kind.COUNT), "created with",
        ),
    )  # fmt: skip
    table.rows = [
        (p.name, p.active, p.now, p.then, p.then - p.now, p.apart or None, "" if p.known else "unknown: by its size")
        for p in prices
    ]
    if output == "csv":
        sys.stdout.write(csv_table(table))
        return
    size = ("-" if more < 0 else "") + human(abs(more) * page_size)
    said = f"With {options} the same objects take {more:+} pages ({size}).\n"
    if apart:
        said += (
            f"{apart} names get a cache of their own: how the objects divide is not known, and each cache keeps slabs "
            "that are not full.\n"
        )
    sys.stdout.write(prose(said + "\n") + text_tables([table]))
