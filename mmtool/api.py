"""What a script or a notebook calls: `mmtool.boot()`, `mmtool.verify()` and `mmtool.explain()`, with typed results.

Each reads its input, asks the model and answers with frozen values. Addresses and sizes are bytes, ranges half-open;
counts of pages are named so. What they raise is `mmtool.errors.InputError` (unusable input, with its place) and
`UsageError` (arguments that contradict each other).
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike, fspath
from typing import Any

from mmtool.answers.assumed import assumptions
from mmtool.answers.explain import Finding, explain_address
from mmtool.answers.ledger import LedgerLine, MemoryLedger, memory_ledger
from mmtool.answers.postmortem.judge import judge_all
from mmtool.answers.verify import Difference, FactResult, Verification
from mmtool.answers.verify import verify as compare
from mmtool.assumption import Assumption
from mmtool.build.choose import kernel_for
from mmtool.build.profile import read_profile
from mmtool.errors import UsageError
from mmtool.examples import resolved
from mmtool.firmware.read import read_input, read_machine
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel
from mmtool.observed.answers import read_answers
from mmtool.observed.reports import read_reports
from mmtool.report.alloc import why
from mmtool.report.boot import TABLES, document
from mmtool.report.dmesg import dmesg_lines, shows_debug
from mmtool.report.postmortem.document import document as report_document
from mmtool.report.summary import summary
from mmtool.system.of_boot import state_of_boot
from mmtool.system.restore import system_of
from mmtool.system.system import System

__all__ = [
    "Allocation", "Assumption", "BootResult", "Difference", "FactResult", "Finding", "LedgerLine", "MemoryLedger",
    "Node", "Report", "Reservation", "Verification", "Zone", "boot", "explain", "verify",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that holds pages, as /proc/zoneinfo shows it once init has started; counts in pages."""

    nid: int
    name: str
    start: int
    end: int
    spanned_pages: int
    present_pages: int
    managed_pages: int
    min: int
    low: int
    high: int
    protection: tuple[int, ...]
    free_blocks: tuple[int, ...]
    """Free blocks by order."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its zones, its distances to all nodes, and the order in which it looks for memory: (node, zone)."""

    nid: int
    online: bool
    zones: tuple[Zone, ...]
    distances: tuple[int, ...]
    fallback: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Reservation:
    """A region that memblock held when the page allocator took over, and for whom."""

    start: int
    end: int
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Allocation:
    """What an allocation got: the block's physical address and zone, or why there was none."""

    ok: bool
    phys: int | None
    nid: int | None
    zone: str | None
    reason: str
    steps: tuple[str, ...]
    """What was tried, one sentence a zone that was looked at."""


@dataclass(frozen=True, slots=True)
class Report:
    """A failed allocation or a kill that a log reports: kind, verdict ("fails", "passes now", "unknown") and why."""

    line: int
    kind: str
    verdict: str
    reason: str
    details: Mapping[str, Any]
    """The report's entry of the mmtool.explain/1 document."""


