"""`mmtool capture`: what this machine's kernel shows, for a boot in the model elsewhere."""

from __future__ import annotations

import json
import sys

import click

from mmtool.cli.output import note, output_option
from mmtool.errors import UsageError


@click.command()
@click.argument("target", metavar="DIR|FILE.tar.gz|-")
@click.option("--whole", is_flag=True, help="Keep lines, options and symbols that mmtool does not read, too.")
@click.option("--keep-names", is_flag=True, help="Keep names, serial numbers, addresses and options' values.")
@click.option("--force", is_flag=True, help="Write over a capture that is there already.")
@output_option("table", "json", "yaml", "csv")
def capture(target: str, whole: bool, keep_names: bool, force: bool, output: str) -> None:
    """Collect what this machine's kernel says of its memory, for `mmtool boot --capture` elsewhere.

    As root everything is there; otherwise what could not be read, and what that costs, is said on standard
    error. `-` writes a tar file on standard output. What mmtool does not read is left out, and names and
    values that nobody needs are replaced.
    """
    from datetime import UTC, datetime

    from mmtool.capture.build_files import collect_profile
    from mmtool.capture.collect import collect
    from mmtool.capture.identity import read_identity
    from mmtool.capture.private import make_private
    from mmtool.capture.store import INDEX, check_target, write_capture
    from mmtool.report.capture import document, rendered, summary

    check_target(target, force=force)
    if target == "-" and sys.stdout.isatty():
        raise UsageError("a tar file does not go to a terminal; give a folder or FILE.tar.gz")
    found = collect()
    collect_profile(found)
    changes = make_private(found, read_identity(), whole=whole, keep_names=keep_names)
    for missing in found.missing:
        note(str(missing))
    if said := summary(changes):
        note(said)
    doc = document(found, datetime.now(UTC), changes, whole=whole, names_kept=keep_names)
    index = json.dumps(doc, indent=1).encode() + b"\n"
    text = rendered(target, doc, output)  # first, so that nothing is written where a column's name is wrong
    packed = write_capture({INDEX: index, **found.files}, target, force=force)
    if packed is None:
        click.echo(text, nl=False)
    else:
        sys.stdout.buffer.write(packed)
