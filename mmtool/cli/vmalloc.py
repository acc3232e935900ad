"""`mmtool vmalloc`: virtually contiguous memory on a state, and what a /proc/vmallocinfo tells."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.alloc import count_or_max
from mmtool.cli.options import SIZE, gfp_option
from mmtool.cli.output import note, output_option
from mmtool.cli.states import load_system, state_options
from mmtool.errors import UsageError

if TYPE_CHECKING:
    from mmtool.linux.mm.vmalloc.vmalloc import Vmalloc
    from mmtool.report.vmalloc import Attempt
    from mmtool.system.system import System


MOST = 100_000
"""Areas that are made at most."""
MOST_PAGES = 1 << 22
"""Pages of all areas of a state, 16 GiB where a page has 4 KiB."""


@click.command()
@click.option("--size", type=SIZE, metavar="SIZE", help="Bytes to allocate, as 16K or 0x4000.")
@click.option("--align", type=SIZE, default=1, metavar="SIZE", help="Align the area to a power of two.")
@gfp_option
@click.option("--node", type=int, metavar="N", help="The node to take the pages from; else the CPU's.")
@click.option("--huge", is_flag=True, help="Map it with huge pages if it is large enough (5.18 on).")
@click.option("--count", default="1", show_default=True, metavar="N|max", help="How often; max: until it fails.")
@click.option("--cpu", type=int, metavar="N", help="The CPU that asks; else the first.")
@click.option("--free", "freed", type=SIZE, multiple=True, metavar="ADDR", help="Free the area at ADDR before.")
@click.option("--base", type=SIZE, metavar="ADDR", help="Where the vmalloc area begins, where KASLR hides it.")
@click.option("--explain", is_flag=True, help="Say which holes the search passed, and why it ended where it did.")
@click.option("--info", metavar="FILE|-", help="Read a copy of /proc/vmallocinfo: use, holes, what would still fit.")
@state_options
@output_option("table", "json", "yaml", "csv")
def vmalloc(
    size: int | None,
    align: int,
    gfp: str,
    node: int | None,
    huge: bool,
    count: str,
    cpu: int | None,
    freed: tuple[int, ...],
    base: int | None,
    explain: bool,
    info: str | None,
    output: str,
    **state: Any,
) -> None:
    """Allocate virtually contiguous memory as the kernel would: a place for it, then its pages.

    Without --state, --live or --proc it goes on from a document on standard input, else from the last boot. Exit
    status 1 when an allocation fails, or when there is nothing to free at an address.
    """
    if info is not None:
        if size is not None or freed:
            raise UsageError("--info reads what there is: it goes with neither --size nor --free")
        _render_info(info, output, state)
        return
    if size is None and not freed:
        raise UsageError("give --size to allocate, --free to free, or --info to read a copy of /proc/vmallocinfo")
    if align < 1 or align & (align - 1):
        raise UsageError(f"--align: {align:#x} is not a power of two")
    from mmtool.cli.alloc import use_cpu
    from mmtool.linux.mm.vmalloc.restore import state_of_vmalloc
    from mmtool.report.vmalloc import render_attempts

    system = load_system(**state)
    use_cpu(system, cpu)
    v = _vmalloc_of(system, base)
    missing = [address for address in freed if not v.vfree(address)]
    attempts = _allocate(v, system, size, align, gfp, node, huge, count, explain) if size is not None else []
    assert system.vmalloc is not None
    system.vmalloc = state_of_vmalloc(v, system.vmalloc)
    render_attempts(attempts, [a for a in freed if a not in missing], v, system, output)
    for address in missing:
        sys.stdout.flush()
        note(f"there is no area of vmalloc at {address:#x}")
    if missing or any(not attempt.ok for attempt in attempts):
        sys.stdout.flush()
        raise click.exceptions.Exit(1)


def _vmalloc_of(system: System, base: int | None) -> Vmalloc:
    """The vmalloc side of a state; where it tells nothing of that, an empty area in the build's place for it."""
    from mmtool.linux.init.architecture import architecture
    from mmtool.linux.mm.address_space import LayoutInputs
    from mmtool.linux.mm.vmalloc.restore import vmalloc_of
    from mmtool.linux.mm.vmalloc.state import moved, state_of_layout

    zones = list(system.zones())
    if system.vmalloc is None:
        note("this state tells nothing of virtual memory: its area is taken to be empty")
        end = max(zone.zone_end_pfn for zone in zones)
        low = max((zone.zone_end_pfn for zone in zones if zone.name in ("DMA", "Normal")), default=end)
        # The processor is taken to have short addresses, and KASLR to be at work where the build has it.
        inputs = LayoutInputs(system.kernel, end, low, kaslr=system.kernel.enabled("RANDOMIZE_BASE"))
        layout = architecture(system.kernel).address_space(inputs)
        system.vmalloc = state_of_layout(layout, cpus=len(system.cpu_nodes))
    if base is not None:
        if system.vmalloc.base_known:
            raise UsageError(f"--base: this area begins at {system.vmalloc.start:#x}; KASLR does not hide it")
        if base % (1 << system.kernel.page_shift):
            raise UsageError(f"--base: {base:#x} is not where a page begins")
        system.vmalloc = moved(system.vmalloc, base)
    elif not system.vmalloc.base_known:
        note("KASLR hides where the vmalloc area begins: addresses are those without it")
    v = vmalloc_of(
        system.vmalloc, system.kernel, system,
        totalram_pages=sum(zone.managed_pages for zone in zones), online_nodes=len(system.nodes),
    )  # fmt: skip
    v.space.cpu = system.cpu
    return v


