"""What is wrong with a machine's description of its memory, by what Linux does about it: a table of rules.

`reserved_memory` and `tree` look at device trees, `firmware_map` at E820 maps and the options that change them,
`kernel_log` at what the kernel itself would complain of.
"""

from __future__ import annotations

from mmtool.answers.lint import firmware_map, kernel_log, reserved_memory, tree
from mmtool.answers.lint.finding import Case, Finding, Rule
from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.devicetree import BOOTED_BY_TREE
from mmtool.firmware.machine import Machine
from mmtool.firmware.read import NO_MEMORY, foreign
from mmtool.late import dataclass
from mmtool.linux.init.main import start_kernel

__all__ = ["RULES", "Finding", "Lint", "lint"]

RULES: dict[str, Rule] = {
    "misread-property": tree.misread_property,
    "memory-in-two-nodes": tree.memory_in_two_nodes,
    "memory-not-in-pages": tree.memory_not_in_pages,
    "memory-out-of-reach": tree.memory_out_of_reach,
    "overlap": reserved_memory.overlap,
    "memreserve": reserved_memory.memreserve,
    "boot-image": reserved_memory.boot_image,
    "initrd": reserved_memory.initrd_outside,
    "outside-memory": reserved_memory.outside_memory,
    "empty-reservation": reserved_memory.empty_reservation,
    "several-ranges": reserved_memory.several_ranges,
    "too-many-regions": reserved_memory.too_many_regions,
    "no-room": reserved_memory.no_room,
    "odd-alignment": reserved_memory.odd_alignment,
    "cma-alignment": reserved_memory.cma_alignment,
    "no-map-in-page": reserved_memory.no_map_in_page,
    "reusable-no-map": reserved_memory.reusable_no_map,
    "restricted-pool": reserved_memory.restricted_pool,
    "cma-default": reserved_memory.cma_default,
    "unit-address": reserved_memory.unit_address,
    "map-overlap": firmware_map.map_overlap,
    "map-option": firmware_map.map_option,
    "mtrr": firmware_map.mtrr,
    "out-of-reach": firmware_map.out_of_reach,
    "kernel-warning": kernel_log.kernel_warning,
    "crashkernel": kernel_log.crashkernel_kept_quiet,
}


@dataclass(frozen=True)
class Lint:
    """What came of it: the findings in the order of RULES, and why there was no boot to judge by, if there was none."""

    findings: tuple[Finding, ...]
    not_booted: str | None
    foreign: str | None = None
    """The architecture of a tree that no kernel here boots."""


def lint(
    machine: Machine,
    kernel: Kernel,
    cmdline: str | None = None,
    *,
    kernel_base: int | None = None,
    cpus: int | None = None,
) -> Lint:
    """Every finding about a machine booted with a kernel; what start_kernel() takes stands in for the machine's own.

    A device tree need not say where memory is; rules that have to know it find nothing then. Raises InputError.
    """
    tree = machine.fdt
    boot, stopped = None, []
    not_booted = NO_MEMORY if tree is not None and not tree.memory and not machine.efi else None
    other = None
    if tree is not None and machine.arch not in BOOTED_BY_TREE:
        other = machine.arch or ""
        not_booted = foreign(other)
    try:
        if not_booted is None:
            boot = start_kernel(machine, kernel, cmdline=cmdline, kernel_base=kernel_base, cpus=cpus)
    except InputError as e:
        if tree is None and e.__cause__ is None:
            raise
        not_booted = e.message
        if e.__cause__ is not None:
            place = "/" if tree is not None else "map"
            stopped = [Finding("no-boot", place, "no kernel boots with it", e.message, "See the other findings first.")]
    text = cmdline if cmdline is not None else machine.cmdline or ""
    case = Case(machine, kernel, parse_cmdline(text), boot)
    found = [Finding(name, *words) for name, rule in RULES.items() for words in rule(case)]
    return Lint((*stopped, *found), not_booted, other)
