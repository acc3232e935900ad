"""`mmtool replay`: a real kernel's allocation trace, done again in the model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mmtool.cli.output import output_option
from mmtool.cli.states import parse_json, read_json, system_of_json
from mmtool.errors import InputError, UsageError

if TYPE_CHECKING:
    from mmtool.system.replay.compaction import Addresses
    from mmtool.system.system import System


@click.command()
@click.argument("trace", metavar="TRACE")
@click.option("--state", metavar="FILE|-", help="The state before the trace; a recorded trace brings its own.")
@output_option("table", "json", shaped=())
def replay(trace: str, state: str | None, output: str) -> None:
    """Do the allocations and frees of TRACE again and compare the page frame numbers.

    TRACE is the text of ftrace or perf script with kmem events, or a recorded trace with the states around it; either
    may be compressed. Exit status 1 when a page differs, or the lists at the end do.
    """
    from mmtool.firmware.packed import read_bytes

    if trace == state == "-":
        raise UsageError("the trace and --state cannot both be standard input")
    data = read_bytes(trace)
    recorded = _recorded(data, trace)
    if recorded is None and state is None:
        raise UsageError(f"{trace} is a plain trace: --state FILE gives the state that it begins with")
    from mmtool.observed.ftrace import probes_of, read_events
    from mmtool.report.replay import render
    from mmtool.system.replay.run import replay as run

    start = recorded if state is None else read_json(state)
    system = system_of_json(start, trace if state is None else state)
    end = None if recorded is None or "S1" not in recorded else system_of_json(recorded["S1"], trace)
    if end is not None and _zones(end) != _zones(system):
        raise InputError(trace, "/S1", "has other nodes or zones than the state that the trace begins with")
    text = recorded["trace"] if recorded is not None else data.decode("utf-8", "replace")
    probes = probes_of(_definitions(recorded))
    done = run(system, read_events(text.splitlines(), trace), _addresses(start, system), trace, probes)
    good = render(done, system, end, output)
    if not good:
        sys.stdout.flush()
        raise click.exceptions.Exit(1)


def _zones(system: System) -> list[tuple[int, str]]:
    return [(zone.nid, zone.name) for zone in system.zones()]


def _recorded(data: bytes, source: str) -> dict[str, Any] | None:
    """A recorded trace with its states; None when the data is no JSON, but text."""
    if data.lstrip()[:1] != b"{":
        return None
    document = parse_json(data, source)
    if not isinstance(document.get("trace"), str) or not isinstance(document.get("S0"), dict):
        raise InputError(source, None, "a recorded trace has the state S0 and the text of the trace")
    found: dict[str, Any] = document
    return found


def _definitions(recorded: dict[str, Any] | None) -> str:
    """The text of kprobe_events in a recorded trace."""
    files = {} if recorded is None else recorded.get("files", {})
    text = files.get("/sys/kernel/tracing/kprobe_events", "") if isinstance(files, dict) else ""
    return text if isinstance(text, str) else ""


def _addresses(document: Any, system: System) -> Addresses:
    """What the addresses in probes mean, where a recorded state tells it."""
    from mmtool.system.codec.recorded import vmemmap_of, zone_addresses
    from mmtool.system.replay.compaction import Addresses

    zones = {address: system.zone(nid, name) for address, (nid, name) in zone_addresses(document).items()}
    return Addresses(zones, *vmemmap_of(document))
