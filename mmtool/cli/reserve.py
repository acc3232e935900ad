"""`mmtool reserve`: would it fit, where, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from mmtool.cli.options import input_options, machine_and_kernel, rests_on, say_warnings
from mmtool.cli.output import output_option
from mmtool.errors import UsageError

KINDS = ("crashkernel", "cma", "hugepages", "memmap")


@click.command()
@input_options
@click.option("--crashkernel", metavar="SIZE[,high]", help="A crash kernel, as crashkernel= asks for it.")
@click.option("--cma", metavar="SIZE", help="An area for contiguous allocations, as cma= asks for it.")
@click.option("--hugepages", metavar="SIZE:COUNT", help="Gigantic pages, such as 1G:8.")
@click.option("--memmap", metavar="SIZE!START", help="A range, as memmap= takes it away: with !, $ or #.")
@output_option("table", "json", "yaml", "csv")
@click.pass_context
def reserve(
    context: click.Context,
    /,
    output: str,
    cmdline: str | None,
    kernel_base: int | None,
    cpus: int | None,
    **options: Any,
) -> None:
    """Say whether a reservation would fit, where it would lie, what stops it, and what would fit.

    Exit status 1 when it does not fit.
    """
    from mmtool.answers.reserve import reserve as ask
    from mmtool.report.reserve import render

    asked = [(kind, value) for kind in KINDS if (value := options.pop(kind)) is not None]
    if len(asked) != 1:
        raise UsageError(f"give one of {', '.join(f'--{kind}' for kind in KINDS)}")
    machine, kernel = machine_and_kernel(**options)
    rests_on(kernel.assumed)
    if kernel_base is not None:
        machine = replace(machine, kernel_base=kernel_base)
    if cpus is not None:
        machine = replace(machine, cpus=cpus)
    answer = ask(machine, kernel, *asked[0], cmdline)
    say_warnings(machine)
    render(answer, output)
    if not answer.fits:
        context.exit(1)
