"""`mmtool lint`: what is wrong with what the firmware says of memory."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import input_options, machine_and_kernel, rests_on, say_warnings
from mmtool.cli.output import note, output_option


@click.command()
@input_options
@output_option("table", "json", "yaml", "csv", shaped=("csv",))
@click.pass_context
def lint(
    context: click.Context,
    /,
    output: str,
    cmdline: str | None,
    kernel_base: int | None,
    cpus: int | None,
    **options: Any,
) -> None:
    """Say what is wrong with a device tree or a memory map: a line for each finding.

    The line says where it is, what is wrong, what Linux does about it, and what to change. Exit status 1
    when something is found.
    """
    from mmtool.answers.lint import lint as find
    from mmtool.report.lint import render

    machine, kernel = machine_and_kernel(**options, need_memory=False)
    rests_on(kernel.assumed)
    linted = find(machine, kernel, cmdline, kernel_base=kernel_base, cpus=cpus)
    say_warnings(machine)
    if linted.not_booted is not None:
        note(f"{machine.origin}: judged without a boot: {linted.not_booted}")
    render(machine.origin, kernel, linted, output)
    if linted.findings:
        context.exit(1)
