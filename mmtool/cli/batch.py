"""`mmtool batch`: many machines, one row each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from mmtool.cli.options import output_option


@click.command()
@click.argument("source", metavar="DIR|-")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Processes to use; by default one a processor.")
@output_option("ndjson", "csv")
def batch(source: str, jobs: int | None, output: str) -> None:
    """Boot every dump in a folder, or each of a list of files on standard input, and print a row for each.

    A file that cannot be booted is a row with its error.
    """
    from mmtool.batch import inputs_of, rows
    from mmtool.report.batch import render

    files = _listed() if source == "-" else inputs_of(source)
    count = jobs or len(os.sched_getaffinity(0))
    if sys.stdout.isatty() or not sys.stderr.isatty():
        render(rows(files, count), output)
        return
    length = sum(1 for _ in inputs_of(source)) if source != "-" else None
    with click.progressbar(rows(files, count), length=length, file=sys.stderr, label="machines") as progress:
        render(progress, output)


def _listed() -> Iterator[str]:
    """The names on standard input, one a line."""
    for line in sys.stdin:
        if name := line.rstrip("\r\n"):
            yield name if name != "-" else "./-"
