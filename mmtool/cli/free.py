"""`mmtool free`: free pages on a state, and show where they go."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.alloc import use_cpu
from mmtool.cli.options import SIZE
from mmtool.cli.output import note, output_option
from mmtool.cli.states import load_system, state_options
from mmtool.errors import UsageError


@click.command()
@click.option("--pfn", type=SIZE, metavar="PFN", help="The block's first page frame.")
@click.option("--phys", type=SIZE, metavar="ADDR", help="Its physical address, in place of --pfn.")
@click.option("--order", type=int, default=0, show_default=True, metavar="N", help="2**N pages in one block.")
@click.option("--cpu", type=int, metavar="N", help="The CPU that frees; else the first.")
@state_options
@output_option("table", "json", "yaml", "csv")
def free(pfn: int | None, phys: int | None, order: int, cpu: int | None, output: str, **state: Any) -> None:
    """Free a block as the kernel would: to the CPU's lists, or to the buddy lists with all merges.

    Without --state, --live or --proc it goes on from a document on standard input, else from the last boot. Exit
    status 1 when a page of the block is free already.
    """
    if (pfn is None) == (phys is None):
        raise UsageError("give --pfn or --phys, one of them")
    from mmtool.report.free import render
    from mmtool.system.script import check_order

    system = load_system(**state)
    use_cpu(system, cpu)
    try:
        check_order(system, order)
    except ValueError as e:
        raise UsageError(str(e)) from None
    if system.synthetic:
        raise UsageError("this state has counts only and no page frame numbers; free with a script of mmtool alloc")
    start = pfn if pfn is not None else _pfn(phys or 0, system.kernel.page_shift)
    if start & ((1 << order) - 1):
        raise UsageError(f"pfn {start:#x} is not aligned to a block of order {order}")
    try:
        zone = system.zone_of(start)
    except KeyError:
        raise UsageError(f"no zone spans pfn {start:#x}") from None
    taken = next((p for p in range(start, start + (1 << order)) if system.is_free(p)), None)
    if taken is not None:
        note(f"page {taken:#x} is free already")
        raise click.exceptions.Exit(1)
    system.free_pages(start, order)
    render(system, zone, start, order, output)


def _pfn(phys: int, page_shift: int) -> int:
    if phys & ((1 << page_shift) - 1):
        raise UsageError(f"--phys: {phys:#x} is not where a page begins")
    return phys >> page_shift
