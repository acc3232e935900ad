"""`mmtool slab`: the caches of a kernel's slab allocator, kmalloc's choices, and what calls do to slabs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmtool.cli import Group
from mmtool.cli.options import MOST_CPUS, SIZE, gfp_option
from mmtool.cli.output import note, output_option
from mmtool.cli.states import load_system, state_options
from mmtool.errors import UsageError

if TYPE_CHECKING:
    from mmtool.linux.mm.slab_common import SlabAllocator, SlabBuild
    from mmtool.observed.slabinfo import SlabInfo
    from mmtool.system.system import System

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_RELEASE = "6.12"
OWN_USE = "what the kernel itself has in a cache that it shares with the script is not counted"
OWN_CACHES = "the kernel's own caches are not known, and none of the script's is merged into one"

_MACHINE = (
    click.option("--kernel", "release", default=DEFAULT_RELEASE, show_default=True, metavar="NAME",
                 help="A release (6.1) or a profile."),
    click.option("--arch", type=click.Choice(["x86_64", "i386", "arm64"]), default="x86_64", show_default=True,
                 help="The architecture."),
    click.option("--page-size", type=SIZE, default=4096, show_default=True, metavar="SIZE", help="Bytes of a page."),
    click.option("--cpus", type=click.IntRange(1, MOST_CPUS), default=2, show_default=True, metavar="N",
                 help="CPUs present."),
    click.option("--possible-cpus", type=click.IntRange(1, MOST_CPUS), metavar="N",
                 help="CPUs that there may be; else --cpus."),
    click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Nodes."),
    click.option("--memory", type=SIZE, default="1G", show_default=True, metavar="SIZE", help="Bytes of memory."),
    click.option("--cmdline", default="", metavar="TEXT", help="The command line: slab_, slub_ and memcg's options."),
    click.option("--allocator", type=click.Choice(["slub", "slab", "slob"]),
                 help="Which allocator; else the configuration's."),
    click.option("--config", metavar="FILE", help="The kernel's own configuration."),
)  # fmt: skip


def machine_options(command: F) -> F:
    """The options that say which kernel runs on which machine."""
    for option in reversed(_MACHINE):
        command = option(command)
    return command


class Machine:
    """What the machine options say, made into a build. Raises InputError and UsageError."""

    def __init__(
        self,
        release: str,
        arch: str,
        page_size: int,
        cpus: int,
        possible_cpus: int | None,
        nodes: int,
        memory: int,
        cmdline: str,
        allocator: str | None,
        config: str | None,
    ) -> None:
        from mmtool.build.kconfig import read_config
        from mmtool.build.nearest import kernel_with_allocator, kernel_with_config, nearest_kernel
        from mmtool.firmware.cmdline import parse_cmdline
        from mmtool.linux.mm.slab_common import slab_build
        from mmtool.system.slab.machine import check_allocator, configured_allocator

        possible = possible_cpus or cpus
        if possible < cpus:
            raise UsageError(f"--possible-cpus {possible}: {cpus} CPUs are present")
        kernel, self.assumed = nearest_kernel(release, arch, page_size)
        if config is not None and _there(config):
            read = read_config(text_of(config), config)
            kernel = kernel_with_config(kernel, {**read.options}, Path(config).name)
        elif allocator is not None:
            kernel, more = kernel_with_allocator(kernel, allocator)
            self.assumed += more
        if nodes > kernel.max_numnodes:
            raise UsageError(f"--nodes: {kernel.profile.name} is built for {kernel.max_numnodes} nodes")
        self.memory = memory
        self.build: SlabBuild = slab_build(kernel, parse_cmdline(cmdline), present=cpus, possible=possible, nodes=nodes)
        self.allocator = allocator or configured_allocator(self.build)
        check_allocator(self.allocator, self.build)

    def on(self, system: System) -> None:
        """Take kernel, CPUs and nodes from a booted machine; the rest stays as the options say."""
        from mmtool.linux.mm.slab_common import slab_build

        cpus = len(system.cpu_nodes)
        self.build = slab_build(
            system.kernel, self.build.cmdline, present=cpus, possible=cpus, nodes=max(system.nodes) + 1
        )
        self.assumed = ()


def _there(config: str) -> bool:
    """Is there a configuration of that name? Without it, one is assumed, and that is said."""
    if config == "-" or os.path.exists(config):  # noqa: PTH110 (which is false of a name that is too long)
        return True
    note(f"{config}: no such file; going on with the configuration that is nearest")
    return False


def text_of(path: str) -> str:
    """A file's text, standard input for "-", unpacked. InputError when it cannot be read."""
    from mmtool.firmware.packed import read_bytes

    return read_bytes(path).decode("utf-8", "replace")


