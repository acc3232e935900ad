"""start_kernel(): a boot is a list of named steps over one state, and a record of what each did."""

from __future__ import annotations

from mmtool.build.kernel import Kernel
from mmtool.errors import InputError
from mmtool.firmware.cmdline import Cmdline, parse_cmdline
from mmtool.firmware.machine import Machine
from mmtool.linux.arch.x86.kernel.e820 import E820Table
from mmtool.linux.arch.x86.mm.pgtable import maxmem_32, vmalloc_reserve_32
from mmtool.linux.arch.x86.mm.zones import max_zone_pfns
from mmtool.linux.init.boot import Boot, Step, StepRecord
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.memblock import Memblock, MemblockBug, MemblockPanic
from mmtool.linux.mm.mm_init import free_area_init, movable_wish
from mmtool.linux.mm.mmzone import Pgdat
from mmtool.linux.mm.page_alloc.handover import memblock_free_all, page_alloc_init_late

E820_MAX_ENTRIES_ZEROPAGE = 128
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
    log = KernelLog()
    facts = kernel.release
    text = cmdline if cmdline is not None else machine.cmdline or ""
    boot = Boot(
        kernel, Memblock.of(kernel), parse_cmdline(text), log, machine,
        E820Table(facts, log, E820_MAX_ENTRIES_ZEROPAGE + 3 * kernel.max_numnodes),
        cpus=min(cpus or machine.cpus or 1, kernel.number("NR_CPUS", MOST_CPUS)),
        kernel_base=kernel_base if kernel_base is not None else machine.kernel_base, initrd=machine.initrd,
    )  # fmt: skip
    before = boot.memblock.snapshot()
    for name, step in _steps(kernel):
        boot.step = name
        lines = len(log.lines)
        try:
            step(boot)
        except (MemblockPanic, MemblockBug) as e:
            raise InputError(machine.origin, None, f"this machine cannot boot, the kernel stops in {name}: {e}") from e
        for owner in boot.memblock.ledger.owners[len(boot.owner_steps) :]:
            boot.owner_steps[owner] = name
        now = boot.memblock.snapshot()
        boot.steps.append(StepRecord(name, tuple(now.changes_since(before)), lines, len(log.lines)))
        before = now
    return boot


def _steps(kernel: Kernel) -> list[Step]:
    """The steps of the kernel's architecture; what only another one needs is not even imported."""
    if kernel.arch == "arm64":
        from mmtool.linux.arch.arm64.setup import steps
    else:
        from mmtool.linux.arch.x86.kernel.setup import steps
    return steps(kernel)


def hand_over(mb: Memblock, kernel: Kernel, cmdline: Cmdline, *, late: bool = False) -> dict[int, Pgdat]:
    """The end of memblock by itself: free_area_init() and memblock_free_all() on the lists that `mb` holds.

    For an x86 kernel and memory of which nothing else is known; every node with memory is online. With `late` also
    page_alloc_init_late(), as if nothing were allocated in between.
    """
    ranges = list(mb.for_each_mem_pfn_range(mb.max_numnodes))
    nids = {nid for _, _, nid in ranges}
    max_pfn = max((end for _, end, _ in ranges), default=0)
    max_low_pfn = max_pfn
    if not kernel.is_64bit:
        max_low_pfn = min(max_pfn, maxmem_32(kernel, vmalloc_reserve_32(cmdline.get("vmalloc"))) >> kernel.page_shift)
    wish = movable_wish(cmdline, kernel)
    nodes = free_area_init(
        mb, kernel, max_zone_pfns(kernel, max_pfn, max_low_pfn), wish, KernelLog(),
        possible_nodes=nids, online_nodes=nids,
    )  # fmt: skip
    memory, reserved = mb.memory.regions, mb.reserved.regions
    memblock_free_all(
        memory, reserved, nodes,
        max_low_pfn=max_low_pfn, highmem=kernel.enabled("HIGHMEM"), mirrored_kernelcore=wish.mirror,
    )  # fmt: skip
    if late:
        page_alloc_init_late(memory, reserved, nodes)
    return nodes
