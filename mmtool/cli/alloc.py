"""`mmtool alloc`: allocate pages on a state, and say what happened and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.options import gfp_option
from mmtool.cli.output import output_option
from mmtool.cli.states import load_system, state_options
from mmtool.errors import UsageError
from mmtool.units import whole

if TYPE_CHECKING:
    from mmtool.linux.mm.page_alloc.outcome import Outcome
    from mmtool.system.system import System

MOST = 4_000_000
"""Allocations that are done at most."""
LISTED = 1000
"""How many allocations are listed one by one; of more only a failure is."""


@click.command()
@click.option("--order", type=int, metavar="N", help="2**N pages in one block.")
@gfp_option
@click.option("--node", type=int, metavar="N", help="The node to look on first; else the CPU's.")
@click.option("--nodemask", metavar="N,...", help="Only these nodes.")
@click.option("--cpu", type=int, metavar="N", help="The CPU that asks; else the first.")
@click.option("--count", default="1", show_default=True, metavar="N|max", help="How often; max: until it fails.")
@click.option("--script", metavar="FILE|-", help="A series of allocations and frees, a line each.")
@click.option("--explain", is_flag=True, help="Say step by step and zone by zone why.")
@state_options
@output_option("table", "json", "yaml", "csv")
def alloc(
    order: int | None,
    gfp: str,
    node: int | None,
    nodemask: str | None,
    cpu: int | None,
    count: str,
    script: str | None,
    explain: bool,
    output: str,
    **state: Any,
) -> None:
    """Allocate pages as the kernel would, on a state from a boot, a file or /proc.

    Without --state, --live or --proc it goes on from a document on standard input, else from the last boot. Exit
    status 1 when an allocation fails.
    """
    if (order is None) == (script is None):
        raise UsageError("give --order, or --script with a file of lines")
    given = (count != "1" and "--count") or (node is not None and "--node") or (nodemask is not None and "--nodemask")
    if script is not None and (given or explain):
        raise UsageError(f"{given or '--explain'} goes with --order; a script says such things line by line")
    from mmtool.linux.mm.page_alloc.outcome import Estimate
    from mmtool.report.alloc import render_outcomes, render_script
    from mmtool.system.script import without_reclaim

    system = load_system(**state)
    use_cpu(system, cpu)
    if script is not None:
        from mmtool.system.script import parse_script, run_script

        render_script(run_script(parse_script(_lines(script), system, script), system), system, output)
        return
    assert order is not None
    other = without_reclaim(system)
    outcomes, allocated = _allocate(system, order, gfp, node, nodemask, count)
    without = None
    if other is not None and Estimate.LISTS in system.estimates:
        without = _allocate(other, order, gfp, node, nodemask, count)[1]
    render_outcomes(outcomes, allocated, without, system, output, explain)
    if not outcomes[-1].ok:
        sys.stdout.flush()
        raise click.exceptions.Exit(1)


def use_cpu(system: System, cpu: int | None) -> None:
    """Let a CPU act; UsageError when it is not online."""
    if cpu is None:
        return
    if cpu not in system.cpu_nodes:
        raise UsageError(f"--cpu: CPU {cpu} is not online; there is {', '.join(map(str, system.cpu_nodes))}")
    system.cpu = cpu


def count_or_max(count: str, most: int) -> int | None:
    """The value of --count, up to `most`; None for max."""
    if count == "max":
        return None
    try:
        number = whole(count, least=1)
    except ValueError:
        raise UsageError(f"--count: {count!r} is neither a number from 1 on nor max") from None
    if number > most:
        raise UsageError(f"--count: at most {most} are done")
    return number


def _nodes(nodemask: str) -> frozenset[int]:
    try:
        return frozenset(whole(n) for n in nodemask.split(","))
    except ValueError:
        raise UsageError(f"--nodemask: {nodemask!r} is no list of nodes (0,2)") from None


def _allocate(
    system: System, order: int, gfp: str, node: int | None, nodemask: str | None, count: str
) -> tuple[list[Outcome], int]:
    """The outcomes, the first LISTED and one that failed, and how many succeeded."""
    from mmtool.build.gfp import GfpError
    from mmtool.system.script import check_node, check_order

    try:
        check_order(system, order)
        mask = system.gfp.parse(gfp)
        nodes = _nodes(nodemask) if nodemask is not None else None
        for nid in (*(nodes or ()), *(() if node is None else (node,))):
            check_node(system, nid)
    except GfpError as e:
        raise UsageError(f"--gfp: {e}") from None
    except ValueError as e:
        raise UsageError(str(e)) from None
    left = count_or_max(count, MOST)
    outcomes: list[Outcome] = []
    done = 0
    while left is None or done < left:
        if done < LISTED:
            outcomes.append(system.alloc_pages(mask, order, node, nodes))
        elif system.alloc_pfn(mask, order, node, nodes) is None:
            assert system.failure is not None
            outcomes.append(system.failure)
        if not outcomes[-1].ok:
            break
        done += 1
        if done == MOST and left is None:
            raise UsageError(f"--count max: {MOST} allocations have been done, and there is more; say a number")
    return outcomes, done


def _lines(source: str) -> list[str]:
    from mmtool.firmware.packed import read_bytes

    return read_bytes(source).decode("utf-8", "replace").splitlines()