@click.group(cls=Group)
def slab() -> None:
    """The slab allocator: its caches, kmalloc's choices, what calls do to slabs and objects."""


@slab.command("caches", short_help="Lay out the caches of a kernel.")
@click.option("--caches", "listed", metavar="FILE|-", help="Caches to create, a JSON object a line.")
@click.option("--boot", is_flag=True, help="With the caches that this build was seen to create at boot.")
@machine_options
@output_option("table", "json", "yaml", "csv")
def caches(listed: str | None, boot: bool, output: str, **machine: Any) -> None:
    """Lay out every cache as the kernel would: sizes, orders, limits, and which share one cache.

    Without --caches: kmem_cache, kmem_cache_node and kmalloc's caches, which every boot creates first.
    """
    from mmtool.observed.slab_creations import read_creations
    from mmtool.report.slab import render_caches
    from mmtool.system.slab.machine import boot_slub, create_listed, with_recorded

    there = Machine(**machine)
    rows = read_creations(text_of(listed).splitlines(), listed) if listed is not None else []
    slub: SlabAllocator[Any] = boot_slub(there.build)
    if there.allocator != "slub":
        from mmtool.system.slab.allocators import boot_allocator

        slub = boot_allocator(there.allocator, there.build, there.memory)
    if boot and not with_recorded(slub):
        raise UsageError(f"--boot: no boot of {there.build.kernel.profile.name}'s build was recorded; give --caches")
    refused = create_listed(slub, rows)
    render_caches(slub.caches, refused, there.allocator, there.build, there.assumed, output)


@slab.command("kmalloc", short_help="Say which cache serves a size.")
@click.option("--size", "sizes", required=True, metavar="N|FROM-TO|N,N,...", help="Bytes.")
@gfp_option
@machine_options
@output_option("table", "json", "yaml", "csv")
@click.pass_context
def kmalloc(context: click.Context, /, sizes: str, gfp: str, output: str, **machine: Any) -> None:
    """Say which cache serves a size, what is lost in it, and what happens when no slab of its order can be had.

    Exit status 1 when no size can be had.
    """
    from mmtool.build.gfp import GfpError
    from mmtool.report.slab_kmalloc import render_kmalloc
    from mmtool.system.slab.allocators import kmalloc_answers
    from mmtool.system.slab.kmalloc import FAILS, kinds, kmalloc_range, kmalloc_sizes, parse_sizes, slab_gfp

    there = Machine(**machine)
    try:
        asked = parse_sizes(sizes)
        flags = slab_gfp(there.build)
        kind = kinds(flags.parse(gfp), flags)
    except GfpError as e:
        raise UsageError(f"--gfp: {e}") from None
    except ValueError as e:
        raise UsageError(f"--size: {e}") from None
    answer = kmalloc_answers(there.allocator, there.build, there.memory)
    ranged = isinstance(asked, tuple)
    runs = kmalloc_range(asked[0], asked[1], kind, answer) if ranged else kmalloc_sizes(asked, kind, answer)
    render_kmalloc(runs, gfp, there.allocator, there.build, there.assumed, output)
    if all(run.served == FAILS for run in runs):
        context.exit(1)


