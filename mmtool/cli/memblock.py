"""mmtool memblock: the boot-time allocator by itself."""

from __future__ import annotations

import click

from mmtool.cli import Group
from mmtool.cli.output import output_option


@click.group(cls=Group)
def memblock() -> None:
    """The boot-time allocator (memblock) by itself."""


@memblock.command("run", short_help="Run scripts of operations and compare with recorded results.")
@click.argument("file", metavar="FILE|-")
@output_option("table", "json", shaped=())
@click.pass_context
def run(context: click.Context, file: str, output: str) -> None:
    """Run scripts of memblock operations, one JSON object a line (plain or gzip).

    Compares with the results that the records hold and says how many agree; exit status 1 if one does
    not. With -o json prints what each script did instead, one line a record.
    """
    from mmtool.build.release import release_facts
    from mmtool.errors import InputError
    from mmtool.report.memblock import comparison_lines, run_json
    from mmtool.system.memblock_records import compare, read_records
    from mmtool.system.memblock_script import ScriptError, run_script

    comparisons = []
    for record in read_records(file):
        try:
            done = run_script(
                release_facts(record.version), record.numa, record.script, states=record.states_after is not None
            )
        except ScriptError as error:
            raise InputError(file, record.line, str(error)) from None
        if output == "json":
            click.echo(run_json(record.id, done, states=record.states_after is not None))
        else:
            comparisons.append(compare(record, done))
    if output == "json":
        return
    for line in comparison_lines(comparisons):
        click.echo(line)
    if any(c.difference for c in comparisons):
        context.exit(1)


@memblock.command("replay")
@click.argument("file", metavar="LOG|-")
@output_option("table", "json", shaped=())
@click.option("--kernel", metavar="RELEASE", help="The kernel's release (6.1), for a log that lost its first lines.")
@click.pass_context
def replay(context: click.Context, file: str, output: str, kernel: str | None) -> None:
    """Do every allocation of a log made with memblock=debug again (plain, gzip, xz or bzip2).

    The address that the log shows for an allocation is compared with and never used for it; after a
    difference the replay goes on from the log's. Exit status 1 if one differs.
    """
    from mmtool.build.fact import parse_version
    from mmtool.errors import UsageError
    from mmtool.observed import memblock_log
    from mmtool.report.memblock_replay import replay_json, replay_lines
    from mmtool.report.untrusted import one_line
    from mmtool.system import memblock_replay

    release = parse_version(kernel) if kernel is not None else None
    if kernel is not None and release is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    done = memblock_replay.replay(memblock_log.read_memblock_log(file, release))
    if output == "json":
        click.echo(replay_json(done))
    else:
        for line in replay_lines(done):
            click.echo(one_line(line))
    if done.misses:
        context.exit(1)
