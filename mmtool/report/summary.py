"""The first screen of a boot: where the memory went, zones, where each node looks, what is free, what is not known."""

from __future__ import annotations

import re
import sys

from mmtool.answers.assumed import assumptions
from mmtool.answers.ledger import memory_ledger
from mmtool.assumption import Assumption
from mmtool.linux.init.boot import Boot
from mmtool.linux.mm.mmzone import Zone
from mmtool.report.picture.bar import bar_lines
from mmtool.report.terminal import terminal_columns
from mmtool.report.untrusted import one_line
from mmtool.units import human

LINES = 30
"""The lines of the screen for a machine of one node."""
MOST_TAKERS = 4
"""Takers that have a line of their own."""
MOST_NODES = 8
"""Nodes whose zones and lists are shown; a machine with more has them in --only."""
NARROWEST, WIDEST = 60, 100
"""Columns between which the screen follows the terminal's width."""


def render(boot: Boot, *, coloured: bool) -> None:
    """Print the summary to standard output."""
    width = min(max(terminal_columns(), NARROWEST), WIDEST)
    sys.stdout.write("\n".join(summary(boot, width, coloured=coloured)) + "\n")


def summary(boot: Boot, width: int, *, coloured: bool) -> list[str]:
    """The lines of the summary, at most `width` characters each where no name is longer."""
    parts = [
        [_heading(boot)],
        ["Where it went", *_takers(boot, width)],
        ["Zones", *_zones(boot), *_lists(boot, width)],
        ["Free when init starts", *(f"  {line}" for line in bar_lines(boot, width - 2, coloured=coloured))],
    ]
    more = _more(boot)
    used = sum(len(part) + 1 for part in parts) + len(more)
    lines: list[str] = []
    for part in filter(None, [*parts, [*_unknown(boot, width, _screen(boot) - used - 1), *more]]):
        lines += ["", *part] if lines else part
    return lines


def _screen(boot: Boot) -> int:
    """The lines that there are: a node more has its zones, its list and its bar."""
    others = [node for _, node in sorted(boot.nodes.items()) if node.populated_zones()][1:MOST_NODES]
    return LINES + sum(len(node.populated_zones()) + 2 for node in others)


def _heading(boot: Boot) -> str:
    zones = sum(len(node.populated_zones()) for node in boot.nodes.values())
    nodes = sum(1 for node in boot.nodes.values() if node.populated_zones())
    memory = human(sum(r.size for r in boot.memblock.memory.regions))
    counts = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in ((nodes, "node"), (zones, "zone")))
    return one_line(f"Linux {boot.kernel.name} on {boot.kernel.arch}: {memory}, {counts}")


def _takers(boot: Boot, width: int) -> list[str]:
    """The ledger in short: the largest takers, the others in one line, and what is left."""
    sums = memory_ledger(boot)
    ranked = sorted((line for line in sums.lines if line.amount > 0), key=lambda line: -line.amount)
    returned = [line for line in sums.lines if line.amount < 0]
    shown, rest = ranked[:MOST_TAKERS], ranked[MOST_TAKERS:]
    rows = [("memory in the firmware's map", sums.installed, "")]
    rows += [(line.taker, -line.amount, line.option or line.step) for line in shown]
    if rest:
        rows.append((f"{len(rest)} smaller (mmtool ledger)", -sum(line.amount for line in rest), ""))
    if returned:
        rows.append((f"{len(returned)} given back later", -sum(line.amount for line in returned), ""))
    rows.append(("MemTotal", sums.memtotal, ""))
    whole = max(sums.installed, 1)
    wide = min(max(len(name) for name, _, _ in rows), 32)
    lines = [
        f"  {name[:wide]:<{wide}} {_signed(size):>11} {100 * abs(size) / whole:5.1f}%  {why}".rstrip()
        for name, size, why in rows
    ]
    return [_fitting([line], width) for line in lines]


def _signed(size: int) -> str:
    return ("-" if size < 0 else "") + human(abs(size))


def _zones(boot: Boot) -> list[str]:
    shift = boot.kernel.page_shift
    rows: list[tuple[str, ...]] = [("node zone", "from", "to", "managed", "min", "low", "high")]
    for zone in _shown_zones(boot):
        span = (f"{zone.zone_start_pfn << shift:#x}", f"{(zone.zone_end_pfn << shift) - 1:#x}")
        counts = (zone.managed_pages, zone.watermark.min, zone.watermark.low, zone.watermark.high)
        rows.append((f"{zone.nid:>4} {zone.name}", *span, *(human(n << shift) for n in counts)))
    name, *width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"  {first:<{name}} " + " ".join(f"{text:>{w}}" for text, w in zip(rest, width, strict=True))
        for first, *rest in rows
    ]


def _shown_zones(boot: Boot) -> list[Zone]:
    return [zone for _, node in sorted(boot.nodes.items())[:MOST_NODES] for zone in node.populated_zones()]


def _lists(boot: Boot, width: int) -> list[str]:
    """Where an allocation of each node looks, as many zones as fit on its line."""
    if boot.zonelists is None:
        return []
    lists = sorted(boot.zonelists.fallback.items())
    lines = []
    for nid, zones in lists[:MOST_NODES]:
        line = f"  node {nid} looks in: "
        names = [f"{n}/{zone}" for n, zone in zones]
        while len(line) + len(" > ".join(names)) > width and len(names) > 2:
            names = [*names[: -2 if names[-1] == "..." else -1], "..."]
        lines.append(line + " > ".join(names))
    if len(lists) > MOST_NODES:
        lines.append(f"  and {len(lists) - MOST_NODES} more nodes: --only nodes,zones,zonelists")
    return lines


def _unknown(boot: Boot, width: int, room: int) -> list[str]:
    """What of it nothing shows and what to give for it, in `room` lines; the tables say what hangs on each."""
    assumed = assumptions(boot)
    if not assumed:
        return []
    shown = assumed if len(assumed) <= room else assumed[: max(room - 1, 0)]
    lines = [one_line(_fitting(_said(a), width)) for a in shown]
    if rest := assumed[len(shown) :]:
        lines.append(_fitting([f"  and {len(rest)} more: {', '.join(a.kind for a in rest)}"], width))
    return ["Not known, so taken for granted (--all says why):", *lines]


def _said(assumed: Assumption) -> list[str]:
    """What is taken for granted and what to give, the longest way of saying it first."""
    briefly = re.split(r" \(|, ", assumed.give)[0]
    what = f"  {assumed.what}; give"
    return [f"{what} {assumed.give}", f"{what} {briefly}", f"  {assumed.kind}: give {briefly}"]


def _fitting(texts: list[str], width: int) -> str:
    """The first of the texts that fits, else the last one cut."""
    cut = f"{texts[-1][: width - 3].rstrip(' ,')}..."
    return next((text for text in texts if len(text) <= width), cut)


def _more(boot: Boot) -> list[str]:
    entries, regions = len(boot.firmware_map), len(boot.memblock.reserved.regions)
    return [
        f"More: --only firmware ({entries}), memblock ({regions}), buddy, watermarks, vmalloc, steps;",
        "  --all; --why TOPIC; --explain ADDR; -o dmesg|json|html|svg",
    ]
