"""`mmtool reclaim`: which pages a memory cgroup keeps, and which reclaim takes."""

from __future__ import annotations

import click

from mmtool.cli import Group
from mmtool.cli.output import output_option


@click.group(cls=Group)
def reclaim() -> None:
    """Reclaim in a memory cgroup, page by page."""


@reclaim.command("run", short_help="Perform a script of accesses inside a memory cgroup.")
@click.argument("script", metavar="SCRIPT|-")
@click.option("--kernel", default="6.1", show_default=True, metavar="RELEASE", help="The kernel's release.")
@click.option("--lru", type=click.Choice(["classic", "mglru"]), default="classic", show_default=True, help="Which LRU.")
@click.option("--memory-max", type=click.IntRange(1), metavar="PAGES", help="memory.max in place of the script's.")
@click.option("--page-size", type=click.Choice(["4096"]), default="4096", show_default=True, help="Bytes of a page.")
@output_option("table", "json")
def run(script: str, kernel: str, lru: str, memory_max: int | None, page_size: str, output: str) -> None:
    """Perform a script of accesses and show after each line which pages are where.

    SCRIPT describes a cgroup's limit, its swap devices, files and anonymous mappings, and what its only process does
    with them. One CPU, one node.
    """
    from mmtool.build.fact import parse_series
    from mmtool.build.facts.reclaim import ReclaimFacts
    from mmtool.errors import UsageError
    from mmtool.firmware.packed import read_bytes
    from mmtool.report.reclaim import run_json, run_tables
    from mmtool.report.table import text_tables
    from mmtool.system.reclaim_run import run_workload
    from mmtool.system.reclaim_script import parse_workload

    release = parse_series(kernel)
    if release is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    text = read_bytes(script).decode("utf-8", "replace")
    workload = parse_workload(text.splitlines(), script)
    if memory_max is not None:
        workload.machine.max = memory_max
    done = run_workload(workload, ReclaimFacts(release), lru)
    if output == "json":
        click.echo(run_json(done))
    else:
        click.echo(text_tables(run_tables(done)), nl=False)


@reclaim.command("rmap", short_help="Perform a script of forks and sharing, and count how often each page is mapped.")
@click.argument("script", metavar="SCRIPT|-")
@click.option("--kernel", default="6.1", show_default=True, metavar="RELEASE", help="The kernel's release.")
@output_option("table", "json")
def rmap(script: str, kernel: str, output: str) -> None:
    """Perform a script of forks, sharing and merging, and show how often each page is mapped after each line.

    SCRIPT names objects (anonymous, shared, of a file) and what the processes do with them.
    """
    from mmtool.build.fact import parse_version
    from mmtool.errors import UsageError
    from mmtool.firmware.packed import read_bytes
    from mmtool.report.rmap import rmap_json, rmap_table
    from mmtool.report.table import text_tables
    from mmtool.system.rmap_script import run_rmap

    if parse_version(kernel) is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    lines = read_bytes(script).decode("utf-8", "replace").splitlines()
    done = list(run_rmap(lines, script, kernel))
    if output == "json":
        click.echo(rmap_json(done))
    else:
        click.echo(text_tables([rmap_table(done, lines)]))
