"""`mmtool zram`: compressed memory as a block device, and the allocator below it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from mmtool.cli import Group
from mmtool.cli.options import SIZE
from mmtool.cli.output import output_option
from mmtool.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from mmtool.linux.mm.zsmalloc import ZsPool

PAGE_SIZES = ("4096", "16384", "65536")
WORD_AND_PHYSMEM_BITS = {"x86_64": (64, 52), "arm64": (64, 52), "i386": (32, 32), "i386-pae": (32, 36)}


@click.group(cls=Group)
def zram() -> None:
    """Compressed memory: which sizes share pages, and what a device takes step by step."""


def _pool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--chain-size", type=click.IntRange(4, 16), metavar="N", help="CONFIG_ZSMALLOC_CHAIN_SIZE."),
        click.option("--arch", type=click.Choice(tuple(WORD_AND_PHYSMEM_BITS)), help="Else by the page size."),
        click.option("--page-size", type=click.Choice(PAGE_SIZES), default="4096", show_default=True, help="Bytes."),
        click.option("--kernel", metavar="RELEASE", default="6.12", show_default=True, help="The kernel's release."),
    ):
        command = option(command)
    return command


@zram.command()
@_pool_options
@output_option("table", "json", "yaml", "csv")
def classes(kernel: str, page_size: str, arch: str | None, chain_size: int | None, output: str) -> None:
    """Show zsmalloc's size classes: which requests share zspages, of how many pages and objects."""
    from mmtool.report.zram import render_classes

    render_classes(_pool(kernel, page_size, arch, chain_size), output)


@zram.command()
@click.argument("script", metavar="SCRIPT|-")
@_pool_options
@click.option("--algorithm", metavar="NAME", help="The compressor whose lengths the script tells; checked alone.")
@output_option("table", "json", "yaml", "csv")
def run(
    script: str, kernel: str, page_size: str, arch: str | None, chain_size: int | None, algorithm: str | None,
    output: str,
) -> None:  # fmt: skip
    """Do what SCRIPT says on a zram device, and show what it takes after each line.

    A line each: `machine disksize=PAGES [limit=PAGES]` first; then `write FROM-TO LEN[*N],same[*N],...` (what each page
    compresses to, in bytes; same: one word over and over), `discard FROM-TO`, `read FROM-TO`, `compact`, `reset-max`,
    `idle`. `#` starts a comment. Exit status 1 if a write failed for the limit.
    """
    from mmtool.report.zram import render_run
    from mmtool.system.zram_script import ALGORITHMS, parse_zram_script, run_zram_script

    if algorithm is not None and algorithm not in ALGORITHMS:
        raise UsageError(f"--algorithm {algorithm}: there are {', '.join(ALGORITHMS)}")
    pool = _pool(kernel, page_size, arch, chain_size)
    results = list(run_zram_script(parse_zram_script(_lines(script), script, int(page_size)), pool))
    render_run(results, output)
    if any(result.failed for result in results):
        sys.exit(1)


@zram.command()
@click.option("--sizes", metavar="FILE|-", help="Compressed lengths of a sample of pages: LEN[*N] or same[*N].")
@click.option("--mm-stat", metavar="FILE|-", help="/sys/block/zramN/mm_stat of a device in use.")
@click.option("--memory", type=SIZE, metavar="SIZE", help="The machine's memory, in place of this machine's.")
@click.option("--disksize", type=SIZE, metavar="SIZE", multiple=True, help="Else 25, 50, 100, 150, 200% of memory.")
@click.option("--limit", type=SIZE, metavar="SIZE", default=0, help="mem_limit: memory that the pool may take.")
@click.option("--no-actime", is_flag=True, help="The build does not note when a page was used last.")
@_pool_options
@output_option("table", "json", "yaml", "csv")
def plan(
    sizes: str | None, mm_stat: str | None, memory: int | None, disksize: tuple[int, ...], limit: int, no_actime: bool,
    kernel: str, page_size: str, arch: str | None, chain_size: int | None, output: str,
) -> None:  # fmt: skip
    """Show what zram devices of several sizes would hold and cost, full of pages like those that are known.

    How pages compress comes from lengths of a sample, or from the mm_stat of a device in use.
    """
    from mmtool.answers.zram_plan import plan as plan_of
    from mmtool.answers.zram_plan import read_mm_stat, read_sizes
    from mmtool.report.zram import render_plan

    if (sizes is None) == (mm_stat is None):
        raise UsageError("give --sizes with lengths of pages, or --mm-stat of a device in use")
    pool = _pool(kernel, page_size, arch, chain_size)
    if sizes is not None:
        sample = read_sizes(_lines(sizes), sizes, pool)
    else:
        sample = read_mm_stat("\n".join(_lines(mm_stat or "-")), mm_stat or "-", pool)
    total = _memory() if memory is None else memory
    page = int(page_size)
    devices = disksize or tuple(total * percent // 100 // page * page for percent in (25, 50, 100, 150, 200))
    if total < page or not all(page <= size <= 1 << 52 for size in devices):
        raise UsageError(f"--memory and --disksize are sizes from {page} bytes on")
    plans = [plan_of(sample, pool, size // page * page, limit, actime=not no_actime) for size in devices]
    render_plan(sample, plans, total, limit, kernel, output)


def _memory() -> int:
    """MemTotal of this machine, in bytes."""
    from pathlib import Path

    from mmtool.regex import regex

    try:
        found = regex(r"^MemTotal:\s+(\d+) kB$", re.MULTILINE).search(Path("/proc/meminfo").read_text())
    except OSError:
        found = None
    if found is None:
        raise UsageError("this machine does not say how much memory it has; give --memory SIZE")
    return int(found[1]) << 10


def _pool(kernel: str, page_size: str, arch: str | None, chain_size: int | None) -> ZsPool:
    """An empty pool of that kernel."""
    from mmtool.build.fact import parse_version
    from mmtool.build.facts.zram import ZramFacts
    from mmtool.linux.mm.zsmalloc import DEFAULT_CHAIN_SIZE, FIXED_CHAIN_SIZE, Layout, ZsPool

    version = parse_version(kernel)
    if version is None:
        raise UsageError(f"--kernel {kernel}: not a release such as 6.12")
    arch = arch or ("x86_64" if page_size == "4096" else "arm64")
    if page_size != "4096" and arch != "arm64":
        raise UsageError(f"--page-size {page_size}: {arch} has pages of 4096 bytes")
    facts = ZramFacts(version)
    if chain_size is not None and not facts.chain_size_is_an_option:
        raise UsageError(f"--chain-size: Linux {kernel} has no such option, a chain has {FIXED_CHAIN_SIZE} pages")
    longest = (chain_size or DEFAULT_CHAIN_SIZE) if facts.chain_size_is_an_option else FIXED_CHAIN_SIZE
    word, physmem = WORD_AND_PHYSMEM_BITS[arch]
    return ZsPool(facts, Layout(int(page_size).bit_length() - 1, word, physmem, longest))


def _lines(source: str) -> list[str]:
    from mmtool.firmware.packed import read_bytes

    data = read_bytes(source)
    try:
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError as e:
        raise InputError(source, f"byte {e.start}", "not UTF-8 text") from None
