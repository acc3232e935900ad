"""mmtool walk: an address through the page tables."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import ADDRESS
from mmtool.cli.output import output_option
from mmtool.cli.process import machine_of, machine_options


@click.command("walk")
@click.argument("address", type=ADDRESS, metavar="ADDR")
@click.option("--script", metavar="SCRIPT|-", help="Memory operations to do first, as mmtool process run takes them.")
@click.option("--name", metavar="NAME", help="Count ADDR from what the script calls so.")
@machine_options
@output_option("table", "json")
def walk(address: int, script: str | None, name: str | None, output: str, **options: Any) -> None:
    """Follow an address of a process through its page tables: index and entry at each level, and what is mapped.

    The process is a small program right after exec, with what a script then does.
    """
    from mmtool.errors import InputError, UsageError
    from mmtool.linux.mm.mmap.mm_types import Refused
    from mmtool.linux.mm.mmap.pagewalk import walk as walk_address
    from mmtool.observed.process_records import read_text, split_script
    from mmtool.report.table import text_tables
    from mmtool.report.walk import walk_json, walk_tables
    from mmtool.system.process_default import default_process
    from mmtool.system.process_script import ScriptError, perform

    setup, operations = split_script(read_text(script)) if script is not None else ([], [])
    try:
        made = default_process(machine_of(options), setup)
        for _ in perform(made, [words for _, words in operations]):
            pass
    except ScriptError as error:
        raise InputError(script or "-", operations[error.line][0], str(error)) from None
    except (Refused, KeyError, ValueError, IndexError) as error:
        raise InputError(script or "-", None, f"no process can be made of it: {error}") from None
    if name is not None:
        if name not in made.names:
            raise UsageError(f"--name {name}: the script gives no address to that name")
        address += made.names[name]
    if address > made.task.word_mask:
        raise UsageError(f"{address:#x} is wider than an address of the task")
    found = walk_address(made.task, address)
    click.echo(walk_json(address, found) if output == "json" else text_tables(walk_tables(address, found)))
