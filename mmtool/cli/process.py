"""mmtool process: a process's memory."""

from __future__ import annotations

import click


@click.group()
def process() -> None:
    """A process's address space: mappings, faults, page tables, huge pages."""


@process.command("run", short_help="Do a script of memory operations and say what each returns and why.")
@click.argument("file", metavar="SCRIPT|FILE.jsonl|-")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def run(file: str, output: str) -> None:
    """Do a script of memory operations: what each returns and why, and what it changes.

    FILE is a script, one operation a line, or records of scripts, one JSON object a line (plain, gzip or xz);
    of records the answers come one a line.
    """
    from mmtool.errors import InputError
    from mmtool.observed.process_records import read_records
    from mmtool.report.process import run_json, run_table
    from mmtool.report.table import text_tables
    from mmtool.system.process import from_start
    from mmtool.system.process_script import ScriptError
    from mmtool.system.process_script import run as run_script

    for number, record in read_records(file):
        try:
            made = from_start(record["machine"], record.get("setup", ()), record["start"])
            steps = list(run_script(made, record["script"]))
        except (ScriptError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(file, number, f"{type(error).__name__}: {error}") from None
        if output == "json":
            click.echo(run_json(record.get("id"), steps))
        else:
            click.echo(text_tables([run_table(record.get("id") or "script", record["script"], steps)]))


@process.command("layout", short_help="Say where a program and its mappings lie after exec.")
@click.argument("file", metavar="FILE.jsonl|-")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def layout(file: str, output: str) -> None:
    """Say where program, stack, heap, vdso and mappings lie after exec, or in which ranges with randomisation on.

    FILE holds records, one JSON object a line (plain, gzip or xz); answers come one a line.
    """
    from mmtool.errors import InputError
    from mmtool.observed.process_records import read_records
    from mmtool.report.process import layout_json, layout_tables, ranges_json
    from mmtool.report.table import text_tables
    from mmtool.system import process_layout

    for number, record in read_records(file):
        try:
            asked = process_layout.question(record)
            if "mode quick" in asked.setup:
                found = process_layout.ranges(asked)
                line, tables = ranges_json(record.get("id"), found), layout_tables(ranges=found)
            else:
                rows, where = process_layout.layout(asked)
                line, tables = layout_json(record.get("id"), rows, where), layout_tables(rows, where)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(file, number, f"{type(error).__name__}: {error}") from None
        click.echo(line if output == "json" else text_tables(tables))
