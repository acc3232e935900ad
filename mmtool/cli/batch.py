"""`mmtool batch`: many machines, one row each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from mmtool.cli.output import output_option
from mmtool.errors import UsageError

MOST_JOBS = 1024
"""Processes that --jobs may ask for: all of them are started."""


@click.command()
@click.argument("source", metavar="DIR|-")
@click.option(
    "--jobs", type=click.IntRange(1, MOST_JOBS), metavar="N", help="Processes to use; by default one a processor."
)
@click.option("--dask", metavar="ADDRESS", help="Hand the work to the Dask cluster whose scheduler is there.")
@output_option("ndjson", "csv", shaped=())
def batch(source: str, jobs: int | None, dask: str | None, output: str) -> None:
    """Boot every dump in a folder, or each of a list of files on standard input, and print a row for each.

    A file that cannot be booted is a row with its error.
    """
    from mmtool.answers.batch import cluster_rows, inputs_of, rows
    from mmtool.report.batch import render

    if dask == "":
        raise UsageError("--dask: name the scheduler's address, such as tcp://127.0.0.1:8786")
    if jobs and dask:
        raise UsageError("--jobs is for this machine's processes, --dask for a cluster's: give one of them")
    files = _listed() if source == "-" else inputs_of(source)
    made = cluster_rows(files, dask) if dask else rows(files, jobs or len(os.sched_getaffinity(0)))
    if sys.stdout.isatty() or not sys.stderr.isatty():
        render(made, output)
        return
    length = sum(1 for _ in inputs_of(source)) if source != "-" else None
    with click.progressbar(made, length=length, file=sys.stderr, label="machines") as progress:
        render(progress, output)


def _listed() -> Iterator[str]:
    """The names on standard input, one a line."""
    for line in sys.stdin:
        if name := line.rstrip("\r\n"):
            yield name if name != "-" else "./-"
