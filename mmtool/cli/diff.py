"""`mmtool diff`: two boots side by side, only what differs."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import boot_machine, boot_options
from mmtool.cli.output import output_option


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@boot_options
@output_option("table", "json", "yaml", "csv")
def diff(before: str, after: str, output: str, **options: Any) -> None:
    """Boot two machines, or one of two logs, and show only what differs.

    What reserved memory goes to, zones, watermarks, free blocks, and what is left. The options hold for both.
    """
    from mmtool.report.compare import render

    render(boot_machine(input=before, **options), boot_machine(input=after, **options), output)
