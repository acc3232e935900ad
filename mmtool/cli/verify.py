"""`mmtool verify`: what mmtool predicts against what the kernel reported."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import boot_machine, input_or_here_options
from mmtool.cli.output import output_option, stdout_in_colour
from mmtool.errors import UsageError


@click.command()
@input_or_here_options
@output_option("table", "json", "yaml", "csv")
@click.pass_context
def verify(context: click.Context, /, input: str | None, output: str, **options: Any) -> None:
    """Compare what mmtool predicts with what the kernel reported, fact by fact.

    From a log or a folder of one boot it predicts from what the machine said alone. Without INPUT it is this
    machine. Exit status 1 when something differs.
    """
    from mmtool.answers.assumed import assumptions
    from mmtool.answers.verify import verify as compare
    from mmtool.cli.live import NAME, answers_here
    from mmtool.observed.answers import read_answers
    from mmtool.report.dmesg import shows_debug
    from mmtool.report.verify import render

    if "-" in (input, options["dmesg"]):
        raise UsageError("verify reads its input twice: give a file, not -")
    boot = boot_machine(input=input, **options)
    place = options["dmesg"] or input
    answers = answers_here() if place is None else read_answers(place, options["boot"])
    result = compare(boot, answers, debug=shows_debug(boot))
    render(input or NAME, result, output, coloured=stdout_in_colour(), assumed=assumptions(boot))
    if not result.agrees:
        context.exit(1)
