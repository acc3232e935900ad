"""`mmtool boot`: from what the firmware said to zones, zonelists and free lists."""

from __future__ import annotations

from typing import Any

import click

from mmtool.cli.options import SIZE, boot_machine, machine_options, output_option
from mmtool.errors import UsageError

SECTIONS = ("firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "watermarks", "vmalloc", "steps")
"""In the order of the table; `steps` is long and comes only when it is asked for."""


@click.command()
@machine_options
@click.option("--only", metavar="SECTION,...", help=f"Only these sections: {', '.join(SECTIONS)}.")
@click.option("--explain", type=SIZE, metavar="ADDR", help="Say who owns a physical address, and why it lies there.")
@output_option("table", "json", "yaml", "csv", "dmesg", "svg")
def boot(only: str | None, explain: int | None, output: str, **machine: Any) -> None:
    """Boot a machine's memory map in the model and show what Linux makes of it.

    Without --e820 it is this machine: its /sys/firmware/memmap and what /proc says of its kernel.
    """
    if explain is None:
        from mmtool.cli.states import keep_last_state
        from mmtool.report.boot import render

        sections = _sections(only, output)
        booted = boot_machine(**machine)
        render(booted, output, sections)
        keep_last_state(booted)
        return

    from mmtool.report.explain import render_address

    if only is not None or output in ("dmesg", "svg"):
        raise UsageError(f"--explain is an answer of its own: it goes neither with --only nor with -o {output}")
    render_address(boot_machine(**machine), explain, output)


def _sections(only: str | None, output: str) -> tuple[str, ...]:
    if only is None:
        return SECTIONS if output in ("json", "yaml") else tuple(s for s in SECTIONS if s != "steps")
    wanted = tuple(s.strip() for s in only.split(","))
    unknown = [s for s in wanted if s not in SECTIONS]
    if unknown:
        raise UsageError(f"--only: no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return wanted
