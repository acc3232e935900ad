"""`mmtool boot`: from what the firmware said to zones, zonelists and free lists."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.options import ADDRESS, boot_machine, machine_options
from mmtool.cli.output import output_option, shape_asked, stdout_in_colour
from mmtool.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mmtool.linux.init.boot import Boot

SECTIONS = ("firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "watermarks", "vmalloc", "steps")
"""In the order of the table."""
DOCUMENTS = ("table", "json", "yaml", "csv")
"""The formats of what is no picture and no log."""
WHY = ("zones", "managed", "min_free", "watermarks", "zonelists")


def _why_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from mmtool.cli.completion import some_of

    return some_of(WHY, incomplete)


def _section_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from mmtool.cli.completion import some_of

    return some_of(SECTIONS, incomplete)


@click.command()
@click.option(
    "--only", metavar="SECTION,...", multiple=True, help=f"Only these sections: {', '.join(SECTIONS)}.",
    shell_complete=_section_names,
)
@click.option("--all", "everything", is_flag=True, help="Every section, in place of the summary.")
@click.option("--explain", type=ADDRESS, metavar="ADDR", help="Say who owns an address, and why it lies there.")
@click.option(
    "--why", metavar="TOPIC,...", multiple=True, help=f"Say how numbers come about: {', '.join(WHY)}.",
    shell_complete=_why_names,
)
@output_option("table", "json", "yaml", "csv", "dmesg", "svg", "html")
@machine_options
def boot(
    only: tuple[str, ...],
    everything: bool,
    explain: int | None,
    why: tuple[str, ...],
    output: str,
    **machine: Any,
) -> None:
    """Boot a machine's memory map in the model and show what Linux makes of it.

    FILE is a kernel log, a device tree, a capture, /sys/firmware/memmap or a bare table; what it is, is recognised.
    Without one it is this machine. The table is a summary; --only and --all have the rest.
    """
    from mmtool.cli.last_boot import keep_last_state

    topics = _topics(why, output) if why else ()
    for option, asked in (("--why", why), ("--explain", explain is not None)):
        if asked and (only or everything or (why and explain is not None) or output not in DOCUMENTS):
            raise UsageError(f"{option} is an answer of its own: it goes neither with --only nor with -o {output}")
    answers = why or explain is not None
    sections = () if answers else _sections(only, everything, output)
    if not answers and not sections and (shape := shape_asked()):
        raise UsageError(f"{shape} goes with a table; say which, as --only zones")
    booted = boot_machine(**machine)
    # Before anything is shown: whoever has seen a part of a machine goes on from that one.
    keep_last_state(booted)
    if topics:
        from mmtool.answers.why import why as reasons
        from mmtool.report.why import render_why

        render_why(booted, [reasons(booted, topic) for topic in topics], output)
    elif explain is not None:
        from mmtool.report.explain import render_address

        render_address(booted, explain, output)
    else:
        _render(booted, output, sections)


def _topics(why: tuple[str, ...], output: str) -> tuple[str, ...]:
    """The topics of --why."""
    topics = _named("--why", "topic", why, WHY)
    if output == "csv" and len(topics) != 1:
        raise UsageError("CSV is one table: say which, as --why zones")
    if output == "table" and (option := shape_asked()):
        raise UsageError(f"{option} goes with -o csv where --why is asked")
    return topics


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


def _named(option: str, kind: str, given: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of an option that may be repeated and has commas, each once, in any case."""
    wanted = tuple(dict.fromkeys(name.strip().lower() for text in given for name in text.split(",")))
    for name in wanted:
        if name not in known:
            from mmtool.suggest import among

            raise UsageError(f"{option}: no {kind} {name!r}{among(name, known)}")
    return wanted


def _sections(only: tuple[str, ...], everything: bool, output: str) -> tuple[str, ...]:
    """The sections that are shown; none is the summary."""
    if everything and only:
        raise UsageError("--all has every section; give it or --only")
    if output == "html" and only:
        raise UsageError("a page has every section; give --only with another -o")
    wanted = _named("--only", "section", only, SECTIONS)
    if output == "csv" and len(wanted) != 1:
        raise UsageError(f"CSV is one table: say which, as --only zones; there are {', '.join(SECTIONS)}")
    if wanted or (output in ("table", "svg") and not everything):
        return wanted
    return SECTIONS if output in ("json", "yaml") or everything else tuple(s for s in SECTIONS if s != "steps")
