"""`mmtool buddyinfo`: the free blocks of a state."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.output import output_option
from mmtool.cli.states import load_system, state_options


@click.command()
@state_options
@output_option("table", "json", "yaml", "csv", "proc")
def buddyinfo(output: str, **state: Any) -> None:
    """Show how many free blocks of each order a state has, by zone and type.

    -o proc prints the text of /proc/buddyinfo. Without --state, --live or --proc the state is a document on standard
    input, else the last boot's.
    """
    from mmtool.report.buddyinfo import render

    render(load_system(**state), output)