@slab.command("run", short_help="Do a script of calls on caches.")
@click.argument("script", metavar="SCRIPT|-")
@machine_options
@state_options
@output_option("table", "json", "yaml", "csv")
@click.pass_context
def run(
    context: click.Context,
    /,
    script: str,
    output: str,
    state: str | None,
    live: bool,
    proc: str | None,
    **machine: Any,
) -> None:
    """Do a script of calls, a line each, and say which slab every object is of and whose place it gets.

    Lines: cache, alloc, free, shrink, destroy, kmalloc, fragment, defragment. With --state, --live or --proc slabs
    take their pages from that state, whose kernel and CPUs count then. Exit status 1 when an allocation fails.
    """
    from mmtool.linux.mm.slub.slab import Topology, evenly
    from mmtool.report.slab_run import render_run
    from mmtool.system.slab.kmalloc import slab_gfp
    from mmtool.system.slab.machine import boot_slub, with_recorded
    from mmtool.system.slab.pages import PlainPages
    from mmtool.system.slab.run import Pages
    from mmtool.system.slab.runs import script_run
    from mmtool.system.slab.script import Parser

    there = Machine(**machine)
    if live or state is not None or proc is not None:
        from mmtool.system.slab.system_pages import SystemPages

        system = load_system(state=state, live=live, proc=proc)
        there.on(system)
        cpus = [system.cpu_nodes[cpu] for cpu in sorted(system.cpu_nodes)]
        pages: Pages = SystemPages(system)
        topology = Topology(cpus, there.build.nodes)
    else:
        pages = PlainPages(there.memory, there.build.nodes, there.build.kernel.page_shift)
        topology = evenly(there.build.present_cpus, there.build.nodes)
    build = there.build
    if there.allocator != "slub" and build.nodes > 1:
        raise UsageError(f"scripts on {there.allocator.upper()} are done on one node; leave --nodes away")
    lines = text_of(script).splitlines()
    parsed = list(Parser(script, slab_gfp(build), build.present_cpus, build.nodes).parse(lines))
    slub = boot_slub(build)
    if not build.nomerge:
        known = there.allocator == "slub" and with_recorded(slub)
        there.assumed += (OWN_USE if known else OWN_CACHES,)
    results = script_run(there.allocator, slub, there.memory, script, pages, topology).run(parsed)
    render_run(results, lines, there.allocator, build, there.assumed, pages, output)
    if any(result.failed for result in results):
        context.exit(1)


@slab.command("info", short_help="Say whose the slabs are, from /proc/slabinfo.")
@click.argument("reading", metavar="FILE|DIR|-")
@click.option("--since", metavar="FILE|DIR", help="An earlier reading: what has grown, comes first.")
@click.option("--cmdline+", "added", metavar="TEXT", help="Price these options: what the same objects would take.")
@machine_options
@output_option("table", "json", "yaml", "csv")
def info(reading: str, since: str | None, added: str | None, output: str, **machine: Any) -> None:
    """Read a copy of /proc/slabinfo or of /sys/kernel/slab: who has how much, how much of it is empty, what grew.

    With --cmdline+ it says what options such as slab_nomerge, slab_max_order=0 or slab_debug=FZPU would cost: the
    machine options say which kernel the reading is of.
    """
    from mmtool.answers.slab_use import prices, uses_of
    from mmtool.report.slab_info import render_prices, render_uses
    from mmtool.system.slab.machine import boot_slub, with_recorded

    there = Machine(**machine)
    page_size = there.build.page_size
    read = _reading(reading)
    if added is None:
        render_uses(read, uses_of(read, page_size, _reading(since) if since is not None else None), page_size, output)
        return
    if since is not None:
        raise UsageError("--cmdline+ prices one reading; leave --since away")
    if there.allocator != "slub":
        raise UsageError("--cmdline+ prices the options of SLUB alone")
    now = boot_slub(there.build)
    with_recorded(now)
    other = Machine(**{**machine, "cmdline": f"{machine['cmdline']} {added}"})

    def boot() -> SlabAllocator[Any]:
        then = boot_slub(other.build)
        with_recorded(then)
        return then

    render_prices(read, prices(read, now, boot), added, page_size, output)


def _reading(source: str) -> SlabInfo:
    from mmtool.firmware.packed import names_folder
    from mmtool.observed.slabinfo import read_slabinfo

    if names_folder(source):
        return read_slabinfo(source)
    return read_slabinfo(source, text_of(source))
