"""`mmtool explain`: why the allocations failed that a log reports, and what would have let them pass."""

from __future__ import annotations

import click

from mmtool.cli.options import output_option


@click.command()
@click.argument("log", metavar="LOG|-")
@click.option("--kernel", metavar="RELEASE", help="The kernel's release (6.1), in place of the one the log names.")
@output_option("table", "json", "yaml", "csv")
def explain(log: str, kernel: str | None, output: str) -> None:
    """Explain every failed allocation that a kernel log reports (plain, gzip, xz or bzip2).

    Reads 'page allocation failure', 'invoked oom-killer', vmalloc's and cma_alloc's reports of Linux
    2.6.32 to 7.3, also as mail left them. Says of each what was asked for, zone by zone why it was
    refused by that release's own check, and what would have let it pass.
    """
    from mmtool.answers.postmortem.judge import judge
    from mmtool.build.fact import parse_version
    from mmtool.errors import UsageError
    from mmtool.observed.reports import read_reports
    from mmtool.report.postmortem import render

    if kernel is not None and parse_version(kernel) is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    render([judge(report) for report in read_reports(log, kernel)], log, output)
