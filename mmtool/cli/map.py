"""`mmtool map`: the firmware's map, as it is or in the words of others."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import boot_machine, input_options
from mmtool.cli.output import output_option, shape_asked
from mmtool.errors import UsageError


@click.command()
@input_options
@click.option("--to", type=click.Choice(["memmap", "dts", "iomem", "qemu"]), help="Convert the map.")
@output_option("table", "json", "yaml", "csv")
def map(to: str | None, output: str, **options: Any) -> None:
    """Show the firmware's map of memory, or convert it.

    `--to memmap` makes an option for a PC's kernel, `--to dts` a device tree's memory nodes, `--to iomem` the
    form of /proc/iomem, `--to qemu` arguments for a virtual machine of the same memory.
    """
    from mmtool.report.map import render

    if to is not None and (output != "table" or (option := shape_asked())):
        raise UsageError(f"--to has a format of its own: it does not go with {'-o' if output != 'table' else option}")
    render(boot_machine(**options), to, output)