@dataclass(frozen=True)
class BootResult:
    """A machine booted in the model. Allocations act on a state of its own, the same for each `BootResult`."""

    _boot: Boot = field(repr=False)

    def __repr__(self) -> str:
        return f"<BootResult Linux {self.kernel} on {self.arch}, {len(self.nodes)} nodes, {self.memtotal >> 20} MiB>"

    @property
    def kernel(self) -> str:
        """The kernel's release, as uname -r has it."""
        return self._boot.kernel.name

    @property
    def arch(self) -> str:
        return self._boot.kernel.arch

    @cached_property
    def assumed(self) -> tuple[Assumption, ...]:
        """What the answer rests on though nothing shows it; empty where everything is known."""
        return assumptions(self._boot)

    @property
    def cmdline(self) -> str:
        return self._boot.cmdline.text

    @cached_property
    def log(self) -> tuple[str, ...]:
        """The kernel's log on memory, without time stamps."""
        return tuple(dmesg_lines(self._boot))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        booted, lists = self._boot, self._boot.zonelists
        ids = sorted(booted.nodes)
        return tuple(
            Node(
                nid,
                nid in booted.numa.online,
                tuple(self._zone(zone) for zone in booted.nodes[nid].populated_zones()),
                tuple(booted.numa.node_distance(nid, other) for other in ids),
                tuple(lists.fallback[nid]),
            )
            for nid in ids
        )

    def _zone(self, zone: Any) -> Zone:
        shift, marks = self._boot.kernel.page_shift, zone.watermark
        return Zone(
            zone.nid, zone.name, zone.zone_start_pfn << shift, zone.zone_end_pfn << shift, zone.spanned_pages,
            zone.present_pages, zone.managed_pages, marks.min, marks.low, marks.high, tuple(zone.lowmem_reserve),
            tuple(zone.nr_free),
        )  # fmt: skip

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The zones of all nodes."""
        return tuple(zone for node in self.nodes for zone in node.zones)

    @cached_property
    def reservations(self) -> tuple[Reservation, ...]:
        mb = self._boot.memblock
        return tuple(
            Reservation(r.base, r.end, tuple(mb.owners(r.base, r.size))) for r in mb.reserved.regions if r.size
        )

    @property
    def memtotal(self) -> int:
        """MemTotal of /proc/meminfo, in bytes."""
        return self._ledger.memtotal

    @cached_property
    def _ledger(self) -> MemoryLedger:
        return memory_ledger(self._boot)

    def ledger(self) -> MemoryLedger:
        """Where the memory went, in bytes: installed, the takers with their amounts, MemTotal."""
        return self._ledger

    def explain(self, address: int) -> tuple[Finding, ...]:
        """What the stages of the boot say of a physical address: in which map, who reserved it, zone, free block."""
        return tuple(explain_address(self._boot, address))

    @cached_property
    def _system(self) -> System:
        return system_of(state_of_boot(self._boot), self._boot.kernel)

    def alloc(self, order: int, gfp: str | int = "GFP_KERNEL", *, node: int | None = None) -> Allocation:
        """Allocate 2**order pages, as alloc_pages() would; the pages stay taken."""
        system = self._system
        mask = system.gfp.parse(gfp) if isinstance(gfp, str) else gfp
        if not 0 <= order <= self._boot.kernel.max_page_order:
            raise UsageError(f"order {order} is not between 0 and {self._boot.kernel.max_page_order}")
        outcome = system.alloc_pages(mask, order, node, None)
        zone = outcome.zone
        steps = tuple(
            f"{step.function}: node {tried.zone.nid} {tried.zone.name}: {why(tried, order)}"
            for step in outcome.path
            for tried in step.zones
        )
        phys = outcome.pfn << self._boot.kernel.page_shift if outcome.pfn is not None else None
        nid, name = (zone.nid, zone.name) if zone is not None else (None, None)
        return Allocation(outcome.ok, phys, nid, name, outcome.reason, steps)

    def to_dict(self) -> dict[str, Any]:
        """The mmtool.boot/1 document."""
        return document(self._boot, tuple(TABLES))

    def to_html(self) -> str:
        """The page that `mmtool boot -o html` writes."""
        from mmtool.report.html.boot import html as page

        return page(self._boot)

    def _repr_html_(self) -> str:
        """What a notebook shows: the summary."""
        text = "\n".join(summary(self._boot, 100, coloured=False))
        return f'<pre style="line-height:1.2">{html.escape(text)}</pre>'


Source = str | PathLike[str]
"""A file or a folder, or `example:NAME`."""


def boot(
    source: Source | None = None,
    *,
    kernel: str | None = None,
    profile: Source | None = None,
    cmdline: str | None = None,
    cpus: int | None = None,
    kernel_base: int | None = None,
    dmesg: Source | None = None,
    memory: tuple[tuple[int, int], ...] = (),
) -> BootResult:
    """Boot the machine that the file or folder `source` describes; None is this machine.

    What `source` is - a kernel log, a device tree, a capture, /sys/firmware/memmap, a table - is recognised;
    `example:NAME` is one of those that come with mmtool. `kernel` is a release or a profile's name, `profile` a YAML
    file; `dmesg` and `memory` (ranges [start, end)) go with a device tree.
    """
    log = None if dmesg is None else _path(dmesg)
    machine = read_machine(None) if source is None else read_input(_path(source), log, memory)
    chosen = kernel_for(machine, kernel, None if profile is None else read_profile(_path(profile)))
    return BootResult(start_kernel(machine, chosen, cmdline=cmdline, kernel_base=kernel_base, cpus=cpus))


def _path(source: Source) -> str:
    return resolved(fspath(source))


def verify(source: Source, *, kernel: str | None = None, profile: Source | None = None) -> Verification:
    """Compare what is predicted from a log or a capture with what the kernel reported in it."""
    booted = boot(source, kernel=kernel, profile=profile)._boot
    return compare(booted, read_answers(_path(source)), debug=shows_debug(booted))


def explain(log: Source, *, kernel: str | None = None, sysctl: Mapping[str, str] | None = None) -> tuple[Report, ...]:
    """Why the allocations failed, and who was killed, that the log in the file `log` reports."""
    reports = []
    for judged in judge_all(read_reports(_path(log), kernel), dict(sysctl or {})):
        d = report_document(judged)
        reports.append(Report(d["line"], d["kind"], d["verdict"], d["reason"], d))
    return tuple(reports)
