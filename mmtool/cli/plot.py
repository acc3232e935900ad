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
@output_option("svg", "bar", "html")
def plot(bar: bool, as_page: bool, output: str, **options: Any) -> None:
    """Draw physical memory as SVG, to scale but for its holes.

    From top to bottom: what the firmware calls it, nodes, zones, reservations by owner, free blocks by order.
    """
    if bar and as_page:
        raise UsageError("--bar draws in the terminal, --html writes a page; give one of them")
    booted = boot_machine(**options)
    if bar or output == "bar":
        from shutil import get_terminal_size

        from mmtool.report.picture.bar import bars

        sys.stdout.write(bars(booted, get_terminal_size().columns, coloured=stdout_in_colour()))
        return
    if as_page or output == "html":
        from mmtool.report.html.boot import html

        sys.stdout.write(html(booted))
        return

    from mmtool.report.picture.rows import SECTIONS
    from mmtool.report.picture.svg import svg

    sys.stdout.write(svg(booted, SECTIONS))
