"""`mmtool explain`: why the allocations failed that a log reports, and what would have let them pass."""

from __future__ import annotations

import click

from mmtool.cli.options import output_option


@click.command()
@click.argument("log", metavar="LOG|-")
@output_option("table", "json", "yaml", "csv")
def explain(log: str, output: str) -> None:
    """Explain every failed allocation that a kernel log reports (plain, gzip, xz or bzip2).

    Reads 'page allocation failure', 'invoked oom-killer', vmalloc's and cma_alloc's reports of Linux
    2.6.32 to 7.3, also as mail left them. Says of each what was asked for, zone by zone why it was
    refused by that release's own check, and what would have let it pass.
    """
    from mmtool.observed.reports import read_reports
    from mmtool.postmortem.judge import judge
    from mmtool.report.postmortem import render

    render([judge(report) for report in read_reports(log)], log, output)
