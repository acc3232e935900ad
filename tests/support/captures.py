"""Captures of real boots: which there are, what mmtool may see of them, and what the kernel reported.

A capture is a folder as fixtures/captures/README.md describes it. `Capture.input_log` is its log without the lines
that are answers, `observed` holds the answers by fact, `predicted` what mmtool says when it is given the inputs.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmtool.build.choose import kernel_for
from mmtool.cli.boot import boot
from mmtool.firmware.fdt import read_fdt
from mmtool.firmware.read import read_input
from mmtool.linux.init.boot import Boot
from mmtool.linux.init.main import start_kernel

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"

_PREFIX = re.compile(r"(?:<\d+>)?\[\s*\d+\.\d+\]\s?(?:\[\s*[TC]\d+\]\s)?")
_RANGE = r"\[(?:mem|gap) 0x"
_ZONE = r"(?:DMA|DMA32|Normal|HighMem|Movable|Device)"

LOG_FACTS = {
    # What became of the firmware's map. Where setup_data turns RAM into RAM, the boot loader shows through.
    "e820": (
        r"user-defined physical RAM map:",
        r"user: " + _RANGE,
        r"e820: remove ",
        r"e820: update (?!.*(usable|System RAM) ==> \1$)",
        r"last_pfn = ",
        _RANGE + r".*available for PCI devices",
    ),
    "zones": (
        r"Zone ranges:|Movable zone start for each node|Early memory node ranges",
        rf"  {_ZONE} +(?:\[mem |empty)",
        r"  (?:Node \d+: |node +\d+: \[mem )",
        r"Initmem setup node \d|Initializing node \d|Could not find start_pfn for node",
        r"On node \d+(?: totalpages|, zone)",
        rf"  {_ZONE} zone: ",
        r"\d+MB (?:HIGHMEM|LOWMEM) available|  (?:mapped )?low ram: ",
    ),
    "zonelists": (r"Fallback order for Node|Built \d+ zonelists|Policy zone:",),
    "memblock": (r"MEMBLOCK configuration:", r" (?:memory|reserved)(?:\.cnt| size|\[)"),
    "reservations": (
        r"(?:NUMA: )?NODE_DATA(?:\(\d+\)| \[mem)",
        r"(?:NUMA: )?(?:No NUMA configuration found|Faking a node)",
        r"Reserving \d+MB.* for crashkernel|crashkernel|cma: |OF: reserved mem|Reserved memory: ",
        r"PM: hibernation: Registered nosave memory",
        r"percpu: Embedded|Dentry cache|Inode-cache|HugeTLB: .*pre-alloc|HugeTLB registered",
    ),
    "memory": (r"Memory: \d+K/\d+K available",),
}
"""The kernel's own results in a log, by fact: patterns of the lines."""

FILE_FACTS = ("spans", "managed", "zoneinfo", "pcp_limits", "min_free_kbytes")
"""Facts that files in proc/ hold: where zones lie, the pages they manage, their watermarks and reserves, the limits of
what a CPU's lists may hold (from 6.18 on), vm.min_free_kbytes."""

FACTS = (*LOG_FACTS, *FILE_FACTS)

_ANSWER = {fact: re.compile("|".join(patterns)) for fact, patterns in LOG_FACTS.items()}
_HISTORY = re.compile(r"memblock_|mminit::|  +memblock_")
"""What memblock=debug and mminit_loglevel= print in between; no input either."""

_ZONE_FIELDS = {
    "spans": ("start_pfn", "spanned", "present"),
    "managed": ("managed",),
    "zoneinfo": ("min", "low", "high", "protection", "pcp batch"),
    "pcp_high": ("pcp high",),
    "pcp_limits": ("pcp high_min", "pcp high_max"),
}


def answer_of(line: str) -> str | None:
    """The fact that a line of a log (without its prefix) answers; None for an input."""
    return next((fact for fact, pattern in _ANSWER.items() if pattern.match(line)), None)


def sort_lines(text: str) -> tuple[str, dict[str, list[str]]]:
    """A log parted into what is input and the answers, by fact and in order, without prefixes."""
    inputs: list[str] = []
    answers: dict[str, list[str]] = defaultdict(list)
    for raw in text.splitlines():
        line = _PREFIX.sub("", raw, count=1).rstrip()
        fact = answer_of(line)
        if fact is not None:
            answers[fact].append(line)
        elif not _HISTORY.match(line):
            inputs.append(raw)
    return "\n".join(inputs) + "\n", answers


def zoneinfo(text: str) -> dict[str, dict[str, Any]]:
    """/proc/zoneinfo: {"node/zone": {field: value}} of the zones that hold pages; per-CPU lists of the first CPU."""
    zones: dict[str, dict[str, Any]] = {}
    zone: dict[str, Any] = {}
    in_pageset = False
    for line in text.splitlines():
        if m := re.match(r"Node (\d+), zone +(\S+)", line):
            zone = zones[f"{m[1]}/{m[2]}"] = {}
            in_pageset = False
        elif m := re.match(r" +(?:pages )?(free|min|low|high|spanned|present|managed) +(\d+)$", line):
            zone[m[1]] = int(m[2])
        elif m := re.match(r" +protection: \((.*)\)", line):
            zone["protection"] = [int(n) for n in m[1].split(",")]
        elif re.match(r" +pagesets", line):
            in_pageset = True
        elif in_pageset and (m := re.match(r" +(high|batch|high_min|high_max): +(\d+)", line)):
            zone.setdefault(f"pcp {m[1]}", int(m[2]))
        elif m := re.match(r" +start_pfn: +(\d+)", line):
            zone["start_pfn"] = int(m[1])
    return {name: z for name, z in zones.items() if z.get("present")}


