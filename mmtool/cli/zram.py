"""`mmtool zram`: compressed memory as a block device, and the allocator below it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from mmtool.cli import Group
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
