"""`mmtool reclaim`: which pages a memory cgroup keeps, and which reclaim takes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mmtool.cli import Group
from mmtool.cli.output import note, output_option

if TYPE_CHECKING:
    from mmtool.answers.reclaim_fit import Source
    from mmtool.build.fact import Version
    from mmtool.build.facts.reclaim import ReclaimFacts


@click.group(cls=Group)
def reclaim() -> None:
    """Reclaim in a memory cgroup, page by page."""


@reclaim.command("run", short_help="Perform a script of accesses inside a memory cgroup.")
@click.argument("script", metavar="SCRIPT|-")
@click.option("--kernel", default="6.1", show_default=True, metavar="RELEASE", help="The kernel's release.")
@click.option("--lru", type=click.Choice(["classic", "mglru"]), default="classic", show_default=True, help="Which LRU.")
@click.option("--memory-max", type=click.IntRange(1), metavar="PAGES", help="memory.max in place of the script's.")
@click.option("--page-size", type=click.Choice(["4096"]), default="4096", show_default=True, help="Bytes of a page.")
@click.option("--accesses", type=click.IntRange(1), default=100_000, show_default=True, metavar="N",
              help="So many accesses a script may ask for.")
@output_option("table", "json", "html")
def run(
    script: str, kernel: str, lru: str, memory_max: int | None, page_size: str, accesses: int, output: str
) -> None:  # fmt: skip
    """Perform a script of accesses and show after each line which pages are where.

    SCRIPT describes a cgroup's limit, its swap devices, files and anonymous mappings, and what its only process does
    with them. One CPU, one node.
    """
    from mmtool.build.facts.reclaim import ReclaimFacts
    from mmtool.firmware.packed import read_bytes
    from mmtool.report.reclaim import run_json, run_tables
    from mmtool.report.table import text_tables
    from mmtool.system.reclaim_run import run_workload
    from mmtool.system.reclaim_script import parse_workload

    release = _release(kernel)
    text = read_bytes(script).decode("utf-8", "replace")
    workload = parse_workload(text.splitlines(), script, accesses)
    if memory_max is not None:
        workload.machine.max = memory_max
    done = run_workload(workload, ReclaimFacts(release), lru)
    if output == "html":
        from mmtool.report.html.reclaim import html

        click.echo(html(done), nl=False)
    elif output == "json":
        click.echo(run_json(done))
    else:
        click.echo(text_tables(run_tables(done)), nl=False)


@reclaim.command("fit", short_help="How much memory.max does a workload need?")
@click.argument("source", metavar="SCRIPT|TRACE|-")
@click.option("--target-refaults", type=click.IntRange(0), metavar="N", help="The smallest memory.max with at most N.")
@click.option("--curve", is_flag=True, help="Misses and refaults over memory.max; what there is without a target.")
@click.option("--at", metavar="PAGES,...", help="The curve at these sizes.")
@click.option("--points", type=click.IntRange(2, 1000), default=8, show_default=True, help="Else at about so many.")
@click.option("--kernel", default="6.1", show_default=True, metavar="RELEASE", help="The kernel's release.")
@click.option("--lru", type=click.Choice(["classic", "mglru", "both"]), default="both", show_default=True, help="LRU.")
@click.option("--swap", metavar="none|DEV:PAGES[:PRIO]", help="Swap in place of the script's or, of a trace, plenty.")
@click.option("--swappiness", type=click.IntRange(0, 200), metavar="N", help="vm.swappiness in place of 60.")
@click.option("--addresses", is_flag=True, help="The numbers of a plain trace are addresses in bytes.")
@click.option(
    "--backing", type=click.Choice(["anon", "file"]), default="anon", show_default=True,
    help="What lies at an address of which the trace says no more.",
)
@output_option("table", "json", "csv")
def fit(
    source: str, target_refaults: int | None, curve: bool, at: str | None, points: int, kernel: str, lru: str,
    swap: str | None, swappiness: int | None, addresses: bool, backing: str, output: str,
) -> None:
    """Find the memory.max that a workload needs, or draw its miss-ratio curve.

    SOURCE is a script of `mmtool reclaim run` or a trace: page numbers, a line each (r w l s before it for read, write,
    load, store; OBJECT: in front of the number, `anon` and `anon/...` being anonymous memory); the addresses of
    valgrind --tool=lackey --trace-mem=yes; or what perf script or ftrace print of filemap's events and page faults.

    Exit status 1 when no memory.max meets the target.
    """
    from mmtool.answers.reclaim_fit import fit_curve, fit_target
    from mmtool.build.facts.reclaim import ReclaimFacts
    from mmtool.errors import UsageError
    from mmtool.report.reclaim_fit import render_fit

    if target_refaults is None and not curve and at is None:
        raise UsageError("give --target-refaults N or --curve")
    if target_refaults is not None and (curve or at is not None):
        raise UsageError("--target-refaults runs the sizes that it needs; ask for --curve by itself")
    release = _release(kernel)
    facts = ReclaimFacts(release)
    lrus = _lrus(lru, kernel, facts)
    sizes = None if at is None else _sizes(at)
    workload = _source(source, swap, swappiness, addresses, backing == "anon")
    if target_refaults is not None:
        found = fit_target(workload, facts, lrus, target_refaults)
    else:
        found = fit_curve(workload, facts, lrus, sizes, points)
    render_fit(found, kernel, output)
    if any(target.best is None for target in found.targets):
        sys.stdout.flush()
        raise click.exceptions.Exit(1)


def _release(kernel: str) -> Version:
    from mmtool.build.fact import parse_series
    from mmtool.errors import UsageError

    release = parse_series(kernel)
    if release is None:
        raise UsageError(f"{kernel!r} is not a kernel release (6.1, 6.12.3)")
    return release


def _lrus(lru: str, kernel: str, facts: ReclaimFacts) -> list[str]:
    """The LRUs that are asked for and that the release has."""
    from mmtool.errors import UsageError

    if facts.lru_gen:
        return ["classic", "mglru"] if lru == "both" else [lru]
    if lru == "mglru":
        raise UsageError("this release has no multi-generational LRU")
    if lru == "both":
        note(f"Linux {kernel} has the classic LRU alone")
    return ["classic"]


def _sizes(text: str) -> list[int]:
    from mmtool.errors import UsageError

    words = text.split(",")
    if not all(len(word) < 20 and word.isascii() and word.isdecimal() and 0 < int(word) <= 1 << 40 for word in words):
        raise UsageError(f"--at: {text!r} is no list of sizes in pages (100,200)")
    return sorted({int(word) for word in words})


def _source(name: str, swap: str | None, swappiness: int | None, addresses: bool, anon: bool) -> Source:
    """The script or the trace."""
    from mmtool.answers.reclaim_fit import ScriptSource, TraceSource, swap_for
    from mmtool.errors import InputError, UsageError
    from mmtool.firmware.packed import read_lines
    from mmtool.observed.accesses import is_script, read_accesses, sniff
    from mmtool.system.reclaim_script import WorkloadMachine, parse_swap, parse_workload

    head, lines = sniff(read_lines(name))
    try:
        devices = None if swap is None else parse_swap(swap)
    except ValueError as e:
        raise UsageError(f"--swap: {e}") from None
    if is_script(head):
        workload = parse_workload((line.decode("utf-8", "replace") for line in lines), name)
        machine = workload.machine
        machine.swap = machine.swap if devices is None else devices
        machine.swappiness = machine.swappiness if swappiness is None else swappiness
        source = ScriptSource(workload)
        if not source.accesses:
            raise InputError(name, None, "no accesses in it")
        return source
    trace = read_accesses(lines, name, addresses=addresses, addresses_anon=anon)
    machine = WorkloadMachine(swap=swap_for(trace) if devices is None else devices)
    machine.swappiness = machine.swappiness if swappiness is None else swappiness
    return TraceSource(trace, machine)


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
