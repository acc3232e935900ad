"""`mmtool boot`: from what the firmware said to zones, zonelists and free lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.options import ADDRESS, boot_machine, examples, machine_options
from mmtool.cli.output import output_option, shape_asked, stdout_in_colour
from mmtool.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mmtool.linux.init.boot import Boot

SECTIONS = ("firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "watermarks", "vmalloc", "steps")
"""In the order of the table."""
EXAMPLES = examples("mmtool boot dmesg.txt", "mmtool boot dmesg.txt --only zones,zonelists -o json")


def _section_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from mmtool.cli.completion import some_of

    return some_of(SECTIONS, incomplete)


@click.command(epilog=EXAMPLES)
@click.option(
    "--only", metavar="SECTION,...", multiple=True, help=f"Only these sections: {', '.join(SECTIONS)}.",
    shell_complete=_section_names,
)
@click.option("--all", "everything", is_flag=True, help="Every section, in place of the summary.")
@click.option("--explain", type=ADDRESS, metavar="ADDR", help="Say who owns an address, and why it lies there.")
@output_option("table", "json", "yaml", "csv", "dmesg", "svg", "html")
@machine_options
def boot(only: tuple[str, ...], everything: bool, explain: int | None, output: str, **machine: Any) -> None:
    """Boot a machine's memory map in the model and show what Linux makes of it.

    FILE is a kernel log, a device tree, a capture, /sys/firmware/memmap or a bare table; what it is, is recognised.
    Without one it is this machine. The table is a summary; --only and --all have the rest.
    """
    from mmtool.cli.last_boot import keep_last_state

    if explain is not None and (only or everything or output in ("dmesg", "svg", "html")):
        raise UsageError(f"--explain is an answer of its own: it goes neither with --only nor with -o {output}")
    sections = _sections(only, everything, output) if explain is None else ()
    if explain is None and not sections and (option := shape_asked()):
        raise UsageError(f"{option} goes with a table; say which, as --only zones")
    booted = boot_machine(**machine)
    # Before anything is shown: whoever has seen a part of a machine goes on from that one.
    keep_last_state(booted)
    if explain is None:
        _render(booted, output, sections)
        return

    from mmtool.report.explain import render_address

    render_address(booted, explain, output)


def _render(booted: Boot, output: str, sections: tuple[str, ...]) -> None:
    """Print it; each form is loaded only for who wants it."""
    if output == "dmesg":
        from mmtool.report.dmesg import render as render_dmesg

        render_dmesg(booted)
    elif output == "svg":
        from mmtool.report.assumed import say

        if sections:
            from mmtool.report.picture.svg import svg

            sys.stdout.write(svg(booted, sections))
        else:
            from mmtool.report.picture.poster import poster

            sys.stdout.write(poster(booted))
        say(booted)
    elif output == "html":
        from mmtool.report.html.boot import html

        sys.stdout.write(html(booted))
    elif sections:
        from mmtool.report.boot import render

        render(booted, output, sections)
    else:
        from mmtool.report.summary import render as render_summary

        render_summary(booted, coloured=stdout_in_colour())


def _sections(only: tuple[str, ...], everything: bool, output: str) -> tuple[str, ...]:
    """The sections that are shown; none is the summary."""
    if everything and only:
        raise UsageError("--all has every section; give it or --only")
    if output == "html" and only:
        raise UsageError("a page has every section; give --only with another -o")
    wanted = tuple(dict.fromkeys(s.strip().lower() for text in only for s in text.split(",")))
    for name in wanted:
        if name not in SECTIONS:
            from mmtool.suggest import among

            raise UsageError(f"--only: no section {name!r}{among(name, SECTIONS)}")
    if output == "csv" and len(wanted) != 1:
        raise UsageError(f"CSV is one table: say which, as --only zones; there are {', '.join(SECTIONS)}")
    if wanted or (output in ("table", "svg") and not everything):
        return wanted
    return SECTIONS if output in ("json", "yaml") or everything else tuple(s for s in SECTIONS if s != "steps")
