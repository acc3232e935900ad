"""start_kernel(): a boot is a list of named steps over one state, and a record of what each did."""

from __future__ import annotations

from mmtool.arch.x86 import setup
from mmtool.arch.x86.e820 import E820Table
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.machine import Machine
from mmtool.init.boot import Boot, StepRecord
from mmtool.init.log import KernelLog
from mmtool.kernel.kernel import Kernel
from mmtool.mm.memblock import Memblock

E820_MAX_ENTRIES_ZEROPAGE = 128


def start_kernel(
    machine: Machine, kernel: Kernel, *, cmdline: str | None = None, kernel_base: int | None = None, cpus: int | None = None
) -> Boot:
    """Boot `machine` with `kernel` in the model.

    `cmdline`, `kernel_base` (bytes) and `cpus` stand in for what the machine says of them. The result holds the
    state after init's memory was handed over, the kernel's log, and what each step did.
    """
    log = KernelLog()
    facts = kernel.release
    numa = kernel.enabled("NUMA")
    text = cmdline if cmdline is not None else machine.cmdline or ""
    boot = Boot(
        machine, kernel, text, parse_cmdline(text), log,
        Memblock(facts, numa=numa, max_numnodes=kernel.max_numnodes),
        E820Table(facts, log, E820_MAX_ENTRIES_ZEROPAGE + 3 * kernel.max_numnodes),
        cpus=cpus or machine.cpus or 1,
        kernel_base=kernel_base if kernel_base is not None else machine.kernel_base,
    )  # fmt: skip
    for name, step in setup.steps(kernel):
        before, lines = boot.memblock.snapshot(), len(log.lines)
        step(boot)
        boot.steps.append(StepRecord(name, tuple(boot.memblock.changes_since(before)), lines, len(log.lines)))
    return boot
