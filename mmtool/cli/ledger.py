"""`mmtool ledger`: where the memory went, from the firmware's map to MemTotal."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import boot_machine, machine_options
from mmtool.cli.output import output_option


@click.command()
@machine_options
@output_option("table", "json", "yaml", "csv")
def ledger(output: str, **machine: Any) -> None:
    """Say where the memory went: what the firmware's map calls memory, less each taker, is MemTotal.

    The sum is exact; what nobody is known to have taken is a line of its own.
    """
    from mmtool.report.ledger import render

    render(boot_machine(**machine), output)
