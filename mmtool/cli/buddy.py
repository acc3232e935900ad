"""`mmtool buddy`: the hand-over alone, from memblock's region lists to the free lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from mmtool.cli.output import output_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmtool.build.kernel import Kernel
    from mmtool.linux.mm.mmzone import Pgdat
    from mmtool.observed.memblock import RecordedMemblock


DEFAULT_RELEASE = "6.1"


@click.command()
@click.option("--memblock", "source", metavar="FILE|-", required=True, help="JSON with memory and reserved regions.")
@click.option("--kernel", "name", metavar="NAME", help=f"A release or a profile; else the file's or {DEFAULT_RELEASE}.")
@click.option("--cmdline", metavar="TEXT", help="Command line in place of the file's (kernelcore=, movablecore=).")
@click.option("--no-deferred", is_flag=True, help="A kernel without CONFIG_DEFERRED_STRUCT_PAGE_INIT.")
@click.option("--late", is_flag=True, help="The lists after page_alloc_init_late, nothing allocated in between.")
@output_option("table", "json", "yaml", "csv", shaped=("csv",))
def buddy(source: str, name: str | None, cmdline: str | None, no_deferred: bool, late: bool, output: str) -> None:
    """Hand memblock's free memory to the buddy allocator and print the free lists.

    FILE holds memblock's two lists as they stand before memblock_free_all: {"memory": [{"base", "size",
    "flags", "nid"}, ...], "reserved": [...]}, or a recorded stage with "memblock", "cmdline" and "kernel"; it may be
    compressed. The answer is the state right after: which blocks are free, list by list, from head to tail.
    """
    from mmtool.cli.states import read_json
    from mmtool.firmware.cmdline import parse_cmdline
    from mmtool.linux.init.main import hand_over
    from mmtool.linux.mm.memblock import Memblock
    from mmtool.observed.memblock import memblock_from_json

    recorded = memblock_from_json(read_json(source), source)
    kernel = _kernel(recorded, name, no_deferred)
    mb = Memblock.of(kernel)
    mb.memory.restore(recorded.memory)
    mb.reserved.restore(recorded.reserved)
    text = cmdline if cmdline is not None else recorded.cmdline or ""
    click.echo(_render(hand_over(mb, kernel, parse_cmdline(text), late=late), output))


def _kernel(recorded: RecordedMemblock, name: str | None, no_deferred: bool) -> Kernel:
    """The kernel of that name, else the one that made the lists, else the default release."""
    from mmtool.build.choose import kernel_for
    from mmtool.firmware.machine import Machine

    release, version_line = recorded.release, None
    if release is not None:
        version_line = f"Linux version {release} {recorded.version or ''}"
    kernel = kernel_for(Machine("none", (), release=release or DEFAULT_RELEASE, version_line=version_line), name)
    if no_deferred:
        kernel = replace(kernel, profile=kernel.profile.nearest({"DEFERRED_STRUCT_PAGE_INIT": False}))
    return kernel


def _render(pgdats: Mapping[int, Pgdat], output: str) -> str:
    from mmtool.report import buddy as report
    from mmtool.report.yaml_text import yaml_text

    if output == "table":
        return report.table(pgdats)
    if output == "json":
        import json

        return json.dumps(report.document(pgdats))
    if output == "yaml":
        return yaml_text(report.document(pgdats)).rstrip("\n")
    return report.csv(pgdats).rstrip("\n")
