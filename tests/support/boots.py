"""A `Boot` in the middle of a boot, made of what a step needs: memory, reservations, a release, a command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmtool.build.fact import parse_candidate
from mmtool.build.kernel import Kernel
from mmtool.build.profile import Option, Profile
from mmtool.build.release import release_facts
from mmtool.firmware.cmdline import parse_cmdline
from mmtool.firmware.devicetree import Chosen, DeviceTree
from mmtool.firmware.machine import LogNote, Machine
from mmtool.linux.init.architecture import architecture
from mmtool.linux.kernel.printk import KernelLog
from mmtool.linux.mm.early import Early
from mmtool.linux.mm.memblock import Memblock

NO_TREE = DeviceTree(
    size=0, model=None, compatible=(), memreserve=(), memory=(), nested_memory=(), reserved=(),
    has_reserved_memory=False, chosen=Chosen(), cpus=(), numa_memory=(), distance_map={}, numa_error=None,
    numa_complete=False, architecture=None, dma_limit=None, dma_buses=(),
)  # fmt: skip
"""A device tree that says nothing."""


def boot_of(kernel: Kernel, cmdline: str, notes: tuple[LogNote, ...] = ()) -> Any:
    """A boot of a kernel before its first step; what no step has settled is absent."""
    early = Early(kernel, Memblock.of(kernel), parse_cmdline(cmdline), KernelLog())
    machine = Machine("none", (), origin="test", notes=notes, fdt=NO_TREE)
    return architecture(kernel).boot(early, machine, 1, None)


def boot_at(
    release: str,
    cmdline: str,
    memory: Iterable[tuple[int, int, int]],
    reserved: Iterable[tuple[int, int]] = (),
    *,
    arch: str = "x86_64",
    config: dict[str, Option] | None = None,
) -> Any:
    """`memory` is (start, end, node), `reserved` (start, end), in bytes. There are no zones yet."""
    version = parse_candidate(release)
    assert version is not None
    options: dict[str, Option] = {"NUMA": True, "NODES_SHIFT": 10, "HUGETLB_PAGE": True} | (config or {})
    kernel = Kernel(release, release_facts(version), Profile("test", arch, release, options, {"struct_page": 64}))
    boot = boot_of(kernel, cmdline)
    for start, end, nid in memory:
        boot.memblock.add_node(start, end - start, nid)
    for start, end in reserved:
        boot.memblock.reserve(start, end - start)
    boot.numa.online = boot.numa.possible = {nid for _, _, nid in memory}
    boot.numa.pgdat = {}
    return boot


def said(boot: Early) -> list[str]:
    """The lines that the kernel printed."""
    return [line.text for line in boot.log.lines]
