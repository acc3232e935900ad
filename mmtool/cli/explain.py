"""`mmtool explain`: why the allocations failed that a log reports, where the memory was, and who was killed for it."""

from __future__ import annotations

import click

from mmtool.cli.output import output_option
from mmtool.units import whole

MOST_OF_SETTING = {"vm.panic_on_oom": 2, "vm.oom_kill_allocating_task": 2**31 - 1, "memory.oom.group": 1}
"""The settings that an answer depends on, and the largest value of each."""


@click.command()
@click.argument("log", metavar="LOG|-")
@click.option("--kernel", metavar="RELEASE", help="The kernel's release (6.1), in place of the one the log names.")
@click.option(
    "--sysctl",
    metavar="NAME=VALUE",
    multiple=True,
    help="A setting that reports do not show: vm.panic_on_oom, vm.oom_kill_allocating_task, memory.oom.group.",
)
@click.option(
    "--top",
    type=click.IntRange(0, 1000000),
    default=5,
    show_default=True,
    metavar="N",
    help="So many processes are listed.",
)
@output_option("table", "json", "yaml", "csv", shaped=("csv",))
@click.pass_context
def explain(
    context: click.Context, log: str, kernel: str | None, sysctl: tuple[str, ...], top: int, output: str
) -> None:
    """Explain every failed allocation and every kill that a kernel log reports (plain, gzip, xz or bzip2).

    Reads 'page allocation failure', 'invoked oom-killer', vmalloc's and cma_alloc's reports of Linux
    2.6.32 to 7.3, also as mail left them. Says of each what was asked for, zone by zone why it was
    refused by that release's own check, where the memory was, who was killed and why, and what would
    have let it pass. Exit status 1 when the log reports a failure.
    """
    from mmtool.answers.postmortem.judge import judge_all
    from mmtool.build.fact import parse_version
    from mmtool.errors import UsageError
    from mmtool.observed.reports import read_reports
    from mmtool.report.postmortem import render

    if kernel is not None and parse_version(kernel) is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    settings = {}
    for setting in sysctl:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{setting!r} is not NAME=VALUE (vm.panic_on_oom=1)")
        try:
            if name.strip() in MOST_OF_SETTING:
                whole(value.strip(), MOST_OF_SETTING[name.strip()])
        except ValueError as e:
            raise UsageError(f"--sysctl {name.strip()}: {e}") from None
        settings[name.strip()] = value.strip()
    judged = judge_all(read_reports(log, kernel), settings)
    render(judged, log, output, top)
    if any(j.is_failure for j in judged):
        context.exit(1)