def _allocate(
    v: Vmalloc, system: System, size: int, align: int, gfp: str, node: int | None, huge: bool, count: str, explain: bool
) -> list[Attempt]:
    from mmtool.build.gfp import GfpError
    from mmtool.report.vmalloc import Attempt
    from mmtool.system.script import check_node

    try:
        mask = system.gfp.parse(gfp)
        if node is not None:
            check_node(system, node)
    except GfpError as e:
        raise UsageError(f"--gfp: {e}") from None
    except ValueError as e:
        raise UsageError(str(e)) from None
    left = count_or_max(count, MOST)
    attempts: list[Attempt] = []
    while left is None or len(attempts) < left:
        pages = size >> v.page_shift
        if pages <= v.totalram_pages and v.nr_vmalloc_pages + pages > MOST_PAGES:
            raise UsageError(f"--size and --count: at most {MOST_PAGES} pages are laid out one by one")
        lines = len(v.log.lines)
        holes = _holes(v) if explain else ()
        area = v.vmalloc_node_range(size, mask, align=align, node=node, huge=huge, caller="mmtool")
        said = tuple(line.text for line in v.log.lines[lines:])
        attempts.append(Attempt(size, area, said, holes if not attempts or area is None else (), align))
        if area is None:
            break
    return attempts


def _holes(v: Vmalloc) -> tuple[tuple[int, int], ...]:
    """The free ranges [start, end) of the vmalloc area, upwards; the tree has those of all addresses."""
    low, high = v.space.start, v.space.end
    clipped = ((max(hole.start, low), min(hole.end, high)) for hole in v.space.free)
    return tuple((start, end) for start, end in clipped if start < end)


def _render_info(source: str, output: str, state: dict[str, Any]) -> None:
    from mmtool.firmware.packed import read_bytes
    from mmtool.observed.vmallocinfo import parse_vmallocinfo
    from mmtool.report.vmallocinfo import render

    text = read_bytes(source).decode("utf-8", "replace")
    info = parse_vmallocinfo(text.splitlines(), source)
    system = load_system(**state) if any(state.values()) else None
    if system is None or system.vmalloc is None or not system.vmalloc.base_known:
        render(info, output)
        return
    own = system.vmalloc
    render(info, output, start=own.start, end=own.end, page_size=1 << system.kernel.page_shift)
