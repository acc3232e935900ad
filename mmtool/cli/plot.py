"""`mmtool plot`: a boot as a picture."""

from __future__ import annotations

import sys
from typing import Any

import click

from mmtool.cli.options import boot_machine, input_options
from mmtool.cli.output import output_option, stdout_in_colour
from mmtool.errors import UsageError


@click.command()
@input_options
@click.option("--bar", is_flag=True, help="Draw it in the terminal instead, a line for each node: -o bar.")
@click.option("--html", "as_page", is_flag=True, help="Write a page instead, to look around and search in: -o html.")
@click.option("--detail", is_flag=True, help="Draw every region and every owner in a row of its own, numbered.")
@output_option("svg", "bar", "html")
def plot(bar: bool, as_page: bool, detail: bool, output: str, **options: Any) -> None:
    """Draw physical memory as SVG: where it went, and a bar to true scale for each node.

    With --detail a row each, to scale but for holes: what the firmware calls it, nodes, zones, reservations by owner,
    free blocks by order.
    """
    if bar + as_page + detail > 1:
        raise UsageError("--bar, --html and --detail are each a picture of their own; give one of them")
    booted = boot_machine(**options)
    if bar or output == "bar":
        from mmtool.report.picture.bar import bars
        from mmtool.report.terminal import terminal_columns

        sys.stdout.write(bars(booted, terminal_columns(), coloured=stdout_in_colour()))
        return
    if as_page or output == "html":
        from mmtool.report.html.boot import html

        sys.stdout.write(html(booted))
        return

    if detail:
        from mmtool.report.picture.rows import SECTIONS
        from mmtool.report.picture.svg import svg

        sys.stdout.write(svg(booted, SECTIONS))
        return

    from mmtool.report.picture.poster import poster

    sys.stdout.write(poster(booted))