def document_zones(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The zones of an mmtool.boot/1 document in the shape of `zoneinfo`."""
    return {
        f"{node['nid']}/{z['name']}": z | {f"pcp {k}": v for k, v in (z.get("pcp") or {}).items()}
        for node in document["nodes"]
        for z in node["zones"]
    }


def _pick(zones: dict[str, dict[str, Any]], fields: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    return {name: {f: z.get(f) for f in fields} for name, z in zones.items()}


def _zone_fact(fact: str, zones: dict[str, dict[str, Any]]) -> Any:
    return _pick(zones, _ZONE_FIELDS[fact])


@dataclass(frozen=True)
class Capture:
    """One folder; everything that is read of it is kept."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def memmap(self) -> Path:
        return self.path / "memmap.txt"

    @property
    def tree(self) -> Path:
        """An arm64 machine's device tree."""
        return self.path / "machine.dtb.gz"

    @property
    def is_whole(self) -> bool:
        """Has the log its beginning? The ring buffer drops it where memblock=debug prints much."""
        return "Linux version" in self.input_log

    @property
    def says_where_memory_is(self) -> bool:
        """EFI's map is at the beginning of the log: without it a tree without memory nodes says nothing."""
        return not self.tree.exists() or self.is_whole or bool(read_fdt(str(self.tree)).memory)

    @cached_property
    def _log(self) -> tuple[str, dict[str, list[str]]]:
        return sort_lines((self.path / "dmesg.txt").read_text(errors="replace"))

    @property
    def input_log(self) -> str:
        """The log without the kernel's answers."""
        return self._log[0]

    @cached_property
    def release(self) -> str:
        """The kernel's name, as uname -r has it."""
        m = re.search(r"Linux version (\S+)", self.input_log)
        assert m is not None, f"{self.name}: no Linux version in the log"
        return m[1]

    def observed(self, fact: str) -> Any:
        """What the kernel reported; None where this capture does not show it."""
        if fact in LOG_FACTS:
            return self._log[1].get(fact)
        if fact == "min_free_kbytes":
            file = self.path / "proc/sys/vm/min_free_kbytes"
            return int(file.read_text()) if file.exists() else None
        file = self.path / "proc/zoneinfo"
        zones = _zone_fact(fact, zoneinfo(file.read_text())) if file.exists() else {}
        return zones if any(None not in fields.values() for fields in zones.values()) else None

    def predicted(self, fact: str) -> Any:
        """What mmtool says from the inputs alone, in the shape of `observed`."""
        if fact in LOG_FACTS:
            lines = self._printed.get(fact)
            left = self._log[1].get(fact, [])
            return lines[-len(left) :] if lines and left and not self.is_whole else lines
        if fact == "min_free_kbytes":
            return self.document["totals"].get("min_free_kbytes")
        return _zone_fact(fact, document_zones(self.document))

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Options of `mmtool boot` beside the log: the ACPI tables, the kernel, and where its image was put."""
        out: list[str] = []
        for option in ("srat", "slit"):
            table = self.path / f"{option.upper()}.aml"
            if table.exists():
                out += [f"--{option}", str(table)]
        iomem = self.path / "proc/iomem"
        version = self.path / "proc/version"
        if not self.is_whole and version.exists():
            out += ["--kernel", version.read_text().split()[2]]
        code = re.search(r"^ *([0-9a-f]+)-[0-9a-f]+ : Kernel code", iomem.read_text(), re.M) if iomem.exists() else None
        return (*out, "--kernel-base", f"0x{code[1]}") if code else tuple(out)

    def run(self, *arguments: str) -> str:
        """What `mmtool boot` prints for the log without its answers, and for the tree."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "dmesg.txt"
            log.write_text(self.input_log)
            source = ("--dtb", str(self.tree), "--dmesg", str(log)) if self.tree.exists() else ("--e820", str(log))
            return mmtool_boot(*source, *self.arguments, *arguments)

    @cached_property
    def _printed(self) -> dict[str, list[str]]:
        return sort_lines(self.run("-o", "dmesg"))[1]

    @cached_property
    def document(self) -> dict[str, Any]:
        """The boot as `-o json` prints it."""
        return dict(json.loads(self.run("-o", "json")))


def mmtool_boot(*arguments: str) -> str:
    """Standard output of `mmtool boot`, run in this process; exceptions come through."""
    result = CliRunner().invoke(boot, arguments, catch_exceptions=False, standalone_mode=False)
    return result.stdout


@cache
def booted(path: Path) -> Boot:
    """What `mmtool boot PATH` boots: a capture or a log, with all that is in it. Nobody changes it."""
    machine = read_input(str(path))
    return start_kernel(machine, kernel_for(machine))


@cache
def captures() -> list[Capture]:
    """The captures of fixtures/, and of the folder that MMTOOL_CAPTURES names: x86's first, then arm64's."""
    more = [Path(folder) for folder in [os.environ.get("MMTOOL_CAPTURES")] if folder]
    x86 = [memmap.parent for folder in (FIXTURES / "captures", *more) for memmap in sorted(folder.glob("*/memmap.txt"))]
    arm64 = [tree.parent for folder in (FIXTURES / "arm64", *more) for tree in sorted(folder.glob("*/machine.dtb.gz"))]
    return [Capture(path) for path in (*x86, *arm64)]
