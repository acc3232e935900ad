"""`mmtool plot`: a boot as a picture."""

from __future__ import annotations

import sys
from typing import Any

import click

from mmtool.cli.options import boot_machine, input_options
from mmtool.cli.output import output_option, stdout_in_colour


@click.command()
@input_options
@click.option("--bar", is_flag=True, help="Draw it in the terminal instead, a line for each node: -o bar.")
@output_option("svg", "bar")
def plot(bar: bool, output: str, **options: Any) -> None:
    """Draw physical memory as SVG, to scale but for its holes.

    From top to bottom: what the firmware calls it, nodes, zones, reservations by owner, free blocks by order.
    """
    booted = boot_machine(**options)
    if bar or output == "bar":
        from shutil import get_terminal_size

        from mmtool.report.picture.bar import bars

        sys.stdout.write(bars(booted, get_terminal_size().columns, coloured=stdout_in_colour()))
        return

    from mmtool.report.picture.rows import SECTIONS
    from mmtool.report.picture.svg import svg

    sys.stdout.write(svg(booted, SECTIONS))
