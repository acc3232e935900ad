"""`mmtool boot`: from what the firmware said to zones, zonelists and free lists."""

from __future__ import annotations

from dataclasses import replace

import click

from mmtool.cli.options import RANGE, SIZE, output_option
from mmtool.errors import UsageError

SECTIONS = ("firmware", "memblock", "nodes", "zones", "zonelists", "buddy", "watermarks", "vmalloc", "steps")
"""In the order of the table; `steps` is long and comes only when it is asked for."""


@click.command()
@click.option("--e820", "e820", metavar="FILE|DIR|-", help="A kernel log, /sys/firmware/memmap or a bare table.")
@click.option("--cmdline", metavar="TEXT", help="Command line in place of the input's.")
@click.option("--kernel", "kernel_name", metavar="NAME", help="A release (6.1) or a profile in place of the input's.")
@click.option("--profile", metavar="FILE", help="A YAML profile of the kernel's build.")
@click.option("--kernel-base", type=SIZE, metavar="ADDR", help="Where the kernel image lies (/proc/iomem: Kernel code).")
@click.option("--initrd", type=RANGE, metavar="START-END", help="Where the initial RAM disk lies.")
@click.option("--srat", metavar="FILE", help="The machine's SRAT, as a binary ACPI table.")
@click.option("--slit", metavar="FILE", help="The machine's SLIT, as a binary ACPI table.")
@click.option("--cpus", type=click.IntRange(1), metavar="N", help="CPUs of the machine.")
@click.option("--only", metavar="SECTION,...", help=f"Only these sections: {', '.join(SECTIONS)}.")
@output_option("table", "json", "yaml", "csv", "dmesg")
def boot(
    e820: str | None,
    cmdline: str | None,
    kernel_name: str | None,
    profile: str | None,
    kernel_base: int | None,
    initrd: tuple[int, int] | None,
    srat: str | None,
    slit: str | None,
    cpus: int | None,
    only: str | None,
    output: str,
) -> None:
    """Boot a machine's memory map in the model and show what Linux makes of it.

    Without --e820 it is this machine: its /sys/firmware/memmap and what /proc says of its kernel.
    """
    from mmtool.firmware.read import read_machine
    from mmtool.init.main import start_kernel
    from mmtool.kernel.choose import kernel_for
    from mmtool.report.boot import render

    sections = _sections(only, output)
    machine = read_machine(e820, srat=srat, slit=slit)
    if initrd is not None:
        machine = replace(machine, initrd=initrd)
    kernel = kernel_for(machine, kernel_name, profile)
    booted = start_kernel(machine, kernel, cmdline=cmdline, kernel_base=kernel_base, cpus=cpus)
    render(booted, output, sections)


def _sections(only: str | None, output: str) -> tuple[str, ...]:
    if only is None:
        return SECTIONS if output in ("json", "yaml") else tuple(s for s in SECTIONS if s != "steps")
    wanted = tuple(s.strip() for s in only.split(","))
    unknown = [s for s in wanted if s not in SECTIONS]
    if unknown:
        raise UsageError(f"--only: no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return wanted
