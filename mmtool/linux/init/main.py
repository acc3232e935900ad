"""start_kernel(): a boot is a list of named steps over one state, and a record of what each did."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.cmdline import Cmdline, parse_cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.init.architecture import architecture
from mmtool.linux.init.boot import Boot, StepRecord
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock, MemblockBug, MemblockPanic
from mmtool.linux.mm.mm_init import free_area_init, movable_wish
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.page_alloc.handover import memblock_free_all, page_alloc_init_late
from mmtool.units import human

LARGEST_INITRD = 16 << 30
"""Bytes beyond which an initial RAM disk is a mistake."""
LONGEST_CMDLINE = 1 << 14
"""Characters, some times COMMAND_LINE_SIZE, beyond which a command line is a mistake."""
MOST_CPUS = 8192
"""The most that CONFIG_NR_CPUS may be."""


def start_kernel(
    machine: Machine,
    kernel: Kernel,
    *,
    cmdline: str | None = None,
    kernel_base: int | None = None,
    cpus: int | None = None,
) -> Boot:
    """Boot `machine` with `kernel` in the model.

    `cmdline`, `kernel_base` (bytes) and `cpus` stand in for what the machine says of them. The result holds the
    state after init's memory was handed over, the kernel's log, and what each step did. InputError when the kernel
    would panic on the way.
    """
    text = cmdline if cmdline is not None else machine.cmdline or ""
    if len(text) > LONGEST_CMDLINE:
        raise InputError(machine.origin, None, f"a command line of {len(text)} characters; kernels read 2048 to 4096")
    early = Early(kernel, Memblock.of(kernel), parse_cmdline(text), KernelLog())
    arch = architecture(kernel, machine.origin)
    base = kernel_base if kernel_base is not None else machine.kernel_base
    if machine.initrd is not None and machine.initrd[1] - machine.initrd[0] > LARGEST_INITRD:
        size = human(machine.initrd[1] - machine.initrd[0])
        raise InputError(machine.origin, None, f"an initial RAM disk of {size} is none")
    boot: Boot = arch.boot(early, machine, min(cpus or machine.cpus or 1, kernel.number("NR_CPUS", MOST_CPUS)), base)
    boot.memblock.watch()
    for name, step in arch.steps(kernel):
        boot.step = name
        lines = len(boot.log.lines)
        try:
            step(boot)
        except (MemblockPanic, MemblockBug) as e:
            raise InputError(machine.origin, None, f"this machine cannot boot, the kernel stops in {name}: {e}") from e
        for owner in boot.memblock.ledger.owners_after(len(boot.owner_steps)):
            boot.owner_steps[owner] = name
        boot.steps.append(StepRecord(name, tuple(boot.memblock.changes()), lines, len(boot.log.lines)))
    return boot


def hand_over(mb: Memblock, kernel: Kernel, cmdline: Cmdline, *, late: bool = False) -> dict[int, Pgdat]:
    """The end of memblock by itself: free_area_init() and memblock_free_all() on the lists that `mb` holds.

    For memory of which nothing else is known; every node with memory is online. With `late` also
    page_alloc_init_late(), as if nothing were allocated in between.
    """
    nids = {nid for _, _, nid in mb.for_each_mem_pfn_range(mb.max_numnodes)}
    limits, max_low_pfn = architecture(kernel).zone_limits(kernel, cmdline, mb)
    wish = movable_wish(cmdline, kernel)
    nodes = free_area_init(mb, kernel, limits, wish, KernelLog(), possible_nodes=nids, online_nodes=nids)
    memory, reserved = mb.memory.regions, mb.reserved.regions
    memblock_free_all(
        memory, reserved, nodes, max_low_pfn=max_low_pfn, highmem=kernel.enabled("HIGHMEM"),
        mirrored_kernelcore=wish.mirror, page_shift=kernel.page_shift,
    )  # fmt: skip
    if late:
        page_alloc_init_late(memory, reserved, nodes, kernel.page_shift)
    return nodes
