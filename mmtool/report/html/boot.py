"""`mmtool boot -o html`, `mmtool plot --html`: a boot as one page, with its document in it."""

from __future__ import annotations

from mmtool import __version__
from mmtool.answers.ledger import memory_ledger
from mmtool.linux.init.boot import Boot
from mmtool.report.boot import TABLES, document
from mmtool.report.html import parts
from mmtool.report.html.chart import Side, chart
from mmtool.report.html.markup import Markup, tag
from mmtool.report.html.page import page
from mmtool.report.html.view import view
from mmtool.report.picture.lanes import lanes, largest_takers


def html(boot: Boot) -> str:
    """The page; `mmtool alloc --state` and its like read the state that is in it."""
    sums = memory_ledger(boot)
    takers = largest_takers(sums)
    side = Side("", boot, tuple(lanes(boot, takers)))
    body = tag(
        "main",
        parts.head(boot, sums),
        parts.unknown(boot),
        parts.ledger(boot, sums, takers),
        chart([side], takers),
        parts.steps(boot),
        parts.zones(boot),
        parts.nodes(boot),
        parts.free(boot),
        parts.appendix(boot),
        footer(
            " The document of the boot is in this file: ",
            tag("code", "mmtool alloc --state FILE.html --order 3"), " goes on from it.",
        ),
    )  # fmt: skip
    return page(parts.title(boot), body, [view(side)], document(boot, tuple(TABLES)))


def footer(*more: object) -> Markup:
    """Who made it, and what can be done with it."""
    return tag("footer", f"Made by mmtool {__version__}.", *more)
