"""`mmtool diff`: two boots side by side, only what differs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.options import boot_machine, boot_options
from mmtool.cli.output import output_option

if TYPE_CHECKING:
    from mmtool.linux.init.boot import Boot


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@boot_options
@output_option("table", "json", "yaml", "csv", "html")
def diff(before: str, after: str, output: str, **options: Any) -> None:
    """Boot two machines, or one of two logs, and show only what differs.

    What reserved memory goes to, zones, watermarks, free blocks, and what is left. The options hold for both.
    """
    show(boot_machine(input=before, **options), boot_machine(input=after, **options), output)


def show(before: Boot, after: Boot, output: str) -> None:
    """Print what differs between two boots; each form is loaded only for who wants it."""
    if output == "html":
        from mmtool.report.html.diff import html

        sys.stdout.write(html(before, after))
    else:
        from mmtool.report.compare import render

        render(before, after, output)
