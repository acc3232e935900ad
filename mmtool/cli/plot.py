"""`mmtool plot`: a boot as a picture."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.core import ParameterSource

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
    form = _form(bar, as_page, detail, output)
    booted = boot_machine(**options)
    if form == "bar":
        from mmtool.report.picture.bar import bars
        from mmtool.report.terminal import terminal_columns

        sys.stdout.write(bars(booted, terminal_columns(), coloured=stdout_in_colour()))
        return
    if form == "html":
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


def _form(bar: bool, as_page: bool, detail: bool, output: str) -> str:
    """Which of the formats is asked for, by an option or by -o."""
    asked = {form for form, wanted in (("bar", bar), ("html", as_page), ("svg", detail)) if wanted}
    if click.get_current_context().get_parameter_source("output") is not ParameterSource.DEFAULT:
        asked.add(output)
    if len(asked) > 1:
        raise UsageError("--bar, --html and --detail are each a picture of their own; give one of them, and -o with it")
    return asked.pop() if asked else output
