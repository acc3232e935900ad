"""`mmtool whatif`: what other options on the command line would change."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.diff import show
from mmtool.cli.options import boot_machine, input_options
from mmtool.cli.output import note, output_option


@click.command()
@input_options
@click.option("--cmdline+", "added", metavar="TEXT", required=True, help="Options to add to the command line.")
@output_option("table", "json", "yaml", "csv", "html")
def whatif(added: str, output: str, cmdline: str | None, **options: Any) -> None:
    """Boot a machine as it is and with more options on its command line, and show only what differs."""
    from mmtool.firmware.cmdline import READ, unread
    from mmtool.suggest import among

    for name in dict.fromkeys(unread(added)):
        note(f"--cmdline+: mmtool reads no option {name[:60]!r}{among(name, READ)}")
    before = boot_machine(cmdline=cmdline, **options)
    after = boot_machine(cmdline=f"{before.cmdline.text} {added}".strip(), **options)
    show(before, after, output)
